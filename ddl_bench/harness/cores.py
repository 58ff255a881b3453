"""Cores and GPUs of this machine that a cell has for itself, also beside other runners.

Each is a file in the folder for temporary files, locked while a cell runs on it. The kernel ends
the lock with the process, so a killed runner leaves nothing behind.
"""

import fcntl
import os
import re
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ddl_bench import machine
from ddl_bench.errors import UserError
from ddl_bench.files import name_of

LOCKS = Path("/proc/locks")  # of this machine: all that are held, see proc(5)
FLOCK = re.compile(r"\d+: FLOCK +\S+ +\S+ +(?P<pid>-?\d+) +\S+:(?P<inode>\d+) ")
FOLDER = "ddl-bench-cores"  # among the temporary files, shared by all users of this machine
READABLE = 0o644  # for all users, of which each locks the file
MADE_WITHIN_S = 1.0  # a file that another user is just making
POLL_EVERY_S = 0.01


@dataclass(kw_only=True)
class Taken:
    """Cores and a GPU that are locked, and the descriptors that hold the locks."""

    cores: list[int] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)
    gpu: str = ""

    def release(self) -> None:
        """Let others take them."""
        while self.descriptors:
            os.close(self.descriptors.pop())


def take(free: Iterable[int], n_cores: int, device: str = "cpu") -> Taken | None:
    """Lock `n_cores` of the `free` cores, and a GPU; None where other runners leave too few.

    The device `cuda` is whichever GPU is free. Raises UserError where it is not known whether one
    is free, see `open_lock`.
    """
    taken = Taken()
    try:
        if device != "cpu":
            gpu = next((name for name in gpus_of(device) if lock(f"gpu-{name}", taken)), "")
            if not gpu:
                return None
            taken.gpu = gpu
        for core in free:
            if len(taken.cores) == n_cores:
                return taken
            if lock(f"core-{core}", taken):
                taken.cores.append(core)
    except UserError:
        taken.release()
        raise
    if len(taken.cores) == n_cores:
        return taken
    taken.release()
    return None


def users(cores: Iterable[int], device: str = "cpu") -> list[int]:
    """List the processes that lock some of these cores, or the GPU, as far as the kernel tells.

    Processes of another container hold locks, but have no number here.
    """
    names = [f"core-{core}" for core in cores]
    names += [f"gpu-{gpu}" for gpu in gpus_of(device)]
    inodes = set()
    for name in names:
        with suppress(OSError):
            inodes.add(path_of(name).stat().st_ino)
    try:
        locks = LOCKS.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    pids = set()
    for line in locks:
        match = FLOCK.match(line)
        if match and int(match["inode"]) in inodes:
            pids.add(int(match["pid"]))
    return sorted(pid for pid in pids if pid > 0)


def gpus_of(device: str) -> list[str]:
    """Name the GPUs that a device may be: none for a CPU, any for `cuda`, one for `cuda:1`."""
    if device == "cpu":
        return []
    number = device.partition(":")[2]
    if not number:
        return machine.gpus()
    return machine.gpus()[int(number) :][:1] or [number]


def path_of(name: str) -> Path:
    """Return the file that is locked for a core or a GPU."""
    return Path(tempfile.gettempdir()) / FOLDER / name


def lock(name: str, taken: Taken) -> bool:
    """Lock a file of that name and add its descriptor; False where another process has it.

    Where nothing can be locked, all is free.
    """
    descriptor = open_lock(name)
    if descriptor is None:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return False
    except OSError:  # a file system of a network, which cannot lock a file that is only read
        os.close(descriptor)
        return True
    taken.descriptors.append(descriptor)
    return True


def open_lock(name: str) -> int | None:
    """Open the file of a core or a GPU; None where no folder for temporary files can be used.

    Raises UserError for a file, or a folder of such files, that another user has closed to us. The
    core may be in use, and a run that took it for free would spoil the times of both.
    """
    try:
        path = path_of(name)
    except OSError:
        return None
    end_s = time.monotonic() + MADE_WITHIN_S
    while True:
        try:
            return open_shared(path)
        except PermissionError:
            if not path.parent.is_dir():
                return None
            if time.monotonic() > end_s:
                raise UserError(
                    f"{name_of(path)}: cannot be opened, so it is not known whether another run "
                    "uses it; let its owner `chmod 1777` the folder and `chmod 644` the files in "
                    "it, or set TMPDIR to another folder"
                ) from None
        except OSError:
            return None
        time.sleep(POLL_EVERY_S)


def open_shared(path: Path) -> int:
    """Open a file that any user may have made; only a missing one is created."""
    with suppress(FileNotFoundError):
        return os.open(path, os.O_RDONLY)
    if not path.parent.is_dir():
        path.parent.mkdir(exist_ok=True)
        path.parent.chmod(0o1777)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL, READABLE)
    except FileExistsError:  # another runner was faster
        return os.open(path, os.O_RDONLY)
    os.fchmod(descriptor, READABLE)  # whatever the umask of this user is
    return descriptor
