"""Full, read-only and vanishing disks: the run ends with a line, what was finished stays."""

import contextlib
import os
import resource
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.faults import commands
from tests.faults.kills import LOG, N_SEEDS, Watched, arguments, complete
from tests.faults.tally import Tally

LIMIT_S = 120.0


def may_mount(folder: Path) -> bool:
    """Whether this process may mount a file system."""
    try:
        with mounted(folder, "size=64k"):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


@contextlib.contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    """Mount a small file system in memory on a new folder."""
    folder.mkdir(exist_ok=True)
    words = ["mount", "-t", "tmpfs", "-o", options, "faults", str(folder)]
    subprocess.run(words, check=True, capture_output=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True, capture_output=True)


class Disturbed:
    """A run on a folder that something happens to once a cell is trained."""

    def __init__(self, name: str, folder: Path, tally: Tally) -> None:
        self.name = name
        self.folder = folder
        self.tally = tally
        self.log = tally_log(folder)

    def run(
        self,
        disturb: Callable[[], object] | None = None,
        *,
        largest_file: int | None = None,
        codes: tuple[int, ...] = (0, 1, 2),
    ) -> None:
        """Run, call `disturb` in the middle, and judge how the run ended."""
        self.tally.tried += 1

        def action() -> None:
            os.environ[LOG] = str(self.log)
            if largest_file is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
            commands.command_line(arguments(self.folder))()

        output = self.log.with_suffix(".out")
        pid = commands.start(action, output)
        if disturb:
            end = time.monotonic() + 60
            while not (self.log.exists() and "end" in self.log.read_text()):
                if time.monotonic() > end:
                    break
                time.sleep(0.01)
            disturb()
        code = commands.wait(pid, LIMIT_S)
        if code is None:
            commands.stop(pid)
        ended = commands.Ended(-1 if code is None else code, output.read_text(), code is None)
        fault = ended.fault()
        if largest_file == 0 and not ended.overtime:
            fault = ""  # its output is a file, too, and stays empty
        if fault or ended.code not in codes:
            text = fault or f"exit code {ended.code}: {ended.output[-200:]!r}"
            self.tally.tracebacks.append(f"{self.name}: {text}")

    def resume(self) -> None:
        """Run again, undisturbed: every row is there in the end, and nothing is left over."""
        watched = Watched(self.folder, self.tally)
        watched.log = self.log
        watched.look()
        finished = complete(watched)
        if finished != N_SEEDS:
            self.tally.lost.append(f"{self.name}: {finished} of {N_SEEDS} rows after resuming")
        for path in self.folder.rglob("*.tmp"):
            self.tally.torn.append(f"{self.name}: {path.name} is left over")


def tally_log(folder: Path) -> Path:
    """Return the log of the method, beside the run folder and so on another disk."""
    return folder.parent / f"{folder.name}-naps.log"


def try_disks(scratch: Path, *, smoke: bool) -> Tally:
    """Try small, full, read-only and vanishing disks; only a deleted folder in the smoke part."""
    from ddl_bench.cli import running as imported  # noqa: F401  for all children

    tally = Tally("disks")
    folder = scratch / "deleted"
    deleted = Disturbed("deleted folder", folder, tally)
    deleted.run(lambda: shutil.rmtree(folder, ignore_errors=True))
    deleted.resume()
    if smoke:
        return tally
    for part in ("work", "cells"):
        folder = scratch / f"deleted-{part}"
        inner = folder / part

        def delete(inner: Path = inner) -> None:
            shutil.rmtree(inner, ignore_errors=True)

        deleted = Disturbed(f"deleted {part}", folder, tally)
        deleted.run(delete)
        deleted.resume()
    for size in (0, 300, 3_000):
        limited = Disturbed(f"files of at most {size} bytes", scratch / f"limited{size}", tally)
        limited.run(largest_file=size)
        limited.resume()
    if not may_mount(scratch / "probe"):
        tally.skipped.append("small and read-only file systems: this user may not mount any")
        return tally
    options = [f"size={size}k" for size in (4, 16, 28)]
    options += [f"size=1m,nr_inodes={number}" for number in (1, 3, 5, 7, 9, 12)]
    for option in options:
        with mounted(scratch / f"small-{option}", option) as disk:
            small = Disturbed(option, disk, tally)
            small.run()
            words = ["mount", "-o", "remount,size=8m,nr_inodes=1000", str(disk)]
            subprocess.run(words, check=True, capture_output=True)
            small.resume()
    with mounted(scratch / "read-only", "size=8m") as disk:

        def remount(mode: str) -> None:
            words = ["mount", "-o", f"remount,{mode}", str(disk)]
            subprocess.run(words, check=False, capture_output=True)

        frozen = Disturbed("read-only in the middle", disk, tally)
        frozen.run(lambda: remount("ro"))
        frozen.run(codes=(0, 2))
        remount("rw")
        frozen.resume()
    return tally
