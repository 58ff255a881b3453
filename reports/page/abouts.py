"""What the methods of a run say about themselves, read in their sources.

To import a method would take seconds and half a gigabyte.
"""

from collections.abc import Iterable
from importlib.metadata import EntryPoint
from typing import TypedDict

from ddl_bench import registry
from ddl_bench.describe import BIBLIOGRAPHY, bibliography, cite
from ddl_bench.results.origin import written


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
    found = written(entry)
    first, _, _ = (found.docstring or "").partition("\n\n")
    entries = bibliography(BIBLIOGRAPHY)
    if found.path:
        entries |= bibliography(found.path.with_name(BIBLIOGRAPHY.name))
    return {
        "about": " ".join(first.split()),
        "family": found.family,
        "formula": str(found.about.get("formula", "")),
        "published": str(found.about.get("published", "")),
        "differs": str(found.about.get("differs", "")),
        "references": [cite(entries[key]) for key in found.references if key in entries],
    }
