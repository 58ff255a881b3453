"""What a killed worker leaves for the next one of its cell: RUN/work/ID.checkpoint.

It is written between epochs, and holds the state of the training and all that was measured so far.
In front stands the SHA-256 of the rest: torch would load other weights from a damaged file.
"""

import hashlib
import io
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import torch

from ddl_bench.api import Resumable, Training
from ddl_bench.errors import UserError
from ddl_bench.files import brief, read_regular, write_atomically
from ddl_bench.harness.clock import Phases
from ddl_bench.harness.stop import EXIT_CODE, StopRequest

EVERY_S = 30.0  # work that a kill may cost, besides the epoch under way
SAVING_SHARE = 0.02  # of the time may go into saving, where that allows more than `EVERY_S` does
DIGEST_BYTES = hashlib.sha256().digest_size
MADE_BY = {"format": 4, "torch": str(torch.__version__)}  # another torch may round otherwise


class Point(NamedTuple):
    """A point of a curve: what was measured after so much training."""

    train_s: float
    value: float
    n_advances: int


@dataclass(kw_only=True)
class Mark:
    """How far the training of a grid point has come, at the end of an `advance`.

    Parameters
    ----------
    index
        Which point of the grid.
    more
        Whether training goes on.
    n_advances, train_s, passes
        Calls of `advance`, seconds of training, and passes through the training images so far.
    train_cpu_s
        CPU time of training.
    outside_s
        Seconds spent in `start`, in `classifier`, and in all else but `advance` and scoring.
    scoring_s, n_scored
        Seconds spent in scoring, and images that were scored; a small batch counts as one that is
        timed.
    evaluation_s
        Seconds spent on the curve.
    curve
        Accuracy on validation images, in percent.
    losses
        Mean training loss.
    state
        Of the training, and of torch's generator, which dropout draws from.
    """

    index: int = 0
    more: bool = True
    n_advances: int = 0
    train_s: float = 0.0
    train_cpu_s: float = 0.0
    outside_s: float = 0.0
    scoring_s: float = 0.0
    n_scored: int = 0
    evaluation_s: float = 0.0
    passes: float | None = None
    curve: list[Point] = field(default_factory=list)
    losses: list[Point] = field(default_factory=list)
    state: dict[str, Any] = field(default_factory=dict)

    def add_to(self, curve: list[Point], value: float) -> None:
        """Add a point to one of the curves."""
        curve.append(Point(self.train_s, value, self.n_advances))

    def take_state(self, training: Training) -> None:
        """Take the state of a training that can be resumed."""
        if isinstance(training, Resumable):
            self.state = {"training": training.state(), "generator": torch.get_rng_state()}


class Checkpoint:
    """How far a cell has come, as an earlier worker left it, if there was one.

    Parameters
    ----------
    path
        Its file.
    phases
        The seconds of each phase so far.
    before_writing
        Is called before anything is written; ends the process where another one has the cell.

    Attributes
    ----------
    mark
        Of the grid point under way.
    best
        Of the best point before it, whose training is loaded for its classifier.
    spent_s
        Training seconds of the points before.
    resumed
        How often a worker resumed the cell.
    earlier_s
        Wall time of the workers before this one.
    stop
        Whether this worker is to stop after its epoch.
    """

    def __init__(
        self, path: Path, phases: Phases, before_writing: Callable[[], object] = nullcontext
    ) -> None:
        self.phases = phases
        self.before_writing = before_writing
        self.mark = Mark()
        self.best: Mark | None = None
        self.spent_s = 0.0
        self.resumed = 0
        self.earlier_s = 0.0
        self.stop = StopRequest()
        self._path = path
        self._last_saved = perf_counter()
        self._cost_s = SAVING_SHARE  # so that the first is due after a second
        content = self._load()
        if content:
            self.mark = content["mark"]
            self.best = content["best"]
            self.spent_s = content["spent_s"]
            self.resumed = content["resumed"]
            self.earlier_s = sum(content["phases"].values())
            for name, seconds in content["phases"].items():
                phases.add(name, seconds)

    def _load(self) -> dict[str, Any] | None:
        """Read what an earlier worker left; None where there is nothing to go on from."""
        try:
            return unpacked(read_regular(self._path))
        except FileNotFoundError:
            return None
        except (Exception, MemoryError) as error:  # torn, of another version, or no checkpoint
            self._ignore(error)
            return None

    def _ignore(self, error: BaseException) -> None:
        print(f"{self._path}: checkpoint ignored: {brief(repr(error), 200)}", flush=True)

    def begin(self, start: Callable[[], Training], mark: Mark) -> tuple[Training, Mark]:
        """Start a training and bring it to `mark`, or leave it at its beginning where that fails.

        Returns the training and the mark that it stands at.
        """
        training = start()
        if isinstance(training, Resumable):
            self.stop.listen()
        if not mark.n_advances:
            return training, mark
        try:
            if not isinstance(training, Resumable):
                raise TypeError("the method keeps no state")
            training.load(mark.state["training"])
            torch.set_rng_state(mark.state["generator"])
        except Exception as error:
            self._ignore(error)
            return start(), Mark(index=mark.index)
        if mark is self.mark:
            self.resumed += 1
        progress = f"{mark.n_advances} epochs, {mark.train_s:.1f} s"
        print(f"grid point {mark.index}: resumed after {progress}", flush=True)
        return training, mark

    def save(
        self,
        mark: Mark,
        training: Training,
        writing: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """Write `mark` and what came before it, if it is time and the training can be resumed.

        Ends the process where it was asked to stop. The state is taken before `writing` is entered.
        """
        begin = perf_counter()
        due_s = min(EVERY_S, self._cost_s / SAVING_SHARE)
        is_due = self.stop.is_asked or begin - self._last_saved >= due_s
        if not isinstance(training, Resumable) or not is_due:
            return
        with self.phases("saving"):
            mark.take_state(training)
            content = {
                "made_by": MADE_BY,
                "mark": mark,
                "best": self.best,
                "spent_s": self.spent_s,
                "resumed": self.resumed,
                "phases": self.phases.seconds,
            }
            try:
                with writing():
                    self.before_writing()
                    write_atomically(self._path, packed(content))
            except UserError as error:  # the training is worth more than its checkpoint
                print(f"no checkpoint: {error}", flush=True)
        if self.stop.is_asked:
            sys.exit(EXIT_CODE)
        self._last_saved = perf_counter()
        self._cost_s = self._last_saved - begin


def resumes_after_s(path: Path) -> float | None:
    """Return the seconds of training that a checkpoint holds; None where there is no sound one."""
    try:
        content = unpacked(read_regular(path))
    except (Exception, MemoryError):  # as for a worker, which ignores it
        return None
    return float(content["spent_s"] + content["mark"].train_s)


def packed(content: dict[str, Any]) -> bytes:
    """Write the content of a checkpoint as bytes, its SHA-256 in front."""
    buffer = io.BytesIO()
    buffer.write(bytes(DIGEST_BYTES))
    torch.save(content, buffer)
    view = buffer.getbuffer()
    view[:DIGEST_BYTES] = hashlib.sha256(view[DIGEST_BYTES:]).digest()
    return view.tobytes()


def unpacked(data: bytes) -> dict[str, Any]:
    """Read what `packed` wrote; any other bytes raise an exception of some kind."""
    payload = memoryview(data)[DIGEST_BYTES:]
    if hashlib.sha256(payload).digest() != data[:DIGEST_BYTES]:
        raise ValueError("damaged: its SHA-256 is wrong")
    with torch.serialization.safe_globals([Mark, Point]):
        content = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    if content["made_by"] != MADE_BY:
        raise ValueError(f"not made by {MADE_BY}")
    check_content(content)
    return dict(content)


def check_content(content: dict[str, Any]) -> None:
    """Raise TypeError for a checkpoint that is whole and holds something else than its parts."""
    marks = [content["mark"]]
    if content["best"] is not None:
        marks.append(content["best"])
    numbers = [content["spent_s"], content["resumed"], *content["phases"].values()]
    for mark in marks:
        if not isinstance(mark, Mark) or not isinstance(mark.state, dict):
            raise TypeError("holds no mark")
        numbers += [mark.index, mark.n_advances, mark.train_s, mark.evaluation_s]
        numbers += [mark.train_cpu_s, mark.outside_s, mark.scoring_s, mark.n_scored]
        for point in [*mark.curve, *mark.losses]:
            numbers += [point.train_s, point.value, point.n_advances]
    for number in numbers:
        if not isinstance(number, int | float):
            raise TypeError(f"holds {number!r} in place of a number")
