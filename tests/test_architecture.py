"""The rooms of the project and which way imports may flow, as a table that is checked."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.conftest import ROOT

# A line may import only what stands above it, and rooms of one line each other without a cycle.
LAYERS = {
    "ddl_bench": [
        ["errors", "options", "files", "machine"],
        ["api"],
        ["registry", "params", "describe", "data", "training"],
        ["plan"],
        ["results"],
        ["harness"],
        ["contract"],
        ["cli"],
        ["__main__", "__init__"],
    ],
    "baselines": [["pursuit"], ["learning", "layers"], ["features"], ["methods"], ["__init__"]],
    "detrame": [
        ["layer"],
        ["equivalence", "tracing"],
        ["fold"],
        ["convert"],
        ["methods"],
        ["__init__"],
    ],
    "reports": [
        ["estimates", "figures", "paper", "scale", "speed", "statistics"],
        ["ledger", "sentences", "page", "tables"],
        ["report", "documentation"],
        ["__init__"],
    ],
}
METHODS_MAY = {"api", "errors", "options", "files", "training", "data"}
OTHERS = {  # what a package may take from the rooms of ddl_bench; it may import no other package
    "ddl_bench": set(),
    "baselines": METHODS_MAY,
    "detrame": METHODS_MAY,
    "reports": {"errors", "files", "registry", "params", "describe", "plan", "results"},
}
LONGEST = {"ddl_bench": 10, "baselines": 4}  # rooms in a chain of imports
GPL = ("spams", "baselines.methods.spams")  # this library, in this module alone


class Import(NamedTuple):
    """One name that a module imports: `from source import name`, or `import source`."""

    line: int
    source: str
    name: str


def modules() -> dict[str, ast.Module]:
    """The syntax tree of every module of the four packages, by its dotted name."""
    found = {}
    for package in LAYERS:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            name = ".".join(parts).removesuffix(".__init__")
            found[name] = ast.parse(path.read_text())
    return found


TREES = modules()
PACKAGES = {name for name in TREES if any(other.startswith(f"{name}.") for other in TREES)}


def imports(name: str) -> Iterator[Import]:
    """What a module imports, wherever it stands; relative imports are resolved."""
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(node.lineno, alias.name, "")
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}, line {node.lineno}: imports are absolute"
            for alias in node.names:
                yield Import(node.lineno, str(node.module), alias.name)


def module_of(found: Import) -> str:
    """The module that an import reaches: a submodule where the name is one."""
    inner = f"{found.source}.{found.name}"
    return inner if inner in TREES else found.source


def room_of(name: str) -> str:
    """The folder or file right below the package: `ddl_bench.plan.cell` lies in `plan`."""
    _, _, inner = name.partition(".")
    return inner.partition(".")[0] or "__init__"


def level_of(package: str, room: str) -> int:
    """The line of the table on which a room stands."""
    for level, rooms in enumerate(LAYERS[package]):
        if room in rooms:
            return level
    raise AssertionError(f"{package}/{room} has no place in the table of layers")


@pytest.mark.parametrize("name", TREES)
def test_imports_follow_the_table(name: str) -> None:
    package, room = name.partition(".")[0], room_of(name)
    for found in imports(name):
        target = module_of(found)
        other = target.partition(".")[0]
        if other not in LAYERS:
            assert other != GPL[0] or name == GPL[1], f"{name}: {GPL[0]} is GPL, only {GPL[1]} may"
            continue
        reached = room_of(target)
        where = f"{name}, line {found.line}: {target}"
        if other == package:
            lower = level_of(package, reached) <= level_of(package, room)
            assert lower, f"{where} stands below {room} in the table"
        else:
            assert other == "ddl_bench", f"{where}: only ddl_bench may be shared"
            assert reached in OTHERS[package], f"{where}: {package} may not use that room"


def privates(tree: ast.Module) -> set[str]:
    """The private names that a module defines: functions, classes, attributes of `self`, fields."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            if isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"):
                names.add(node.attr)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
    return {name for name in names if name.startswith("_") and not name.startswith("__")}


PRIVATES = {name: privates(tree) for name, tree in TREES.items()}


@pytest.mark.parametrize("name", TREES)
def test_no_private_name_of_another_file(name: str) -> None:
    for found in imports(name):
        ours = found.source.partition(".")[0] in LAYERS
        assert not (ours and found.name.startswith("_")), f"{name}, line {found.line}"
    others = set().union(*(names for other, names in PRIVATES.items() if other != name))
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Attribute) and node.attr in others - PRIVATES[name]:
            raise AssertionError(f"{name}, line {node.lineno}: .{node.attr} is another file's")


def edges() -> dict[str, set[str]]:
    """Which modules each module imports, of the four packages."""
    found: dict[str, set[str]] = {}
    for name in TREES:
        targets = {module_of(each) for each in imports(name)}
        found[name] = {target for target in targets if target in TREES and target != name}
    return found


def test_no_cycle_of_modules() -> None:
    graph, done = edges(), set[str]()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, f"a cycle: {' -> '.join((*path, name))}"
        if name not in done:
            for target in sorted(graph[name]):
                visit(target, (*path, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def rooms(package: str) -> dict[str, set[str]]:
    """Which rooms of a package each of its rooms imports."""
    found: dict[str, set[str]] = {}
    for name, targets in edges().items():
        if name.partition(".")[0] == package:
            here = found.setdefault(room_of(name), set())
            here |= {room_of(it) for it in targets if it.partition(".")[0] == package}
    return {room: targets - {room, "__init__"} for room, targets in found.items()}


@pytest.mark.parametrize(("package", "longest"), LONGEST.items())
def test_chains_of_rooms_are_short(package: str, longest: int) -> None:
    graph = rooms(package)

    def depth(room: str, path: tuple[str, ...]) -> int:
        assert room not in path, f"rooms in a circle: {' -> '.join((*path, room))}"
        return 1 + max((depth(target, (*path, room)) for target in graph[room]), default=0)

    assert max(depth(room, ()) for room in graph) <= longest


def test_nobody_imports_the_face() -> None:
    for name, targets in edges().items():
        assert "ddl_bench" not in targets, name


def test_the_packages_are_all_there() -> None:
    assert {path.parent.name for path in Path(ROOT).glob("*/py.typed")} == LAYERS.keys()
