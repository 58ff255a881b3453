"""Hash what a method computes with: the definitions that its class can reach, wherever they stand.

The hash follows a class through the syntax of its module to every function, class and constant
that it refers to, across files and packages, and reads each of them without comments, docstrings,
type annotations of functions and what a class says `about` itself. Names of modules, and names of
what a module defines, are replaced by the order in which they are reached. So a move, a renamed
file or function, a release or a new column of the results changes nothing, and any change to what
the method computes with changes the hash.

Followed are this project's packages, the packages of the class and of its bases, and all code that
does not lie in an installation folder, such as the neighbours of a plugin file. Other libraries
count by the names that are used of them; their versions are recorded in each row.

What modules do when they are imported counts as well, wherever an import leads to them: calls,
what they set in other modules, and definitions that a decorator or a base class registers.

What cannot be resolved by reading (a module that is passed on as a value, `globals()`) counts as a
use of the whole module, and what cannot be parsed counts byte by byte.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

IDENTITY_VERSION = 2  # of the rule below and of what a cell's ID is made of
OURS = frozenset({"ddl_bench", "baselines", "detrame"})
LIBRARIES = frozenset({"numpy", "pydantic", "scipy", "sklearn", "torch", "torchvision"})
INSTALLED = ("site-packages", "dist-packages")  # folders of code that counts by its version


@dataclass(frozen=True)
class Definition:
    """What the module in `path` binds to `name` at its top level."""

    path: Path
    name: str


@dataclass(frozen=True)
class Module:
    """A module that is followed, used as a value or as the left side of a dot.

    The path of a package without an `__init__.py` is its folder.
    """

    path: Path
    dotted: str


@dataclass(frozen=True)
class External:
    """A name of a library that is not followed, in full."""

    dotted: str


Target: TypeAlias = Definition | Module | External
Unit: TypeAlias = Definition | Path  # the path stands for what a module does at import


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


def code_identity(cls: type) -> str:
    """Compute the hex digest of all that a method's class computes with."""
    modules = [base.__module__ for base in cls.__mro__]
    packages = {name.partition(".")[0] for name in modules}
    resolver = Resolver(OURS | (packages - LIBRARIES - sys.stdlib_module_names))
    numbers: dict[Unit, int] = {}
    seen: set[Unit] = set()
    waiting = resolver.units(home_of(cls))
    lines = []
    while waiting:
        unit = waiting.pop(0)
        if unit in seen:
            continue
        seen.add(unit)
        if forms(unit, resolver):
            numbers[unit] = len(numbers)
        waiting.extend(reached(unit, resolver))
    for unit in numbers:
        for form in forms(unit, resolver):
            references = [resolver.token(target, numbers) for target in form.targets]
            lines.append(f"{numbers[unit]} {form.text} {references}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def home_of(cls: type) -> Definition | Module:
    """Find the definition of a class; its whole module where no name leads to it."""
    module = sys.modules[cls.__module__]
    source = read(Path(str(module.__file__)), cls.__module__)
    for name in [cls.__name__, *source.definitions]:
        if name in source.definitions and vars(module).get(name) is cls:
            return Definition(source.path, name)
    return Module(source.path, source.dotted)


class Form(NamedTuple):
    """A statement in normal form, what it refers to, and what has to be read for that."""

    text: str
    targets: tuple[Target, ...]
    units: tuple[Unit, ...]


def forms(unit: Unit, resolver: Resolver) -> list[Form]:
    """Return the normal forms of a definition, or of what a module does when it is imported."""
    path = unit if isinstance(unit, Path) else unit.path
    return _forms(unit, resolver, path.stat().st_mtime_ns)


def reached(unit: Unit, resolver: Resolver) -> list[Unit]:
    """List the units that a unit leads to: what it refers to, and modules that it imports."""
    units = [unit for form in forms(unit, resolver) for unit in form.units]
    if isinstance(unit, Path):
        units.extend(_loaded(unit, resolver, unit.stat().st_mtime_ns))
    return units


@cache
def _forms(unit: Unit, resolver: Resolver, changed_ns: int) -> list[Form]:
    if isinstance(unit, Path):
        source = read(unit, DOTTED[unit])
        statements = resolver.effects(source)
    else:
        source = read(unit.path, DOTTED[unit.path])
        statements = source.definitions[unit.name]
    return [form_of(statement, source, resolver) for statement in statements]


@cache
def _loaded(path: Path, resolver: Resolver, changed_ns: int) -> list[Path]:
    source = read(path, DOTTED[path])
    loaded = [module for wanted in source.loads for module in resolver.loaded(source, wanted)]
    packages = list(packages_of(path))
    for package in packages:
        DOTTED.setdefault(package, dotted_of(package))
    return [*packages, *loaded]


def form_of(statement: ast.stmt, source: Source, resolver: Resolver) -> Form:
    """Write a statement; one that is nested too deeply stands for all of its module."""
    writer = Writer(source, resolver)
    try:
        text = writer.write(statement)
    except RecursionError:
        text = repr(source.path.read_bytes())
        writer.targets = [resolver.find(source, wanted) for wanted in source.loads]
        writer.targets.append(Module(source.path, source.dotted))
    targets = tuple(writer.targets)
    units = [unit for target in targets for unit in resolver.units(target)]
    return Form(text, targets, (*units, *writer.loaded))


@dataclass(frozen=True)
class Resolver:
    """Finds what names refer to; `roots` are the packages that are followed though installed."""

    roots: frozenset[str]

    def units(self, target: Target) -> list[Unit]:
        """List what has to be read for a target: its definition, and what its module does."""
        if isinstance(target, External):
            return []
        if isinstance(target, Definition):
            return [target, target.path]
        source = read(target.path, target.dotted)
        return [*(Definition(source.path, name) for name in source.definitions), source.path]

    def token(self, target: Target, numbers: dict[Unit, int]) -> str:
        """Return what stands for a target in the hash: a name of a library, or numbers."""
        if isinstance(target, External):
            return target.dotted
        units = self.units(target)
        return " ".join(str(numbers[unit]) for unit in units if isinstance(unit, Definition))

    def effects(self, source: Source) -> list[ast.stmt]:
        """List what a module does at import, with the definitions that are registered then."""
        offered = [offer for offer in source.offers if self._is_registered(source, offer)]
        return [*source.effects, *offered]

    def loaded(self, source: Source, wanted: Import) -> list[Path]:
        """List the modules that an import runs, without those that they import."""
        parts = wanted.module.split(".")
        if wanted.name:
            parts.append(wanted.name)
        prefixes = [".".join(parts[: n + 1]) for n in range(len(parts))]
        paths = [self._file(source, prefix) for prefix in prefixes]
        return [path for path in paths if path]

    def find(self, source: Source, wanted: Import) -> Target:
        """Resolve what an import of a module refers to."""
        path = self._file(source, wanted.module)
        if path is None:
            return External(f"{wanted.module}.{wanted.name}".rstrip("."))
        module = Module(path, wanted.module)
        return self.member(module, wanted.name) if wanted.name else module

    def member(self, module: Module, name: str) -> Target:
        """Resolve `module.name`: a definition, what the module imports, or a submodule."""
        # What is made when it runs cannot be told from the rest: the whole module counts.
        return self._member(module, name, frozenset()) or module

    def starred(self, source: Source, name: str) -> Target | None:
        """Resolve a name that only `from x import *` can bind."""
        return self._starred(source, name, frozenset())

    def _member(self, module: Module, name: str, seen: frozenset[Path]) -> Target | None:
        source = read(module.path, module.dotted)
        if name in source.definitions:
            return Definition(source.path, name)
        inner = self._file(source, f"{module.dotted}.{name}")
        wanted = source.imports.get(name)
        if wanted is None and inner is None:
            wanted = source.lazy.get(name)
        if wanted is not None:
            return self._imported(source, wanted, seen)
        if inner is not None:
            return Module(inner, f"{module.dotted}.{name}")
        return self._starred(source, name, seen)

    def _imported(self, source: Source, wanted: Import, seen: frozenset[Path]) -> Target | None:
        path = self._file(source, wanted.module)
        if path is None or not wanted.name:
            return self.find(source, wanted)
        module = Module(path, wanted.module)
        if source.path in seen:  # a circle
            return module
        return self._member(module, wanted.name, seen | {source.path}) or module

    def _starred(self, source: Source, name: str, seen: frozenset[Path]) -> Target | None:
        if source.path in seen:
            return None
        for star in reversed(source.stars):  # the last one counts
            path = self._file(source, star)
            if path is None:
                continue
            target = self._member(Module(path, star), name, seen | {source.path})
            if target is not None:
                return target
        return None

    def _is_registered(self, source: Source, offer: ast.stmt) -> bool:
        """Whether a decorator, a base class or a metaclass takes note of a definition."""
        if isinstance(offer, ast.ClassDef):
            keywords = [keyword.value for keyword in offer.keywords if keyword.arg == "metaclass"]
            if any(self._acts(source, keyword, frozenset()) for keyword in keywords):
                return True
            if any(self._notes_subclasses(source, base, frozenset()) for base in offer.bases):
                return True
        decorators = getattr(offer, "decorator_list", [])
        return any(
            "register" in ast.dump(decorator) or self._acts(source, decorator, frozenset())
            for decorator in decorators
        )

    def _statements(
        self, source: Source, node: ast.AST, seen: frozenset[Target]
    ) -> Iterator[tuple[Source, ast.stmt, frozenset[Target]]]:
        """Yield the statements that define what an expression refers to."""
        writer = Writer(source, self)
        writer.write(node)
        for target in writer.targets:
            if isinstance(target, Definition) and target not in seen:
                home = read(target.path, DOTTED[target.path])
                for statement in home.definitions[target.name]:
                    yield home, statement, seen | {target}

    def _acts(self, source: Source, node: ast.AST, seen: frozenset[Target]) -> bool:
        """Whether what an expression refers to changes something when it is called."""
        for home, statement, known in self._statements(source, node, seen):
            if isinstance(statement, ast.FunctionDef | ast.ClassDef):
                if any(map(is_change, ast.walk(statement))):
                    return True
            elif self._acts(home, statement, known):
                return True
        return False

    def _notes_subclasses(self, source: Source, base: ast.AST, seen: frozenset[Target]) -> bool:
        """Whether a base class is told of its subclasses."""
        for home, statement, known in self._statements(source, base, seen):
            if "__init_subclass__" in names_within(statement):
                return True
            if not isinstance(statement, ast.ClassDef):
                continue
            keywords = [each.value for each in statement.keywords if each.arg == "metaclass"]
            if any(self._acts(home, keyword, known) for keyword in keywords):
                return True
            if any(self._notes_subclasses(home, each, known) for each in statement.bases):
                return True
        return False

    def _file(self, source: Source, dotted: str) -> Path | None:
        """The file of a module that is followed, or its folder; None of any other."""
        top = dotted.partition(".")[0]
        if top in LIBRARIES:
            return None
        if top in sys.stdlib_module_names and not loaded_beside(source.path, top):
            return None
        packaged = (source.path.parent / "__init__.py").exists()
        beside = None if packaged else source.path.parent
        path = find_below(beside, dotted) if beside else None
        path = path or locate(dotted)
        if path is None and beside and beside.joinpath(*dotted.split(".")).is_dir():
            path = beside.joinpath(*dotted.split("."))
        if path is None:
            return None
        installed = any(part in INSTALLED for part in path.parts)
        if installed and top not in self.roots:
            return None
        DOTTED.setdefault(path, dotted)
        return path


def packages_of(path: Path) -> Iterator[Path]:
    """Yield the `__init__.py` of each package that a module lies in, the innermost first."""
    for folder in path.parents:
        if not (folder / "__init__.py").is_file():
            return
        yield folder / "__init__.py"


def dotted_of(path: Path) -> str:
    """The name of a package by its folders."""
    names = [folder.parent.name for folder in packages_of(path)]
    return ".".join(reversed(names))


DOTTED: dict[Path, str] = {}  # the name under which a file was first reached


def find_below(folder: Path, dotted: str) -> Path | None:
    """Find the file of a module whose top level lies in a folder."""
    inner = folder.joinpath(*dotted.split("."))
    for path in (inner.with_suffix(".py"), inner / "__init__.py"):
        if path.is_file():
            return path
    return None


def loaded_beside(path: Path, name: str) -> bool:
    """Whether a module that was imported lies in the folder of a file."""
    loaded = getattr(sys.modules.get(name), "__file__", None)
    return bool(loaded) and Path(str(loaded)).parent == path.parent


def locate(dotted: str) -> Path | None:
    """Find the file of a module, or the folder of a package without one; None where there is none.

    Nothing is imported for it.
    """
    loaded = getattr(sys.modules.get(dotted), "__file__", None)
    if loaded:
        return Path(loaded) if Path(loaded).is_file() else None
    top, _, rest = dotted.partition(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if not rest and spec.origin:
        return Path(spec.origin) if spec.origin.endswith(".py") else None
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    for folder in folders:
        path = find_below(folder, rest) if rest else None
        if path is not None:
            return path
    for folder in folders:
        inner = folder.joinpath(*filter(None, rest.split(".")))
        if inner.is_dir():
            return inner
    return None


def read(path: Path, dotted: str) -> Source:
    """Parse a module; a file that changed since is parsed again."""
    DOTTED.setdefault(path, dotted)
    status = path.stat()
    return parse(path, DOTTED[path], status.st_mtime_ns, status.st_size)


@cache
def parse(path: Path, dotted: str, changed_ns: int, size: int) -> Source:
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
        for name, found in bound_by(statement, source.package):
            if name == "*":
                source.stars.append(found.module)
            else:
                source.imports[name] = found
        source.loads.extend(loaded_by(statement, source.package))
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


COMPOUND = (ast.If, ast.Try, ast.TryStar, ast.For, ast.While, ast.With, ast.Match)


def is_never_run(test: ast.expr) -> bool:
    """Whether a condition holds for type checkers alone, or in a script alone."""
    return ast.unparse(test) in (
        "TYPE_CHECKING",
        "typing.TYPE_CHECKING",
        "__name__ == '__main__'",
    )


def is_overload(statement: ast.stmt) -> bool:
    """Whether a statement is a signature for type checkers."""
    decorators = getattr(statement, "decorator_list", [])
    return any(ast.unparse(each) in ("overload", "typing.overload") for each in decorators)


def is_change(node: ast.AST) -> bool:
    """Whether a node calls something for its effect, or sets a part of something."""
    if isinstance(node, ast.Expr):
        return not is_text(node)
    if isinstance(node, ast.Attribute | ast.Subscript):
        return isinstance(node.ctx, ast.Store)
    return isinstance(node, ast.Global | ast.Nonlocal)


def names_within(statement: ast.stmt) -> set[str]:
    """The names of all functions within a statement."""
    return {node.name for node in ast.walk(statement) if isinstance(node, ast.FunctionDef)}


def acts(statement: ast.stmt) -> bool:
    """Whether a compound statement calls something or sets a part of something."""
    return any(map(is_change, inside([statement])))


COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def captured(node: ast.AST) -> list[str]:
    """The name that a pattern of `match` binds, in a list."""
    name = None
    if isinstance(node, ast.MatchAs | ast.MatchStar):
        name = node.name
    elif isinstance(node, ast.MatchMapping):
        name = node.rest
    return [name] if name else []


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


def absolute(module: str, level: int, package: str) -> str:
    """Return the full name of a module that is given with so many leading dots."""
    if not level:
        return module
    parts = package.split(".")
    parents = parts[: len(parts) - level + 1]
    return ".".join([*parents, *filter(None, [module])])


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


def is_text(statement: ast.stmt) -> bool:
    """Whether a statement is a docstring or another constant."""
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def is_about(statement: ast.stmt) -> bool:
    """Whether a statement of a class is what it says `about` itself."""
    targets: list[ast.expr] = []
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, ast.AnnAssign):
        targets = [statement.target]
    return any(isinstance(target, ast.Name) and target.id == "about" for target in targets)


class Writer:
    """Writes a definition in normal form, with the targets of its names numbered.

    Docstrings, annotations of functions and the names of modules are left out. The text is the
    same for every version of Python.
    """

    def __init__(self, source: Source, resolver: Resolver) -> None:
        self.targets: list[Target] = []
        self.loaded: list[Path] = []  # modules that imports inside functions run
        self._source = source
        self._resolver = resolver
        self._scopes: list[Scope] = []  # of the functions around, the innermost last
        self._inside: list[str] = []  # "class" or "function" for each definition around

    def write(self, node: Any) -> str:
        """Return the normal form of a syntax tree, of a list of them, or of a plain value."""
        if isinstance(node, list):
            return f"[{', '.join(map(self.write, node))}]"
        if not isinstance(node, ast.AST):
            return repr(node)
        special = SPECIAL.get(type(node))
        return special(self, node) if special else self.plain(node)

    def plain(self, node: ast.AST) -> str:
        """Write a node as its type and those of its fields that say something."""
        fields = []
        for name, value in ast.iter_fields(node):
            if name not in SILENT and value is not None and value != []:
                fields.append(f"{name}={self.write(value)}")
        return f"{type(node).__name__}({', '.join(fields)})"

    def function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
        """Write a function; its decorators and default values belong to the scope around it."""
        decorators = self.write(node.decorator_list)
        arguments = every_argument(node.args)
        head = f"{self._name(node.name)} {decorators} {self._arguments(node.args)}"
        if "register" in decorators:  # an implementation that is chosen by its annotations
            annotations = [argument.annotation for argument in arguments if argument.annotation]
            head += self.write(annotations)
        names = {argument.arg for argument in arguments} | stored(node.body)
        self._scopes.append(Scope(names, imported(node.body, self._source.package)))
        body = self._body(node.body, "function")
        self._scopes.pop()
        return f"{type(node).__name__}({head} {body})"

    def lambda_(self, node: ast.Lambda) -> str:
        """Write a function without a name."""
        head = self._arguments(node.args)
        names = {argument.arg for argument in every_argument(node.args)}
        self._scopes.append(Scope(names, {}))
        body = self.write(node.body)
        self._scopes.pop()
        return f"Lambda({head} {body})"

    def class_(self, node: ast.ClassDef) -> str:
        """Write a class without what it says `about` itself."""
        head = [node.decorator_list, node.bases, node.keywords]
        statements = [part for part in node.body if not is_about(part)]
        body = self._body(statements, "class")
        return f"ClassDef({self._name(node.name)} {self.write(head)} {body})"

    def comprehension(self, node: Any) -> str:
        """Write a comprehension, whose names are its own; the first iterable lies outside."""
        first = self.write(node.generators[0].iter)
        targets = [generator.target for generator in node.generators]
        names = {inner.id for target in targets for inner in stores(target)}
        self._scopes.append(Scope(names, {}))
        text = self.plain(node)
        self._scopes.pop()
        return f"{first} {text}"

    def call(self, node: ast.Call) -> str:
        """Write a call; `cast` is what it casts, `import_module` what it imports."""
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        constant = node.args[0] if node.args else None
        if name == "cast" and len(node.args) == 2:
            writer = Writer(self._source, self._resolver)
            writer.write(node.func)
            if writer.targets == [External("typing.cast")]:
                return self.write(node.args[1])
        if name == "import_module" and isinstance(constant, ast.Constant):
            inner = str(constant.value).lstrip(".")
            level = len(str(constant.value)) - len(inner)
            wanted = Import(absolute(inner, level, self._source.package), "")
            self.loaded += self._resolver.loaded(self._source, wanted)
            return f"Import({self._token(self._resolver.find(self._source, wanted))})"
        return self.plain(node)

    def global_(self, node: ast.Global) -> str:
        """Say nothing: what is global shows where it is used."""
        return ""

    def annotated(self, node: ast.AnnAssign) -> str:
        """The annotation of an option counts, that of another variable does not."""
        if self._inside[-1:] == ["class"]:
            return self.plain(node)
        if node.value is None:
            return ""
        return f"Assign(targets=[{self.write(node.target)}], value={self.write(node.value)})"

    def import_(self, node: ast.Import | ast.ImportFrom) -> str:
        """What is imported counts, not from where; of a module in a function only what is used."""
        tokens = []
        for name, wanted in bound_by(node, self._source.package):
            if name == "*":
                continue
            target = self._resolver.find(self._source, wanted)
            if not (self._scopes and isinstance(target, Module)):
                tokens.append(self._token(target))
        if self._scopes:
            for wanted in loaded_by(node, self._source.package):
                self.loaded += self._resolver.loaded(self._source, wanted)
        return f"Import({' '.join(tokens)})"

    def attribute(self, node: ast.Attribute) -> str:
        """Write a dotted name; one of a module is resolved as far as it leads to one."""
        names: list[str] = []
        inner: ast.expr = node
        while isinstance(inner, ast.Attribute):
            names.insert(0, inner.attr)
            inner = inner.value
        target = self._resolve(inner.id) if isinstance(inner, ast.Name) else None
        if not isinstance(target, Module | External):
            return self.plain(node)
        while names and isinstance(target, Module):
            following = self._resolver.member(target, names[0])
            if following == target:  # made when it runs
                break
            target = following
            names.pop(0)
        if isinstance(target, External):
            return self._token(External(".".join([target.dotted, *names])))
        return ".".join([self._token(target), *names])

    def name(self, node: ast.Name) -> str:
        """Write a global name as its target, a local one as it is."""
        option = isinstance(node.ctx, ast.Store) and self._inside[-1:] == ["class"]
        target = None if option else self._resolve(node.id)
        if target is None and node.id == "globals":
            target = Module(self._source.path, self._source.dotted)
        return self._token(target) if target else f"Name({node.id})"

    def _name(self, name: str) -> str:
        """The name of what a module defines may change, the name of a method may not."""
        return name if self._inside else ""

    def _arguments(self, arguments: ast.arguments) -> str:
        names = [argument.arg for argument in every_argument(arguments)]
        counts = [len(arguments.posonlyargs), len(arguments.args), len(arguments.kwonlyargs)]
        defaults = self.write([arguments.defaults, arguments.kw_defaults])
        return f"{names} {counts} {defaults}"

    def _body(self, statements: Iterable[ast.stmt], inside: str) -> str:
        self._inside.append(inside)
        silent = (ast.Pass, ast.Global)
        parts = [part for part in statements if not (is_text(part) or isinstance(part, silent))]
        written = [self.write(part) for part in parts if not is_overload(part)]
        self._inside.pop()
        return ", ".join(filter(None, written))

    def _token(self, target: Target) -> str:
        """Return what stands for a target: its place among the targets."""
        if target not in self.targets:
            self.targets.append(target)
        return f"#{self.targets.index(target)}"

    def _resolve(self, name: str) -> Target | None:
        """What a name refers to; None for a local or a built-in one."""
        for scope in reversed(self._scopes):
            if name in scope.imports:
                return self._resolver.find(self._source, scope.imports[name])
            if name in scope.names:
                return None
        if name in self._source.definitions:
            return Definition(self._source.path, name)
        if name in self._source.imports:
            return self._resolver.find(self._source, self._source.imports[name])
        return self._resolver.starred(self._source, name)


SILENT = frozenset({"ctx", "kind", "type_comment", "type_params"})
SPECIAL: dict[type[ast.AST], Callable[[Writer, Any], str]] = {
    ast.FunctionDef: Writer.function,
    ast.AsyncFunctionDef: Writer.function,
    ast.Lambda: Writer.lambda_,
    ast.ListComp: Writer.comprehension,
    ast.SetComp: Writer.comprehension,
    ast.DictComp: Writer.comprehension,
    ast.GeneratorExp: Writer.comprehension,
    ast.Call: Writer.call,
    ast.ClassDef: Writer.class_,
    ast.AnnAssign: Writer.annotated,
    ast.Import: Writer.import_,
    ast.ImportFrom: Writer.import_,
    ast.Attribute: Writer.attribute,
    ast.Name: Writer.name,
}


def every_argument(arguments: ast.arguments) -> list[ast.arg]:
    """List all arguments of a function."""
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return named + [extra for extra in (arguments.vararg, arguments.kwarg) if extra]


class Scope(NamedTuple):
    """What a function binds: names of its own, and names that it imports."""

    names: set[str]
    imports: dict[str, Import]


def inside(statements: Iterable[ast.stmt]) -> Iterator[ast.AST]:
    """Walk the statements of a function without the bodies of functions and classes in it."""
    waiting: list[ast.AST] = list(statements)
    while waiting:
        node = waiting.pop(0)
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            waiting.extend(ast.iter_child_nodes(node))


NAMED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.ExceptHandler)


def stores(target: ast.expr) -> Iterator[ast.Name]:
    """Yield the names that a target of a loop binds."""
    for node in ast.walk(target):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node


def stored(statements: Iterable[ast.stmt]) -> set[str]:
    """The names that a function binds, less those that it declares global."""
    names: set[str | None] = set()
    others: set[str] = set()
    elsewhere: set[ast.AST] = set()  # names of comprehensions
    for node in inside(statements):
        names.update(captured(node))
        if isinstance(node, ast.comprehension):
            elsewhere.update(stores(node.target))
        elif isinstance(node, ast.Name):
            if isinstance(node.ctx, ast.Store) and node not in elsewhere:
                names.add(node.id)
        elif isinstance(node, NAMED):
            names.add(node.name)
        elif isinstance(node, ast.Global):
            others.update(node.names)
    return {name for name in names - others if name}


def imported(statements: Iterable[ast.stmt], package: str) -> dict[str, Import]:
    """The names that imports inside a function bind."""
    found: dict[str, Import] = {}
    for node in inside(statements):
        if isinstance(node, ast.Import | ast.ImportFrom):
            found.update(bound_by(node, package))
    return found
