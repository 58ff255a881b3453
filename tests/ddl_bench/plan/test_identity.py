"""The identity of a method's code: what changes it and what does not."""

import importlib
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

from ddl_bench.plan.identity import OURS, Closure, Resolver, code_identity, home_of, read
from ddl_bench.registry import METHODS, load_method, methods_in, plugin

METHOD = '''"""A method."""

from dataclasses import dataclass
from typing import ClassVar

from .layers import SCALE, transform as change
from .base.common import Base


@dataclass(frozen=True)
class Mine(Base):
    """Does something."""

    name: ClassVar[str] = "mine"
    about = {"family": "none"}
    rate: float = 0.5

    def start(self, task: "Task", budget: "Budget") -> "Training":
        """Start it."""
        from .late import finish

        value: int = change(3)  # a comment
        return finish(value) * SCALE
'''
LAYERS = '''"""Layers."""

SCALE = 2
UNUSED = 1


def transform(value):
    """Change a value."""
    return helper(value) + 1


def helper(value):
    return value


def unused(value):
    return value
'''
BASE = """class Base:
    def score(self):
        return 1
"""
LATE = """def finish(value):
    return value - 1
"""
FILES = {
    "method.py": METHOD,
    "layers.py": LAYERS,
    "base/__init__.py": "",
    "base/common.py": BASE,
    "late.py": LATE,
    "__init__.py": "",
}
Identity = Callable[..., str]


@pytest.fixture
def identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Identity]:
    """Write a package with some files changed, import its method and return its identity."""
    monkeypatch.syspath_prepend(tmp_path)
    made: list[str] = []

    def compute(files: dict[str, str] | None = None, module: str = "method") -> str:
        package = f"identity_package_{len(made)}"
        made.append(package)
        for file, text in (FILES | (files or {})).items():
            path = tmp_path / package / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text.replace("PACKAGE", package))
        importlib.invalidate_caches()
        return code_identity(importlib.import_module(f"{package}.{module}").Mine)

    yield compute
    for name in list(sys.modules):
        if name.partition(".")[0] in made:
            del sys.modules[name]


def changed(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new)


SAME: dict[str, dict[str, str]] = {
    "another package": {},
    "a comment": {"layers.py": f"# new\n{LAYERS}"},
    "a docstring": {"layers.py": changed(LAYERS, "Change a value.", "Alter a value.")},
    "annotations": {"layers.py": changed(LAYERS, "helper(value):", "helper(value: int) -> int:")},
    "what it says about itself": {"method.py": changed(METHOD, '"none"', '"others"')},
    "what is not used": {"layers.py": changed(LAYERS, "UNUSED = 1", "UNUSED = 7")},
    "an unused function": {"layers.py": changed(LAYERS, "def unused(value)", "def spare(one)")},
    "a renamed function": {"layers.py": LAYERS.replace("helper", "assistant")},
    "a renamed import": {"method.py": METHOD.replace("change", "alter")},
    "absolute imports": {"method.py": METHOD.replace("from .", "from PACKAGE.")},
    "order": {"layers.py": changed(LAYERS, "SCALE = 2\n", "") + "\n\nSCALE = 2\n"},
}
REGISTRY = """

KNOWN = {}


def known(function):
    KNOWN[function.__name__] = function
    return function


@known
def entered(value):
    return value + 3
"""
CHOICE = "try:\n    from math import sqrt as finish\nexcept ImportError:\n    finish = abs\n"
DIFFERENT: dict[str, dict[str, str]] = {
    "a relative import": {"layers.py": changed(LAYERS, "+ 1", "+ 2")},
    "what that uses": {
        "layers.py": changed(LAYERS, "    return value\n\n\ndef u", "    return -value\n\n\ndef u")
    },
    "a constant": {"layers.py": changed(LAYERS, "SCALE = 2", "SCALE = 3")},
    "a base class": {"base/common.py": changed(BASE, "return 1", "return 2")},
    "a late import": {"late.py": changed(LATE, "- 1", "- 2")},
    "a default": {"method.py": changed(METHOD, "0.5", "0.6")},
    "the type of an option": {"method.py": changed(METHOD, "rate: float", "rate: complex")},
    "a function defined again": {"late.py": f"{LATE}\n\nfinish = abs\n"},
    "what a module does": {"layers.py": f"import torch\n{LAYERS}\ntorch.x = 1\n"},
    "what its package does": {"__init__.py": "import torch\n\ntorch.x = 2\n"},
    "a library": {"late.py": "from math import sqrt as finish\n"},
    "a choice of imports": {"late.py": CHOICE},
    "a registry by decorator": {
        "layers.py": f"{LAYERS}{REGISTRY}",
        "method.py": f"{METHOD}\n\nfrom .layers import KNOWN\n\nMine.known = KNOWN\n",
    },
    "what an import alone does": {
        "method.py": METHOD.replace("from .layers", "from . import patch\nfrom .layers"),
        "patch.py": "import torch\n\ntorch.x = 3\n",
    },
    "an attribute set": {"method.py": f"{METHOD}\n\nMine.rate = 0.7\n"},
}


@pytest.mark.parametrize("change", SAME)
def test_what_does_not_change_it(identity: Identity, change: str) -> None:
    assert identity(SAME[change]) == identity()


@pytest.mark.parametrize("change", DIFFERENT)
def test_what_changes_it(identity: Identity, change: str) -> None:
    assert identity(DIFFERENT[change]) != identity()


def test_every_change_gives_another_identity(identity: Identity) -> None:
    found = [identity(files) for files in DIFFERENT.values()]
    assert len(set(found)) == len(found)


def test_a_moved_method_is_the_same(identity: Identity) -> None:
    moved = METHOD.replace("from .base", "from ..base").replace("from .l", "from ..l")
    assert (
        identity({"sub/__init__.py": "", "sub/elsewhere.py": moved}, "sub.elsewhere") == identity()
    )


def test_a_function_moved_to_another_file_is_the_same(identity: Identity) -> None:
    helper = "def helper(value):\n    return value\n"
    assert helper in LAYERS
    layers = "from .more import helper\n" + LAYERS.replace(helper, "")
    files = {"layers.py": layers, "more.py": helper}
    assert identity(files) == identity()


STAR = """from .rest import *
from . import rest


def finish(value):
    return use(rest, value)
"""
REST = """def use(module, value):
    return module.other(value)


def other(value):
    return value + 1
"""


@pytest.mark.parametrize("old", ["value + 1", "module.other(value)"])
def test_all_of_a_module_counts_where_reading_cannot_tell(identity: Identity, old: str) -> None:
    before = identity({"late.py": STAR, "rest.py": REST})
    assert before == identity({"late.py": STAR, "rest.py": REST})
    assert before != identity({"late.py": STAR, "rest.py": changed(REST, old, f"2 * {old}")})


def test_two_ways_to_import_one_name_both_count(identity: Identity) -> None:
    late = (
        "def finish(value):\n    if value:\n        from .one import run\n"
        "    else:\n        from .two import run\n    return run(value)\n"
    )
    one = "def run(value):\n    return 1\n"
    two = "def run(value):\n    return 2\n"
    files = {"late.py": late, "one.py": one, "two.py": two}
    before = identity(files)
    assert before != identity(files | {"one.py": one.replace("1", "3")})
    assert before != identity(files | {"two.py": two.replace("2", "3")})


@pytest.mark.parametrize("name", sorted(entry.name for entry in entry_points(group=METHODS)))
def test_no_method_depends_on_results_plans_or_the_version(name: str) -> None:
    if name == "spams":
        pytest.importorskip("spams")
    reached = files_reached(load_method(name))
    rooms = {path.parent.name for path in reached if "ddl_bench" in path.parts}
    assert rooms <= {"ddl_bench", "training"}
    names = {path.name for path in reached if path.parent.name == "ddl_bench"}
    assert names <= {"api.py", "errors.py", "files.py", "options.py"}


def files_reached(cls: type) -> set[Path]:
    resolver = Resolver(OURS)
    closure = Closure(resolver)
    closure.reach(resolver.definitions(home_of(cls)))
    return closure.files


PLUGIN = """from typing import ClassVar

from neighbour import score


class Mine:
    name: ClassVar[str] = "{name}"

    def start(self, task, budget):
        return score(1)
"""


def write_plugin(folder: Path, name: str, result: int) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "neighbour.py").write_text(f"def score(value):\n    return {result}\n")
    path = folder / "method.py"
    path.write_text(PLUGIN.format(name=name))
    return path


def test_the_neighbours_of_a_plugin_count(tmp_path: Path) -> None:
    one = methods_in(write_plugin(tmp_path / "one", "mine", 1))["mine"]
    two = methods_in(write_plugin(tmp_path / "two", "mine", 2))["mine"]
    same = methods_in(write_plugin(tmp_path / "three", "mine", 1))["mine"]
    assert code_identity(one) != code_identity(two)
    assert code_identity(one) == code_identity(same)


def test_plugins_of_one_stem_are_two_modules_with_neighbours_of_their_own(tmp_path: Path) -> None:
    paths = [write_plugin(tmp_path / name, name, number) for number, name in enumerate("ab")]
    results = []
    for path in paths:
        mine: Any = methods_in(path)[path.parent.name]
        results.append(mine().start(None, None))
    assert results == [0, 1]
    assert plugin(paths[0]).__name__ != plugin(paths[1]).__name__


def test_a_plugin_that_extends_a_method_of_ours_sees_changes_there(tmp_path: Path) -> None:
    path = tmp_path / "extended.py"
    path.write_text(
        "from baselines.methods.nearest_mean import NearestMean\n\n\n"
        "class Extended(NearestMean):\n    name = 'extended'\n"
    )
    reached = files_reached(methods_in(path)["extended"])
    assert {"extended.py", "nearest_mean.py", "readout.py"} <= {path.name for path in reached}


def test_a_registered_function_counts(identity: Identity) -> None:
    files = DIFFERENT["a registry by decorator"]
    other = files | {"layers.py": changed(files["layers.py"], "value + 3", "value + 4")}
    assert identity(files) != identity(other)


def test_names_that_modules_import_from_each_other_end(identity: Identity) -> None:
    files = {
        "late.py": "from .one import finish\n",
        "one.py": "from .two import finish\nfrom .two import *\n",
        "two.py": "from .one import finish\nfrom .one import *\n",
    }
    assert identity(files) == identity(files)


def test_what_cannot_be_parsed_counts_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "newer.py"
    path.write_text("def f(: pass\n")
    before = read(path, "newer").effects
    assert len(before) == 1
