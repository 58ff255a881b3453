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

What modules do when they are imported counts too: statements that bind no name, and functions
under a decorator of their own package, which may enter them in a registry. What cannot be resolved
by reading (a module that is passed on as a value) counts as a use of the whole module.
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


class Definition(NamedTuple):
    """What the module in `path` binds to `name` at its top level."""

    path: Path
    name: str


class Module(NamedTuple):
    """A module that is followed, used as a value or as the left side of a dot."""

    path: Path
    dotted: str


class External(NamedTuple):
    """A name of a library that is not followed, in full."""

    dotted: str


Target: TypeAlias = Definition | Module | External


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
    home = home_of(cls)
    closure = Closure(resolver)
    closure.reach(resolver.definitions(home))
    # What modules do when they are imported comes last and by its text, whatever files it lies in.
    files = closure.files | {home.path}
    done: set[Path] = set()
    while files - done:
        new = resolver.imported_by(files - done) - done
        done |= files | new
        closure.reach_effects(sorted(new, key=closure.text_of_effects))
        files |= closure.files
    return hashlib.sha256("\n".join(closure.lines()).encode()).hexdigest()[:16]


@dataclass
class Closure:
    """The definitions that are reached, numbered in the order in which they are reached."""

    resolver: Resolver
    numbers: dict[Definition, int] = field(default_factory=dict)
    effects: list[Form] = field(default_factory=list)

    @property
    def files(self) -> set[Path]:
        """The files in which the definitions stand."""
        return {definition.path for definition in self.numbers}

    def reach(self, definitions: Iterable[Definition]) -> None:
        """Add definitions and all that they refer to."""
        waiting = list(definitions)
        while waiting:
            definition = waiting.pop(0)
            if definition in self.numbers:
                continue
            self.numbers[definition] = len(self.numbers)
            for form in forms(definition, self.resolver):
                waiting += self._definitions(form)

    def reach_effects(self, paths: Iterable[Path]) -> None:
        """Add what modules do when they are imported, and all that this refers to."""
        for path in paths:
            for form in forms(path, self.resolver):
                self.effects.append(form)
                self.reach(self._definitions(form))

    def text_of_effects(self, path: Path) -> str:
        """Write what a module does when it is imported, without the numbers of definitions."""
        return "\n".join(form.text for form in forms(path, self.resolver))

    def lines(self) -> Iterator[str]:
        """Yield each normal form with the numbers of what it refers to."""
        for definition, number in self.numbers.items():
            for form in forms(definition, self.resolver):
                yield f"{number} {form.text} {self._references(form)}"
        for form in self.effects:
            yield f"effect {form.text} {self._references(form)}"

    def _definitions(self, form: Form) -> list[Definition]:
        return [each for target in form.targets for each in self.resolver.definitions(target)]

    def _references(self, form: Form) -> list[str]:
        references = []
        for target in form.targets:
            if isinstance(target, External):
                references.append(target.dotted)
            else:
                found = self.resolver.definitions(target)
                references.append(" ".join(str(self.numbers[each]) for each in found))
        return references


def home_of(cls: type) -> Definition | Module:
    """Find the definition of a class; its whole module where no name leads to it."""
    module = sys.modules[cls.__module__]
    source = read(Path(str(module.__file__)), cls.__module__)
    for name in [cls.__name__, *source.definitions]:
        if name in source.definitions and vars(module).get(name) is cls:
            return Definition(source.path, name)
    return Module(source.path, source.dotted)


class Form(NamedTuple):
    """A statement in normal form, and what it refers to."""

    text: str
    targets: tuple[Target, ...]


def forms(unit: Definition | Path, resolver: Resolver) -> list[Form]:
    """Return the normal forms of a definition, or of what a module does when it is imported."""
    path = unit if isinstance(unit, Path) else unit.path
    return _forms(unit, resolver, path.stat().st_mtime_ns)


@cache
def _forms(unit: Definition | Path, resolver: Resolver, changed_ns: int) -> list[Form]:
    if isinstance(unit, Path):
        source = read(unit, DOTTED[unit])
        statements = resolver.effects(source)
    else:
        source = read(unit.path, DOTTED[unit.path])
        statements = source.definitions.get(unit.name, [])
    found = []
    for statement in statements:
        writer = Writer(source, resolver)
        text = writer.write(statement)
        found.append(Form(text, tuple(writer.targets)))
    return found


@dataclass(frozen=True)
class Resolver:
    """Finds what names refer to; `roots` are the packages that are followed though installed."""

    roots: frozenset[str]

    def definitions(self, target: Target) -> list[Definition]:
        """List what has to be read for a target: a definition, or all of a module."""
        if isinstance(target, External):
            return []
        if isinstance(target, Definition):
            return [target]
        source = read(*target)
        return [Definition(source.path, name) for name in source.definitions]

    def effects(self, source: Source) -> list[ast.stmt]:
        """List the statements that do something when a module is imported.

        Those that bind no name; and functions and classes under a decorator that is followed,
        which may enter them in a registry.
        """
        found = list(source.effects)
        for statements in source.definitions.values():
            for statement in statements:
                decorators = getattr(statement, "decorator_list", [])
                if any(self._is_followed(source, decorator) for decorator in decorators):
                    found.append(statement)
        return found

    def _is_followed(self, source: Source, decorator: ast.expr) -> bool:
        writer = Writer(source, self)
        writer.write(decorator)
        return any(not isinstance(target, External) for target in writer.targets)

    def imported_by(self, paths: Iterable[Path]) -> set[Path]:
        """List the followed files that importing some files runs: these, packages and imports."""
        found: set[Path] = set()
        waiting = list(paths)
        while waiting:
            path = waiting.pop()
            if path in found:
                continue
            found.add(path)
            for package in packages_of(path):
                DOTTED.setdefault(package, dotted_of(package))
                waiting.append(package)
            source = read(path, DOTTED[path])
            for wanted in source.imports.values():
                module = self.find(source, Import(wanted.module, ""))
                inner = self.find(source, wanted)
                waiting += [each.path for each in (module, inner) if isinstance(each, Module)]
        return found

    def find(self, source: Source, wanted: Import) -> Target:
        """Resolve what an import of a module refers to."""
        path = self._file(source, wanted.module)
        if path is None:
            return External(f"{wanted.module}.{wanted.name}".rstrip("."))
        module = Module(path, wanted.module)
        return self.member(module, wanted.name) if wanted.name else module

    def member(self, module: Module, name: str) -> Target:
        """Resolve `module.name`: a definition, what the module imports, or a submodule."""
        visited: set[Path] = set()
        while True:
            source = read(*module)
            if name in source.definitions:
                return Definition(source.path, name)
            inner = self._file(source, f"{module.dotted}.{name}")
            wanted = source.imports.get(name) or (None if inner else source.lazy.get(name))
            if wanted is None and inner is not None:
                return Module(inner, f"{module.dotted}.{name}")
            if wanted is None:
                return self.starred(source, name) or module  # made when it runs: all of it counts
            path = self._file(source, wanted.module)
            if path is None or not wanted.name:
                return self.find(source, wanted)
            if path in visited:  # two modules that import a name from each other
                return module
            visited.add(path)
            module = Module(path, wanted.module)
            name = wanted.name

    def starred(self, source: Source, name: str) -> Definition | None:
        """Find a name among the definitions of modules that are imported by a star."""
        for star in source.stars:
            starred = self.find(source, Import(star, ""))
            if isinstance(starred, Module) and name in read(*starred).definitions:
                return Definition(starred.path, name)
        return None

    def _file(self, source: Source, dotted: str) -> Path | None:
        """The file of a module that is followed; None of any other."""
        top = dotted.partition(".")[0]
        if top in sys.stdlib_module_names or top in LIBRARIES:
            return None
        packaged = (source.path.parent / "__init__.py").exists()
        path = None if packaged else find_below(source.path.parent, dotted)
        path = path or locate(dotted)
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


def locate(dotted: str) -> Path | None:
    """Find the Python file of a module without importing it; None where there is none."""
    loaded = getattr(sys.modules.get(dotted), "__file__", None)
    if loaded:
        return Path(loaded) if loaded.endswith(".py") else None
    top, _, rest = dotted.partition(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if not rest:
        origin = spec.origin or ""
        return Path(origin) if origin.endswith(".py") else None
    for folder in spec.submodule_search_locations or ():
        path = find_below(Path(folder), rest)
        if path is not None:
            return path
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
    text = path.read_bytes()
    try:
        statements = ast.parse(text).body
    except (SyntaxError, ValueError):  # compiled, or of another Python: it counts as it is
        digest = hashlib.sha256(text).hexdigest()
        source.effects.append(ast.Expr(ast.Constant(digest)))
        return source
    for statement in statements:
        sort(statement, source)
    return source


def sort(statement: ast.stmt, source: Source) -> None:
    """Enter one top-level statement into what is known of its module."""
    if isinstance(statement, ast.Import | ast.ImportFrom):
        for name, found in bound_by(statement, source.package):
            if name == "*":
                source.stars.append(found.module)
            else:
                source.imports[name] = found
        return
    if is_text(statement):
        return
    if isinstance(statement, ast.If) and "TYPE_CHECKING" in ast.dump(statement.test):
        for inner in ast.walk(statement):
            if isinstance(inner, ast.Import | ast.ImportFrom):
                source.lazy.update(bound_by(inner, source.package))
        return
    if isinstance(statement, ast.If) and "__main__" in ast.dump(statement.test):
        return
    names = names_bound(statement)
    if names == ["__all__"]:
        return
    for name in names:
        source.definitions.setdefault(name, []).append(statement)
    if not names or (isinstance(statement, COMPOUND) and acts(statement)):
        source.effects.append(statement)


COMPOUND = (ast.If, ast.Try, ast.For, ast.While, ast.With)


def acts(statement: ast.stmt) -> bool:
    """Whether a compound statement calls something or sets a part of something."""
    for node in inside([statement]):
        if isinstance(node, ast.Expr) and not is_text(node):
            return True
        if isinstance(node, ast.Attribute | ast.Subscript) and isinstance(node.ctx, ast.Store):
            return True
    return False


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
        elif not isinstance(node, ast.Lambda | ast.ListComp | ast.SetComp | ast.DictComp):
            waiting.extend(ast.iter_child_nodes(node))
    return list(dict.fromkeys(names))


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
    module = node.module or ""
    if node.level:
        parts = package.split(".")
        parents = parts[: len(parts) - node.level + 1]
        module = ".".join([*parents, *filter(None, [node.module])])
    for alias in node.names:
        yield alias.asname or alias.name, Import(module, "" if alias.name == "*" else alias.name)


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

    def annotated(self, node: ast.AnnAssign) -> str:
        """The annotation of an option counts, that of a local variable does not."""
        if self._inside[-1:] != ["function"]:
            return self.plain(node)
        if node.value is None:
            return ""
        return f"Assign(targets=[{self.write(node.target)}], value={self.write(node.value)})"

    def import_(self, node: ast.Import | ast.ImportFrom) -> str:
        """What is imported counts, not from where; of a module in a function only what is used."""
        tokens = []
        for _, wanted in bound_by(node, self._source.package):
            target = self._resolver.find(self._source, wanted)
            if not (self._scopes and isinstance(target, Module)):
                tokens.append(self._token(target))
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
        written = [self.write(part) for part in statements if not is_text(part)]
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


NAMED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.ExceptHandler)


def stored(statements: Iterable[ast.stmt]) -> set[str]:
    """The names that a function binds, less those that it declares global."""
    names: set[str | None] = set()
    others: set[str] = set()
    for node in inside(statements):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
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
