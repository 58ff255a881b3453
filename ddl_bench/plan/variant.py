"""Name what a user has changed about a track, so that its rows have a folder of their own.

Other methods and seeds are no change: their rows stand beside those of the track in one table.
Another budget, device, split or data set is: such rows are not comparable with the others.
"""

import dataclasses
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ddl_bench.plan.cell import BudgetSpec
from ddl_bench.plan.expansion import Overrides, parse_source
from ddl_bench.plan.track import DataEntry, Track, load_track

LONGEST = 80  # characters of a name, which then ends in a hash
SPLITS = {  # how the options of splits are abbreviated
    "limit_train": "train",
    "limit_test": "test",
    "val_fraction": "val",
    "test_from_train": "fromtrain",
}


def variant(track_name: str, overrides: Overrides) -> str:
    """Name the variant of a track that a user runs, such as `quick-my-images-3m`.

    It is the name of the track where nothing is changed, or a change makes no difference. The same
    options give the same name on every machine. Raises UserError where there is no such track.
    """
    track = load_track(track_name)
    parts = [Path(track_name).stem, *data_parts(track, overrides.datasets)]
    budget = overrides.budget
    if budget is not None and any(budget != usual for usual in budgets(track, overrides.methods)):
        parts.append(budget_part(budget))
    parts += machine_parts(track, overrides.machine)
    usual_splits = dataclasses.asdict(track.splits)
    for key, value in overrides.splits.items():
        if usual_splits.get(key) != value:
            parts.append(f"{SPLITS.get(key, key)}{value}")
    return shortened("-".join(re.sub(r"[^\w.=+-]+", "_", part) for part in parts))


def data_parts(track: Track, wanted: Sequence[str] | None) -> list[str]:
    """Name the data sets that are not those of the track, each once, in the user's order."""
    parts = []
    for text in wanted or ():
        source, options = parse_source(text)
        is_usual = any(is_same(entry, source, options) for entry in track.datasets)
        if not is_usual:
            part = Path(source).stem
            if "mirror" in options:
                part += "_mirror" if options["mirror"] else "_nomirror"
            parts.append(part)
    return list(dict.fromkeys(parts))


def is_same(entry: DataEntry, source: str, options: dict[str, Any]) -> bool:
    """Whether a user's data set is one of the track's."""
    return entry.source == source and options.get("mirror", entry.mirror) == entry.mirror


def budgets(track: Track, wanted: Sequence[str] | None) -> list[BudgetSpec]:
    """Return the budgets that the chosen methods have in the track."""
    if wanted is None:
        return [entry.budget or track.budget for entry in track.methods]
    chosen = []
    for text in wanted:
        known = track.entries_named(text)
        chosen += [entry.budget or track.budget for entry in known] or [track.budget]
    return chosen


def budget_part(budget: BudgetSpec) -> str:
    """Write a budget in the largest unit in which it is whole: `3m`, `40e`."""
    for unit, seconds in (("h", 3600), ("m", 60)):
        if budget.seconds and budget.seconds % seconds == 0:
            return f"{budget.seconds / seconds:.0f}{unit}"
    return budget.as_option()


def machine_parts(track: Track, changed: dict[str, Any]) -> list[str]:
    """Name device, threads and precision where they are not those of the track."""
    usual = track.machine.model_dump()
    parts = []
    for key, value in changed.items():
        if usual.get(key) != value:
            parts.append(f"{value}threads" if key == "threads" else str(value))
    return parts


def shortened(name: str) -> str:
    """Cut a name that is too long for a folder; its hash keeps it apart from others."""
    if len(name) <= LONGEST:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{name[: LONGEST - len(digest) - 1]}-{digest}"
