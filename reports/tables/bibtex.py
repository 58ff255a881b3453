"""The BibTeX entries of the methods in a table."""

from collections.abc import Iterable

from ddl_bench import registry
from ddl_bench.describe import BIBLIOGRAPHY, bibliography
from ddl_bench.plan import sources
from ddl_bench.results.origin import written


def references(methods: Iterable[str]) -> str:
    """Return the BibTeX entries of what some methods are published in, by key, each once.

    A comment names the methods that cite none; methods of plugins have the entries of the file
    `references.bib` beside them, where their package is installed.
    """
    installed = registry.entries(registry.METHODS)
    entries: dict[str, str] = {}
    without = []
    for name in sorted(set(methods)):
        keys: tuple[str, ...] = ()
        known = bibliography(BIBLIOGRAPHY)
        if name in installed:
            keys = written(installed[name]).references
            path = sources.locate(installed[name].module)
            if path is not None:
                known |= bibliography(path.with_name(BIBLIOGRAPHY.name))
        cited = {key: known[key] for key in keys if key in known}
        entries |= cited
        if not cited:
            without.append(name)
    parts = [f"% without a reference: {', '.join(without)}"] if without else []
    parts += [entries[key] for key in sorted(entries)]
    return "\n\n".join(parts) + "\n"
