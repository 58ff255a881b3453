"""Read a source file: what its top level binds, imports and does, and where its imports lie.

Nothing is imported for it: a file is read by its syntax alone, and so is the search for a module.
"""

import ast
import hashlib
import importlib.util
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import NamedTuple

COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
COMPOUND = (ast.If, ast.Try, ast.TryStar, ast.For, ast.While, ast.With, ast.Match)
CHECKERS_ALONE = ("TYPE_CHECKING", "typing.TYPE_CHECKING")
SCRIPT_ALONE = "__name__ == '__main__'"


class Import(NamedTuple):
    """What an import binds: a module, or a name of it where `name` is not empty."""

    module: str
    name: str


@dataclass(frozen=True)
class Source:
    """A module as it is written: what its top level binds, imports and does."""

    path: Path
    dotted: str
    definitions: dict[str, list[ast.stmt]] = field(default_factory=dict)
    imports: dict[str, Import] = field(default_factory=dict)
    lazy: dict[str, Import] = field(default_factory=dict)  # for type checkers, or a lazy module
    stars: list[str] = field(default_factory=list)
    effects: list[ast.stmt] = field(default_factory=list)  # run at import, bind nothing
    offers: list[ast.stmt] = field(default_factory=list)  # with decorators or base classes
    loads: list[Import] = field(default_factory=list)  # whatever is imported with the module

    @property
    def package(self) -> str:
        """The package that relative imports start from."""
        if self.path.name == "__init__.py":
            return self.dotted
        return self.dotted.rpartition(".")[0]


def read(path: Path, dotted: str | None = None) -> Source:
    """Read a module, or a package without an `__init__.py`; again if its file changed since.

    Parameters
    ----------
    path
        Its file, or the folder of such a package.
    dotted
        The name that it is imported by. It counts where the file is reached for the first time;
        None takes the names of the folders.
    """
    if path not in NAMES:
        NAMES[path] = dotted or name_of(path)
    status = path.stat()
    return _parse(path, NAMES[path], status.st_mtime_ns, status.st_size)


NAMES: dict[Path, str] = {}  # the name by which each file was first reached


def remember(path: Path, dotted: str) -> None:
    """Note by which name a file is reached."""
    NAMES.setdefault(path, dotted)


@cache
def _parse(path: Path, dotted: str, changed_ns: int, size: int) -> Source:
    """Sort the statements of a module's top level into definitions, imports and effects."""
    source = Source(path, dotted)
    if path.is_dir():
        return source
    content = path.read_bytes()
    try:
        statements = ast.parse(content).body
    except (SyntaxError, ValueError, RecursionError):  # other Pythons' syntax, or machine code
        digest = ast.Constant(hashlib.sha256(content).hexdigest())
        source.effects.append(ast.Expr(digest))
        return source
    for statement in statements:
        sort(statement, source)
    for statement in statements:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            for name, _ in bound_by(statement, source.package):
                if name in source.definitions:  # such as `f = cache(f)` of an imported f
                    source.definitions[name].append(statement)
    return source


def sort(statement: ast.stmt, source: Source) -> None:
    """Enter one top-level statement into what is known of its module."""
    if isinstance(statement, ast.Import | ast.ImportFrom):
        _sort_import(statement, source)
        return
    if is_text(statement) or is_overload(statement):
        return
    if isinstance(statement, ast.If) and is_never_run(statement.test):
        for inner in statement.body:
            for node in ast.walk(inner):
                if isinstance(node, ast.Import | ast.ImportFrom):
                    source.lazy.update(bound_by(node, source.package))
        for inner in statement.orelse:
            sort(inner, source)
        return
    names = names_bound(statement)
    if names == ["__all__"]:
        return
    for name in names:
        source.definitions.setdefault(name, []).append(statement)
    for node in inside([statement]):
        if isinstance(node, ast.Import | ast.ImportFrom):
            source.loads.extend(loaded_by(node, source.package))
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        source.offers.append(statement)
    unbound = not names or names == ["_"]
    if unbound or (isinstance(statement, COMPOUND) and acts(statement)):
        source.effects.append(statement)


def _sort_import(statement: ast.Import | ast.ImportFrom, source: Source) -> None:
    for name, wanted in bound_by(statement, source.package):
        if name == "*":
            source.stars.append(wanted.module)
        else:
            source.imports[name] = wanted
    source.loads.extend(loaded_by(statement, source.package))


def names_bound(statement: ast.stmt) -> list[str]:
    """List the names that a top-level statement binds, without those inside functions."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [statement.name]
    names = []
    waiting: list[ast.AST] = [statement]
    while waiting:
        node = waiting.pop(0)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.append(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):  # a choice of imports is a definition
            names += [name for name, _ in bound_by(node, "")]
        elif isinstance(node, ast.Name):
            if isinstance(node.ctx, ast.Store):
                names.append(node.id)
        elif not isinstance(node, (ast.Lambda, *COMPREHENSIONS)):
            names += captured(node)
            waiting.extend(ast.iter_child_nodes(node))
    return list(dict.fromkeys(names))


def captured(node: ast.AST) -> list[str]:
    """The name that a pattern of `match` binds, in a list."""
    name = None
    if isinstance(node, ast.MatchAs | ast.MatchStar):
        name = node.name
    elif isinstance(node, ast.MatchMapping):
        name = node.rest
    return [name] if name else []


def bound_by(node: ast.Import | ast.ImportFrom, package: str) -> Iterator[tuple[str, Import]]:
    """Yield each name that an import binds and what it stands for."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            if alias.asname:
                yield alias.asname, Import(alias.name, "")
            else:
                top = alias.name.partition(".")[0]
                yield top, Import(top, "")
        return
    module = absolute(node.module or "", node.level, package)
    for alias in node.names:
        yield alias.asname or alias.name, Import(module, "" if alias.name == "*" else alias.name)


def loaded_by(node: ast.Import | ast.ImportFrom, package: str) -> Iterator[Import]:
    """Yield what an import runs: of `import a.b` both modules, though it binds the first alone."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield Import(alias.name, "")
        return
    for _, wanted in bound_by(node, package):
        yield wanted


def absolute(module: str, level: int, package: str) -> str:
    """Return the full name of a module that is given with so many leading dots."""
    if not level:
        return module
    parts = package.split(".")
    parents = parts[: len(parts) - level + 1]
    return ".".join([*parents, *filter(None, [module])])


def is_text(statement: ast.stmt) -> bool:
    """Whether a statement is a docstring or another constant."""
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def is_overload(statement: ast.stmt) -> bool:
    """Whether a statement is a signature for type checkers."""
    decorators = getattr(statement, "decorator_list", [])
    return any(ast.unparse(each) in ("overload", "typing.overload") for each in decorators)


def is_never_run(test: ast.expr) -> bool:
    """Whether a condition holds for type checkers alone, or in a script alone."""
    return ast.unparse(test) in (*CHECKERS_ALONE, SCRIPT_ALONE)


def acts(statement: ast.stmt) -> bool:
    """Whether a compound statement calls something or sets a part of something."""
    return any(map(is_change, inside([statement])))


def is_change(node: ast.AST) -> bool:
    """Whether a node calls something for its effect, or sets a part of something."""
    if isinstance(node, ast.Expr):
        return not is_text(node)
    if isinstance(node, ast.Attribute | ast.Subscript):
        return isinstance(node.ctx, ast.Store)
    return isinstance(node, ast.Global | ast.Nonlocal)


def inside(statements: Iterable[ast.stmt]) -> Iterator[ast.AST]:
    """Walk the statements of a function without the bodies of functions and classes in it."""
    waiting: list[ast.AST] = list(statements)
    while waiting:
        node = waiting.pop(0)
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            waiting.extend(ast.iter_child_nodes(node))


def locate_from(path: Path, dotted: str) -> Path | None:
    """Find the file of a module as the file in `path` would import it; None where there is none.

    Beside a file outside of packages, such as a plugin, its neighbours come first.
    """
    folder = path.parent
    if (folder / "__init__.py").exists():
        return locate(dotted)
    inner = folder.joinpath(*dotted.split("."))
    located = find_below(folder, dotted) or locate(dotted)
    if located is None and inner.is_dir():
        return inner
    return located


def locate(dotted: str) -> Path | None:
    """Find the file of a module, or the folder of a package without one; None where there is none.

    Nothing is imported for it.
    """
    loaded = getattr(sys.modules.get(dotted), "__file__", None)
    if loaded:
        path = Path(loaded)
        return path if path.is_file() else None
    top, _, rest = dotted.partition(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if not rest and spec.origin:
        path = Path(spec.origin)
        return path if path.suffix == ".py" else None
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    if not rest:
        return next(filter(Path.is_dir, folders), None)
    for folder in folders:
        file = find_below(folder, rest)
        if file is not None:
            return file
    inner = [folder.joinpath(*rest.split(".")) for folder in folders]
    return next(filter(Path.is_dir, inner), None)


def find_below(folder: Path, dotted: str) -> Path | None:
    """Find the file of a module whose top level lies in a folder."""
    inner = folder.joinpath(*dotted.split("."))
    for path in (inner.with_suffix(".py"), inner / "__init__.py"):
        if path.is_file():
            return path
    return None


def is_loaded_beside(path: Path, name: str) -> bool:
    """Whether a module that was imported lies in the folder of a file."""
    loaded = getattr(sys.modules.get(name), "__file__", None)
    return bool(loaded) and Path(str(loaded)).parent == path.parent


def packages_of(path: Path) -> Iterator[Path]:
    """Yield the `__init__.py` of each package that a module lies in, the innermost first."""
    for folder in path.parents:
        if not (folder / "__init__.py").is_file():
            return
        yield folder / "__init__.py"


def name_of(path: Path) -> str:
    """Return the dotted name of a package's `__init__.py`, by its folders."""
    names = [package.parent.name for package in packages_of(path)]
    return ".".join(reversed(names))
