"""Lines that say what a run does not do, though its options may have been meant to."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from ddl_bench.cli.output import print_line
from ddl_bench.errors import UserError
from ddl_bench.files import name_of, read_arrays, user_path
from ddl_bench.params import list_item
from ddl_bench.plan.expansion import Overrides, chosen_datasets
from ddl_bench.plan.track import load_track
from ddl_bench.registry import datasets, methods_in
from ddl_bench.results.paths import model_path
from ddl_bench.results.rows import Row


def unused_plugins(console: Console, track: str, overrides: Overrides) -> None:
    """Say which plugins offer methods of which the track has none, where no method is named."""
    if overrides.methods is not None or not overrides.plugins:
        return
    used = {entry.name for entry in load_track(track).methods}
    for path in overrides.plugins:
        offered = methods_in(path)
        if offered and not used & offered.keys():
            names = ", ".join(offered)
            text = f"{name_of(path)}: not run, as the track does not name it: add --methods {names}"
            print_line(console, escape(text))


def unsaid_mirrors(console: Console, track: str, overrides: Overrides) -> None:
    """Say of a user's own images that training mirrors none, where nobody says whether it may."""
    known = datasets(overrides.plugins)
    texts: dict[str, None] = {}  # in order, each once
    for entry in chosen_datasets(load_track(track), overrides.datasets):
        path = user_path(entry.source)
        is_unsaid = entry.mirror is None and entry.source not in known
        if is_unsaid and path.exists() and not _has_mirror(path):
            name = name_of(path)
            advice = list_item(f"{name}[mirror=true]")
            texts[
                f"{name}: training mirrors no image; say {advice} where a mirror image"
                " has the same class, [mirror=false] where it has not"
            ] = None
    for text in texts:
        print_line(console, escape(text))


def _has_mirror(path: Path) -> bool:
    try:
        return path.is_file() and "mirror" in read_arrays(path, ("mirror",))
    except UserError:  # which the plan tells
        return True


def missing_models(console: Console, folder: Path, rows: Sequence[Row]) -> None:
    """Say how to keep the models of cells that an earlier run has finished without."""
    without = [
        row
        for row in rows
        if row.status == "ok"
        and not row.measured.model_note
        and not model_path(folder, row.cell.id).exists()
    ]
    if without:
        what = "1 cell was" if len(without) == 1 else f"{len(without)} cells were"
        text = f"{what} finished before, and no model kept: --rerun all trains again"
        print_line(console, text)
