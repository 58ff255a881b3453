"""What a shell offers to complete: names of tracks, methods, data sets, runs and columns."""

from collections.abc import Iterable
from pathlib import Path

RESULTS = Path("results")


def tracks(incomplete: str) -> list[str]:
    """List the tracks that come with the package and begin so."""
    from ddl_bench.plan.track import packaged

    return beginning(packaged(), incomplete)


def methods(incomplete: str) -> list[str]:
    """List the methods of installed packages that begin so."""
    from ddl_bench.registry import METHODS, entries

    return beginning(entries(METHODS), incomplete)


def datasets(incomplete: str) -> list[str]:
    """List the data sets of installed packages that begin so."""
    from ddl_bench.registry import DATASETS, entries

    return beginning(entries(DATASETS), incomplete)


def runs(incomplete: str) -> list[str]:
    """List the run folders in results/ that begin so, as their names or paths."""
    folders = sorted(path.parent for path in RESULTS.glob("*/cells"))
    names = [folder.name for folder in folders]
    return beginning([*names, *map(str, folders)], incomplete) if incomplete else names


def columns(incomplete: str) -> list[str]:
    """List the columns of tables whose last one begins so."""
    from ddl_bench.cli.results import every_column

    before, comma, last = incomplete.rpartition(",")
    names = beginning([column.name for column in every_column()], last)
    return [f"{before}{comma}{name}" for name in names]


def several(incomplete: str) -> list[str]:
    """List the methods of which the last of a list begins so."""
    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in methods(last)]


def beginning(names: Iterable[str], incomplete: str) -> list[str]:
    """Return those names that begin with what is typed already, in order."""
    return sorted(name for name in names if name.startswith(incomplete))
