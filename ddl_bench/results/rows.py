"""Result rows: one JSON file for each cell, written atomically."""

from __future__ import annotations

import dataclasses
import gc
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from ddl_bench.errors import UserError, nearest
from ddl_bench.files import (
    brief,
    explained,
    name_of,
    read_arrays,
    read_regular,
    warn_damaged,
    write_atomically,
)
from ddl_bench.plan.cell import Cell, label_meant, renewed
from ddl_bench.results.metrics import FILE as METRICS_FILE
from ddl_bench.results.metrics import Columns, Reading, read_columns, readings
from ddl_bench.results.paths import arrays_path, row_path
from ddl_bench.results.times import Times, read_times

if TYPE_CHECKING:
    import numpy as np

SCHEMA_VERSION = 2
LARGEST_ROW_BYTES = 64_000_000
LONGEST_REASON = 2_000  # characters
LARGEST = 10**18  # number that can have been measured, in whatever unit
# What a file may hold: of other numbers, such as an accuracy of 1e300, it holds no row.
Number = Annotated[float, Field(ge=-LARGEST, le=LARGEST, allow_inf_nan=False)]
Positive = Annotated[float, Field(ge=0, le=LARGEST, allow_inf_nan=False)]
Percent = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, le=LARGEST)]
Status = Literal[
    "ok", "skipped", "not_installed", "failed", "diverged", "timeout", "oom", "crashed", "outdated"
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """What the harness measured of a cell; None where it was not measured.

    Times are in seconds, memory in bytes, accuracies and shares of atoms in percent. Images start
    in host memory and scores end there, so times of predictions count transfers to a device.

    Parameters
    ----------
    official_accuracy
        On the data set's own test images, where `test_from_train` replaced them.
    best_epoch_accuracy, best_epoch, n_epochs_scored
        The highest accuracy on the test images of all epochs, its epoch, and how many were scored;
        on request. Nothing is chosen by them.
    search_s
        Training of the grid points that were not chosen.
    batch_dependent
        Images have other scores alone, or among other images, by more than rounding.
    stale_answers
        While predictions were timed, most images had another class: answers were kept.
    predictions_sha256
        Digest of the predicted classes: those of a repeated training are the same or not.
    n_views
        Views of an image whose scores a network adds: 2 with its mirror image, 6 with shifts too.
    n_held
        Numbers in the arrays of the classifier's `state`, counted by the harness.
    flops_left_out
        What the count of operations leaves out, or why there is none.
    train_cpu_s
        CPU time inside `advance`, of all threads and of children that ended.
    outside_s
        What a method did off the clock: `start` and every `classifier`, without compiling, and
        scoring beyond twice the time that its images take when they are timed.
    background_cpu_s, background
        CPU time of threads and children that still computed in a pause after the training, and
        which they were.
    unaccounted_s
        Seconds of the runner's clock that the worker's clock lacks; None below one second.
    n_cores_beyond
        Cores besides those of the cell on which its threads may run in the end, or which its CPU
        time shows.
    train_others, test_others
        Share of the cell's cores, 0 to 1, that others used during training, and while predictions
        were timed.
    train_switches, test_switches
        How often the kernel took a core away from the worker meanwhile.
    test_cpu_share
        CPU time / wall time while predictions were timed.
    load_average
        Of the machine after the timing: processes that computed or waited for a core, over a
        minute.
    n_test_runs, n_latency_runs
        How often a full batch, and one image, were timed.
    test_latency_s_iqr
        Interquartile range of the times of one image.
    train_s_per_image_pass_iqr
        The same over repeated steps, where training was timed again.
    clock_mhz
        Clock frequency of the cell's cores after the timing.
    retimed
        When and on what the times of predictions were measured again by `ddl-bench time`: they
        replace those of the run once rows are loaded. Files of rows never have it.
    not_retimed
        Why they are still those of the run, where other rows were measured again.
    not_retrained
        Why the times of training are still those of the run, where others were measured again.
    run_test_s_per_image, run_test_latency_s, run_train_s
        What the run had measured, where that was replaced.
    model_note
        Why no model is kept, where one was to be.
    conflict
        How the same cell ended in another folder that was merged with this one, where it has other
        results there. Files of rows never have it.
    recovered
        Share of the atoms that the images are made of, where these are known.
    """

    n_train: Count | None = None
    n_val: Count | None = None
    n_test: Count | None = None
    accuracy: Percent | None = None
    val_accuracy: Percent | None = None
    official_accuracy: Percent | None = None
    n_official: Count | None = None
    best_epoch_accuracy: Percent | None = None
    best_epoch: Count | None = None
    n_epochs_scored: Count | None = None
    n_params: Count | None = None
    n_stored: Count | None = None
    n_buffers: Count | None = None
    size_reason: str = ""
    flops_per_image: Count | None = None
    flops_left_out: str = ""
    train_s: Positive | None = None
    train_s_per_image: Positive | None = None
    train_s_per_image_pass: Positive | None = None
    train_s_per_image_pass_iqr: Positive | None = None
    passes: Positive | None = None
    search_s: Positive | None = None
    over_budget: bool = False
    batch_dependent: bool = False
    stale_answers: bool = False
    predictions_sha256: str = ""
    n_views: Count | None = None
    n_held: Count | None = None
    train_cpu_s: Positive | None = None
    outside_s: Number | None = None
    background_cpu_s: Number | None = None
    background: str = ""
    unaccounted_s: Number | None = None
    n_cores_beyond: Count | None = None
    train_others: Number | None = None
    test_others: Number | None = None
    train_switches: Count | None = None
    test_switches: Count | None = None
    test_cpu_share: Number | None = None
    load_average: Positive | None = None
    test_s_per_image: Positive | None = None
    test_s_per_image_iqr: Positive | None = None
    test_latency_s: Positive | None = None
    test_latency_s_iqr: Positive | None = None
    test_batch: Count | None = None
    n_test_runs: Count | None = None
    n_latency_runs: Count | None = None
    clock_mhz: Positive | None = None
    retimed: str = ""
    not_retimed: str = ""
    run_test_s_per_image: Positive | None = None
    not_retrained: str = ""
    run_test_latency_s: Positive | None = None
    run_train_s: Positive | None = None
    peak_memory: Count | None = None
    peak_device_memory: Count | None = None
    sparsity: Positive | None = None
    reconstruction: Positive | None = None
    recovered: Percent | None = None
    data_note: str = ""
    model_note: str = ""
    conflict: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a worker's training came to; `earlier_s` is the wall time of workers before it."""

    measured: Measured = Measured()
    chosen: dict[str, Any] = dataclasses.field(default_factory=dict)
    resumed: int = 0
    earlier_s: float = 0.0


TYPE_OF_COLUMN = {field.name: str(field.type) for field in dataclasses.fields(Measured)}
COLUMNS_MEASURED = frozenset(TYPE_OF_COLUMN)
NUMBERS_MEASURED = tuple(name for name, text in TYPE_OF_COLUMN.items() if "None" in text)
PERCENTAGES = frozenset(name for name, text in TYPE_OF_COLUMN.items() if "Percent" in text)


OF_OTHER_FILES: dict[str, Any] = {  # filled in once rows are loaded; a row's file has none of it
    field.name: field.default
    for field in dataclasses.fields(Measured)
    if field.name.startswith("run_")
    or field.name in ("retimed", "not_retimed", "not_retrained", "conflict")
}


class Provenance(BaseModel):
    """The entries of a provenance that tables and reports read; others may stand beside them."""

    model_config = ConfigDict(extra="allow", strict=True)

    command: str | None = None
    commit: str | None = None
    dirty: bool | None = None
    host: str | None = None
    os: str | None = None
    cpu: str | None = None
    cores: Count | None = None
    gpu: str | None = None
    cuda: str | None = None
    blas: str | None = None
    versions: dict[str, str | None] = {}
    plugins: dict[str, str | None] = {}


class Row(BaseModel):
    """What became of one cell.

    Parameters
    ----------
    status, reason
        How it ended, and why where it did not end well.
    chosen
        The grid point that was chosen on validation images.
    wall_s
        Seconds from the start of the worker to its end.
    resumed
        How often the training continued from the checkpoint of a worker that was killed.
    failed_attempts
        How earlier attempts of the same run ended, with `--retries`: status and reason.
    phases
        Seconds by phase of the worker.
    started
        When the worker was started, in UTC.
    provenance
        Commit, versions, machine, and the command that reproduces the row.
    metrics
        Numbers that plugins have computed of it, by name. Files of rows never have them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = SCHEMA_VERSION
    cell: Cell
    status: Status
    reason: str = ""
    chosen: dict[str, Any] = {}
    measured: Measured = Measured()
    wall_s: Number | None = None
    resumed: Count = 0
    failed_attempts: tuple[str, ...] = ()
    phases: dict[str, Number] = {}
    started: str = ""
    provenance: dict[str, Any] = {}
    metrics: dict[str, Reading] = {}

    @field_validator("reason")
    @classmethod
    def _cut(cls, reason: str) -> str:
        """Keep the beginning of a reason: a method may put its whole data into a message."""
        return brief(reason, LONGEST_REASON) if len(reason) > LONGEST_REASON else reason


COLUMNS = frozenset(Row.model_fields)
COLUMNS_OF_CELL = frozenset(Cell.model_fields)
RESERVED = COLUMNS | COLUMNS_OF_CELL | COLUMNS_MEASURED | {"cell_id", "group", "run", "line"}


def write_row(run: Path, row: Row) -> None:
    """Write a row to RUN/cells/ID.json."""
    data = row.model_dump_json(indent=1, exclude={"metrics"}).encode()
    write_atomically(row_path(run, row.cell.id), data)


def read_row(path: Path) -> Row | None:
    """Read the row in a file; None where there is none, so that the cell is run again.

    A damaged file, one whose numbers cannot have been measured, and one whose name is not the ID of
    its row hold none, and are warned of. Keys that a newer version may have added are ignored.
    """
    try:
        row = row_in(read_regular(path, LARGEST_ROW_BYTES), path.stem)
    except FileNotFoundError:
        return None
    except RecursionError:
        warn_damaged(path, "nested too deeply")
        return None
    except (UserError, ValueError, AttributeError, TypeError, KeyError, ArithmeticError) as error:
        warn_damaged(path, damage_in(path, error))
        return None
    problem = problem_of(row, path.stem)
    if problem:
        warn_damaged(path, problem)
        return None
    return as_written(row)


def problem_of(row: Row, cell_id: str) -> str:
    """Say why a file of that name cannot have this row; empty where it can."""
    if row.cell.id != cell_id:
        return f"its row is that of the cell {row.cell.id}"
    if row.status == "ok" and row.measured.accuracy is None:
        return "it ended well, and has no accuracy"
    if row.cell.machine.threads is None:
        return "it does not say how many threads it had"
    if "\0" in row.cell.dataset:
        return "the name of its data set has a zero byte"
    return ""


def as_written(row: Row) -> Row:
    """Return a row without what its own file cannot know, such as times that were taken later."""
    told = [name for name in OF_OTHER_FILES if getattr(row.measured, name)]
    if not told and not row.metrics:
        return row
    own = replace(row.measured, **{name: OF_OTHER_FILES[name] for name in told})
    return row.model_copy(update={"measured": own, "metrics": {}})


def row_in(content: bytes, cell_id: str) -> Row:
    """Make a row of the text of a file; one of today's form in a third of the time of others."""
    try:
        row = Row.model_validate_json(content)
    except ValidationError:
        row = Row.model_validate(known(json.loads(content), cell_id))
    Provenance.model_validate(row.provenance)
    return row


def damage_in(path: Path, error: Exception) -> str:
    """Say what is wrong with the file of a row."""
    if isinstance(error, UserError):
        return str(error).removeprefix(f"{name_of(path)}: ")
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"not a row: {'.'.join(map(str, first['loc']))}: {brief(first['msg'])}"
    return f"not a row: {brief(error)}"


def known(values: dict[str, Any], cell_id: str) -> dict[str, Any]:
    """Bring the values of a row into today's form and drop keys that are not known.

    Schema 1 had all that is measured side by side with the rest.
    """
    cell = values["cell"]
    if "machine" not in cell:
        cell = renewed(cell, cell_id)
    measured = values.get("measured", values)
    new = {key: value for key, value in values.items() if key in COLUMNS}
    new["cell"] = {key: value for key, value in cell.items() if key in COLUMNS_OF_CELL}
    new["measured"] = {key: value for key, value in measured.items() if key in COLUMNS_MEASURED}
    return new


@contextmanager
def collection_paused() -> Iterator[None]:
    """Make objects by the thousand without a search for cycles, of which they have none.

    Each such search looks at every row that was read: half of the time of 10,000 rows.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def read_rows(paths: Iterable[Path]) -> list[Row]:
    """Read the rows in files, in their order, of those that have one, see `read_row`."""
    with collection_paused():
        rows = map(read_row, paths)
        return [row for row in rows if row is not None]


def load_rows(run: str | Path) -> list[Row]:
    """Read all rows of a run, oldest first; results of old code never mix with those of new.

    Of several rows of one line and seed the newest counts. Rows that were measured with other code
    than the newest row of their line have the status `outdated`. Rows of a method that was not
    installed count only where there are no others: they say nothing of its code.
    """
    home = Path(run)
    folder = home / "cells"
    with explained(folder):
        if not folder.is_dir():
            places = (home.parent, home.parent / "results")
            runs = [path.parent.name for place in places for path in place.glob("*/cells")]
            choice = f", or choose a run: {nearest(home.name, runs)}" if runs else ""
            raise UserError(f"no results in {home}: run `ddl-bench run` first{choice}")
        paths = [path for path in folder.iterdir() if path.suffix == ".json"]
    rows = read_rows(paths)
    rows.sort(key=lambda row: row.started)
    last_counts = sorted(rows, key=lambda row: row.status != "not_installed")
    newest = {(row.cell.settings, row.cell.seed): row for row in last_counts}
    code = {row.cell.settings: code_of(row) for row in last_counts}
    counted = sorted(newest.values(), key=lambda row: row.started)
    current = [as_of(row, code[row.cell.settings]) for row in counted]
    session = read_times(home)
    if session is not None:
        current = [retimed(row, session) for row in current]
    return with_metrics(home, current)


def with_metrics(run: Path, rows: Sequence[Row]) -> list[Row]:
    """Return rows with the numbers that plugins have computed of them in this run folder."""
    columns = read_columns(run)
    if not columns.columns:
        return list(rows)
    columns = without_ours(run, columns)
    known = [readings(columns, row.cell.id, row.started) for row in rows]
    return [
        row.model_copy(update={"metrics": metrics})
        for row, metrics in zip(rows, known, strict=True)
    ]


def without_ours(run: Path, columns: Columns) -> Columns:
    """Return the metrics of a run without those that have the name of a column of ours.

    A plugin may have had the name before we did. Warns of each.
    """
    taken = columns.columns.keys() & RESERVED
    for name in sorted(taken):
        warn_damaged(run / METRICS_FILE, f"left out: {name!r} is the name of a column of ours")
    kept = {name: column for name, column in columns.columns.items() if name not in taken}
    return columns.model_copy(update={"columns": kept})


def retimed(row: Row, session: Times) -> Row:
    """Return a row with the times that were measured again, or why it has none."""
    if row.status != "ok":
        return row
    measured = with_training_times(row, session)
    times = session.rows.get(row.cell.id)
    if times is None or times.started != row.started:
        if session.rows:
            reason = session.left.get(row.cell.id) or "it was run later"
            measured = replace(measured, not_retimed=reason)
    else:
        measured = replace(
            measured,
            **times.values(),
            retimed=session.described(),
            run_test_s_per_image=row.measured.test_s_per_image,
            run_test_latency_s=row.measured.test_latency_s,
        )
    return row.model_copy(update={"measured": measured})


def with_training_times(row: Row, session: Times) -> Measured:
    """Return what was measured of a row, with a time of training that follows from some steps."""
    measured = row.measured
    times = session.training.get(row.cell.id)
    is_later = times is None or times.started != row.started
    if times is None or is_later or not measured.passes or not measured.n_train:
        if not session.training:
            return measured
        reason = session.left_training.get(row.cell.id) or "it was run later"
        return replace(measured, not_retrained=reason)
    s_per_image = times.train_s_per_image_pass * measured.passes
    train_s = s_per_image * measured.n_train
    return replace(
        measured,
        train_s=train_s,
        train_s_per_image=s_per_image,
        train_s_per_image_pass=times.train_s_per_image_pass,
        train_s_per_image_pass_iqr=times.train_s_per_image_pass_iqr,
        train_cpu_s=times.train_cpu_share * train_s,
        train_others=times.train_others,
        run_train_s=measured.train_s,
    )


def code_of(row: Row) -> tuple[int, str]:
    """What tells the code of two rows apart: the rule of the hash and the hash."""
    return row.cell.identity, row.cell.source


def as_of(row: Row, code: tuple[int, str]) -> Row:
    """Return a row as it counts beside rows of that code: `outdated` if it is of other code."""
    if code_of(row) == code or row.status == "not_installed":
        return row
    reason = "measured with older code of the method; run this seed again"
    return row.model_copy(update={"status": "outdated", "reason": reason})


def arrays(
    run: str | Path,
    cell_id: str,
    wanted: Sequence[str] | None = None,
    sha256: str | None = None,
) -> dict[str, np.ndarray]:
    """Read what is kept beside a row; empty where nothing is. Warns of what is damaged.

    `y_test`, `predictions`, `class_names`, `curve_*`, `loss_*`, `artefact_*`.

    Parameters
    ----------
    run
        The run folder.
    cell_id
        The cell of the row.
    wanted
        Names of the arrays to read, which takes a share of the time; None for all.
    sha256
        The digest of its predictions that the row has. A file with others, as after a kill or where
        two runs were mixed, is of another training, and is left out. None or no predictions wanted:
        not compared.
    """
    path = arrays_path(Path(run), cell_id)
    try:
        stored = read_arrays(path, wanted)
        check_arrays(stored, wanted)
        if sha256 and "predictions" in stored and digest(stored["predictions"]) != sha256:
            raise UserError("its predictions are those of another training than its row")
    except FileNotFoundError:
        return {}
    except UserError as error:
        warn_damaged(path, damage_in(path, error))
        return {}
    for name in SCORED:
        if name in stored:  # labels take one byte in the file, which sums of them overflow
            stored[name] = stored[name].astype(LABEL, copy=False)
    return stored


def digest(predictions: np.ndarray) -> str:
    """Return the SHA-256 of predicted classes as 32-bit integers, the first byte lowest."""
    return hashlib.sha256(predictions.astype(LABEL).tobytes()).hexdigest()


LABEL = "<i4"
SCORED = ("y_test", "predictions")
CURVE = ("curve_seconds", "curve_accuracy", "curve_step", "curve_split")

# Arrays that belong together: as many numbers in each.
TOGETHER = (
    SCORED,
    ("curve_seconds", "curve_accuracy", "curve_step"),
    ("loss_seconds", "loss_mean", "loss_step"),
)


def check_arrays(stored: dict[str, np.ndarray], wanted: Sequence[str] | None = None) -> None:
    """Raise UserError for arrays that no row can have beside it; `wanted` as in `arrays`."""
    import numpy as np  # here, so that commands that read no arrays start at once

    for names in TOGETHER:
        present = [stored[name] for name in names if name in stored]
        if any(array.ndim != 1 or array.dtype.kind not in "iuf" for array in present):
            raise UserError(f"{', '.join(names)}: expected one number for each")
        if len({len(array) for array in present}) > 1:
            raise UserError(f"{', '.join(names)} differ in length")
    for names in TOGETHER[1:]:
        present = [stored[name] for name in names if name in stored]
        if not all(np.isfinite(array).all() for array in present):
            raise UserError(f"{', '.join(names)}: expected finite numbers")
    for name in SCORED:
        if wanted is not None and name not in wanted:
            continue
        if name not in stored:
            raise UserError(f"has no array {name}")
        if stored[name].dtype.kind not in "iu":
            raise UserError(f"{name} is {stored[name].dtype}; expected integers")
    if "curve_seconds" in stored and not {"curve_accuracy", "curve_split"} <= stored.keys():
        raise UserError("has a curve without accuracy or split")
    check_classes(stored)
    atoms = stored.get("artefact_atoms")
    if atoms is not None and (atoms.ndim != 4 or atoms.dtype.kind != "f" or not atoms.size):
        raise UserError(f"artefact_atoms is {atoms.dtype} {atoms.shape}; expected images of atoms")


def check_classes(stored: dict[str, np.ndarray]) -> None:
    """Raise UserError for labels that have no class name, where classes have names."""
    names = stored.get("class_names")
    if names is None:
        return
    if names.ndim != 1:
        raise UserError(f"class_names is {names.shape}; expected a list")
    for key in SCORED:
        labels = stored[key]
        if labels.size and not 0 <= labels.min() <= labels.max() < len(names):
            raise UserError(f"{key} has labels beyond the {len(names)} classes")


def find_rows(run: str | Path, wanted: str) -> list[Row]:
    """Find the rows of a label, as in `sdl`, or of a label and a seed, as in `sdl@0`.

    Spaces in a label may be left out. Or those whose cell ID starts with `wanted`, where no label
    is meant. Raises UserError where there is none.
    """
    rows = load_rows(run)
    labels = {row.cell.label: None for row in rows}
    whole = label_meant(wanted, labels)
    before, _, seed = wanted.rpartition("@")
    label = label_meant(before, labels)
    by_label = [row for row in rows if row.cell.label == whole]
    by_seed = [row for row in rows if row.cell.label == label and str(row.cell.seed) == seed]
    by_id = [row for row in rows if wanted and row.cell.id.startswith(wanted)]
    matching = by_label or by_seed or by_id
    if not matching:
        seeds = sorted({row.cell.seed for row in rows if row.cell.label == label})
        if seeds:
            choice = f"the seeds of {label} are {', '.join(map(str, seeds))}"
        else:
            choice = nearest(wanted, labels)
        raise UserError(f"{run}: no row {wanted!r}: {choice}")
    return matching
