"""What the commands do with runs, rows and methods, and what they print."""

import dataclasses
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape

from ddl_bench import registry
from ddl_bench.cli.live import Live, count, name
from ddl_bench.cli.notes import gathered_notes, notes_on
from ddl_bench.cli.output import (
    as_duration,
    as_table,
    as_text,
    emit,
    print_facts,
    print_line,
    print_paths,
    print_records,
    tell,
)
from ddl_bench.cli.stops import STOPS, Stopped, this_command
from ddl_bench.errors import UserError
from ddl_bench.files import brief, name_of
from ddl_bench.harness.estimate import estimate, wall_times
from ddl_bench.harness.run import checkpoint_path, n_slots, run_folder
from ddl_bench.harness.run import run as run_track
from ddl_bench.harness.stop import Shift, read_duration, seconds_of_job
from ddl_bench.harness.supervise import Job
from ddl_bench.plan.expansion import Overrides, plan
from ddl_bench.results import tensorboard as curves
from ddl_bench.results.rows import PERCENTAGES, Row, find_rows, load_rows


def run(
    console: Console,
    track: str,
    folder: Path,
    overrides: Overrides,
    *,
    rerun: str,
    jobs: int | None,
    fresh_process: bool,
    shift: Shift,
    retries: int,
    report: bool,
    tensorboard: bool,
    public: bool,
    as_json: bool,
) -> bool:
    """Run a track with a live view and print its table.

    Returns whether a cell failed, or is held by another runner and has no row.
    """
    if tensorboard:
        curves.require()
    watcher = Console(stderr=True) if as_json else console
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
                jobs=jobs,
                view=view,
                fresh_process=fresh_process,
                shift=shift,
                public=public,
                retries=retries,
            )
    except Stopped:
        print_rows(console, view.rows, as_json=as_json)
        print_stopped(watcher, view, folder)
        raise typer.Exit(STOPS.code) from None
    print_rows(console, rows, as_json=as_json)
    failed = any(row.status not in ("ok", "skipped", "not_installed") for row in rows)
    if shift.is_over():
        return failed
    try:
        paths = write_pages(folder, rows, report=report, tensorboard=tensorboard)
    except Stopped:
        done = f"stopped while the report was written; all {count(len(rows))} are done"
        print_line(watcher, f"{done}; write it by: {escape(report_command(folder))}")
        raise typer.Exit(STOPS.code) from None
    if not as_json:
        print_paths(console, paths)
    return failed or not view.is_complete


def shift_of(text: str | None) -> Shift:
    """Return the time of a runner: as the user says, or else that of the Slurm job it is in."""
    if text is None:
        return Shift(seconds_of_job())
    return Shift(read_duration("--for", text))


def print_rows(console: Console, rows: Sequence[Row], *, as_json: bool) -> None:
    """Print the rows of a run: all of them as JSON, or the short table."""
    if as_json:
        emit([row.model_dump(mode="json") for row in rows])
    elif rows:
        print_table(console, rows)


def write_pages(
    folder: Path, rows: Sequence[Row], *, report: bool, tensorboard: bool
) -> dict[str, Path]:
    """Write what is asked for about the rows of a run; returns where everything lies."""
    paths = {"rows": folder / "cells"}
    if report and any(row.status == "ok" for row in rows):
        paths |= write_report(folder, None)
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
    return shlex.join(["ddl-bench", "report", "--run", str(folder)])


def print_table(console: Console, rows: Sequence[Row]) -> None:
    """Print the short table of rows, with notes below it, as there is no room for them beside."""
    from ddl_bench.results.groups import gather
    from ddl_bench.results.table import BRIEF, display, foot

    table = display(rows)
    columns = [column for column in BRIEF if column in table and column != "note"]
    if table["data set"].nunique() == 1:
        columns.remove("data set")
    lines = table[columns].astype(str).to_numpy().tolist()
    console.print(as_table(columns, lines, justify="right"))
    if "note" in table:
        for method, note in zip(table["method"], table["note"], strict=True):
            if note:
                print_line(console, f"  {escape(method)}: {escape(note)}")
    if any(group.name != group.cell.label for group in gather(rows)):
        print_line(console, "  In brackets: settings in which the rows of one label differ.")
    text = foot(rows)
    if text:
        print_line(console, f"  {escape(text)}")


def dry_run(
    console: Console,
    track: str,
    folder: Path,
    overrides: Overrides,
    jobs: int | None,
    *,
    calibrate: bool = False,
    as_json: bool,
) -> None:
    """Print the cells of a track with the time that each is expected to take.

    With `calibrate` a short training of each method is timed on this machine.
    """
    cells = plan(track, overrides)
    slots = n_slots(cells, jobs)
    rows = load_rows(folder) if (folder / "cells").is_dir() else []
    finished = {row.cell.id for row in rows}
    wall_times_s = wall_times(rows)
    calibrated = {}
    if calibrate:
        from ddl_bench.harness.calibrate import calibrate as time_methods

        unfinished = [cell for cell in cells if cell.id not in finished]
        calibrated = time_methods(unfinished, slots)
    notes = notes_on(cells, track)
    records: list[dict[str, Any]] = []
    total_s = 0.0
    for cell in cells:
        if cell.id in finished:
            expected_s = 0.0
            basis = "finished"
        else:
            expected_s, basis = estimate(cell, wall_times_s)
            if basis != "measured" and cell.settings in calibrated:
                expected_s = calibrated[cell.settings]
                basis = "calibrated"
        total_s += expected_s
        records.append(
            {
                "method": cell.label,
                "data set": Path(cell.dataset).name,
                "seed": cell.seed,
                "budget": cell.budget.as_option(),
                "limit_s": cell.limits.time_s,
                "expected_s": round(expected_s, 1),
                "from": basis,
                "cell": cell.id,
                "note": notes.get(cell.id, ""),
            }
        )
    if as_json:
        emit(records)
        return
    for record in records:
        for key in ("limit_s", "expected_s"):
            record[key.removesuffix("_s")] = as_duration(record.pop(key))
    columns = ("method", "data set", "seed", "budget", "limit", "expected", "from", "cell")
    lines = [[as_text(record[column]) for column in columns] for record in records]
    console.print(as_table(columns, lines, title=f"{len(cells)} cells"))
    left = as_duration(total_s / slots)
    console.print(f"about {left}, {slots} at a time; results go to {escape(name_of(folder))}")
    for line in gathered_notes(records):
        print_line(console, escape(line))


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


def show(console: Console, run: Path, wanted: str, *, as_json: bool) -> None:
    """Print the one row that is wanted; several are listed, and the user is to choose one."""
    rows = find_rows(run, wanted)
    if len(rows) == 1:
        show_row(console, rows[0], as_json=as_json)
        return
    if not as_json:
        records = [
            {
                "cell": row.cell.id,
                "method": row.cell.label,
                "data set": Path(row.cell.dataset).name,
                "seed": row.cell.seed,
                "budget": row.cell.budget.as_option(),
                "status": row.status,
                "accuracy": row.measured.accuracy,
            }
            for row in rows
        ]
        print_records(console, f"{len(rows)} rows in {run}", records, as_json=False)
    first = rows[0].cell
    raise UserError(
        f"show {wanted!r}: {len(rows)} rows match; choose one by its cell ID, as in "
        f"`ddl-bench show {first.id}`, or by its seed, as in `{first.label}@{first.seed}`"
    )


def show_row(console: Console, row: Row, *, as_json: bool) -> None:
    """Print every field of a row that says something, one a line, numbers with their units."""
    if as_json:
        emit(row.model_dump(mode="json"))
        return
    facts = {
        "cell ID": row.cell.id,
        **row.cell.model_dump(mode="json"),
        **row.model_dump(exclude={"cell", "measured", "provenance"}),
        **dataclasses.asdict(row.measured),
        "budget": str(row.cell.budget),
        "phases": {phase: f"{as_text(seconds)} s" for phase, seconds in row.phases.items()},
    }
    for key, value in row.provenance.items():
        facts[f"provenance: {key}"] = value
    empty: tuple[object, ...] = (None, "", {}, [], ())
    shown = {key: value for key, value in facts.items() if value not in empty}
    print_facts(console, {key: with_unit(key, value) for key, value in shown.items()})


def with_unit(name: str, value: Any) -> Any:
    """Write a number of a row with its unit, which its name says; anything else stays."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    if name.endswith("_memory"):
        return f"{value / 1e6:,.0f} MB"
    if name in PERCENTAGES:
        return f"{as_text(value)} %"
    if name.endswith("_s") or "_s_per_" in name:
        return f"{as_text(value)} s"
    return value


def compare(console: Console, run: Path, a: str, b: str, *, as_json: bool) -> None:
    """Print the comparison of two methods of a run, one for each data set."""
    from ddl_bench.results.stats.compare import compare as compare_methods

    print_findings(console, compare_methods(run, a, b), as_json=as_json)


def power(
    console: Console, run: Path, a: str, b: str, difference: float | None, *, as_json: bool
) -> None:
    """Print the seeds and images that would separate two methods, for each data set."""
    from ddl_bench.results.stats.separate import power as power_of

    print_findings(console, power_of(run, a, b, difference), as_json=as_json)


def print_findings(console: Console, findings: Sequence[Any], *, as_json: bool) -> None:
    """Print dataclasses, one fact a line; those of a nested one are named NAME.FACT."""
    records = [dataclasses.asdict(finding) for finding in findings]
    if as_json:
        emit(records)
        return
    for record in records:
        facts: dict[str, Any] = {}
        for key, value in record.items():
            if isinstance(value, dict):
                facts |= {f"{key}: {part}": item for part, item in value.items()}
            else:
                facts[key] = value
        print_facts(console, {key: value for key, value in facts.items() if value is not None})
        console.print()


def check(console: Console, target: str, like: str | None, *, as_json: bool) -> bool:
    """Print each finding of the contract as it is made; returns whether a rule is broken."""
    from ddl_bench.contract.check import check as check_method

    marks = {"held": "[green]ok     [/]", "broken": "[red]broken [/]", "skipped": "skipped"}
    findings = []
    for finding in check_method(target, like):
        findings.append(finding)
        if not as_json:
            text = f"{finding.rule}: {finding.detail}" if finding.detail else finding.rule
            print_line(console, f"{marks[finding.status]} {escape(text)}")
            console.file.flush()
    if as_json:
        emit([dataclasses.asdict(finding) for finding in findings])
    return any(finding.status == "broken" for finding in findings)
