"""The identity of a method's code: what changes it and what does not."""

import importlib
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ddl_bench.plan.identity import OURS, code_identity, forms, reached
from ddl_bench.plan.references import Resolver
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
    "what its package does": {"__init__.py": "import torch\n\ntorch.x = 1\n"},
    "a library": {"late.py": "from math import sqrt as finish\n"},
    "a choice of imports": {"late.py": CHOICE},
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


PLUS = "def finish(value):\n    return value + 1\n"
PATCH = "import torch\n\ntorch.patched = 1\n"
REGISTER = """KNOWN = {}


def offer(name):
    def enter(function):
        KNOWN[name] = function
        return function

    return enter
"""
REGISTERED = f"from .register import offer\n\n\n@offer('x')\n{PLUS}"
TOLD = """class Base:
    known = []

    def __init_subclass__(cls):
        Base.known.append(cls)


class Child(Base):
    rate = 1


def finish(value):
    return Base.known
"""
META = """class Meta(type):
    known = []

    def __init__(cls, *arguments):
        Meta.known.append(cls)


class Child(metaclass=Meta):
    rate = 1


def finish(value):
    return Meta.known
"""
DISPATCH = """from functools import singledispatch


@singledispatch
def finish(value):
    return value


@finish.register
def _(value: int):
    return value + 1
"""
CHECKED = """from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .one import finish
else:
    from .two import finish
"""
REBOUND = "from functools import cache\n\nfrom .one import finish\n\nfinish = cache(finish)\n"
HIDDEN = """from .one import finish as run


def finish(value):
    return [run for run in value], run(value)
"""
MATCHED = """KNOWN = []
match 1:
    case 1:
        known = KNOWN.append(1)
        KNOWN.append(2)


finish = KNOWN
"""
ONCE = "KNOWN = []\n_ = KNOWN.append(1)\nfinish = KNOWN\n"
LITERAL = """from importlib import import_module


def finish(value):
    return import_module(".one", __package__).finish(value)
"""
LOOK_UP = """def one():
    return 1


def finish(value):
    return globals()[value]()
"""
CAST = """from typing import cast


def finish(value):
    return cast("int", value)
"""
GLOBAL = """K = 1


def finish(value):
    global K
    K += 1
"""
DEEP = f"finish = {' + '.join(['1'] * 700)}\n"


class Edit(NamedTuple):
    """Files, and a change of one of them."""

    files: dict[str, str]
    file: str
    old: str
    new: str


def edit_late(text: str, old: str, new: str) -> Edit:
    return Edit({"late.py": text}, "late.py", old, new)


def edit_one(late: str, mid: str = "", one: str = PLUS) -> Edit:
    """A change in `one.py`, which `late.py` uses in some way."""
    return Edit({"late.py": late, "mid.py": mid, "one.py": one}, "one.py", "1", "2")


BRANCH = """
K = 0


def finish(value):
    if value:
        global K
        K = value
    return K
"""
SEEN: dict[str, Edit] = {
    "a module imported for its effect": edit_one(f"from . import one\n{PLUS}", one=PATCH),
    "a late import for its effect": edit_one(f"{PLUS}    from . import one\n", one=PATCH),
    "an effect on the way": Edit(
        {"late.py": "from .mid import finish\n", "mid.py": f"from .one import finish\n{PATCH}"}
        | {"one.py": PLUS},
        "mid.py",
        "= 1",
        "= 2",
    ),
    "a decorator that registers": Edit(
        {"late.py": "from . import one\nfrom .register import KNOWN as finish\n"}
        | {"register.py": REGISTER, "one.py": REGISTERED},
        "one.py",
        "+ 1",
        "+ 2",
    ),
    "a base that is told of its classes": edit_late(TOLD, "rate = 1", "rate = 2"),
    "a metaclass that is told of its classes": edit_late(META, "rate = 1", "rate = 2"),
    "an implementation for a type": edit_late(DISPATCH, "+ 1", "+ 2"),
    "the type that it is for": edit_late(DISPATCH, "int", "float"),
    "a call whose result is thrown away": edit_late(ONCE, "append(1)", "append(2)"),
    "a call in a match": edit_late(MATCHED, "append(2)", "append(3)"),
    "a name that a match binds": edit_late("match 3:\n    case finish:\n        pass\n", "3", "4"),
    "a star of a star": edit_one("from .mid import *\n", "from .one import *\n"),
    "a star of an import": edit_one("from .mid import *\n", "from .one import finish\n"),
    "the last of two stars": edit_one("from .mid import *\nfrom .one import *\n", "finish = abs\n"),
    "the first of two stars": edit_one("from .one import *\nfrom .mid import *\n", "K = 0\n"),
    "what type checkers do not read": Edit(
        {"late.py": CHECKED, "one.py": PLUS, "two.py": PLUS}, "two.py", "+ 1", "+ 2"
    ),
    "an import bound again": edit_one(REBOUND),
    "a name that a comprehension hides": edit_one(HIDDEN),
    "a module named in a string": edit_one(LITERAL),
    "a look-up among globals": edit_late(LOOK_UP, "return 1", "return 2"),
    "a package without an init": Edit(
        {"late.py": "from .models import one\n\nfinish = one.finish\n", "models/one.py": PLUS},
        "models/one.py",
        "+ 1",
        "+ 2",
    ),
    "syntax of another Python": edit_one(f"{PLUS}    from .one import x\n", one="x = $1\n"),
    "an expression nested too deeply": edit_late(DEEP, "= 1", "= 2"),
}
UNSEEN: dict[str, Edit] = {
    "a global renamed": edit_late(GLOBAL, "K", "COUNT"),
    "a global renamed that a branch declares": edit_late(BRANCH, "K", "COUNT"),
    "the annotation of a constant": edit_late("K = 1\nfinish = K\n", "K = 1", "K: int = 1"),
    "a cast": edit_late(CAST, 'cast("int", value)', "value"),
    "a pass": edit_late('class finish:\n    "Text."\n', '"Text."', "pass"),
    "a signature for type checkers": edit_late(
        f"from typing import overload\n{PLUS}",
        "overload\n",
        "overload\n@overload\ndef finish(): ...\n",
    ),
}


@pytest.mark.parametrize("edit", SEEN)
def test_an_edit_is_seen(identity: Identity, edit: str) -> None:
    files, file, old, new = SEEN[edit]
    before = identity(files)
    assert before == identity(files)
    assert before != identity(files | {file: changed(files[file], old, new)})


@pytest.mark.parametrize("edit", UNSEEN)
def test_an_edit_makes_no_difference(identity: Identity, edit: str) -> None:
    files, file, old, new = UNSEEN[edit]
    assert identity(files) == identity(files | {file: changed(files[file], old, new)})


def test_a_renamed_module_with_an_effect_is_the_same(identity: Identity) -> None:
    text = f"{PATCH}\n\n{PLUS}"
    one = identity({"late.py": "from .one import finish\n", "one.py": text})
    assert one == identity({"late.py": "from .two import finish\n", "two.py": text})


def test_modules_that_import_each_other_come_to_an_end(identity: Identity) -> None:
    use = "from . import one\n\n\ndef finish(value):\n    return one.missing\n"
    circle = {"one.py": "from .two import *\n", "two.py": "from .one import *\n"}
    assert identity({"late.py": use, **circle}) == identity({"late.py": use, **circle})


@pytest.mark.parametrize("name", sorted(entry.name for entry in entry_points(group=METHODS)))
def test_no_method_depends_on_results_plans_or_the_version(name: str) -> None:
    if name == "spams":
        pytest.importorskip("spams")
    files = files_reached(load_method(name))
    rooms = {path.parent.name for path in files if "ddl_bench" in path.parts}
    assert rooms <= {"ddl_bench", "training"}
    names = {path.name for path in files if path.parent.name == "ddl_bench"}
    assert names <= {"api.py", "errors.py", "files.py", "options.py"}


def files_reached(cls: type) -> set[Path]:
    resolver = Resolver(OURS)
    units = [unit for unit in reached(cls, resolver) if forms(unit, resolver)]
    return {unit if isinstance(unit, Path) else unit.path for unit in units}


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


FACTORY = """from dataclasses import dataclass


def make(label, result):
    @dataclass(frozen=True)
    class Made:
        name = label

        def start(self, task, budget):
            return result

    return Made
"""
LOOP = """from factory import make

for number in (1, 2):
    globals()[f"Made{number}"] = make(f"made-{number}", VALUE)
"""


def test_the_file_counts_whose_loop_makes_methods_by_a_function_beside_it(tmp_path: Path) -> None:
    identities = []
    for index, value in enumerate(("number", "number + 1", "number")):
        folder = tmp_path / str(index)
        folder.mkdir()
        (folder / "factory.py").write_text(FACTORY)
        (folder / "loop.py").write_text(LOOP.replace("VALUE", value))
        identities.append(code_identity(methods_in(folder / "loop.py")["made-1"]))
    assert identities[0] != identities[1]
    assert identities[0] == identities[2]


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
    files = files_reached(methods_in(path)["extended"])
    assert {"extended.py", "nearest_mean.py", "readout.py"} <= {path.name for path in files}
