"""Count what commands do to the files of a run folder, in all of their processes.

A module that Python imports at its start notes each operation below the folder, one line each, in
a file that all processes append to. So the counts are those of the real code, workers included.
"""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT

# Runs first in each process. Events of Python's audit name most operations; looks at a file and
# waits for the disk have none, so their functions are replaced.
NOTE = """\
import os, sys
FOLDER = os.environ["TRACED_FOLDER"]
LOG = os.open(os.environ["TRACED_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.utime", "os.truncate", "os.link"}
LISTS = {"os.listdir", "os.scandir"}

def note(kind, path, size=0):
    if isinstance(path, (str, os.PathLike)):
        full = os.path.join(os.getcwd(), os.fspath(path))
        if isinstance(full, str) and full.startswith(f"{FOLDER}/"):
            os.write(LOG, f"{kind} {size} {full[len(FOLDER):]}\\n".encode())

def size_of(path):
    try:
        return look(path).st_size
    except (OSError, ValueError):
        return 0

def audit(event, arguments):
    if event == "open":
        path, _, flags = arguments
        if isinstance(path, int) or not isinstance(flags, int):
            return
        if flags & os.O_CREAT:
            note("create", path)
        elif not flags & os.O_DIRECTORY:
            note("read", path, size_of(path))
    elif event in LISTS:
        note("list", arguments[0] if arguments[0] is not None else ".")
    elif event in CHANGES:
        size = size_of(arguments[0]) if event == "os.rename" else 0
        note("change", arguments[0], size)

look, look_at_link, sync = os.stat, os.lstat, os.fsync

def stat(path, *arguments, **options):
    note("look", path)
    return look(path, *arguments, **options)

def lstat(path, *arguments, **options):
    note("look", path)
    return look_at_link(path, *arguments, **options)

def fsync(descriptor):
    note("sync", os.readlink(f"/proc/self/fd/{descriptor}"))
    return sync(descriptor)

os.stat, os.lstat, os.fsync = stat, lstat, fsync
sys.addaudithook(audit)
"""
ENDLESS = (".progress.", ".clock.")  # files whose operations depend on time, counted apart


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Operations on the files of a run folder.

    Parameters
    ----------
    looks
        At the attributes of a file.
    reads
        Files that were opened to read, of which each is closed again.
    creates
        Files that were made or opened to write.
    changes
        Files that were renamed or removed, or got another time.
    lists
        Folders that were listed.
    syncs
        Waits for the disk.
    bytes_read, bytes_written
        Sizes of the files that were read, and of those that were renamed into place.
    """

    looks: float = 0
    reads: float = 0
    creates: float = 0
    changes: float = 0
    lists: float = 0
    syncs: float = 0
    bytes_read: float = 0
    bytes_written: float = 0


KINDS = {
    "look": "looks",
    "read": "reads",
    "create": "creates",
    "change": "changes",
    "list": "lists",
    "sync": "syncs",
}


def traced(folder: Path, scratch: Path, words: Sequence[str]) -> Counts:
    """Do a command of the project; returns what it and its children did below a folder.

    Operations on files whose number depends on the time that the command takes are left out.
    """
    scratch.mkdir(exist_ok=True)
    (scratch / "sitecustomize.py").write_text(NOTE)
    log = scratch / "log"
    log.write_bytes(b"")
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(scratch), str(ROOT)]),
        "TRACED_FOLDER": str(folder),
        "TRACED_LOG": str(log),
    }
    command = [sys.executable, "-m", "ddl_bench", *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{words}: {done.stdout}{done.stderr}")
    return counted(log.read_text().splitlines())


def counted(lines: Sequence[str]) -> Counts:
    """Count the lines of a log by what was done."""
    numbers: Counter[str] = Counter()
    for line in lines:
        kind, size, name = line.split(" ", 2)
        if any(part in name for part in ENDLESS):
            continue
        numbers[KINDS[kind]] += 1
        if kind == "read" and not name.endswith(".npz"):  # of which the end alone is read
            numbers["bytes_read"] += int(size)
        if kind == "change":
            numbers["bytes_written"] += int(size)
    return Counts(**numbers)
