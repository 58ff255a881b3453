"""Run one cell.

    python -P -m ddl_bench.harness.worker RUN CELL_ID CORES SPAWNED_AT STARTED CLAIM TOKEN PARENT

Only the standard library is imported before the cores and the parent's death signal are set,
unless the worker is a fork of a process that has imported the rest, see `fork_server.py`.
"""

import contextlib
import ctypes
import os
import random
import re
import resource
import signal
import sys
import traceback
from dataclasses import replace
from functools import partial
from os import getpid
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ddl_bench.harness.claims import Claim
    from ddl_bench.plan.cell import Cell
    from ddl_bench.results.rows import Status

PR_SET_PDEATHSIG = 1  # linux/prctl.h
PR_SET_CHILD_SUBREAPER = 36


def main(
    run: Path,
    cell_id: str,
    cores: set[int],
    spawned: float,
    started: str,
    parent: int,
    claim: tuple[Path, str],
    *,
    is_fresh: bool,
) -> None:
    """Run a cell, write its row, and end the process.

    Parameters
    ----------
    run
        The run folder; the cell is in RUN/work/ID.cell.json.
    cell_id
        ID of the cell.
    cores
        CPU cores to run on.
    spawned
        When the runner started this process, in seconds of the monotonic clock.
    started
        The same as a date.
    parent
        Process number of the fork server, which ends with the runner.
    claim
        File and token of the runner's claim.
    is_fresh
        Whether this process is an interpreter of its own, and not a fork.
    """
    began = monotonic()
    process = getpid()
    end_with_parent(parent)
    adopt_orphans()
    os.sched_setaffinity(0, cores)

    from ddl_bench.harness.claims import Claim
    from ddl_bench.harness.clock import Phases
    from ddl_bench.harness.folder import checkpoint_path, points_path
    from ddl_bench.harness.launcher import may_fork
    from ddl_bench.harness.points import Points
    from ddl_bench.harness.progress import Progress
    from ddl_bench.plan.cell import Cell
    from ddl_bench.results.rows import Outcome, Row, write_row

    run = run.resolve()  # a method may change the folder of its process
    claim_path, token = claim
    held = Claim(claim_path.resolve(), token)
    work = run / "work"
    cell = Cell.model_validate_json((work / f"{cell_id}.cell.json").read_text(encoding="utf-8"))
    phases = Phases({"start-up": began - spawned, "import": monotonic() - began})
    outcome = Outcome()
    metadata: dict[str, Any] = {}
    status: Status = "ok"
    reason = ""
    points = Points(points_path(run, cell_id))
    with Progress(work / f"{cell_id}.progress.json", phases, points) as progress:
        try:
            with phases("import"):
                seed_everything(cell)
            from ddl_bench.harness import evaluate, provenance

            before_writing = partial(leave_if_overruled, held)
            outcome = evaluate.evaluate(cell, run, phases, progress, before_writing)
            with phases("provenance"):
                metadata = provenance.collect(cell.plugins, cell.machine.device)
        except Exception as error:
            traceback.print_exc()
            status, reason = classify(error)
    if getpid() != process:  # a copy that a method made: one process writes the row
        os._exit(0)
    with contextlib.suppress(Exception):
        is_asked_for = is_fresh and may_fork(cell.threads, cell.machine.device)
        metadata["process"] = "interpreter" if is_fresh else "fork"
        metadata["command"] = cell.command(fresh_process=is_asked_for)
    row = Row(
        cell=cell,
        status=status,
        reason=reason,
        chosen=outcome.chosen,
        measured=replace(outcome.measured, peak_memory=peak_memory()),
        wall_s=monotonic() - spawned + outcome.earlier_s,
        resumed=outcome.resumed,
        phases=phases.seconds,
        started=started,
        provenance=metadata,
    )
    leave_if_overruled(held)
    write_row(run, row)
    if status == "ok":
        checkpoint_path(run, cell_id).unlink(missing_ok=True)
        if outcome.measured.n_epochs_scored:  # as a list of a long folder takes its time
            for path in work.glob(f"{cell_id}.epoch-*.checkpoint"):
                path.unlink(missing_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # tearing torch down takes longer than some trainings


def leave_if_overruled(claim: "Claim") -> None:
    """End this process where another runner holds its cell, whose files are the other's then."""
    if claim.is_lost():
        print("another runner has taken this cell over: its row counts", flush=True)
        os._exit(0)


def end_with_parent(parent: int) -> None:
    """Have the kernel end this process with its runner; it would disturb the times of the next."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("the runner is gone")


def adopt_orphans() -> None:
    """Have children whose parent ends become children of this process, where they are seen."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)


def peak_memory() -> int:
    """Read the largest resident size of this process so far, in bytes.

    The kernel's `ru_maxrss` begins at the size of the parent, so it is the second choice.
    """
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    match = re.search(r"^VmHWM:\s*(\d+) kB", status, re.M)
    if match:
        return 1024 * int(match[1])
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def seed_everything(cell: "Cell") -> None:
    """Seed and pin what a method might use by accident; methods carry generators of their own."""
    import numpy as np
    import torch

    random.seed(cell.seed)
    np.random.seed(cell.seed)  # noqa: NPY002  the global generator of other people's code
    torch.manual_seed(cell.seed)
    torch.set_num_threads(cell.threads)
    torch.use_deterministic_algorithms(True, warn_only=True)


def classify(error: Exception) -> "tuple[Status, str]":
    """Turn an exception out of a method into the status of its row and a reason of one line."""
    import torch

    from ddl_bench import api
    from ddl_bench.describe import remedy

    text = " ".join(str(error).split()) or "no message"
    if isinstance(error, api.Skip):
        return "skipped", text
    if isinstance(error, api.Diverged):
        return "diverged", text
    if isinstance(error, ModuleNotFoundError):
        return "not_installed", f"{text}{remedy(error)}"
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return "oom", f"{type(error).__name__}: {text}"
    if isinstance(error, api.UserError):
        return "failed", text
    last = traceback.extract_tb(error.__traceback__)[-1]
    return "failed", f"{type(error).__name__}: {text} ({Path(last.filename).name}:{last.lineno})"


def start(arguments: list[str], *, is_fresh: bool) -> None:
    """Run the cell that the command line of a worker names."""
    run_folder, identifier, numbers, spawned, started, claim_path, token, parent = arguments
    main(
        Path(run_folder),
        identifier,
        {int(number) for number in numbers.split(",")},
        float(spawned),
        started,
        int(parent),
        (Path(claim_path), token),
        is_fresh=is_fresh,
    )


if __name__ == "__main__":
    start(sys.argv[1:], is_fresh=True)
