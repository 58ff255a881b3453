"""List the cells of a track with the time that each is expected to take."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from ddl_bench.cli.notes import gathered_notes, notes_on
from ddl_bench.cli.output import as_duration, as_size, emit, print_paragraph, print_records
from ddl_bench.cli.table import NAME_WIDTH, Column
from ddl_bench.data.declared import DECLARED, UNREAD
from ddl_bench.files import name_of
from ddl_bench.harness.earlier import chosen_again
from ddl_bench.harness.estimate import estimate, wall_times
from ddl_bench.harness.folder import memory_path
from ddl_bench.harness.slots import n_slots
from ddl_bench.plan.expansion import Overrides, plan
from ddl_bench.plan.memory import Memory
from ddl_bench.results.rows import load_rows

CELLS = (
    Column("method", folds_to=NAME_WIDTH),
    Column("data set", folds_to=NAME_WIDTH),
    Column("seed", is_right=True),
    Column("budget", rank=3),
    Column("limit", rank=5),
    Column("expected"),
    Column("from", rank=2),
    Column("cell", rank=4),
)


def print_dry_run(
    console: Console,
    track: str,
    folder: Path,
    overrides: Overrides,
    jobs: int | None,
    *,
    rerun: str = "",
    rerun_before: str = "",
    calibrate: bool = False,
    as_json: bool,
) -> None:
    """Print the cells of a track with the time that each is expected to take.

    Finished ones take none, but for those that `rerun` and `rerun_before` name. With `calibrate` a
    short training of each method is timed on this machine.
    """
    wanted = replace(overrides, only_lists=not calibrate)
    cells = plan(track, wanted, Memory(memory_path(folder)))
    slots = n_slots(cells, jobs)
    rows = load_rows(folder) if (folder / "cells").is_dir() else []
    with_row = {row.cell.id: row for row in rows}
    cell_of = {cell.id: cell for cell in cells}
    finished = set(with_row) - chosen_again(rerun, cell_of, with_row, rerun_before)
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
                "cell": cell.id if cell.data != UNREAD else "",
                "note": notes.get(cell.id, ""),
            }
        )
    if as_json:
        emit(records)
        return
    n_too_long = sum(record["expected_s"] > record["limit_s"] for record in records)
    for record in records:
        for key in ("limit_s", "expected_s"):
            record[key.removesuffix("_s")] = as_duration(record.pop(key))
    print_records(console, f"{len(cells)} cells", records, CELLS, as_json=False)
    left = as_duration(total_s / slots)
    console.print(f"about {left}, {slots} at a time; results go to {escape(name_of(folder))}")
    if n_too_long:
        text = f"expected to take longer than their limit, and to be ended: {n_too_long} of "
        text += f"{len(cells)} cells; raise --time-limit, or lower --budget or --limit-train"
        print_paragraph(console, text, indent=0)
    missing = {cell.dataset: None for cell in cells if cell.data == UNREAD}
    if missing:
        n_bytes = sum(DECLARED[name].n_bytes for name in missing)
        text = f"not here yet: {', '.join(missing)}; `run --download` fetches {as_size(n_bytes)}"
        print_paragraph(console, text, indent=0)
    for line in gathered_notes(records):
        print_paragraph(console, line, indent=0)
