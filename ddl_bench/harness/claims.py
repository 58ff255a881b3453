"""Which runner works on which cell, so that several runners on one folder each take a cell once.

A claim is a file `CELL.claim.N`, created exclusively; the highest N holds. A claim whose runner is gone is overruled by
creating N + 1, which only one of several rivals can do: nobody ever deletes what another may just have made.
"""

import json
import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

STALE_AFTER = 60.0  # seconds without a sign of life, for runners on other machines


@dataclass(frozen=True)
class Claim:
    """A cell held by this process until `release`."""

    path: Path

    def keep_fresh(self) -> None:
        os.utime(self.path)

    def release(self) -> None:
        stem, _, own = self.path.name.rpartition(".")
        for number in range(
            1, int(own) + 1
        ):  # the own one last: a rival must see it until all are gone
            (self.path.parent / f"{stem}.{number}").unlink(missing_ok=True)


def claim(work: Path, cell_id: str) -> Claim | None:
    """Claim a cell; None where another living runner holds it."""
    numbers = [int(path.name.rpartition(".")[2]) for path in work.glob(f"{cell_id}.claim.*")]
    highest = max(numbers, default=0)
    if highest and _alive(work / f"{cell_id}.claim.{highest}"):
        return None
    path = work / f"{cell_id}.claim.{highest + 1}"
    me = {"host": platform.node(), "pid": os.getpid(), "born": psutil.Process().create_time()}
    try:
        with path.open("x") as file:
            json.dump(me, file)
    except FileExistsError:
        return None
    return Claim(path)


def _alive(path: Path) -> bool:
    try:
        age = time.time() - path.stat().st_mtime
        holder = json.loads(path.read_text())
    except FileNotFoundError:
        return False
    except ValueError:  # created, not yet written - or its writer was killed in between
        return age < STALE_AFTER / 10
    if holder["host"] != platform.node():
        return age < STALE_AFTER
    try:
        return abs(psutil.Process(holder["pid"]).create_time() - float(holder["born"])) < 1
    except psutil.NoSuchProcess:
        return False
