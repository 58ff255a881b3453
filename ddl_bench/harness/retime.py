"""Measure times again after a run, alone and interleaved: of kept models, and of training.

During a run each method is timed once, and at another moment than the next one; a machine that is
busier then makes it slower. Here all models of a run are loaded into one process on cores of its
own (`rounds`), and are timed in rounds, each over all models in another order. What changes with
the machine changes all of them, and what is left shows in the spread over the rounds.
"""

import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from time import sleep
from typing import Any, NamedTuple

from ddl_bench.errors import UserError
from ddl_bench.files import brief
from ddl_bench.harness import cores, provenance
from ddl_bench.harness.devices import check_devices
from ddl_bench.harness.launcher import environment_of, receive
from ddl_bench.harness.rounds import Tell, TimingRequest
from ddl_bench.results.paths import model_path
from ddl_bench.results.rows import Row, load_rows
from ddl_bench.results.times import RowTimes, Times, TrainTimes, read_times, write_times

N_ROUNDS = 7
LOOK_EVERY_S = 0.5  # for free cores


def retime(
    run: Path,
    *,
    n_rounds: int = N_ROUNDS,
    train: bool = False,
    plugins: Sequence[Path] = (),
    data_dir: Path | None = None,
    tell: Tell = lambda what, n_done, n_all: None,
) -> Times:
    """Time a run again, and write RUN/times.json; the rows stay as they are.

    Parameters
    ----------
    run
        The run folder.
    n_rounds
        Rounds over all models.
    train
        Also train some steps of each line, in as many rounds. Without it times of training that
        were measured earlier stay.
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
        Where there is nothing to time, or nothing can be timed.
    """
    rows = [row for row in load_rows(run) if row.status == "ok"]
    work = work_of(run, rows, train=train)
    if not work.models and not work.lines:
        raise UserError(
            f"{run}: no kept model to time; `run --keep-models` keeps them, and with --rerun all "
            "also those of cells that are finished; --train times training without them"
        )
    n_cores = len(os.sched_getaffinity(0))
    kinds = sorted(work.models.keys() | work.lines.keys())
    most = max(threads for threads, _ in kinds)
    if most > n_cores:
        raise UserError(f"{run}: its cells take {most} threads, but there are {n_cores} cores")
    check_devices([row.cell for row in rows if model_path(run, row.cell.id).is_file() or train])
    answers = []
    for threads, device in kinds:
        taken = wait_for_cores(threads, device, tell)
        request = TimingRequest(
            run=run.resolve(),
            cell_ids=[row.cell.id for row in work.models[threads, device]],
            train_ids=[row.cell.id for row in work.lines[threads, device]],
            plugins=[plugin.resolve() for plugin in plugins],
            data_dir=data_dir,
            n_rounds=n_rounds,
            cores=taken.cores,
        )
        environment = environment_of(threads)
        if taken.gpu and device == "cuda":
            environment["CUDA_VISIBLE_DEVICES"] = taken.gpu
        try:
            answers.append(ask_process(request, environment, tell))
        finally:
            taken.release()
    session = session_of(rows, work, answers, n_rounds)
    if not session.rows and not session.training:
        reasons = [*session.left.values(), *session.left_training.values()]
        raise UserError(f"{run}: nothing could be timed: {reasons[-1]}")
    earlier = read_times(run)
    if not train and earlier is not None:
        kept = {"training": earlier.training, "left_training": earlier.left_training}
        session = session.model_copy(update=kept)
    write_times(run, session)
    return session


class Work(NamedTuple):
    """What there is to time of a run, by threads and device.

    `models` are rows whose model is kept, `lines` one row of each line whose training is timed,
    `left` says by cell ID why other models are not timed.
    """

    models: dict[tuple[int, str], list[Row]]
    lines: dict[tuple[int, str], list[Row]]
    left: dict[str, str]


def work_of(run: Path, rows: Sequence[Row], *, train: bool) -> Work:
    """Find what there is to time in a run; of the seeds of a line the first is trained."""
    models = defaultdict[tuple[int, str], list[Row]](list)
    lines = defaultdict[tuple[int, str], list[Row]](list)
    left = {}
    seen = set()
    for row in rows:
        kind = (row.cell.threads, row.cell.machine.device)
        if model_path(run, row.cell.id).is_file():
            models[kind].append(row)
        else:
            left[row.cell.id] = row.measured.model_note or "no model was kept"
        if train and line_of(row) not in seen:
            seen.add(line_of(row))
            lines[kind].append(row)
    return Work(models, lines, left)


def line_of(row: Row) -> str:
    """Name what trainings have in common that take the same time: their line and grid point."""
    return f"{row.cell.group} {sorted(row.chosen.items())}"


def session_of(
    rows: Sequence[Row], work: Work, answers: Sequence[dict[str, Any]], n_rounds: int
) -> Times:
    """Put together what the processes have measured; all seeds of a line share its training."""
    times: dict[str, RowTimes] = {}
    left = dict(work.left)
    by_group: dict[str, TrainTimes] = {}
    reasons: dict[str, str] = {}
    groups = {row.cell.id: line_of(row) for row in rows}
    started = {row.cell.id: row.started for row in rows}
    for answer in answers:
        times |= {key: RowTimes.model_validate(value) for key, value in answer["times"].items()}
        left |= answer["failed"]
        for cell_id, value in answer["training"].items():
            by_group[groups[cell_id]] = TrainTimes.model_validate(value)
        for cell_id, reason in answer["failed_training"].items():
            reasons[groups[cell_id]] = reason
    return Times(
        measured=datetime.now(UTC).isoformat(timespec="seconds"),
        cpu=provenance.cpu(),
        n_rounds=n_rounds,
        rows=times,
        left=left,
        training={
            key: by_group[group].model_copy(update={"started": started[key]})
            for key, group in groups.items()
            if group in by_group
        },
        left_training={key: reasons[group] for key, group in groups.items() if group in reasons},
    )


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


def ask_process(request: TimingRequest, environment: dict[str, str], tell: Tell) -> dict[str, Any]:
    """Have a process of its own time some rows; returns times and failures by cell ID."""
    here, there = multiprocessing.Pipe()
    with tempfile.TemporaryFile() as log, here:
        with there:
            process = subprocess.Popen(  # noqa: S603  a list of words, without a shell
                [
                    sys.executable,
                    "-P",
                    "-m",
                    "ddl_bench.harness.rounds",
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
