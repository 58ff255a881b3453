"""The run folder: its name, and where the files lie that a cell needs while it runs."""

import re
from pathlib import Path

from ddl_bench.errors import UserError
from ddl_bench.files import names_in, unique_word
from ddl_bench.harness.claims import claims_folder
from ddl_bench.plan.expansion import Overrides
from ddl_bench.plan.variant import variant

RESULTS = Path("results")


def run_folder(
    track: str,
    out: str | Path | None = None,
    overrides: Overrides | None = None,
    name: str | None = None,
) -> Path:
    """Return the run folder: `out`, or results/`name`, or else results/VARIANT.

    The variant is the name of the track with what the overrides change, as in `quick-3m`, so that
    rows of one folder belong together. Raises UserError for a name that is none of a folder.
    """
    if name is not None:
        if out:
            raise UserError("--name and --out both say where the results go; give one of them")
        if not re.fullmatch(r"\w[\w.=+-]*", name):
            raise UserError(
                f"--name {name!r:.80}: expected letters, digits, '_', '.', '=', '+' and '-'; "
                "--out takes any path"
            )
        return RESULTS / name
    return Path(out) if out else RESULTS / variant(track, overrides or Overrides())


def make_folders(folder: Path) -> None:
    """Make the folders of a run. Raises UserError where nothing can be written there."""
    work = folder / "work"
    try:
        claims_folder(folder).mkdir(parents=True, exist_ok=True)
        (folder / "cells").mkdir(exist_ok=True)
        probe = work / f".probe.{unique_word()}"
        probe.touch()
        probe.unlink(missing_ok=True)  # others may clean up
    except OSError as error:
        raise UserError(f"--out {folder}: cannot write there: {error.strerror}") from None


def checkpoint_path(folder: Path, cell_id: str) -> Path:
    """Return the file from which a cell is resumed."""
    return folder / "work" / f"{cell_id}.checkpoint"


def points_path(folder: Path, cell_id: str) -> Path:
    """Return the file to which a worker appends the points of its curves, if it exists."""
    return folder / "work" / f"{cell_id}.curves"


def memory_path(folder: Path) -> Path:
    """Return the file of what plans learnt of methods."""
    return folder / "work" / "methods.json"


def ids_with_row(folder: Path) -> set[str]:
    """List the cells that have the file of a row, which may be damaged."""
    names = names_in(folder / "cells")
    return {name.removesuffix(".json") for name in names if name.endswith(".json")}
