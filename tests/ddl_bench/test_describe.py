"""What is known of a method, and that ours say all of it."""

import dataclasses
import inspect
import json
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from sklearn.ensemble import RandomForestClassifier

from ddl_bench import describe, registry
from ddl_bench.api import Described
from ddl_bench.errors import UserError
from ddl_bench.plan.identity import code_identity
from ddl_bench.training.estimator import from_estimator
from ddl_bench.training.recipe import RecipeOptions
from tests.conftest import ddl_bench

RECORDS = describe.methods()
PLUGIN = '''
from dataclasses import dataclass
from typing import ClassVar

from ddl_bench.api import About


@dataclass(frozen=True)
class Bare:
    name: ClassVar[str] = "bare"
    depth: int = 3

    def start(self, task, budget): ...


@dataclass(frozen=True)
class Described(Bare):
    """A method of mine.

    It has depth.

    Parameters
    ----------
    depth, width
        Of all layers: the first
        and the last.

        Both count.
    rate
        In steps, at most 1.

    References
    ----------
    rate: not an option.
    """

    name: ClassVar[str] = "described"
    about = About(
        family="mine",
        references=("me2026", "gregor2010", "nobody"),
        needs=("no_such_package", "json"),
    )
    width: int | None = None
    rate: float = 0.5


@dataclass(frozen=True)
class Child(Described):
    """Another.

    Parameters
    ----------
    rate
        In seconds.
    """

    name: ClassVar[str] = "child"
'''
BIB = """@book{me2026,
  author = {Me, Myself and You, Y. O. and Them, They},
  title = {100\\% of {Mine}},
  year = {2026}
}
"""


@pytest.fixture
def plugin(tmp_path: Path) -> tuple[Path, ...]:
    (tmp_path / "references.bib").write_text(BIB)
    path = tmp_path / f"{tmp_path.name}.py"
    path.write_text(PLUGIN)
    return (path,)


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record["name"])
def test_ours_say_all_that_there_is_to_say(record: dict[str, object]) -> None:
    cls = registry.load_method(str(record["name"]))
    assert "about" in vars(cls), "of its own, not inherited"
    assert isinstance(cls, Described)
    first = inspect.cleandoc(cls.__doc__ or "").split("\n")[0]
    assert record["about"] == first
    assert first.endswith(".")
    assert len(first) < 112
    for text in (record["family"], record["formula"]):
        assert text
    for name, option in json.loads(json.dumps(record["options"])).items():
        assert option["meaning"], f"no docstring says what {name} is"
        assert "Annotated" not in option["type"], "a plain type, without its range"
    for reference in json.loads(json.dumps(record["references"])):
        assert reference["key"] in reference["bibtex"]
        assert reference["citation"][-4:] in reference["key"], "the year"


def test_entries_are_used_and_in_order() -> None:
    keys = list(describe.bibliography(describe.BIBLIOGRAPHY))
    assert keys == sorted(keys)
    assert set(keys) == {
        reference["key"] for record in RECORDS for reference in record["references"]
    }
    assert describe.BIBLIOGRAPHY.read_text().count("\n@") + 1 == len(keys)


def meanings(record: describe.MethodRecord) -> list[str]:
    return [option["meaning"] for option in record["options"].values()]


def test_a_plugin_may_say_nothing(plugin: tuple[Path, ...]) -> None:
    bare = describe.method("bare", plugin)
    assert (bare["about"], bare["family"], bare["references"], bare["needs"]) == ("", "", [], ())
    depth = {"type": "int", "default": 3, "meaning": "", "settings": {}}
    assert bare["options"] == {"depth": depth}
    assert [record["name"] for record in describe.methods(plugin)][-2:] == ["bare", "child"], (
        "without a family, so last"
    )


def test_a_plugin_may_say_what_it_is(plugin: tuple[Path, ...]) -> None:
    record = describe.method("described", plugin)
    assert record["about"] == "A method of mine."
    assert record["more"] == ["It has depth."]
    assert record["family"] == "mine"
    of_layers = "Of all layers: the first and the last. Both count."
    assert meanings(record) == [of_layers, of_layers, "In steps, at most 1."]
    assert record["options"]["width"]["type"] == "int | None"
    assert record["missing"] == ["no_such_package"]
    mine, known, unknown = record["references"]
    assert mine["citation"] == "Me, You and Them, 100% of Mine, 2026"
    assert known["citation"].startswith("Gregor and LeCun, Learning Fast")
    assert (unknown["citation"], unknown["bibtex"]) == ("", "")


def test_what_a_class_leaves_out_comes_from_its_base(plugin: tuple[Path, ...]) -> None:
    child = describe.method("child", plugin)
    assert (child["family"], child["more"]) == ("", ["It has depth."])
    of_layers = "Of all layers: the first and the last. Both count."
    assert meanings(child) == [of_layers, of_layers, "In seconds."]


def test_the_listing_and_one_in_full(
    plugin: tuple[Path, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = ddl_bench(["methods", "--plugin", plugin[0]])
    assert max(map(len, text.splitlines())) <= 80
    for record in RECORDS:
        assert f"\n  {record['name']} " in text
    for part in (
        "\nunrolled networks\n",
        "[gregor2010]",
        "needs spams",
        "\nothers\n  bare",
    ):
        assert part in text
    assert "needs no_such_package, json (not installed: pip install no_such_package)" in " ".join(
        text.split()
    )
    full = ddl_bench(["methods", "described", "--plugin", plugin[0]])
    for part in (
        "described: A method of mine.",
        "no_such_package, json (not installed: pip install",
        "In steps, at most 1.",
        BIB,
    ):
        assert part in full
    assert "none known" in full
    assert "strengths" in ddl_bench(["methods", "logistic"])
    assert (
        json.loads(ddl_bench(["methods", "described", "--json", "--plugin", plugin[0]]))["family"]
        == "mine"
    )
    assert len(json.loads(ddl_bench(["methods", "--json"]))) == len(RECORDS)
    with pytest.raises(UserError, match="did you mean 'lista'"):
        ddl_bench(["methods", "listta"])


def test_a_method_that_cannot_be_imported_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str, plugins: object) -> None:
        raise ImportError("no module named x")

    monkeypatch.setattr(registry, "load_method", load)
    record = describe.method("sdl")
    assert record["about"] == "not installed: no module named x"
    assert record.keys() == RECORDS[0].keys()
    assert "no module named x" in ddl_bench(["methods", "sdl"])


def test_an_estimator_says_what_it_is() -> None:
    forest = from_estimator("forest", RandomForestClassifier, n_estimators=7)
    assert forest.__doc__ == "scikit-learn's RandomForestClassifier on pixels in [0, 1]."
    assert {field.name for field in dataclasses.fields(forest)} >= {"n_estimators"}


def test_extras_are_installed_by_their_name() -> None:
    assert describe.install(["spams", "other"]) == "pip install 'ddl-bench[spams]' other"
    assert describe.remedy(ModuleNotFoundError(name="other")) == "; pip install other"
    assert describe.remedy(ModuleNotFoundError("no luck")) == ""
    assert describe.remedy(ImportError("damaged", name="other")) == ""


def test_what_a_method_says_about_itself_does_not_change_its_source(
    plugin: tuple[Path, ...],
) -> None:
    before = code_identity(registry.load_method("described", plugin))
    changes = {'family="mine"': 'family="yours"', "rate: float = 0.5": "rate: float = 0.6"}
    for folder, (old, new) in zip(("same", "other"), changes.items(), strict=True):
        path = plugin[0].parent / folder / plugin[0].name
        path.parent.mkdir()
        path.write_text(PLUGIN.replace(old, new))
        after = code_identity(registry.load_method("described", (path,)))
        assert (before == after) == (folder == "same")


def test_annotations_that_cannot_be_resolved_and_odd_files_are_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "odd.py"
    path.write_text(
        "from __future__ import annotations\n"
        "from dataclasses import dataclass\n"
        "from ddl_bench.api import About\n\n\n"
        "@dataclass(frozen=True)\n"
        "class Odd:\n"
        "    name = 'odd'\n"
        "    about = About(needs=('absent.part',), references=('mine',))\n"
        "    depth: Unknown = 3\n"
        "    def start(self, task, budget): ...\n"
    )
    (tmp_path / "references.bib").write_bytes(b"@article{mine,\n  title = {Caf\xe9}\n}\n")
    record = describe.method("odd", (path,))
    assert record["options"]["depth"]["type"] == "Unknown"
    assert record["missing"] == ["absent.part"]
    assert record["references"][0]["citation"].startswith("Caf")
    assert "odd" in [each["name"] for each in describe.methods((path,))]


def test_options_within_an_option_have_a_record_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "net.py"
    path.write_text(
        "from torch import nn\n"
        "from ddl_bench import from_module\n"
        "def linear(image_shape, n_classes): return nn.Linear(image_shape[2], n_classes)\n"
        "Net = from_module('net', linear, recipe={'optimiser': 'adamw'})\n"
    )
    option = describe.method("net", (path,))["options"]["recipe"]
    assert option["default"] == {"optimiser": "adamw"}
    assert option["settings"].keys() == {field.name for field in dataclasses.fields(RecipeOptions)}
    for setting in option["settings"].values():
        assert setting["meaning"]
    text = ddl_bench(["methods", "net", "--plugin", path])
    assert "Settings of recipe, as in `net[recipe.base=value]`" in text


def test_outlines_say_what_the_classes_say() -> None:
    outlines = describe.outlines()
    full = describe.methods()
    assert [outline["name"] for outline in outlines] == [record["name"] for record in full]
    for outline, record in zip(outlines, full, strict=True):
        for key in ("about", "family", "needs", "missing"):
            assert dict(outline)[key] == dict(record)[key], record["name"]
        keys = [reference["key"] for reference in record["references"]]
        assert [reference["key"] for reference in outline["references"]] == keys


PLAIN = '''
class Plain:
    """Say this."""

    about: ClassVar[About] = About(family="a", references=("me2026",), formula="x" + y)
'''


@pytest.mark.parametrize(
    ("code", "family"),
    [
        (PLAIN, "a"),
        (PLAIN.replace('"a"', "FAMILY"), None),
        (PLAIN.replace("About(", "replace(ABOUT, "), None),
        (PLAIN.replace("About(", "about_of("), None),
        ("Plain = from_module('plain', Net)", None),
        ("def broken(:", None),
    ],
)
def test_what_a_source_does_not_say_plainly_is_left_to_the_class(
    code: str, family: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "plainly.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    entry = EntryPoint("plain", "plainly:Plain", "ddl_bench.methods")
    monkeypatch.setattr(registry, "entries", lambda group: {"plain": entry})
    asked: list[str] = []

    def method(name: str) -> dict[str, str]:
        asked.append(name)
        return {"name": name, "family": "imported"}

    monkeypatch.setattr(describe, "method", method)
    (outline,) = describe.outlines()
    assert outline["family"] == (family or "imported")
    assert asked == ([] if family else ["plain"])
    assert "plainly" not in sys.modules
