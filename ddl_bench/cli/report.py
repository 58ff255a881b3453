"""Write the report of a run folder."""

from pathlib import Path

from ddl_bench import registry
from ddl_bench.cli.messages import tell
from ddl_bench.files import brief


def write_report(run: Path, out: Path | None) -> dict[str, Path]:
    """Write the report of a run folder by the writers at the entry points `ddl_bench.reports`.

    A writer whose package cannot be imported is named and left out.
    """
    paths: dict[str, Path] = {}
    for report, entry in registry.entries(registry.REPORTS).items():
        try:
            writer = registry.load_entry(entry)
        except ImportError as error:
            tell(f"the report {report!r} is left out: {brief(error)}")
        else:
            paths |= writer(run, out)
    return paths
