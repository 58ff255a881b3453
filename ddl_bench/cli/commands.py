"""What the commands print: the terminal's side of each verb."""

import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from itertools import groupby
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from ddl_bench import describe, registry
from ddl_bench.cli import live
from ddl_bench.harness.estimate import estimate
from ddl_bench.harness.run import core_slots, run_folder
from ddl_bench.harness.run import run as run_track
from ddl_bench.plan import track
from ddl_bench.plan.expansion import Overrides, plan
from ddl_bench.results import tensorboard as curves
from ddl_bench.results.rows import Row, load_rows


def run(
    console: Console,
    name: str,
    out: Path | None,
    overrides: Overrides,
    rerun: str,
    jobs: int | None,
    *,
    report: bool,
    tensorboard: bool,
    as_json: bool,
) -> bool:
    """Run a track with a live view, print its table; True where a cell failed."""
    if tensorboard:
        curves.require()
    watcher = Console(stderr=True) if as_json else console
    with live.Live(watcher) as view:
        rows = run_track(name, out, overrides=overrides, rerun=rerun, jobs=jobs, view=view)
    folder = run_folder(name, out)
    if as_json:
        emit([row.model_dump(mode="json") for row in rows])
    else:
        print_table(console, rows)
    paths = write_report(folder, None) if report and any(row.status == "ok" for row in rows) else {}
    if tensorboard:
        paths["tensorboard"] = curves.write(folder, rows)
    if not as_json:
        print_paths(console, {"rows": folder / "cells", **paths})
    return any(row.status not in ("ok", "skipped", "not_installed") for row in rows)


def print_table(console: Console, rows: Sequence[Row]) -> None:
    from ddl_bench.results.table import BRIEF, display

    table = display(rows)
    wanted = [
        column
        for column in BRIEF
        if column != "note" and (column != "data set" or table[column].nunique() > 1)
    ]
    columns = [column for column in wanted if column in table]
    lines = [[escape(str(cell)) for cell in line] for line in table[columns].to_numpy().tolist()]
    console.print(live.as_table("", columns, lines))
    for method, note in zip(table["method"], table.get("note", [""] * len(table)), strict=True):
        if note:
            console.print(f"  {escape(method)}: {escape(note)}", soft_wrap=True, highlight=False)


def dry_run(
    console: Console,
    name: str,
    out: Path | None,
    overrides: Overrides,
    jobs: int | None,
    *,
    as_json: bool,
) -> None:
    cells = plan(name, overrides)
    folder = run_folder(name, out)
    rows = load_rows(folder) if (folder / "cells").is_dir() else []
    done = {row.cell.id for row in rows}
    records, total = [], 0.0
    for cell in cells:
        seconds, basis = (0.0, "finished") if cell.id in done else estimate(cell, rows)
        total += seconds
        about = {
            "cell": cell.id,
            "method": cell.label,
            "data set": Path(cell.dataset).name,
            "seed": cell.seed,
        }
        records.append(
            about | {"budget": str(cell.budget), "expected_s": round(seconds, 1), "from": basis}
        )
    slots = len(core_slots(cells, jobs))
    print_records(console, f"{len(cells)} cells", records, as_json)
    if not as_json:
        console.print(f"about {total / slots / 60:.1f} minutes, {slots} at a time")


def write_report(run: Path, out: Path | None) -> dict[str, Path]:
    """Write the report of a run folder; the writer is found through the entry points `ddl_bench.reports`."""
    writers = entry_points(group=registry.REPORTS)
    paths: dict[str, Path] = {}
    for writer in writers:
        paths |= writer.load()(run, out)
    return paths


def emit(thing: Any) -> None:
    """Print JSON for scripts, neither folded nor coloured."""
    sys.stdout.write(json.dumps(thing, indent=1, default=str) + "\n")


def print_paths(console: Console, paths: Mapping[str, Path], as_json: bool = False) -> None:
    if as_json:
        emit(paths)
        return
    for name, path in paths.items():
        console.print(f"{name:>24}  {path}", soft_wrap=True, highlight=False)


def print_records(
    console: Console, title: str, records: Sequence[Mapping[str, Any]], as_json: bool
) -> None:
    if as_json:
        emit(records)
        return
    columns = list(records[0]) if records else []
    lines = [[escape(_text(record[column])) for column in columns] for record in records]
    table = live.as_table(title, columns, lines)
    for column in table.columns:
        column.justify = "left"
    console.print(table)


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={item}" for key, item in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def show(console: Console, row: Row, as_json: bool) -> None:
    """Every field of a row, one a line."""
    if as_json:
        emit(row.model_dump(mode="json"))
        return
    for part in (
        {"cell ID": row.cell.id},
        row.cell.model_dump(mode="json"),
        row.model_dump(exclude={"cell"}),
    ):
        for key, value in part.items():
            if value not in (None, "", {}, [], ()):
                console.print(
                    f"[bold]{key:>24}[/]  {escape(_text(value))}", soft_wrap=True, highlight=False
                )


def compare(console: Console, run: Path, a: str, b: str, *, as_json: bool) -> None:
    from ddl_bench.results import stats

    records = [dataclasses.asdict(record) for record in stats.compare(run, a, b)]
    if as_json:
        emit(records)
        return
    for record in records:
        for key, value in record.items():
            console.print(
                f"[bold]{key:>24}[/]  {escape(_text(value))}", soft_wrap=True, highlight=False
            )
        console.print()


def methods(
    console: Console, name: str | None, plugins: tuple[Path, ...], *, as_json: bool
) -> None:
    """One method in full; without a name a line of each, by family."""
    if as_json:
        emit(describe.method(name, plugins) if name else describe.methods(plugins))
    elif name:
        _show_method(console, describe.method(name, plugins))
    else:
        records = describe.methods(plugins)
        width = max(len(record["name"]) for record in records)
        for family, members in groupby(records, key=lambda record: record["family"]):
            console.print(f"[bold]{escape(family or 'others')}[/]", highlight=False)
            for record in members:
                keys = "".join(f" [{reference['key']}]" for reference in record["references"])
                line = Text.assemble(record["about"], (keys, "cyan"), (_needs(record), "yellow"))
                console.print(_pair(record["name"], line, width))
        console.print(
            "\n`ddl-bench methods NAME` shows one: formula, options, figures, BibTeX",
            highlight=False,
        )


def _show_method(console: Console, record: Mapping[str, Any]) -> None:
    console.print(f"[bold]{escape(record['name'])}[/]: {escape(record['about'])}", highlight=False)
    citations = [f"{it['citation']} [{it['key']}]" for it in record["references"]]
    facts = {key: record[key] for key in ("family", "formula")} | {
        "references": "\n".join(citations)
    }
    facts |= {"published": record["published"] or "none known", "differs": record["differs"]}
    facts |= {"needs": _needs(record).removeprefix(" needs ") or "nothing more"}
    for key, fact in facts.items():
        if fact:
            console.print(_pair(key, Text(fact), len("references")))
    for paragraph in record["more"]:
        console.print(f"\n{escape(paragraph)}", highlight=False)
    if record["options"]:
        console.print(
            f'\nOptions, as in `--methods "{record["name"]}\\[option=value]"`', highlight=False
        )
        shown = (
            (key, it["type"], describe.as_text(it["default"]), it["meaning"])
            for key, it in record["options"].items()
        )
        table = live.as_table(
            "",
            ("option", "type", "default", "meaning"),
            [[escape(it) for it in one] for one in shown],
        )
        table.box = box.SIMPLE_HEAD
        for column in table.columns:
            column.justify = "left"
        console.print(table)
    for reference in record["references"]:
        console.print(f"\n{escape(reference['bibtex'])}", soft_wrap=True, highlight=False)


def _needs(record: Mapping[str, Any]) -> str:
    missing = (
        f" (not installed: {describe.install(record['missing'])})" if record["missing"] else ""
    )
    return f" needs {', '.join(record['needs'])}{missing}" if record["needs"] else ""


def _pair(name: str, text: Text, width: int) -> Table:
    """A name and what hangs beside it."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True, width=width + 2)
    grid.add_row(Text(f"  {name}"), text)
    return grid


def describe_datasets(plugins: tuple[Path, ...] = ()) -> list[dict[str, Any]]:
    """Name and one line of every data set."""
    return [
        {"name": name, "about": registry.about_dataset(loader)}
        for name, loader in sorted(registry.datasets(plugins).items())
    ]


def describe_tracks() -> list[dict[str, Any]]:
    """Name, description and file of every packaged track."""
    found = ((name, path, track.load_track(name)) for name, path in track.packaged().items())
    return [
        {"name": name, "about": loaded.description, "file": str(path)}
        for name, path, loaded in found
    ]


def check(console: Console, target: str, *, as_json: bool) -> bool:
    """Print the findings of the contract; True where a rule is broken."""
    from ddl_bench.contract import check as check_method

    findings = check_method(target)
    if as_json:
        emit([dataclasses.asdict(finding) for finding in findings])
    else:
        for finding in findings:
            mark = "[green]ok    [/]" if finding.held else "[red]broken[/]"
            detail = "" if finding.held else f": {finding.detail}"
            console.print(
                f"{mark} {escape(finding.rule + detail)}", soft_wrap=True, highlight=False
            )
    return not all(finding.held for finding in findings)
