"""Try to hurt the harness: `python -m tests.faults [--smoke] [--only PART]` prints one table.

The exit code is 1 where a result was lost, work doubled, a file torn, where a command ended in a
traceback, or where a distortion was neither detected nor is named in SECURITY.md.
"""

import argparse
import functools
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from tests.faults.claims import try_claims
from tests.faults.disks import try_disks
from tests.faults.hostile import documented, try_hostile
from tests.faults.inputs import try_inputs
from tests.faults.interrupts import try_signals
from tests.faults.kills import try_kills
from tests.faults.scale import try_scale
from tests.faults.shares import side_by_side
from tests.faults.tally import Tally, table

# Children are forked, which libraries that have started threads do not survive.
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class Part(Protocol):
    """A part of the program."""

    def __call__(self, scratch: Path, *, smoke: bool) -> Tally:
        """Try what the part is about, in an empty folder."""


PARTS: dict[str, Part] = {
    "kills": try_kills,
    "claims": try_claims,
    "signals": try_signals,
    "disks": try_disks,
    "inputs": try_inputs,
    "hostile": try_hostile,
    "scale": try_scale,
}


# Parts that wait more than they compute, and so run at the same time.
TOGETHER = ("signals", "disks")


def run_all(names: Sequence[str], *, smoke: bool) -> list[Tally]:
    """Run some parts, in the order of `PARTS`."""
    tasks = {name: functools.partial(run_apart, name, smoke=smoke) for name in names}
    tallies = {}
    if set(TOGETHER) <= set(names):
        with tempfile.TemporaryDirectory(prefix="faults-") as folder:
            together = side_by_side([tasks.pop(name) for name in TOGETHER], Path(folder))
        tallies = dict(zip(TOGETHER, together, strict=True))
    for name, task in tasks.items():
        tallies[name] = task()
    return [tallies[name] for name in PARTS if name in tallies]


def run_apart(name: str, *, smoke: bool) -> Tally:
    """Run one part in an empty folder of its own."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix=f"faults-{name}-") as folder:
        # the locks of cores, so that no other run on this machine is waited for
        tempfile.tempdir = os.environ["TMPDIR"] = f"{folder}/temporary"
        Path(tempfile.tempdir).mkdir()
        scratch = Path(folder) / "scratch"
        scratch.mkdir()
        tally = PARTS[name](scratch, smoke=smoke)
        tempfile.tempdir = None
        del os.environ["TMPDIR"]
    tally.seconds = time.monotonic() - began
    print(f"{name}: {tally.seconds:.0f} s", file=sys.stderr, flush=True)
    return tally


def main(words: list[str] | None = None) -> int:
    """Run the parts and print the table; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="try a little of each part")
    parser.add_argument("--only", choices=PARTS, action="append", help="try this part alone")
    options = parser.parse_args(words)
    # a shell turns Ctrl-C off for what it starts in the background, and children inherit that
    signal.signal(signal.SIGINT, signal.default_int_handler)
    tallies = run_all(options.only or list(PARTS), smoke=options.smoke)
    names_known = documented()
    print(table(tallies, names_known))
    return int(any(tally.faults(names_known) for tally in tallies))


if __name__ == "__main__":
    if any(os.environ.get(name) != value for name, value in ENVIRONMENT.items()):
        words = [sys.executable, "-m", "tests.faults", *sys.argv[1:]]
        os.execve(sys.executable, words, {**os.environ, **ENVIRONMENT})
    sys.exit(main())
