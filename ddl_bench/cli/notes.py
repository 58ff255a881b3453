"""What other packages say of planned cells: whether they have a place beside a paper's values."""

from collections.abc import Mapping, Sequence
from typing import Any

from ddl_bench import registry
from ddl_bench.cli.messages import tell
from ddl_bench.files import brief
from ddl_bench.plan.cell import Cell
from ddl_bench.plan.track import load_track


def notes_on(cells: Sequence[Cell], track: str) -> dict[str, str]:
    """Collect what the functions at the entry points `ddl_bench.notes` say of planned cells.

    They are asked where lines of the track are to stand beside a paper.
    """
    if not any(method.paper for method in load_track(track).methods):
        return {}
    notes: dict[str, str] = {}
    for name_of_notes, entry in registry.entries(registry.NOTES).items():
        try:
            function = registry.load_entry(entry)
        except ImportError as error:
            tell(f"the notes {name_of_notes!r} are left out: {brief(error)}")
        else:
            notes |= function(cells)
    return notes


def gathered_notes(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Write each note once, with the methods that it is about, by data set."""
    methods: dict[str, dict[str, None]] = {}
    notes: dict[tuple[str, str], dict[str, None]] = {}
    for record in records:
        dataset = record["data set"]
        method = record["method"]
        methods.setdefault(dataset, {})[method] = None
        if record["note"]:
            notes.setdefault((dataset, record["note"]), {})[method] = None
    lines = []
    for (dataset, text), names in notes.items():
        is_about_all = len(names) == len(methods[dataset]) > 1
        subject = "all methods" if is_about_all else ", ".join(names)
        lines.append(f"{dataset}, {subject}: {text}")
    return lines
