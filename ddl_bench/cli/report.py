"""Write the report of run folders."""

import os
import sys
import webbrowser
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path

from rich.console import Console

from ddl_bench import registry
from ddl_bench.cli.messages import tell
from ddl_bench.cli.output import print_paths
from ddl_bench.cli.results import Choice, print_results
from ddl_bench.errors import UserError
from ddl_bench.files import brief, explained
from ddl_bench.results.collect import Runs, collect, folders_of, report_folder
from ddl_bench.results.columns import TAKEN
from ddl_bench.results.rows import Row, load_rows, with_metrics


def print_report(
    console: Console,
    runs: Sequence[Path],
    out: Path | None,
    plugins: Sequence[Path],
    choice: Choice,
    *,
    as_json: bool,
) -> dict[str, Path]:
    """Write the report of run folders, print their table, and say where the report lies."""
    for run in runs:
        compute_metrics(run, load_rows(run), plugins)
    paths = write_report(runs, out, plugins)
    if not as_json:
        print_results(console, collect(runs).rows, choice)
    print_paths(console, paths, as_json=as_json)
    return paths


def compute_metrics(run: Path, rows: Sequence[Row], plugins: Sequence[Path]) -> list[Row]:
    """Compute the metrics of plugins and of packages; returns the rows with all that are known."""
    metrics = registry.metrics(plugins, TAKEN)
    if metrics and rows:
        from ddl_bench.results.measuring import measure

        try:
            problems = measure(run, rows, metrics)
        except UserError as error:  # such as a run folder of a colleague, which may be read only
            problems = [f"{error}; metrics of plugins are left out"]
        for problem in problems:
            tell(problem)
    return with_metrics(run, rows)


def write_report(runs: Runs, out: Path | None, plugins: Sequence[Path] = ()) -> dict[str, Path]:
    """Write the report of run folders by all writers.

    Those are at the entry points `ddl_bench.reports`, which are functions of the run folder, or of
    a list of several, at `ddl_bench.writers` and in plugins, which are functions of the DataFrame
    of the runs. One whose package cannot be imported, or of a plugin that fails, is named and left
    out. Conflicts between folders are told.
    """
    folders = folders_of(runs)
    if len(folders) > 1:
        for conflict in collect(folders).conflicts:
            tell(f"conflict: {conflict}")
    source = folders[0] if len(folders) == 1 else folders
    paths: dict[str, Path] = {}
    for report, entry in registry.entries(registry.REPORTS).items():
        try:
            writer = registry.load_entry(entry)
        except ImportError as error:
            tell(f"the report {report!r} is left out: {brief(error)}")
        else:
            paths |= writer(source, out)
    writers = registry.writers(plugins)
    for name, entry in registry.entries(registry.WRITERS).items():
        try:
            writers[name] = registry.load_entry(entry)
        except ImportError as error:
            tell(f"the report {name!r} is left out: {brief(error)}")
    if writers:
        paths = with_plugins(paths, folders, out or report_folder(folders), writers)
    return paths


KINDS = ("page", "markdown", "csv", "cells", "columns", "latex", "bibtex", "figures")


def with_plugins(
    paths: Mapping[str, Path],
    runs: Sequence[Path],
    folder: Path,
    writers: Mapping[str, registry.Writer],
) -> dict[str, Path]:
    """Call report writers with the DataFrame of runs; returns where all has been written, by name.

    What a writer removes is named, and is not among these any more.
    """
    from ddl_bench.plan.expansion import unchanged_process
    from ddl_bench.results.frame import load
    from ddl_bench.results.measuring import reason_of

    with explained(folder, "cannot write there"):
        folder.mkdir(parents=True, exist_ok=True)
    written = dict(paths)
    for name, writer in writers.items():
        try:
            folder.mkdir(exist_ok=True)  # another writer may have removed it
            with unchanged_process(), redirect_stdout(sys.stderr):
                writer(load(runs), folder.resolve())
        except (Exception, SystemExit) as error:  # a plugin may raise anything
            tell(f"the report {name!r} is left out: {reason_of(error)}")
        else:
            written[f"{name} of a plugin" if name in KINDS else name] = folder
        removed = [kind for kind, path in written.items() if not path.exists()]
        if removed:
            tell(
                f"the report {name!r} has removed {', '.join(removed)}; "
                "`ddl-bench report` without its plugin writes all again"
            )
            written = {kind: path for kind, path in written.items() if kind not in removed}
    return written


def show_page(paths: Mapping[str, Path]) -> None:
    """Open the page of a report in the browser, or say in one line why that is not done."""
    page = paths.get("page")
    if page is None:
        tell("--open: no page was written")
    else:
        open_in_browser(page.resolve().as_uri(), str(page.resolve()))


def open_in_browser(address: str, name: str) -> None:
    """Open an address in the browser, or say in one line that there is none."""
    has_screen = any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))
    opened = False
    if has_screen:
        try:
            opened = webbrowser.open(address)
        except (webbrowser.Error, OSError):
            opened = False
    if not opened:
        tell(f"--open: no browser here; open {name} in one")
