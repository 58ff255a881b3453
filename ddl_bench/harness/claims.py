"""Which runner works on which cell, so that of several runners on one folder one takes each cell.

A claim is a file RUN/work/claims/CELL.claim.N, created exclusively; the highest N holds. The folder
holds nothing else, so it is as short as the list of runners, however many cells there are.

A claim whose runner is gone is overruled by creating N + 1, which only one of several rivals can
do. After creating its file a runner looks again, and withdraws where a rival's is higher, or lower
and still alive: two that meet may both withdraw, but never both hold. A runner that was overruled,
because it was suspended for too long, finds that out before it writes anything.
"""

import contextlib
import json
import os
import platform
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ddl_bench.errors import UserError
from ddl_bench.files import explained, read_regular, unique_word

STALE_AFTER_S = 180.0  # without a sign of life, for runners on other machines
SIGNS_OF_LIFE = 36  # of a runner within that time, whose cost all runners of a folder share
UNWRITTEN_FOR_S = 6.0  # a claim that is still empty after that was left by a killed runner
WITHDRAWN_WITHIN_S = 2.0  # a claim that came too late
POLL_EVERY_S = 0.005
LARGEST_CLAIM_BYTES = 100_000
BORN_FIELD = (
    19  # of /proc/PID/stat, counted from 0 after the state: start in clock ticks since boot
)


@dataclass(frozen=True)
class Claim:
    """A cell that this process holds until `release`.

    Parameters
    ----------
    path
        The file of the claim.
    token
        Tells this claim from a later one of the same file name.
    """

    path: Path
    token: str = field(default_factory=lambda: uuid.uuid4().hex)

    def keep_fresh(self) -> None:
        """Give a sign of life; where that fails, other runners find the claim too old in time."""
        with contextlib.suppress(OSError):
            os.utime(self.path)

    def is_held(self) -> bool:
        """Whether no other runner has taken the cell over.

        A rival that came too late withdraws at once: only a claim that stays overrules this one.
        """
        stem, number = split_number(self.path)
        higher = self.path.with_name(f"{stem}.{number + 1}")
        end_s = time.monotonic() + WITHDRAWN_WITHIN_S
        while higher.exists():
            if time.monotonic() > end_s:
                return False
            time.sleep(POLL_EVERY_S)
        return self._is_there()

    def is_lost(self) -> bool:
        """Whether another runner has taken the cell over, and its row counts.

        Not where somebody has deleted the folder of claims: what was trained is not thrown away.
        """
        return self.path.parent.is_dir() and not self.is_held()

    def release(self) -> None:
        """Let others claim the cell; the claim that holds goes last, so that rivals see it.

        Of the claims below, those of the living stay: a rival that came too late is about to
        withdraw its own, and would remove that of the next holder, who had taken its number.
        """
        if not self._is_there():
            return
        stem, highest = split_number(self.path)
        if highest > 1 and self.is_held():
            for number in numbers(self.path.parent, stem.removesuffix(".claim")):
                lower = self.path.with_name(f"{stem}.{number}")
                if number < highest and not is_alive(lower):
                    with contextlib.suppress(OSError):  # a folder in its place harms nobody
                        lower.unlink()
        with contextlib.suppress(OSError):
            self.path.unlink()

    def _is_there(self) -> bool:
        """Whether the file is still that of this claim."""
        return bool(read_holder(self.path).get("token") == self.token)


def claims_folder(run: Path) -> Path:
    """Return the folder of the claims of a run folder."""
    return run / "work" / "claims"


def claim(folder: Path, cell_id: str) -> Claim | None:
    """Claim a cell in a folder of claims; None where another living runner holds it.

    Raises UserError where nothing can be written there, as on a full disk.
    """
    with explained(folder, "cannot write there; the rows written so far are kept"):
        return _claim(folder, cell_id)


def _claim(folder: Path, cell_id: str) -> Claim | None:
    highest = max(numbers(folder, cell_id), default=0)
    if highest and is_alive(folder / f"{cell_id}.claim.{highest}"):
        return None
    taken = Claim(folder / f"{cell_id}.claim.{highest + 1}")
    try:
        with taken.path.open("x", encoding="utf-8") as file:
            json.dump({**this_process(), "token": taken.token}, file)
    except FileExistsError:
        return None
    except OSError:
        taken.path.unlink(missing_ok=True)  # made, but the disk had no room for its content
        raise
    for number in numbers(folder, cell_id):
        rival = folder / f"{cell_id}.claim.{number}"
        if number > highest + 1 or (number <= highest and is_alive(rival)):
            taken.path.unlink(missing_ok=True)
            return None
    return taken


def holder(folder: Path, cell_id: str) -> str:
    """Say who holds a cell, for people: "process 12 on HOST"; empty where nobody does."""
    for number in sorted(numbers(folder, cell_id), reverse=True):
        path = folder / f"{cell_id}.claim.{number}"
        if is_alive(path):
            return runner_of(read_holder(path))
    return ""


def runner_of(content: Mapping[str, Any]) -> str:
    """Name the runner that made a claim, for people."""
    return f"process {content.get('pid', '?')} on {content.get('host', '?')}"


def numbers(folder: Path, cell_id: str) -> list[int]:
    """List the numbers of the claims of a cell; files with other names are not claims."""
    start = f"{cell_id}.claim."
    parts = [name.removeprefix(start) for name in os.listdir(folder) if name.startswith(start)]
    return [int(part) for part in parts if part.isdecimal()]


def split_number(path: Path) -> tuple[str, int]:
    """Split the name of a claim into what stands before its number, and the number."""
    stem, _, number = path.name.rpartition(".")
    return stem, int(number)


def read_holder(path: Path) -> dict[str, Any]:
    """Read who made a claim; empty where the file is missing, not yet written, or damaged."""
    try:
        content = json.loads(read_regular(path, LARGEST_CLAIM_BYTES))
    except (OSError, UserError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def is_alive(path: Path, now_s: float | None = None) -> bool:
    """Whether the runner that made a claim is still there.

    A runner of this machine, boot and process namespace is looked up; of any other the age of its
    last sign of life is taken, by the clock of the file system: `now_s`, or what it shows now.
    """
    content = read_holder(path)
    is_written = {"pid", "born", "place"} <= content.keys()
    if is_written and content["place"] == this_process()["place"]:
        born: object = content["born"]
        return born is not None and born == born_at(content["pid"])
    try:
        seen_s = clock_of(path.parent) if now_s is None else now_s
    except FileNotFoundError:  # the clock cannot be read, so the age of the claim is not known
        return os.path.lexists(path)
    try:
        age_s = seen_s - path.lstat().st_mtime
    except FileNotFoundError:
        return False
    return age_s < (STALE_AFTER_S if is_written else UNWRITTEN_FOR_S)


def clock_of(folder: Path) -> float:
    """Read the clock of a folder's file system, which may run on another machine, in seconds."""
    probe = folder / f".clock.{unique_word()}"
    probe.touch()
    os.utime(probe)
    now = probe.stat().st_mtime
    probe.unlink(missing_ok=True)
    return now


def this_process() -> dict[str, Any]:
    """Describe this process so that others can tell whether it still runs.

    Process numbers mean something only within one boot of a machine and one namespace: containers
    may share the name of their machine.
    """
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    namespace = os.readlink("/proc/self/ns/pid")
    pid = os.getpid()
    return {
        "host": platform.node(),
        "place": f"{platform.node()} {boot} {namespace}",
        "pid": pid,
        "born": born_at(pid),
    }


def born_at(pid: object) -> int | None:
    """When a process started, in clock ticks since boot; None if it is gone or a zombie."""
    if not isinstance(pid, int):
        return None
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return None
    state, *values = stat.rpartition(")")[2].split()
    if state in ("Z", "X"):
        return None
    return int(values[BORN_FIELD - 1])
