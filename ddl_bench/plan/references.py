"""Find what names refer to: definitions, modules that are followed, or names of other libraries."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from ddl_bench.plan.sources import Import, Source, is_loaded_beside, locate_from, read, remember

# Followed is neither what these hold, nor Python itself, nor what is installed and no root.
LIBRARIES = frozenset({"numpy", "pydantic", "scipy", "sklearn", "torch", "torchvision"})
INSTALLED = ("site-packages", "dist-packages")  # folders of installed code


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


def units_of(target: Target) -> list[Unit]:
    """List what has to be read for a target: its definition, and what its module does."""
    if isinstance(target, External):
        return []
    if isinstance(target, Definition):
        return [target, target.path]
    source = read(target.path, target.dotted)
    definitions = [Definition(source.path, name) for name in source.definitions]
    return [*definitions, source.path]


@dataclass(frozen=True)
class Resolver:
    """Finds what names refer to; `roots` are the packages that are followed though installed."""

    roots: frozenset[str]

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

    def loaded(self, source: Source, wanted: Import) -> list[Path]:
        """List the modules that an import runs, without those that they import."""
        parts = wanted.module.split(".")
        if wanted.name:
            parts.append(wanted.name)
        prefixes = [".".join(parts[: n + 1]) for n in range(len(parts))]
        paths = [self._file(source, prefix) for prefix in prefixes]
        return [path for path in paths if path]

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

    def _file(self, source: Source, dotted: str) -> Path | None:
        """The file of a module that is followed, or its folder; None of any other."""
        top = dotted.partition(".")[0]
        if top in LIBRARIES:
            return None
        if top in sys.stdlib_module_names and not is_loaded_beside(source.path, top):
            return None
        path = locate_from(source.path, dotted)
        if path is None:
            return None
        if any(part in INSTALLED for part in path.parts) and top not in self.roots:
            return None
        remember(path, dotted)
        return path
