"""Start many runners on one run folder: as an array of Slurm jobs, or as processes of this machine.

The folder is the queue. Each runner takes cells from it until none is left or its time is over, so
an engine starts and cancels runners, and knows nothing of cells. What it has started stands in
RUN/work/runners, one file each.
"""

import json
import math
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from ddl_bench.errors import UserError
from ddl_bench.files import brief, explained, read_regular, write_atomically
from ddl_bench.harness.claims import born_at, this_process
from ddl_bench.harness.stop import LONGEST_SHARE

JOB_NAME = "ddl-bench"
SHELL = "/bin/bash"
SIGNAL_BEFORE_S = 90  # the end of a Slurm job, its runner is asked to stop
LARGEST_NOTE_BYTES = 100_000
CANCEL_WITHIN_S = 30.0  # the answer of scancel
UNKNOWN_JOB = "Invalid job id"  # what scancel says of a job that has ended some time ago


@dataclass(frozen=True, kw_only=True)
class RunnerRequest:
    """Runners to start.

    Parameters
    ----------
    words
        The command of a runner: the program and its arguments.
    n_runners
        How many.
    seconds
        How long each may work.
    cpus
        Cores of each.
    partition, gres, memory
        Options of `sbatch` with these names (`memory` is --mem); "" for the site's defaults.
    setup
        Lines of shell to run before each runner, such as `module load python`.
    options
        More options of `sbatch`, by name.
    """

    words: Sequence[str]
    n_runners: int
    seconds: float
    cpus: int
    partition: str = ""
    gres: str = ""
    memory: str = ""
    setup: Sequence[str] = ()
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def minutes(self) -> int:
        """The time of a job in whole minutes, as Slurm counts it."""
        return math.ceil(self.seconds / 60)

    @property
    def signal_before_s(self) -> int:
        """How long before the end of a job its runner is asked to stop; less for a short one."""
        return min(SIGNAL_BEFORE_S, int(LONGEST_SHARE * 60 * self.minutes))

    def named_options(self) -> dict[str, str]:
        """Return the options of `sbatch` that are not given by every job."""
        named = {"partition": self.partition, "gres": self.gres, "mem": self.memory}
        return {name: value for name, value in named.items() if value} | dict(self.options)


class Cancelled(NamedTuple):
    """What became of runners that were to be cancelled, and whether that is all there is to do."""

    line: str
    is_over: bool


class Runner:
    """What a Slurm job of submitit calls: it becomes the runner, which then gets its signals."""

    def __init__(self, words: Sequence[str]) -> None:
        self._words = list(words)

    def __call__(self, number: int) -> NoReturn:
        """Replace this process; the number of the runner says nothing."""
        os.execv(self._words[0], self._words)  # noqa: S606  a list of words, without a shell


def folder_of(run: Path) -> Path:
    """Return the folder with what engines have started for a run."""
    return run / "work" / "runners"


def submit(request: RunnerRequest, run: Path) -> str:
    """Submit the runners as an array of Slurm jobs, and return the number of the array.

    Raises UserError where submitit or Slurm is missing, or the job is refused.
    """
    try:
        import submitit
    except ImportError:
        raise UserError(
            "--engine slurm needs submitit: pip install 'ddl-bench[slurm]', or write the script by "
            "--dry-run and submit it by sbatch"
        ) from None
    folder = folder_of(run)
    with explained(folder, "cannot write there"):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        executor = submitit.SlurmExecutor(folder=folder, python=shlex.quote(sys.executable))
        executor.update_parameters(
            job_name=JOB_NAME,
            time=request.minutes,
            cpus_per_task=request.cpus,
            array_parallelism=request.n_runners,
            signal_delay_s=request.signal_before_s,
            srun_args=[f"--cpus-per-task={request.cpus}"],
            stderr_to_stdout=True,
            setup=list(request.setup),
            additional_parameters=request.named_options(),
        )
        jobs = executor.map_array(Runner(request.words), range(request.n_runners))
    except (RuntimeError, OSError, submitit.core.utils.FailedJobError) as error:
        raise UserError(f"--engine slurm: {brief(error)}") from None
    number = str(jobs[0].job_id).partition("_")[0]
    note = {"engine": "slurm", "job": number, "n_runners": request.n_runners}
    write_note(folder / f"slurm-{number}.json", note)
    return number


def script(request: RunnerRequest) -> str:
    """Write a script for `sbatch` that starts the same runners as `submit`."""
    options = {
        "job-name": JOB_NAME,
        "array": f"0-{request.n_runners - 1}",
        "time": str(request.minutes),
        "ntasks": "1",
        "cpus-per-task": str(request.cpus),
        "signal": f"USR2@{request.signal_before_s}",
        "output": f"{JOB_NAME}-%A_%a.log",  # where it is submitted: Slurm makes no folders
        **request.named_options(),
    }
    lines = ["#!/bin/bash"]
    lines += [f"#SBATCH --{name}={value}" for name, value in options.items()]
    lines += [*request.setup, f"srun --cpus-per-task={request.cpus} {shlex.join(request.words)}"]
    return "\n".join(lines) + "\n"


def start_local(request: RunnerRequest, run: Path) -> list[int]:
    """Start the runners as processes of this machine; returns their numbers.

    They outlive the terminal. Raises UserError where the folder cannot be written.
    """
    folder = folder_of(run)
    with explained(folder, "cannot write there"):
        folder.mkdir(parents=True, exist_ok=True)
    lines = [*request.setup, f"exec {shlex.join(request.words)}"]
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    pids = []
    for _ in range(request.n_runners):
        pid = os.posix_spawn(
            SHELL,
            [SHELL, "-c", "\n".join(lines)],
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, folder / "local.log", flags, 0o644),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
        )
        note = this_process() | {"engine": "local", "pid": pid, "born": born_at(pid)}
        write_note(folder / f"local-{pid}.json", note)
        pids.append(pid)
    return pids


def write_note(path: Path, note: Mapping[str, Any]) -> None:
    """Note what was started, for `cancel`."""
    write_atomically(path, json.dumps(note).encode())


def notes(run: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield what engines have started for a run, with the file that says so."""
    for path in sorted(folder_of(run).glob("*.json")):
        try:
            note = json.loads(read_regular(path, LARGEST_NOTE_BYTES))
        except (OSError, UserError, ValueError, RecursionError):
            continue
        if isinstance(note, dict):
            yield path, note


def cancel(run: Path) -> list[str]:
    """End all runners that engines have started for a run; returns a line for each.

    They save checkpoints first. Those that cannot be ended from here stay noted, for the next call.
    Raises UserError where Slurm cannot be asked.
    """
    lines = []
    for path, note in notes(run):
        if note.get("engine") == "slurm":
            done = cancel_array(str(note.get("job", "")))
        else:
            done = cancel_process(note)
        lines.append(done.line)
        if done.is_over:
            path.unlink(missing_ok=True)
    return lines


def cancel_array(job: str) -> Cancelled:
    """Cancel an array of Slurm jobs."""
    command = ["scancel", job]
    try:
        done = subprocess.run(  # noqa: S603  a list of words, without a shell
            command, capture_output=True, text=True, timeout=CANCEL_WITHIN_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(f"scancel {job}: {brief(error)}") from None
    if done.returncode:
        return Cancelled(f"Slurm job {job}: {brief(done.stderr)}", UNKNOWN_JOB in done.stderr)
    return Cancelled(f"Slurm job {job}: cancelled", is_over=True)


def cancel_process(note: Mapping[str, Any]) -> Cancelled:
    """Ask a local runner to stop, if it is still there."""
    pid = note.get("pid")
    host = note.get("host", "another machine")
    if note.get("place") != this_process()["place"]:
        line = f"process {pid} on {host}: cannot be reached from here; cancel it there"
        return Cancelled(line, is_over=False)
    gone = Cancelled(f"process {pid}: had ended already", is_over=True)
    if not isinstance(pid, int) or note.get("born") is None or born_at(pid) != note["born"]:
        return gone
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return gone
    except PermissionError:
        return Cancelled(f"process {pid}: of another user, who can cancel it", is_over=False)
    return Cancelled(f"process {pid}: asked to stop", is_over=True)
