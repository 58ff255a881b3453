"""What the methods of a run say about themselves, read in their sources.

To import a method would take seconds and half a gigabyte.
"""

import ast
from collections.abc import Iterable, Mapping
from contextlib import suppress
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, TypedDict

from ddl_bench import registry
from ddl_bench.describe import BIBLIOGRAPHY, bibliography, cite
from ddl_bench.plan import sources
from ddl_bench.plan.normal_form import is_about


class AboutMethod(TypedDict):
    """Hold what a method says about itself; `references` are citations of one line."""

    about: str
    family: str
    formula: str
    published: str
    differs: str
    references: list[str]


def abouts(methods: Iterable[str]) -> dict[str, AboutMethod]:
    """Return what installed methods say about themselves, by name; of others nothing."""
    known = registry.entries(registry.METHODS)
    return {name: written_about(known[name]) for name in sorted(set(methods)) if name in known}


def written_about(entry: EntryPoint) -> AboutMethod:
    """Read the docstring of a method and the fields of its `about`."""
    path = sources.locate(entry.module)
    if path is None:
        return about_of(None, {}, Path())
    definitions = sources.read(path).definitions
    written = definitions.get(entry.attr, [])
    classes = [each for each in written if isinstance(each, ast.ClassDef)]
    if not classes:
        return about_of(None, {}, path)
    fields: dict[str, Any] = {}
    for statement in filter(is_about, classes[0].body):
        for node in ast.walk(statement):
            if isinstance(node, ast.keyword) and node.arg is not None:
                fields[node.arg] = value_of(node.value, definitions)
    return about_of(ast.get_docstring(classes[0]), fields, path)


def value_of(expression: ast.expr, definitions: Mapping[str, list[ast.stmt]]) -> Any:
    """Return what an expression of constants, and of names of its module, stands for."""
    match expression:
        case ast.Name():
            for statement in definitions.get(expression.id, []):
                if isinstance(statement, ast.Assign):
                    return value_of(statement.value, definitions)
        case ast.JoinedStr():
            return "".join(str(value_of(part, definitions)) for part in expression.values)
        case ast.FormattedValue():
            return value_of(expression.value, definitions)
    with suppress(ValueError):  # what is computed is left out
        return ast.literal_eval(expression)
    return ""


def about_of(docstring: str | None, fields: dict[str, Any], path: Path) -> AboutMethod:
    """Put together what is known of a method whose source lies at `path`."""
    first, _, _ = (docstring or "").partition("\n\n")
    entries = bibliography(BIBLIOGRAPHY) | bibliography(path.with_name(BIBLIOGRAPHY.name))
    keys = fields.get("references", ())
    return {
        "about": " ".join(first.split()),
        "family": str(fields.get("family", "")),
        "formula": str(fields.get("formula", "")),
        "published": str(fields.get("published", "")),
        "differs": str(fields.get("differs", "")),
        "references": [cite(entries[key]) for key in keys if key in entries],
    }
