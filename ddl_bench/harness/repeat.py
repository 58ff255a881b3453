"""Run cells of finished rows again, and say whether their predictions are the same."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np

from ddl_bench.data.sources import default_data_dir
from ddl_bench.describe import remedy
from ddl_bench.errors import UserError
from ddl_bench.files import brief, user_path, with_own_name
from ddl_bench.harness.devices import check_devices
from ddl_bench.harness.run import RunSettings, run_cells
from ddl_bench.harness.slots import n_slots
from ddl_bench.harness.view import View
from ddl_bench.plan.cell import Cell
from ddl_bench.plan.expansion import NEEDS_NO_FILES
from ddl_bench.plan.identity import IDENTITY_VERSION, code_identity
from ddl_bench.registry import datasets, load_method
from ddl_bench.results.rows import SCORED, Row, arrays, digest

Verdict = Literal["match", "drift", "other machine", "not repeatable", "failed"]
MACHINE = ("cpu", "gpu", "cuda", "blas")  # entries of a provenance that change the last digits


@dataclass(frozen=True, kw_only=True)
class Repeated:
    """A row, what became of its cell now, and how the two compare.

    Parameters
    ----------
    verdict
        "match": the same predictions. "drift": others, on the same kind of machine with the same
        versions. "other machine": others, where machine or versions differ. "not repeatable":
        others, after a budget in seconds, which ends where the clock says. "failed": no result.
    reason
        What differs, or why there is no result.
    """

    row: Row
    again: Row | None
    verdict: Verdict
    reason: str

    def as_json(self) -> dict[str, Any]:
        """Return what scripts want to know."""
        return {
            "cell": self.row.cell.id,
            "label": self.row.cell.label,
            "dataset": Path(self.row.cell.dataset).name,
            "seed": self.row.cell.seed,
            "verdict": self.verdict,
            "reason": self.reason,
            "accuracy": self.row.measured.accuracy,
            "accuracy_again": self.again.measured.accuracy if self.again else None,
        }


def repeat(
    run: Path,
    rows: Sequence[Row],
    *,
    view: View,
    plugins: Sequence[Path] = (),
    data_dir: Path | None = None,
    jobs: int | None = None,
) -> list[Repeated]:
    """Run the cells of rows again, in a folder that is then removed, and compare predictions.

    Parameters
    ----------
    run
        The folder of the rows, which stays as it is.
    rows
        Rows that are ok.
    view
        Watches the cells.
    plugins
        Python files with methods and data sets. A file that a row names is never imported on its
        word.
    data_dir
        Where the files of data sets lie: published ones, and those that rows name without a path.
    jobs
        How many cells run at the same time.

    Raises
    ------
    UserError
        Where a method or a file of images is not here.
    """
    cells = {row.cell.id: cell_here(row.cell, plugins, data_dir) for row in rows}
    check_devices(list(cells.values()))
    with TemporaryDirectory(prefix="ddl-bench-verify-") as name:
        folder = Path(name)
        unique = list({cell.id: cell for cell in cells.values()}.values())
        settings = RunSettings(folder=folder, slots=n_slots(unique, jobs), view=view)
        again = {row.cell.id: row for row in run_cells(unique, settings)}
        return [compared(run, row, again.get(cells[row.cell.id].id), folder=folder) for row in rows]


def cell_here(cell: Cell, plugins: Sequence[Path], data_dir: Path | None) -> Cell:
    """Return the cell of a row as this machine runs it: today's code, and paths of this machine."""
    source = source_of(cell.method, tuple(plugins))
    known = datasets(plugins)
    dataset = cell.dataset
    folder = ""
    if dataset not in known:
        dataset = str(file_here(cell.dataset, data_dir))
    elif not NEEDS_NO_FILES.fullmatch(dataset):
        folder = str((data_dir or default_data_dir()).resolve())
    changes: dict[str, Any] = {
        "source": source,
        "identity": IDENTITY_VERSION,
        "older_id": "",
        "plugins": tuple(str(plugin.resolve()) for plugin in plugins),
        "dataset": dataset,
        "data_dir": folder,
        "keep_model": False,
    }
    return cell.model_copy(update=changes)


@cache
def source_of(method: str, plugins: tuple[Path, ...]) -> str:
    """Return the hash of what a method computes with now.

    Raises UserError where the method is unknown or cannot be imported.
    """
    try:
        return code_identity(load_method(method, plugins))
    except ImportError as error:
        problem = f"{brief(error)}{remedy(error)}"
        raise UserError(f"the method {method!r} cannot be imported here: {problem}") from None


def file_here(dataset: str, data_dir: Path | None) -> Path:
    """Find a file or folder of images that a row names, with or without its path."""
    named = user_path(dataset)
    places = [named, Path(named.name)]
    if data_dir is not None:
        places.insert(0, data_dir / named.name)
    for place in places:
        if place.exists():
            return with_own_name(place)
    raise UserError(
        f"{named.name}: the images of this row are not here; put them into the current folder, or "
        "name their folder by --data-dir"
    )


def compared(run: Path, row: Row, again: Row | None, *, folder: Path) -> Repeated:
    """Compare a row with what its cell came to now, whose arrays lie in `folder`."""
    if again is None or again.status != "ok":
        reason = again.reason if again else "it was not run"
        return Repeated(row=row, again=again, verdict="failed", reason=reason)
    before = arrays(run, row.cell.id, SCORED).get("predictions")
    kept = "" if before is None else digest(before)
    expected = row.measured.predictions_sha256 or kept
    claimed = row.measured.accuracy
    reasons = []
    if expected:
        is_same = expected == again.measured.predictions_sha256
        what = "the same predictions"
        if kept and kept != expected:
            is_same = False
            reasons.append("the kept predictions are not those that the row names")
        if is_same and claimed != again.measured.accuracy:
            is_same = False
            reasons.append(f"the row says {claimed} %, which its predictions do not give")
    else:
        is_same = claimed == again.measured.accuracy
        what = "the same accuracy; the row has no predictions"
    if is_same:
        return Repeated(row=row, again=again, verdict="match", reason=what)
    now = arrays(folder, again.cell.id, SCORED).get("predictions")
    if before is not None and now is not None and not reasons:
        reasons.append(changes_between(before, now))
    if row.cell.budget.seconds:
        reasons.append("its budget is in seconds")
        return Repeated(row=row, again=again, verdict="not repeatable", reason="; ".join(reasons))
    machine = differences(row.provenance, again.provenance)
    if row.cell.source != again.cell.source:
        reasons.append("the code of the method has changed")
    verdict: Verdict = "other machine" if machine else "drift"
    return Repeated(row=row, again=again, verdict=verdict, reason="; ".join(reasons + machine))


def changes_between(before: np.ndarray, now: np.ndarray) -> str:
    """Say how predicted classes (n,) differ from those that a row has kept."""
    if len(before) != len(now):
        return f"{len(before):,} predictions are kept, and the cell has {len(now):,} test images"
    return f"{int(np.sum(before != now)):,} of {len(now):,} predictions differ"


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Say how machine and versions of two rows differ: "torch 2.13.0, now 2.14.1"."""
    pairs = {name: (before.get(name), now.get(name)) for name in MACHINE}
    old = before.get("versions", {})
    new = now.get("versions", {})
    recorded = old or new  # older rows record fewer packages
    pairs |= {
        name: (old.get(name), new[name]) for name in new if name in recorded and name != "ddl-bench"
    }
    return [f"{name} {was}, now {is_now}" for name, (was, is_now) in pairs.items() if was != is_now]
