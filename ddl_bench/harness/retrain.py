"""Measure the time of training again: some steps of each line of a run, alone and interleaved.

A line is trained anew for a moment, from its beginning, again and again. A training looks at its
deadline between batches: what counts is the time between the first of these looks that finds a
batch done and the last, and the passes over the images made meanwhile. Its start, its first batch
and what it does only once are left out.
"""

from dataclasses import dataclass, field
from time import perf_counter
from typing import NamedTuple

import numpy as np

from ddl_bench.api import CountsPasses, Method, Task
from ddl_bench.errors import UserError
from ddl_bench.harness.clock import synchronize
from ddl_bench.harness.load import Load, LoadMeter
from ddl_bench.harness.worker import seed_everything
from ddl_bench.plan.cell import Cell
from ddl_bench.results.times import TrainTimes

VISIT_S = 1.0  # of one line in one round
MIDDLE = 0.5  # of a budget in seconds: the share that a training is told to have used


class Look(NamedTuple):
    """When a training looked at its deadline, and the passes that it had made."""

    at_s: float
    passes: float


class Moment:
    """A `Deadline` that ends a training after a moment, and notes how far it had come.

    Parameters
    ----------
    training
        Counts its passes.
    cell
        Knows the device, which is waited for at both ends of the moment alone, and the budget.
    visit_s
        How long the moment is.
    """

    def __init__(self, training: CountsPasses, cell: Cell, visit_s: float) -> None:
        self._training = training
        self._cell = cell
        self._visit_s = visit_s
        self.looks: list[Look] = []
        self.look()

    def look(self) -> None:
        """Note how far the training has come, once the device has done what it was asked for."""
        synchronize(self._cell.machine.device)
        self.looks.append(Look(perf_counter(), self._training.passes))

    def fraction(self) -> float:
        """Return the middle of a budget in seconds, where schedules have no extreme rate."""
        return MIDDLE if self._cell.budget.seconds else 0.0

    def expired(self) -> bool:
        """Whether the moment is over, which starts once a batch is done."""
        begin = self._begin()
        if not begin.passes:
            self.look()
            return False
        return perf_counter() - begin.at_s >= self._visit_s

    def report(self, share: float) -> None:
        """Do nothing: nobody waits for a moment."""

    def s_per_pass(self) -> float | None:
        """Return the seconds of a pass; None where no part of one was made."""
        begin = self._begin()
        end = self.looks[-1]
        if end.passes == begin.passes:  # it looks too seldom: all of it counts
            begin = self.looks[0]
        passes = end.passes - begin.passes
        return (end.at_s - begin.at_s) / passes if passes > 0 else None

    def _begin(self) -> Look:
        done = (look for look in self.looks if look.passes > 0)
        return next(done, self.looks[0])


@dataclass
class Steps:
    """One line of a run whose training is timed, visit by visit.

    Parameters
    ----------
    cell, method, task
        What is trained, by what, on what.
    """

    cell: Cell
    method: Method
    task: Task
    pass_s: list[float] = field(default_factory=list)
    loads: list[Load] = field(default_factory=list)

    def visit(self, visit_s: float = VISIT_S) -> None:
        """Train for a moment, from the beginning.

        Raises UserError where the training does not say how many passes it makes.
        """
        seed_everything(self.cell)
        training = self.method.start(self.task, self.cell.budget_for_method())
        if not isinstance(training, CountsPasses):
            raise UserError("its training does not count passes")
        meter = LoadMeter()
        moment = Moment(training, self.cell, visit_s)
        more = True
        while more and not moment.expired():
            more = training.advance(moment)
        moment.look()
        seconds = moment.s_per_pass()
        if seconds is None:
            raise UserError("its training made no pass")
        self.pass_s.append(seconds)
        self.loads.append(meter.read())

    def times(self) -> TrainTimes:
        """Return the median over rounds, per image and pass, and its interquartile range."""
        wall_s = sum(load.wall_s for load in self.loads)
        shares = [load.others for load in self.loads]
        known = [share for share in shares if share is not None]
        low, median, high = np.percentile(self.pass_s, [25, 50, 75]) / len(self.task.train)
        return TrainTimes(
            train_s_per_image_pass=float(median),
            train_s_per_image_pass_iqr=float(high - low),
            n_visits=len(self.pass_s),
            train_cpu_share=sum(load.cpu_s for load in self.loads) / wall_s,
            train_others=float(np.mean(known)) if len(known) == len(shares) else None,
        )
