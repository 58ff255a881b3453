"""Curves for TensorBoard: of cells that train, and from what is kept beside the rows."""

import os
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

from ddl_bench.errors import UserError
from ddl_bench.files import append_at, brief, explained
from ddl_bench.plan.cell import Cell
from ddl_bench.results.rows import Row, arrays

ACCURACY = "accuracy/validation"  # titles of curves
LOSS = "loss/training"
# The prefix of the arrays of a curve, and which of them has the values.
CURVES = {
    ACCURACY: ("curve", "accuracy"),
    LOSS: ("loss", "mean"),
}
PREFIX = "events.out.tfevents."
FORMAT = "brain.Event:2"


class ShownPoint(NamedTuple):
    """A point of the curve with a title: a value after so many epochs and seconds of training."""

    title: str
    epoch: int
    seconds: float
    value: float


class EventFile:
    """The curves of one training, in a file that grows; those of earlier trainings are dropped.

    A TensorBoard that is running reads on from the file that it is at, and then the next by name.
    So names count up, and an event says that what came before is over. The file before is emptied,
    and removed when there is another: TensorBoard would wait for a file that is gone.

    Parameters
    ----------
    folder
        The folder of the cell.
    start_s
        When the training began, as seconds since 1970.
    """

    def __init__(self, folder: Path, start_s: float) -> None:
        self._folder = folder
        self._start_s = start_s
        self._path: Path | None = None
        self._size = 0
        self._pending = framed([event(wall_time=start_s, file_version=FORMAT)])
        self.begin_anew()

    def begin_anew(self) -> None:
        """Drop the points so far, as for another training."""
        from tensorboard.compat.proto.event_pb2 import SessionLog

        log = SessionLog(status=SessionLog.START)
        self._pending += framed([event(session_log=log, step=0)])

    def append(self, points: Iterable[ShownPoint]) -> None:
        """Append points. Raises OSError, as on a full disk; the next call writes them as well."""
        self._pending += records(points, self._start_s)
        if not self._pending:
            return
        earlier = []
        if self._path is None:
            earlier = [path for path in self._folder.glob(f"{PREFIX}*") if path.is_file()]
            self._path = self._create(earlier)
        self._size = append_at(self._path, self._size, self._pending)
        self._pending = b""
        for path in earlier:
            retire(path)

    def _create(self, earlier: Iterable[Path]) -> Path:
        """Create an empty file whose name comes behind the earlier ones."""
        self._folder.mkdir(parents=True, exist_ok=True)
        numbers = [path.name.removeprefix(PREFIX) for path in earlier]
        last = max((int(number) for number in numbers if number.isdecimal()), default=-1)
        path = self._folder / f"{PREFIX}{last + 1:06d}"
        path.touch()
        return path


def retire(path: Path) -> None:
    """Empty an event file, or remove one that is empty already."""
    with suppress(FileNotFoundError):
        if path.stat().st_size:
            os.truncate(path, 0)
        else:
            path.unlink()


def require() -> None:
    """Raise UserError where TensorBoard cannot be imported."""
    try:
        EventFile(Path(), 0.0)
    except ImportError as error:
        problem = f"`tensorboard` cannot be imported: {brief(error)}"
        hint = "pip install 'ddl-bench[tensorboard]'"
        raise UserError(f"--tensorboard: {problem}; {hint}") from None


def folder_of(run: Path, cell: Cell) -> Path:
    """Return the folder with the curves of a cell: RUN/tensorboard/DATASET/LABEL-SEED-CELL."""
    name = re.sub(r"[^\w.=,\[\]-]+", "_", f"{cell.label}-{cell.seed}-{cell.id}")
    return run / "tensorboard" / Path(cell.dataset).stem / name


def write(run: Path, rows: Sequence[Row]) -> Path:
    """Write the curves of the rows that ended well; returns RUN/tensorboard.

    Older curves of these rows are replaced. A "step" is an epoch, "relative" is seconds of
    training. Raises UserError where nothing can be written.
    """
    for row in rows:
        if row.status == "ok":
            folder = folder_of(run, row.cell)
            start_s = start_of(row)
            points = points_of(run, row)
            with explained(folder, "cannot write the curves; the rows are kept"):
                EventFile(folder, start_s).append(points)
    return run / "tensorboard"


def start_of(row: Row) -> float:
    """Return when a row was begun, in seconds since 1970; 0 where it does not say it as a date."""
    try:
        return datetime.fromisoformat(row.started).timestamp()
    except ValueError:
        return 0.0


def points_of(run: Path, row: Row) -> list[ShownPoint]:
    """Read the points of all curves of a row."""
    stored = arrays(run, row.cell.id)
    points = []
    for title, (prefix, values) in CURVES.items():
        names = [f"{prefix}_{part}" for part in (values, "step", "seconds")]
        columns = [stored.get(name, ()) for name in names]
        # Rows of early versions have no steps.
        for value, step, seconds in zip(*columns, strict=False):
            points.append(ShownPoint(title, int(step), float(seconds), float(value)))
    return points


def records(points: Iterable[ShownPoint], start_s: float) -> bytes:
    """Write points as the records of an event file."""
    from tensorboard.compat.proto.summary_pb2 import Summary

    events = []
    for point in points:
        value = Summary.Value(tag=point.title, simple_value=point.value)
        summary = Summary(value=[value])
        wall_time = start_s + point.seconds
        events.append(event(wall_time=wall_time, step=point.epoch, summary=summary))
    return framed(events)


def event(**fields: Any) -> Any:
    """Return an event of TensorBoard, which is imported where it is needed alone."""
    from tensorboard.compat.proto.event_pb2 import Event

    return Event(**fields)


def framed(events: Iterable[Any]) -> bytes:
    """Write events with their lengths and checksums."""
    from tensorboard.summary.writer.record_writer import RecordWriter

    buffer = BytesIO()
    writer = RecordWriter(buffer)
    for each in events:
        writer.write(each.SerializeToString())
    return buffer.getvalue()
