"""What the source of a method says of it, as in its family and its references.

To import the method would take seconds and half a gigabyte.
"""

import ast
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cache
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, NamedTuple

from ddl_bench import registry
from ddl_bench.plan import sources
from ddl_bench.plan.normal_form import is_about

OTHER = "other"  # the family of methods of plugins, and of those that state none


class Written(NamedTuple):
    """Hold what the source of a method spells out.

    Parameters
    ----------
    path
        The file; None where there is none.
    docstring
        Of the class; None where it has none.
    about
        The fields of its `about` that are constants, or names of constants of its module.
    """

    path: Path | None
    docstring: str | None
    about: dict[str, Any]

    @property
    def family(self) -> str:
        """Empty where the source does not state it."""
        return str(self.about.get("family", ""))

    @property
    def references(self) -> tuple[str, ...]:
        """Keys of BibTeX entries."""
        stated = self.about.get("references") or ()
        keys = stated if isinstance(stated, tuple | list) else (stated,)
        return tuple(map(str, keys))


@cache
def written(entry: EntryPoint) -> Written:
    """Read what the source of an installed method says of it."""
    path = sources.locate(entry.module)
    definitions = sources.read(path).definitions if path else {}
    for definition in definitions.get(entry.attr, []):
        if isinstance(definition, ast.ClassDef):
            about: dict[str, Any] = {}
            for statement in filter(is_about, definition.body):
                about |= fields_in(statement, definitions)
            return Written(path, ast.get_docstring(definition), about)
    return Written(path, None, {})


def fields_in(statement: ast.stmt, definitions: Mapping[str, list[ast.stmt]]) -> dict[str, Any]:
    """Return the arguments by name in a statement; what is computed is left out."""
    fields = {}
    for node in ast.walk(statement):
        if isinstance(node, ast.keyword) and node.arg is not None:
            with suppress(ValueError):
                fields[node.arg] = value_of(node.value, definitions)
    return fields


def value_of(expression: ast.expr, definitions: Mapping[str, list[ast.stmt]]) -> Any:
    """Return what an expression of constants, and of names of its module, stands for.

    Raises ValueError for one that is computed.
    """
    match expression:
        case ast.Name():
            for statement in definitions.get(expression.id, []):
                if isinstance(statement, ast.Assign):
                    return value_of(statement.value, definitions)
        case ast.JoinedStr():
            return "".join(str(value_of(part, definitions)) for part in expression.values)
        case ast.FormattedValue():
            return value_of(expression.value, definitions)
    return ast.literal_eval(expression)


def families(methods: Iterable[str]) -> dict[str, str]:
    """Return the family of each method; of one that is not installed, or states none, OTHER."""
    installed = registry.entries(registry.METHODS)
    family_of = {}
    for name in methods:
        stated = written(installed[name]).family if name in installed else ""
        family_of[name] = stated or OTHER
    return family_of
