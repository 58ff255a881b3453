"""What a killed worker leaves for the next one of its cell: RUN/work/ID.checkpoint, written between epochs."""

import io
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ddl_bench.api import Resumable, Training
from ddl_bench.errors import UserError
from ddl_bench.files import write_atomically
from ddl_bench.harness.clock import Phases

EVERY = 30.0  # seconds of work that a kill may cost, and the epoch under way
SHARE = 0.02  # of the time goes into saving, where that allows more than one in `EVERY`
MADE_BY = {"format": 1, "torch": str(torch.__version__)}  # another torch may round otherwise


@dataclass(kw_only=True)
class Mark:
    """How far the training of a grid point has come, at an end of `advance`."""

    index: int = 0  # of the grid point
    more: bool = True
    n_advances: int = 0
    train_s: float = 0.0
    evaluating: float = 0.0  # seconds spent on the curve
    passes: float | None = None
    curve: list[tuple[float, float, int]] = field(
        default_factory=list
    )  # seconds, accuracy on validation, n_advances
    losses: list[tuple[float, float, int]] = field(
        default_factory=list
    )  # seconds, mean training loss, n_advances
    state: dict[str, Any] = field(
        default_factory=dict
    )  # of the training, and of torch's generator, for dropout

    def take(self, training: Training) -> None:
        if isinstance(training, Resumable):
            self.state = {"training": training.state(), "chance": torch.get_rng_state()}


class Checkpoint:
    """How far a cell has come, by the word of an earlier worker where there was one.

    mark: of the grid point under way. best: of the best point before, whose training is loaded for its classifier.
    spent: training seconds of the points before. resumed: how often a worker went on. earlier_s: their wall time.
    """

    def __init__(self, path: Path, phases: Phases) -> None:
        self._path, self.phases = path, phases
        self._last, self._cost = time.perf_counter(), SHARE  # the first is due after a second
        self.mark = Mark()
        self.best: Mark | None = None
        self.spent, self.resumed, self.earlier_s = 0.0, 0, 0.0
        try:
            with torch.serialization.safe_globals([Mark]):
                kept = torch.load(path, map_location="cpu", weights_only=True)
            if kept.pop("made_by") != MADE_BY:
                raise ValueError(f"not made by {MADE_BY}")
            earlier = kept.pop("phases")
        except FileNotFoundError:
            return
        except Exception as error:  # torn, of another version, or no checkpoint at all
            print(f"{path}: checkpoint ignored: {error!r:.200}", flush=True)
            return
        for name, seconds in earlier.items():
            phases.seconds[name] = phases.seconds.get(name, 0.0) + seconds
        vars(self).update(kept, earlier_s=sum(earlier.values()))

    def begin(self, start: Callable[[], Training], mark: Mark) -> tuple[Training, Mark]:
        """A training that stands at `mark`, or at its beginning where it cannot be loaded."""
        training = start()
        if not mark.n_advances:
            return training, mark
        try:
            assert isinstance(training, Resumable), "the method keeps no state"
            training.load(mark.state["training"])
            torch.set_rng_state(mark.state["chance"])
        except Exception as error:
            print(f"{self._path}: checkpoint ignored: {error!r:.200}", flush=True)
            return start(), Mark(index=mark.index)
        self.resumed += mark is self.mark
        print(
            f"grid point {mark.index}: goes on after {mark.n_advances} epochs, {mark.train_s:.1f} s",
            flush=True,
        )
        return training, mark

    def save(self, mark: Mark, training: Training) -> None:
        """Keep `mark`, and what came before it, where the training can go on from it and it is time."""
        begin = time.perf_counter()
        if not isinstance(training, Resumable) or begin - self._last < min(
            EVERY, self._cost / SHARE
        ):
            return
        with self.phases("saving"):
            mark.take(training)
            before = {
                "best": self.best,
                "spent": self.spent,
                "resumed": self.resumed,
                "phases": self.phases.seconds,
            }
            torch.save({"made_by": MADE_BY, "mark": mark, **before}, buffer := io.BytesIO())
            try:
                write_atomically(self._path, buffer.getvalue())
            except UserError as error:  # the training is worth more than its checkpoint
                print(f"no checkpoint: {error}", flush=True)
        self._last = time.perf_counter()
        self._cost = self._last - begin
