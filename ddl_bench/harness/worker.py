"""One cell in one process: `python -m ddl_bench.harness.worker RUN_FOLDER CELL_ID CORES SPAWNED_AT PARENT_PID`.

Only the standard library is imported before the cores and the parent's death signal are set.
"""

import contextlib
import ctypes
import json
import os
import random
import re
import resource
import signal
import sys
import time
import traceback
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ddl_bench.plan.cell import Cell
    from ddl_bench.results.rows import Status

PR_SET_PDEATHSIG = 1  # linux/prctl.h


class Progress:
    """Tells the runner the phase and the share of training done, through a small file, at most three times a second."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._phase = ""
        self._last = 0.0

    def phase(self, name: str) -> None:
        self._phase, self._last = name, 0.0
        self.fraction(0.0)

    def fraction(self, fraction: float) -> None:
        if (now := time.monotonic()) - self._last > 0.3:
            self._last = now
            temporary = self._path.with_suffix(".tmp")
            with contextlib.suppress(
                OSError
            ):  # a full disk shall not end the training; the row will say it
                temporary.write_text(
                    json.dumps({"phase": self._phase, "fraction": round(fraction, 3)})
                )
                temporary.replace(self._path)


def main(run: Path, cell_id: str, cores: str, spawned: float, parent: int) -> None:
    began = time.time()
    if sys.platform == "linux":  # an orphan would time its training against the next run's
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("the runner is gone")
    os.sched_setaffinity(0, {int(core) for core in cores.split(",")})

    from ddl_bench.harness.clock import Phases
    from ddl_bench.plan.cell import Cell
    from ddl_bench.results.rows import Outcome, Row, write_row

    cell = Cell.model_validate_json((run / "work" / f"{cell_id}.cell.json").read_text())
    progress = Progress(run / "work" / f"{cell_id}.progress.json")
    phases = Phases({"start-up": began - spawned, "import": time.time() - began}, progress.phase)
    outcome = Outcome()
    metadata: dict[str, Any] = {}
    status: Status = "ok"
    reason = ""
    try:
        with phases("import"):
            seed_everything(cell)
        from ddl_bench.harness import evaluate, provenance

        outcome = evaluate.evaluate(cell, run, phases, progress.fraction)
        with phases("provenance"):
            metadata = provenance.collect(cell.plugins)
    except Exception as error:
        traceback.print_exc()
        status, reason = classify(error)
    with contextlib.suppress(Exception):
        metadata["command"] = cell.command()
    row = Row(
        cell=cell,
        status=status,
        reason=reason,
        chosen=outcome.chosen,
        measured=replace(outcome.measured, peak_memory=peak_memory()),
        wall_s=time.time() - spawned + outcome.earlier_s,
        resumed=outcome.resumed,
        phases=phases.seconds,
        started=datetime.fromtimestamp(spawned, UTC).isoformat(timespec="milliseconds"),
        provenance=metadata,
    )
    write_row(run, row)
    if status == "ok":
        for left in (run / "work").glob(f"*{cell_id}.checkpoint*"):  # also one torn by a kill
            left.unlink(missing_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # tearing torch down takes longer than some trainings


def peak_memory() -> int:
    """Largest resident size of this process so far, in bytes: what ru_maxrss gives begins at the size of its parent."""
    found = re.search(r"^VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text(), re.M)
    return 1024 * (int(found[1]) if found else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def seed_everything(cell: "Cell") -> None:
    """Seed and pin what a method might use by accident; methods carry generators of their own."""
    import numpy as np
    import torch

    random.seed(cell.seed)
    np.random.seed(cell.seed)
    torch.manual_seed(cell.seed)
    torch.set_num_threads(cell.threads)
    torch.use_deterministic_algorithms(True, warn_only=True)


def classify(error: Exception) -> "tuple[Status, str]":
    """The status and the one-line reason of an exception out of a method."""
    from importlib.metadata import metadata

    import torch

    from ddl_bench import api

    text = " ".join(str(error).split()) or "no message"
    if isinstance(error, api.Skip):
        return "skipped", text
    if isinstance(error, api.Diverged):
        return "diverged", text
    if isinstance(error, ModuleNotFoundError):
        extras = metadata("ddl-bench").get_all("Provides-Extra") or []
        wanted = f"ddl-bench[{error.name}]" if error.name in extras else str(error.name)
        return "not_installed", f"{text}; pip install '{wanted}'"
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return "oom", f"{type(error).__name__}: {text}"
    if isinstance(error, api.UserError):
        return "failed", text
    last = traceback.extract_tb(error.__traceback__)[-1]
    return "failed", f"{type(error).__name__}: {text} ({Path(last.filename).name}:{last.lineno})"


if __name__ == "__main__":
    _, folder, identifier, on_cores, at, runner = sys.argv
    main(Path(folder), identifier, on_cores, float(at), int(runner))
