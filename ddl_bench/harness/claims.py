"""Which runner works on which cell, so that of several runners on one folder one takes each cell.

A claim is a file `CELL.claim.N`, created exclusively; the highest N holds. A claim whose runner is
gone is overruled by creating N + 1, which only one of several rivals can do: nobody ever deletes
what another may just have made.
"""

import json
import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

STALE_AFTER_S = 60.0  # without a sign of life, for runners on other machines
UNWRITTEN_FOR_S = 6.0  # a claim that is still empty after that was left by a killed runner


@dataclass(frozen=True)
class Claim:
    """A cell that this process holds until `release`."""

    path: Path

    def keep_fresh(self) -> None:
        """Give a sign of life."""
        os.utime(self.path)

    def release(self) -> None:
        """Let others claim the cell; the claim that holds goes last, so that rivals see it."""
        stem, _, highest = self.path.name.rpartition(".")
        for number in range(1, int(highest) + 1):
            (self.path.parent / f"{stem}.{number}").unlink(missing_ok=True)


def claim(work: Path, cell_id: str) -> Claim | None:
    """Claim a cell in the folder RUN/work; None where another living runner holds it."""
    numbers = [int(path.name.rpartition(".")[2]) for path in work.glob(f"{cell_id}.claim.*")]
    highest = max(numbers, default=0)
    if highest and _is_held(work / f"{cell_id}.claim.{highest}"):
        return None
    path = work / f"{cell_id}.claim.{highest + 1}"
    holder = {"host": platform.node(), "pid": os.getpid(), "born": psutil.Process().create_time()}
    try:
        with path.open("x") as file:
            json.dump(holder, file)
    except FileExistsError:
        return None
    return Claim(path)


def _is_held(path: Path) -> bool:
    """Whether the runner that made a claim is still there."""
    try:
        age_s = time.time() - path.stat().st_mtime
        holder = json.loads(path.read_text())
    except FileNotFoundError:
        return False
    except ValueError:  # created and not yet written, or its writer was killed in between
        return age_s < UNWRITTEN_FOR_S
    if holder["host"] != platform.node():
        return age_s < STALE_AFTER_S
    try:
        # A process of the same number that was born at another time is another process.
        born = psutil.Process(holder["pid"]).create_time()
        return abs(born - float(holder["born"])) < 1
    except psutil.NoSuchProcess:
        return False
