"""Time models and training in rounds, in a process that does nothing else.

python -P -m ddl_bench.harness.rounds REQUEST PIPE PARENT
"""

import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from ddl_bench import registry
from ddl_bench.api import Classifier, Method, Placeable, Task
from ddl_bench.data.splits import task_of, tests_of
from ddl_bench.errors import UserError
from ddl_bench.files import brief
from ddl_bench.harness.clock import TimedBatches
from ddl_bench.harness.evaluate import TIMED_IMAGES, read_images
from ddl_bench.harness.load import Load, LoadMeter, clock_mhz
from ddl_bench.harness.retrain import VISIT_S as TRAIN_VISIT_S
from ddl_bench.harness.retrain import Steps
from ddl_bench.harness.worker import end_with_parent, seed_everything
from ddl_bench.params import make_method
from ddl_bench.plan.cell import Machine
from ddl_bench.plan.identity import code_identity
from ddl_bench.results.models import load_model
from ddl_bench.results.paths import model_path
from ddl_bench.results.rows import SCORED, Row, arrays, load_rows
from ddl_bench.results.times import RowTimes
from ddl_bench.training.method import NetworkMethod

VISIT_S = 0.05  # of one model in one round, in batches, and as much in single images
LEAST_SAME = 0.98  # share of images whose class is that of the row: else it is another model

Tell = Callable[[str, int, int], None]  # what is done, how much of it, of how much


class TimingRequest(BaseModel):
    """What a process is to time: rows of a run that take equal threads on one device."""

    model_config = ConfigDict(frozen=True)

    run: Path
    cell_ids: list[str]
    train_ids: list[str]
    plugins: list[Path]
    data_dir: Path | None
    n_rounds: int
    cores: list[int]


@dataclass
class Subject:
    """One model that is timed, visit by visit.

    Parameters
    ----------
    cell_id, started
        Of its row.
    batches, singles
        Time full batches, and one image at a time.
    n_images
        That are timed.
    cores
        Where it runs.
    """

    cell_id: str
    started: str
    batches: TimedBatches
    singles: TimedBatches
    n_images: int
    cores: set[int]
    batch_s: list[float] = field(default_factory=list)
    single_s: list[float] = field(default_factory=list)
    n_batches: int = 0
    n_singles: int = 0
    loads: list[Load] = field(default_factory=list)
    clocks_mhz: list[float] = field(default_factory=list)

    def visit(self, visit_s: float = VISIT_S) -> None:
        """Time it for a moment: the medians are those of one round."""
        meter = LoadMeter()
        times = list(runs_within(self.batches, visit_s))
        self.n_batches += len(times)
        self.batch_s.append(float(np.median(times)))
        times = list(runs_within(self.singles, visit_s))
        self.n_singles += len(times)
        self.single_s.append(float(np.median(times)))
        self.loads.append(meter.read())
        frequency = clock_mhz(self.cores)
        if frequency is not None:
            self.clocks_mhz.append(frequency)

    def times(self) -> RowTimes:
        """Return medians over rounds, and their interquartile ranges."""
        wall_s = sum(load.wall_s for load in self.loads)
        others_s = [load.others * load.wall_s for load in self.loads if load.others is not None]
        is_known = len(others_s) == len(self.loads)
        return RowTimes(
            started=self.started,
            test_s_per_image=float(np.median(self.batch_s)),
            test_s_per_image_iqr=interquartile_range(self.batch_s),
            test_latency_s=float(np.median(self.single_s)),
            test_latency_s_iqr=interquartile_range(self.single_s),
            test_batch=self.n_images,
            n_test_runs=self.n_batches,
            n_latency_runs=self.n_singles,
            test_cpu_share=sum(load.cpu_s for load in self.loads) / wall_s,
            test_others=sum(others_s) / wall_s if is_known else None,
            test_switches=sum(load.n_switches for load in self.loads),
            load_average=os.getloadavg()[0],
            clock_mhz=float(np.median(self.clocks_mhz)) if self.clocks_mhz else None,
        )


def runs_within(batches: TimedBatches, visit_s: float) -> Iterator[float]:
    """Yield the times of repeated runs, one at least; a first one is discarded.

    The models between two visits have emptied the caches of the processor.
    """
    batches.run()
    begin = perf_counter()
    yield batches.run()
    while perf_counter() - begin < visit_s:
        yield batches.run()


def interquartile_range(values: Sequence[float]) -> float:
    """Compute the range of the middle half of some values."""
    low, high = np.percentile(values, [25, 75])
    return float(high - low)


def time_in_rounds(
    subjects: Sequence[Subject], n_rounds: int, tell: Tell, visit_s: float = VISIT_S
) -> None:
    """Time all models in rounds; each round has them in another order."""
    rng = np.random.default_rng(0)
    for n_done in range(n_rounds):
        for index in rng.permutation(len(subjects)):
            subjects[index].visit(visit_s)
        tell("rounds", n_done + 1, n_rounds)


def train_in_rounds(
    lines: dict[str, Steps], n_rounds: int, tell: Tell, visit_s: float = TRAIN_VISIT_S
) -> dict[str, str]:
    """Train some steps of all lines in rounds; returns why others cannot be timed, by cell ID.

    Each round has them in another order. A first visit of each is discarded.
    """
    failed: dict[str, str] = {}
    rng = np.random.default_rng(0)
    for n_done in range(n_rounds + 1):
        for cell_id in rng.permutation(list(lines)):
            if cell_id in failed:
                continue
            try:
                lines[cell_id].visit(visit_s)
            except Exception as error:  # of a method; the others are timed
                traceback.print_exc()
                failed[str(cell_id)] = reason_of(error)
        if n_done == 0:
            for line in lines.values():
                line.pass_s.clear()
                line.loads.clear()
        tell("rounds of training", n_done, n_rounds)
    return failed


def reason_of(error: Exception) -> str:
    """Say in a line what went wrong, with its type unless it is written for users."""
    kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
    return brief(f"{kind}{error}")


def answer_request(request: TimingRequest, tell: Tell) -> dict[str, Any]:
    """Time the models and the training of some rows, in the process that does nothing else."""
    os.sched_setaffinity(0, request.cores)
    rows = {row.cell.id: row for row in load_rows(request.run)}
    subjects = []
    failed = {}
    images: dict[object, Tensor] = {}
    for n_done, cell_id in enumerate(request.cell_ids):
        try:
            subjects.append(load_subject(rows[cell_id], request, images))
        except Exception as error:  # of a method or its data; the others are timed
            traceback.print_exc()
            failed[cell_id] = reason_of(error)
        tell("models", n_done + 1, len(request.cell_ids))
    if subjects:
        time_in_rounds(subjects, request.n_rounds, tell)
    times = {each.cell_id: each.times().model_dump() for each in subjects}
    subjects.clear()
    lines = {}
    failed_training = {}
    tasks: dict[object, Task] = {}
    for cell_id in request.train_ids:
        try:
            lines[cell_id] = load_line(rows[cell_id], request, tasks)
        except Exception as error:
            traceback.print_exc()
            failed_training[cell_id] = reason_of(error)
    if lines:
        failed_training |= train_in_rounds(lines, request.n_rounds, tell)
    training = {
        cell_id: line.times().model_dump()
        for cell_id, line in lines.items()
        if cell_id not in failed_training
    }
    return {
        "times": times,
        "failed": failed,
        "training": training,
        "failed_training": failed_training,
    }


def load_line(row: Row, request: TimingRequest, tasks: dict[object, Task]) -> Steps:
    """Make the method of a row, of the grid point that it chose, and the images that it trains on.

    Lines share images.

    Raises
    ------
    UserError
        Where the code of the method has changed since, or its training begins with smaller images.
    """
    cell = row.cell
    cls = registry.load_method(cell.method, request.plugins)
    if code_identity(cls) != cell.source:
        raise UserError("the code of the method has changed since its row")
    method = make_method(cls, cell.params | row.chosen)
    refuse_smaller_images(method)
    key = (cell.data, cell.splits)
    if key not in tasks:
        folder = request.data_dir or Path(cell.data_dir)
        images = read_images(cell, folder, request.plugins)
        tasks[key] = task_of(cell.dataset, images, cell.splits)
    return Steps(cell, method, tasks[key])


def refuse_smaller_images(method: Method) -> None:
    """Raise UserError where a training begins with smaller images, and so faster than it goes on.

    Its beginning is all that is timed again.
    """
    if isinstance(method, NetworkMethod) and method.training_recipe().progressive_resizing:
        raise UserError("its first passes, which alone are timed again, have smaller images")


def load_subject(row: Row, request: TimingRequest, images: dict[object, Tensor]) -> Subject:
    """Load the model of a row and the images that it is timed on, which rows share."""
    cell = row.cell
    seed_everything(cell)
    classifier, _ = load_model(model_path(request.run, cell.id), request.plugins)
    place(classifier, cell.machine)
    key = (cell.data, cell.splits)
    if key not in images:
        folder = request.data_dir or Path(cell.data_dir)
        read = read_images(cell, folder, request.plugins)
        images[key] = tests_of(cell.dataset, read, cell.splits).test.X[:TIMED_IMAGES].clone()
    subject = subject_of(row, classifier, images[key], set(request.cores))
    kept = arrays(request.run, cell.id, SCORED).get("predictions")
    if kept is not None:
        expected = torch.from_numpy(kept[: subject.n_images].astype(np.int64))
        same = (subject.batches.predictions == expected).double().mean()
        if same < LEAST_SAME:
            raise UserError("the kept model is not that of the row; run the cell again")
    return subject


def place(classifier: Classifier, machine: Machine) -> None:
    """Have a model, which comes back on the CPU, compute as in its run.

    Raises UserError where it cannot.
    """
    if machine.device == "cpu" and machine.precision == "float32":
        return
    if not isinstance(classifier, Placeable):
        raise UserError(
            f"its model comes back on the CPU in float32, and ran on {machine.device} in "
            f"{machine.precision}: {type(classifier).__name__} has no place()"
        )
    classifier.place(machine.device, machine.precision)


def subject_of(row: Row, classifier: Classifier, X: Tensor, used: set[int]) -> Subject:
    """Make what is timed of a classifier and its images."""
    device = row.cell.machine.device
    return Subject(
        cell_id=row.cell.id,
        started=row.started,
        batches=TimedBatches(classifier, X, device),
        singles=TimedBatches(classifier, X, device, n_images=1),
        n_images=len(X),
        cores=used,
    )


def main(arguments: Sequence[str]) -> None:
    """Answer one request through a pipe, and end."""
    text, pipe, parent = arguments
    end_with_parent(int(parent))
    connection = Connection(int(pipe))

    def send(**message: object) -> None:
        connection.send_bytes(json.dumps(message).encode())

    def tell(what: str, n_done: int, n_all: int) -> None:
        send(what=what, n_done=n_done, n_all=n_all)

    send(**answer_request(TimingRequest.model_validate_json(text), tell))
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
