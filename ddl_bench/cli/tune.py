"""Search options of methods on validation images, the same time for each method."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from ddl_bench.cli.console import console_of
from ddl_bench.cli.live import MARKS, Live, name
from ddl_bench.cli.output import as_duration, emit, print_line
from ddl_bench.cli.stops import STOPS, Stopped, this_command
from ddl_bench.cli.table import NAME_WIDTH, TEXT_WIDTH, Column, Table, print_table
from ddl_bench.errors import UserError
from ddl_bench.files import write_atomically
from ddl_bench.harness.run import run
from ddl_bench.harness.status import DONE
from ddl_bench.params import flat
from ddl_bench.plan.cell import digest_of
from ddl_bench.plan.expansion import Overrides, plan
from ddl_bench.plan.search import Searched, track_of
from ddl_bench.plan.track import MethodEntry, n_points
from ddl_bench.results.rows import Row

COLUMNS = (
    Column("method", folds_to=NAME_WIDTH),
    Column("data set", rank=2, folds_to=NAME_WIDTH),
    Column("seed", rank=3, is_right=True),
    Column("points", rank=4, is_right=True),
    Column("validation (%)", is_right=True),
    Column("search (s)", rank=1, is_right=True),
    Column("chosen", folds_to=TEXT_WIDTH),
)


class TuneView(Live):
    """A live view that tells accuracies on validation images alone."""

    def line_of(self, row: Row) -> str:
        """Say in one line how a search ended."""
        if row.status != "ok":
            return super().line_of(row)
        accuracy = accuracy_of(row) or "none"
        text = f"{accuracy} % on validation images, {escape(spec_of(row))}"
        return f"  {MARKS['ok']:<12} {name(row.cell)}: {text}"


def tune(
    console: Console,
    searches: Sequence[Searched],
    seconds: float,
    folder: Path,
    *,
    overrides: Overrides,
    jobs: int | None,
    as_json: bool,
) -> bool:
    """Search, and print what was chosen; returns whether a search failed.

    The track is FOLDER/tune-HASH.toml, by which `run` repeats the search; the same command resumes
    it.
    """
    text = track_of(searches, seconds)
    track = folder / f"tune-{digest_of(text)}.toml"
    is_new = not track.exists()
    write_atomically(track, text.encode())
    try:
        plan(str(track), overrides)
    except UserError as error:
        if is_new:
            track.unlink()
        raise UserError(str(error).removeprefix(f"{track}: ")) from None
    watcher = console_of(is_error=True) if as_json else console
    n_trainings = sum(n_points(search.grid) for search in searches)
    effort = f"{n_trainings} points in all, at most {as_duration(seconds)} of training a search"
    print_line(watcher, f"{effort}; results go to {escape(str(folder))}")
    view = TuneView(watcher)
    try:
        with view:
            rows = run(str(track), folder, overrides=overrides, jobs=jobs, view=view)
    except Stopped:
        print_line(watcher, f"stopped; resume by: {escape(this_command())}")
        raise SystemExit(STOPS.code) from None
    if as_json:
        emit([record_of(row) for row in rows])
    else:
        print_table(console, Table(columns=COLUMNS, lines=list(map(texts_of, rows))))
        print_line(
            console,
            f"every method had at most {as_duration(seconds)} of training for its search, on "
            "validation images alone; no accuracy on test images is shown",
        )
    return any(row.status not in DONE for row in rows)


def record_of(row: Row) -> dict[str, Any]:
    """Return what a search came to."""
    measured = row.measured
    return {
        "method": row.cell.method,
        "dataset": row.cell.dataset,
        "seed": row.cell.seed,
        "status": row.status,
        "reason": row.reason,
        "n_points": n_points(row.cell.grid),
        "val_accuracy": measured.val_accuracy,
        "search_s": (measured.search_s or 0) + (measured.train_s or 0),
        "chosen": row.chosen,
        "spec": spec_of(row),
    }


def texts_of(row: Row) -> list[str]:
    """Return the line of a search in the table."""
    record = record_of(row)
    dataset = Path(row.cell.dataset).name
    place = [row.cell.method, dataset, str(row.cell.seed), str(record["n_points"])]
    if row.status != "ok":
        return [*place, "", "", f"{row.status}: {row.reason}"]
    return [*place, accuracy_of(row), f"{record['search_s']:.1f}", spec_of(row)]


def accuracy_of(row: Row) -> str:
    """Write the accuracy on validation images; empty where there were too few to have any."""
    accuracy = row.measured.val_accuracy
    return "" if accuracy is None else f"{accuracy:.2f}"


def spec_of(row: Row) -> str:
    """Write the method with what was chosen, as `run --methods` takes it."""
    params = flat(row.cell.params) | row.chosen
    return MethodEntry(name=row.cell.method, params=params).title
