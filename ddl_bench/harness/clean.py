"""Remove cells of a run folder, or what is left in work/, and nothing that a living runner holds.

Each cell is claimed before its files are removed, as by a runner, so that none can take it up
meanwhile. Only files are touched that are named after a cell, in cells/, models/ and work/.
"""

import re
import shutil
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ddl_bench.errors import UserError, nearest
from ddl_bench.files import explained, names_in
from ddl_bench.harness.claims import claim, claims_folder
from ddl_bench.harness.planned import plan_files, read_entries, write_entries
from ddl_bench.harness.status import CellStatus, RunStatus, clock_now, read_status
from ddl_bench.plan.cell import label_meant

FOLDERS = ("cells", "models", "work", "work/claims")
KINDS = {  # by folder and end of the name; claims and the rest are `other`
    "row": ("cells", ".json"),
    "arrays": ("cells", ".npz"),
    "model": ("models", ".safetensors"),
    "checkpoint": ("work", ".checkpoint"),
    "log": ("work", ".log"),
}
OF_A_CELL = re.compile(r"\.?([0-9a-f]{12})\.")
TEMPORARY = (".clock.", ".probe.")  # made by runners, besides the temporary files of cells
HIDDEN_FOR_S = 86_400.0  # a temporary file that is younger may be in use


class Leftover(NamedTuple):
    """A file, or a damaged folder in its place, that is to be removed."""

    path: Path
    kind: str
    n_bytes: int
    written_s: float


@dataclass(frozen=True, kw_only=True)
class Cleaning:
    """What is to be removed of a run folder.

    Parameters
    ----------
    cells
        The cells whose files are removed.
    files
        Their files by cell ID, and under "" what belongs to no cell.
    held
        Cells that were asked for and are left, because living runners hold them.
    unplanned
        Which of the cells are also taken out of the plan, so that they do not wait: by their IDs.
    """

    folder: Path
    cells: list[CellStatus]
    files: dict[str, list[Leftover]]
    held: list[CellStatus]
    unplanned: frozenset[str]

    @property
    def leftovers(self) -> list[Leftover]:
        """All files that are to be removed."""
        return [each for files in self.files.values() for each in files]

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to remove, and no cell to take out of the plan."""
        return not (self.files or self.unplanned)

    @property
    def n_bytes(self) -> int:
        """Size of all files together."""
        return sum(each.n_bytes for each in self.leftovers)

    def counts(self) -> dict[str, int]:
        """Count the files of each kind."""
        return dict(Counter(each.kind for each in self.leftovers))


def plan_cleaning(
    folder: Path, *, failed: bool = False, label: str | None = None, work: bool = False
) -> Cleaning:
    """Find what is to be removed; nothing is touched.

    Parameters
    ----------
    folder
        The run folder.
    failed
        Remove the cells whose rows are not ok, which the next run does again.
    label
        Remove the cells of this label, whatever became of them, also from the plan.
    work
        Remove what is left in work/ of cells that no living runner holds: logs, checkpoints,
        claims.

    Raises
    ------
    UserError
        Where nothing is asked for, the folder is none of a run, or no cell has that label.
    """
    if not failed and label is None and not work:
        raise UserError("say what is to be removed: --failed, --label LABEL or --work")
    status = read_status(folder, with_outdated=True)
    labels = {cell.label: None for cell in status.cells}
    if label is not None:
        label = label_meant(label, labels)
        if label not in labels:
            raise UserError(f"{folder}: no cell of label {label!r}: {nearest(label, labels)}")
    chosen = []
    for cell in status.cells:
        is_failed = failed and cell.outcome not in ("", "ok")
        if is_failed or cell.label == label:
            chosen.append(cell)
    cells = [cell for cell in chosen if cell.state != "running"]
    files = files_by_cell(folder, {cell.cell for cell in cells}, FOLDERS)
    if work:
        files = merged(files, leftovers_in_work(folder, status))
    return Cleaning(
        folder=folder,
        cells=cells,
        files={cell_id: found for cell_id, found in files.items() if found},
        held=[cell for cell in chosen if cell.state == "running"],
        unplanned=frozenset(cell.cell for cell in cells if cell.label == label),
    )


def leftovers_in_work(folder: Path, status: RunStatus) -> dict[str, list[Leftover]]:
    """Find what is left in work/ of nobody, by cell ID; plans are kept."""
    held = {cell.cell for cell in status.of("running")}
    work = folder / "work"
    now_s = clock_now(work)
    files: dict[str, list[Leftover]] = {}
    paths = [inner / name for inner in (work, claims_folder(folder)) for name in names_in(inner)]
    for path in sorted(paths):
        name = path.name
        cell_id = cell_of(name)
        is_ours = bool(cell_id) or name.startswith(TEMPORARY)
        if not is_ours or cell_id in held:
            continue
        leftover = leftover_of(path)
        if leftover is None:
            continue
        if not name.startswith("."):
            files.setdefault(cell_id, []).append(leftover)
        elif now_s - leftover.written_s > HIDDEN_FOR_S:
            files.setdefault("", []).append(leftover)
    return files


def cell_of(name: str) -> str:
    """Return the ID of the cell that a file is named after; empty where it is none."""
    match = OF_A_CELL.match(name)
    return match[1] if match else ""


def merged(*parts: dict[str, list[Leftover]]) -> dict[str, list[Leftover]]:
    """Unite files by cell ID, each once."""
    files: dict[str, dict[Leftover, None]] = {}
    for part in parts:
        for cell_id, found in part.items():
            files.setdefault(cell_id, {}).update(dict.fromkeys(found))
    return {cell_id: list(found) for cell_id, found in files.items()}


def files_by_cell(
    folder: Path, cell_ids: Collection[str], inner: Iterable[str]
) -> dict[str, list[Leftover]]:
    """Find the files of cells in folders of a run, temporary ones included, by cell ID."""
    files: dict[str, list[Leftover]] = {cell_id: [] for cell_id in cell_ids}
    for name_of_folder in inner:
        for name in sorted(names_in(folder / name_of_folder)):
            cell_id = cell_of(name)
            if cell_id in files:
                leftover = leftover_of(folder / name_of_folder / name)
                if leftover is not None:
                    files[cell_id].append(leftover)
    return files


def leftover_of(path: Path) -> Leftover | None:
    """Return a file with its kind and size; None where it has just gone."""
    try:
        stat = path.lstat()
    except FileNotFoundError:
        return None
    for kind, (name_of_folder, suffix) in KINDS.items():
        if path.parent.name == name_of_folder and path.name.endswith(suffix):
            return Leftover(path, kind, stat.st_size, stat.st_mtime)
    return Leftover(path, "other", stat.st_size, stat.st_mtime)


def remove(cleaning: Cleaning) -> list[str]:
    """Remove what was found; returns the cells that a runner has taken up since, and that stay."""
    claims = claims_folder(cleaning.folder)
    with explained(claims, "cannot write there"):
        claims.mkdir(parents=True, exist_ok=True)
    taken_up = []
    for cell_id, files in cleaning.files.items():
        if not cell_id:
            remove_files(files)
            continue
        claimed = claim(claims, cell_id)
        if claimed is None:
            taken_up.append(cell_id)
            continue
        try:
            remove_files(each for each in files if each.path.parent != claims)
        finally:
            claimed.release()
    if cleaning.unplanned:
        drop_from_plans(cleaning.folder, cleaning.unplanned - set(taken_up))
    return taken_up


def remove_files(files: Iterable[Leftover]) -> None:
    """Remove files; a folder that stands in the place of one goes with all that is in it."""
    for leftover in files:
        path = leftover.path
        with explained(path, "cannot remove"):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def drop_from_plans(folder: Path, cell_ids: Collection[str]) -> None:
    """Take cells out of the plans of a run folder; a plan that becomes empty is removed."""
    for path in plan_files(folder):
        entries = read_entries(path)
        rest = [entry for entry in entries if entry.cell not in cell_ids]
        if len(rest) == len(entries):
            continue
        if rest:
            write_entries(path, rest)
        else:
            path.unlink(missing_ok=True)
