"""Write definitions in normal form: what they compute, without names that may change."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ddl_bench.plan.references import Definition, External, Module, Resolver, Target, Unit, units_of
from ddl_bench.plan.sources import (
    Import,
    Source,
    absolute,
    bound_by,
    captured,
    inside,
    is_overload,
    is_text,
    loaded_by,
)


class Form(NamedTuple):
    """A statement in normal form, what it refers to, and what has to be read for that."""

    text: str
    targets: tuple[Target, ...]
    units: tuple[Unit, ...]


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
    units = [unit for target in targets for unit in units_of(target)]
    return Form(text, targets, (*units, *writer.loaded))


def targets_of(node: ast.AST, source: Source, resolver: Resolver) -> list[Target]:
    """List what a part of a module refers to."""
    writer = Writer(source, resolver)
    writer.write(node)
    return writer.targets


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
        write = SPECIAL.get(type(node), Writer.plain)
        return write(self, node)

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
        if name == "cast" and len(node.args) == 2 and self._is_cast(node.func):
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

    def _is_cast(self, function: ast.expr) -> bool:
        return targets_of(function, self._source, self._resolver) == [External("typing.cast")]

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
        parts = [part for part in statements if not (is_text(part) or isinstance(part, ast.Pass))]
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
    ast.Global: Writer.global_,
    ast.Attribute: Writer.attribute,
    ast.Name: Writer.name,
}


def is_about(statement: ast.stmt) -> bool:
    """Whether a statement of a class is what it says `about` itself."""
    targets: list[ast.expr] = []
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, ast.AnnAssign):
        targets = [statement.target]
    return any(isinstance(target, ast.Name) and target.id == "about" for target in targets)


class Scope(NamedTuple):
    """What a function binds: names of its own, and names that it imports."""

    names: set[str]
    imports: dict[str, Import]


def every_argument(arguments: ast.arguments) -> list[ast.arg]:
    """List all arguments of a function."""
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return named + [extra for extra in (arguments.vararg, arguments.kwarg) if extra]


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


NAMED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.ExceptHandler)


def stores(target: ast.expr) -> Iterator[ast.Name]:
    """Yield the names that a target of a loop binds."""
    for node in ast.walk(target):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node


def imported(statements: Iterable[ast.stmt], package: str) -> dict[str, Import]:
    """The names that imports inside a function bind."""
    found: dict[str, Import] = {}
    for node in inside(statements):
        if isinstance(node, ast.Import | ast.ImportFrom):
            found.update(bound_by(node, package))
    return found
