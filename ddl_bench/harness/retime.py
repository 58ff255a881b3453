"""Measure the times of predictions again after a run: kept models, alone and interleaved.

During a run each method is timed once, and at another moment than the next one; a machine that is
busier then makes it slower. Here all models of a run are loaded into one process on cores of its
own, and are timed in rounds, each over all models in another order. What changes with the machine
changes all of them, and what is left shows in the spread over the rounds.

    python -P -m ddl_bench.harness.retime REQUEST PIPE PARENT
"""

import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from ddl_bench.api import Classifier, Placeable
from ddl_bench.data.splits import tests_of
from ddl_bench.errors import UserError
from ddl_bench.files import brief
from ddl_bench.harness import cores, provenance
from ddl_bench.harness.clock import TimedBatches
from ddl_bench.harness.evaluate import TIMED_IMAGES, read_images
from ddl_bench.harness.folder import model_path
from ddl_bench.harness.launcher import environment_of, receive
from ddl_bench.harness.load import Load, LoadMeter, clock_mhz
from ddl_bench.harness.slots import check_devices
from ddl_bench.harness.worker import end_with_parent, seed_everything
from ddl_bench.plan.cell import Machine
from ddl_bench.results.models import load_model
from ddl_bench.results.rows import Row, arrays, load_rows
from ddl_bench.results.times import RowTimes, Times, write_times

N_ROUNDS = 7
VISIT_S = 0.05  # of one model in one round, in batches, and as much in single images
LOOK_EVERY_S = 0.5  # for free cores
LEAST_SAME = 0.98  # share of images whose class is that of the row: else it is another model

Tell = Callable[[str, int, int], None]  # what is done, how much of it, of how much


class Request(BaseModel):
    """What a process is to time: rows of a run that take equal threads on one device."""

    model_config = ConfigDict(frozen=True)

    run: Path
    cell_ids: list[str]
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


def retime(
    run: Path,
    *,
    n_rounds: int = N_ROUNDS,
    plugins: Sequence[Path] = (),
    data_dir: Path | None = None,
    tell: Tell = lambda what, n_done, n_all: None,
) -> Times:
    """Time the kept models of a run again, and write RUN/times.json; the rows stay as they are.

    Parameters
    ----------
    run
        The run folder.
    n_rounds
        Rounds over all models.
    plugins
        Python files with methods and data sets. A file that a model names is never imported on its
        word.
    data_dir
        Where published data sets lie; None for where the run read them.
    tell
        Is told how far it has come.

    Raises
    ------
    UserError
        Where no model is kept, or none can be loaded.
    """
    rows = [row for row in load_rows(run) if row.status == "ok"]
    left = {}
    groups = defaultdict[tuple[int, str], list[Row]](list)
    for row in rows:
        if model_path(run, row.cell.id).is_file():
            groups[row.cell.threads, row.cell.machine.device].append(row)
        else:
            left[row.cell.id] = row.measured.model_note or "no model was kept"
    if not groups:
        raise UserError(
            f"{run}: no kept model to time; `run --keep-models` keeps them, and with --rerun all "
            "also those of cells that are finished"
        )
    n_cores = len(os.sched_getaffinity(0))
    most = max(threads for threads, _ in groups)
    if most > n_cores:
        raise UserError(f"{run}: its models take {most} threads, but there are {n_cores} cores")
    check_devices([group[0].cell for group in groups.values()])
    times: dict[str, RowTimes] = {}
    failed: dict[str, str] = {}
    for (threads, device), members in groups.items():
        taken = wait_for_cores(threads, device, tell)
        request = Request(
            run=run.resolve(),
            cell_ids=[row.cell.id for row in members],
            plugins=[plugin.resolve() for plugin in plugins],
            data_dir=data_dir,
            n_rounds=n_rounds,
            cores=taken.cores,
        )
        environment = environment_of(threads)
        if taken.gpu and device == "cuda":
            environment["CUDA_VISIBLE_DEVICES"] = taken.gpu
        try:
            answer = ask_process(request, environment, tell)
        finally:
            taken.release()
        times |= {key: RowTimes.model_validate(value) for key, value in answer["times"].items()}
        failed |= answer["failed"]
    if not times:
        raise UserError(f"{run}: no model could be timed: {next(iter(failed.values()))}")
    session = Times(
        measured=datetime.now(UTC).isoformat(timespec="seconds"),
        cpu=provenance.cpu(),
        n_rounds=n_rounds,
        rows=times,
        left=left | failed,
    )
    write_times(run, session)
    return session


def wait_for_cores(threads: int, device: str, tell: Tell) -> cores.Taken:
    """Lock cores, and a GPU, as soon as no other run uses them: times are of a model alone."""
    is_told = False
    while True:
        taken = cores.take(sorted(os.sched_getaffinity(0)), threads, device)
        if taken is not None:
            return taken
        if not is_told:
            tell("waiting for cores that other runs use", 0, 1)
            is_told = True
        sleep(LOOK_EVERY_S)


def ask_process(request: Request, environment: dict[str, str], tell: Tell) -> dict[str, Any]:
    """Have a process of its own time some rows; returns times and failures by cell ID."""
    here, there = multiprocessing.Pipe()
    with tempfile.TemporaryFile() as log, here:
        with there:
            process = subprocess.Popen(  # noqa: S603  a list of words, without a shell
                [
                    sys.executable,
                    "-P",
                    "-m",
                    "ddl_bench.harness.retime",
                    request.model_dump_json(),
                    str(there.fileno()),
                    str(os.getpid()),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                pass_fds=[there.fileno()],
                start_new_session=True,
            )
        try:
            while True:
                answer = receive(here)
                if "times" in answer:
                    return answer
                tell(answer["what"], answer["n_done"], answer["n_all"])
        except EOFError:
            log.seek(0)
            lines = log.read().decode(errors="replace").split("\n")
            last = next((line for line in reversed(lines) if line.strip()), "it was killed")
            raise UserError(f"the process that timed the models has ended: {brief(last)}") from None
        finally:
            process.kill()
            process.wait()


def answer_request(request: Request, tell: Tell) -> dict[str, Any]:
    """Load the models of some rows and time them, in the process that does nothing else."""
    os.sched_setaffinity(0, request.cores)
    wanted = set(request.cell_ids)
    rows = [row for row in load_rows(request.run) if row.cell.id in wanted]
    subjects = []
    failed = {}
    images: dict[object, Tensor] = {}
    for n_done, row in enumerate(rows):
        try:
            subjects.append(load_subject(row, request, images))
        except Exception as error:  # of a method or its data; the others are timed
            traceback.print_exc()
            kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
            failed[row.cell.id] = brief(f"{kind}{error}")
        tell("models", n_done + 1, len(rows))
    time_in_rounds(subjects, request.n_rounds, tell)
    times = {each.cell_id: each.times().model_dump() for each in subjects}
    return {"times": times, "failed": failed}


def load_subject(row: Row, request: Request, images: dict[object, Tensor]) -> Subject:
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
    kept = arrays(request.run, cell.id, ["y_test", "predictions"]).get("predictions")
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

    send(**answer_request(Request.model_validate_json(text), tell))
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
