"""Run a track with a live view, print what came out, and say how a stopped run goes on."""

import shlex
from collections.abc import Sequence
from pathlib import Path

import typer
from rich.console import Console
from rich.markup import escape

from ddl_bench.cli import hints
from ddl_bench.cli.console import console_of
from ddl_bench.cli.live import Live, count, name
from ddl_bench.cli.output import emit, print_line, print_paths
from ddl_bench.cli.report import compute_metrics, show_page, write_report
from ddl_bench.cli.results import Choice, print_results
from ddl_bench.cli.stops import STOPS, Stopped, this_command
from ddl_bench.files import name_of
from ddl_bench.harness.earlier import now
from ddl_bench.harness.folder import checkpoint_path, run_folder
from ddl_bench.harness.run import run as run_track
from ddl_bench.harness.status import DONE
from ddl_bench.harness.stop import Shift, read_duration, seconds_of_job
from ddl_bench.harness.supervise import Job
from ddl_bench.plan.expansion import Overrides
from ddl_bench.results import tensorboard as curves
from ddl_bench.results.rows import Row


def run_with_view(
    console: Console,
    track: str,
    folder: Path,
    overrides: Overrides,
    *,
    rerun: str,
    rerun_before: str,
    jobs: int | None,
    fresh_process: bool,
    shift: Shift,
    retries: int,
    report: bool,
    tensorboard: bool,
    public: bool,
    choice: Choice,
    open_page: bool,
    as_json: bool,
) -> bool:
    """Run a track with a live view and print its table.

    Returns whether a cell failed, or has no row because another runner holds it. The latter is
    expected of a runner with limited time, which is one of many.
    """
    if tensorboard:
        curves.require()
    watcher = console_of(is_error=True) if as_json else console
    is_new = rerun and not rerun_before
    STOPS.more = ("--rerun-before", now()) if is_new else ()  # what is run again now, once only
    view = Live(watcher)
    if folder != run_folder(track):
        print_line(watcher, f"results go to {escape(name_of(folder))}")
    try:
        with view, shift.listening():
            rows = run_track(
                track,
                folder,
                overrides=overrides,
                rerun=rerun,
                rerun_before=rerun_before,
                jobs=jobs,
                view=view,
                fresh_process=fresh_process,
                shift=shift,
                public=public,
                retries=retries,
                tensorboard=tensorboard,
            )
    except Stopped:
        print_rows(console, view.rows, choice, as_json=as_json)
        print_stopped(watcher, view, folder)
        raise typer.Exit(STOPS.code) from None
    rows = compute_metrics(folder, rows, overrides.plugins)
    print_rows(console, rows, choice, as_json=as_json)
    if overrides.keep_models:
        hints.missing_models(watcher, folder, rows)
    failed = any(row.status not in DONE for row in rows)
    if shift.is_over():
        if report and view.is_complete and not view.n_left:
            print_line(watcher, f"write the report by: {escape(report_command(folder))}")
        return failed
    try:
        paths = write_pages(folder, rows, overrides.plugins, report=report, tensorboard=tensorboard)
    except Stopped:
        done = f"stopped while the report was written; all {count(len(rows))} are done"
        print_line(watcher, f"{done}; write it by: {escape(report_command(folder))}")
        raise typer.Exit(STOPS.code) from None
    if not as_json:
        print_paths(console, paths)
    if open_page:
        show_page(paths)
    is_one_of_many = shift.seconds is not None
    return failed or not (view.is_complete or is_one_of_many)


def shift_of(text: str | None) -> Shift:
    """Return the time of a runner: as the user says, or else that of the Slurm job it is in."""
    if text is None:
        return Shift(seconds_of_job())
    return Shift(read_duration("--for", text))


def print_rows(console: Console, rows: Sequence[Row], choice: Choice, *, as_json: bool) -> None:
    """Print the rows of a run: all of them as JSON, or the short table."""
    if as_json:
        emit([row.model_dump(mode="json") for row in rows])
    elif rows:
        print_results(console, rows, choice)


def write_pages(
    folder: Path, rows: Sequence[Row], plugins: Sequence[Path], *, report: bool, tensorboard: bool
) -> dict[str, Path]:
    """Write what is asked for about the rows of a run; returns where everything lies."""
    paths = {"rows": folder / "cells"}
    if report and any(row.status == "ok" for row in rows):
        paths |= write_report(folder, None, plugins)
    if tensorboard:
        paths["tensorboard"] = curves.write(folder, rows)
    return paths


def print_stopped(console: Console, view: Live, folder: Path) -> None:
    """Print what a run that was stopped has done, what it was at, and how it is resumed."""
    if view.total is None:
        done = "stopped before any cell was started; rows of earlier runs are kept"
    else:
        done = f"stopped: {len(view.rows)} of {count(view.total)} are done"
    print_line(console, f"[bold]{done}[/]")
    for job in view.running:
        print_line(console, f"  {name(job.cell)}: {escape(rest_of(job, folder))}")
    n_waiting = (view.total or 0) - len(view.rows) - len(view.running)
    if n_waiting > 0:
        print_line(console, f"  not started: {count(n_waiting)}")
    print_line(console, f"resume by: {escape(this_command())}")


def rest_of(job: Job, folder: Path) -> str:
    """Say where a cell was stopped, and where it will go on."""
    seen = job.progress()
    where = f"stopped at {100 * seen.fraction:.0f} % of its training"
    if seen.phase != "training":
        where = f"stopped in phase {seen.phase or 'starting'!r}"
    path = checkpoint_path(folder, job.cell.id)
    seconds = None
    if path.exists():
        from ddl_bench.harness.checkpoint import resumes_after_s  # here, as it imports torch

        seconds = resumes_after_s(path)
    if seconds is None:
        return f"{where}; begins anew, as it has no checkpoint yet"
    return f"{where}; goes on from its checkpoint, after {seconds:.1f} s of training"


def report_command(folder: Path) -> str:
    """Return the command line that writes the report of a run folder."""
    return shlex.join(["ddl-bench", "report", str(folder)])
