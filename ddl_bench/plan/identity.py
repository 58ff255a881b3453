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

`sources` reads a file, `references` finds what its names refer to, `normal_form` writes a
definition down; this module collects what a class reaches.
"""

import ast
import hashlib
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from ddl_bench.plan.normal_form import Form, form_of, targets_of
from ddl_bench.plan.references import (
    LIBRARIES,
    Definition,
    External,
    Module,
    Resolver,
    Target,
    Unit,
    units_of,
)
from ddl_bench.plan.sources import Source, is_change, packages_of, read

IDENTITY_VERSION = 2  # of the rule above and of what a cell's ID is made of
OURS = frozenset({"ddl_bench", "baselines", "detrame"})


class Identity(NamedTuple):
    """The hex digest of all that a class computes with, and the files in which it was found."""

    digest: str
    files: frozenset[Path]


def code_identity(cls: type) -> str:
    """Compute the hex digest of all that a method's class computes with."""
    return identify(cls).digest


def identify(cls: type) -> Identity:
    """Compute the hex digest of all that a method's class computes with, and list the files."""
    modules = [base.__module__ for base in cls.__mro__]
    packages = {name.partition(".")[0] for name in modules}
    resolver = Resolver(OURS | (packages - LIBRARIES - sys.stdlib_module_names))
    numbers: dict[Unit, int] = {}
    files = set()
    for unit in reached(cls, resolver):
        files.add(unit if isinstance(unit, Path) else unit.path)
        if forms(unit, resolver):
            numbers[unit] = len(numbers)
    lines = []
    for unit, number in numbers.items():
        for form in forms(unit, resolver):
            references = [token(target, numbers) for target in form.targets]
            lines.append(f"{number} {form.text} {references}")
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
    return Identity(digest, frozenset(files))


def reached(cls: type, resolver: Resolver) -> list[Unit]:
    """List all units that a class leads to, itself first, in the order in which they are found."""
    seen: dict[Unit, None] = {}
    waiting = units_of(home_of(cls))
    while waiting:
        unit = waiting.pop(0)
        if unit not in seen:
            seen[unit] = None
            waiting.extend(following(unit, resolver))
    return list(seen)


def home_of(cls: type) -> Definition | Module:
    """Find the definition of a class; a whole module where no name leads to it.

    A class that a function in another file made is defined where a module gives it a name. Where
    the name is made when the module runs, as in a loop, all of that module counts.
    """
    module = sys.modules[cls.__module__]
    for candidate in [module, *sys.modules.values()]:
        definition = definition_in(candidate, cls)
        if definition is not None:
            return definition
    for candidate in list(sys.modules.values()):
        if names_of(cls, candidate) and getattr(candidate, "__file__", None):
            module = candidate
            break
    source = read(Path(str(module.__file__)), module.__name__)
    return Module(source.path, source.dotted)


def names_of(cls: type, module: ModuleType) -> list[str]:
    """List the names that a module binds to a class."""
    return [name for name, value in list(vars(module).items()) if value is cls]


def definition_in(module: ModuleType, cls: type) -> Definition | None:
    """Find the definition of a class in a module that binds a name to it; None in any other."""
    names = names_of(cls, module)
    if not names:
        return None
    source = read(Path(str(module.__file__)), module.__name__)
    for name in [cls.__name__, *source.definitions]:
        if name in names and name in source.definitions:
            return Definition(source.path, name)
    return None


def following(unit: Unit, resolver: Resolver) -> list[Unit]:
    """List the units that a unit leads to: what it refers to, and modules that it imports."""
    units = [unit for form in forms(unit, resolver) for unit in form.units]
    if isinstance(unit, Path):
        units.extend(_loaded(unit, resolver, unit.stat().st_mtime_ns))
    return units


def forms(unit: Unit, resolver: Resolver) -> list[Form]:
    """Return the normal forms of a definition, or of what a module does when it is imported."""
    path = unit if isinstance(unit, Path) else unit.path
    return _forms(unit, resolver, path.stat().st_mtime_ns)


def token(target: Target, numbers: Mapping[Unit, int]) -> str:
    """Return what stands for a target in the hash: a name of a library, or numbers."""
    if isinstance(target, External):
        return target.dotted
    units = units_of(target)
    return " ".join(str(numbers[unit]) for unit in units if isinstance(unit, Definition))


@cache
def _forms(unit: Unit, resolver: Resolver, changed_ns: int) -> list[Form]:
    if isinstance(unit, Path):
        source = read(unit)
        statements = effects(source, resolver)
    else:
        source = read(unit.path)
        statements = source.definitions[unit.name]
    return [form_of(statement, source, resolver) for statement in statements]


@cache
def _loaded(path: Path, resolver: Resolver, changed_ns: int) -> list[Path]:
    """The packages around a module, and the modules that its imports run."""
    source = read(path)
    loaded = [module for wanted in source.loads for module in resolver.loaded(source, wanted)]
    return [*packages_of(path), *loaded]


def effects(source: Source, resolver: Resolver) -> list[ast.stmt]:
    """List what a module does at import, with the definitions that are registered then."""
    offered = [offer for offer in source.offers if is_registered(source, offer, resolver)]
    return [*source.effects, *offered]


def is_registered(source: Source, offer: ast.stmt, resolver: Resolver) -> bool:
    """Whether a decorator, a base class or a metaclass takes note of a definition."""
    decorators = getattr(offer, "decorator_list", [])
    if any("register" in ast.dump(decorator) for decorator in decorators):
        return True
    if any(_acts(source, decorator, resolver, frozenset()) for decorator in decorators):
        return True
    return isinstance(offer, ast.ClassDef) and _is_noted(source, offer, resolver, frozenset())


def _is_noted(
    source: Source, statement: ast.ClassDef, resolver: Resolver, seen: frozenset[Target]
) -> bool:
    """Whether a metaclass or a base class takes note of a class."""
    metaclasses = [each.value for each in statement.keywords if each.arg == "metaclass"]
    if any(_acts(source, metaclass, resolver, seen) for metaclass in metaclasses):
        return True
    return any(_notes_subclasses(source, base, resolver, seen) for base in statement.bases)


def _notes_subclasses(
    source: Source, base: ast.expr, resolver: Resolver, seen: frozenset[Target]
) -> bool:
    """Whether a base class is told of its subclasses."""
    for home, statement, known in _meanings(source, base, resolver, seen):
        functions = [node for node in ast.walk(statement) if isinstance(node, ast.FunctionDef)]
        if any(function.name == "__init_subclass__" for function in functions):
            return True
        if isinstance(statement, ast.ClassDef) and _is_noted(home, statement, resolver, known):
            return True
    return False


def _acts(source: Source, node: ast.AST, resolver: Resolver, seen: frozenset[Target]) -> bool:
    """Whether what an expression refers to changes something when it is called."""
    for home, statement, known in _meanings(source, node, resolver, seen):
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            if any(map(is_change, ast.walk(statement))):
                return True
        elif _acts(home, statement, resolver, known):
            return True
    return False


class _Meaning(NamedTuple):
    """A statement that defines what an expression refers to, where it stands, and all seen."""

    source: Source
    statement: ast.stmt
    seen: frozenset[Target]


def _meanings(
    source: Source, node: ast.AST, resolver: Resolver, seen: frozenset[Target]
) -> Iterator[_Meaning]:
    """Yield the statements that define what an expression refers to."""
    for target in targets_of(node, source, resolver):
        if isinstance(target, Definition) and target not in seen:
            home = read(target.path)
            for statement in home.definitions[target.name]:
                yield _Meaning(home, statement, seen | {target})
