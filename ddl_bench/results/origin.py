"""What the source of a method says of it: its family and its references.

To import the method would take seconds and half a gigabyte.
"""

import ast
from collections.abc import Iterable
from functools import cache
from importlib.metadata import EntryPoint
from typing import NamedTuple

from ddl_bench import registry
from ddl_bench.plan import sources
from ddl_bench.plan.normal_form import is_about

OTHER = "other"  # the family of methods of plugins, and of those that state none


class Origin(NamedTuple):
    """Hold what a method says of itself, as far as its source shows it.

    Parameters
    ----------
    family
        Empty where the source does not state it.
    references
        Keys of BibTeX entries.
    """

    family: str = ""
    references: tuple[str, ...] = ()


@cache
def written_origin(entry: EntryPoint) -> Origin:
    """Read family and references of an installed method in its source."""
    path = sources.locate(entry.module)
    definitions = sources.read(path).definitions if path else {}
    stated: dict[str, object] = {}
    for definition in definitions.get(entry.attr, []):
        for statement in filter(is_about, getattr(definition, "body", [])):
            stated |= stated_in(statement)
    references = stated.get("references", ())
    keys = references if isinstance(references, tuple) else (references,)
    return Origin(str(stated.get("family", "")), tuple(map(str, keys)))


def stated_in(statement: ast.stmt) -> dict[str, object]:
    """Return family and references that a statement spells out."""
    stated: dict[str, object] = {}
    for node in ast.walk(statement):
        if isinstance(node, ast.keyword) and node.arg in Origin._fields:
            try:
                stated[node.arg] = ast.literal_eval(node.value)
            except ValueError:
                continue  # it is computed
    return stated


def families(methods: Iterable[str]) -> dict[str, str]:
    """Return the family of each method; of one that is not installed, or states none, OTHER."""
    installed = registry.entries(registry.METHODS)
    family_of = {}
    for name in methods:
        origin = written_origin(installed[name]) if name in installed else Origin()
        family_of[name] = origin.family or OTHER
    return family_of
