"""Try to hurt the harness: `python -m tests.faults [--smoke] [--only PART]` prints one table.

The exit code is 1 where something was lost, doubled, torn, ended in a traceback, or was neither
detected nor named in SECURITY.md.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Protocol

from tests.faults.disks import try_disks
from tests.faults.hostile import documented, try_hostile
from tests.faults.inputs import try_inputs
from tests.faults.interrupts import try_signals
from tests.faults.kills import try_kills
from tests.faults.scale import try_scale
from tests.faults.tally import Tally, table

# Children are forked, which libraries that have started threads do not survive.
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class Part(Protocol):
    """A part of the program."""

    def __call__(self, scratch: Path, *, smoke: bool) -> Tally:
        """Try what the part is about, in an empty folder."""


PARTS: dict[str, Part] = {
    "kills": try_kills,
    "signals": try_signals,
    "disks": try_disks,
    "inputs": try_inputs,
    "hostile": try_hostile,
    "scale": try_scale,
}


def run_apart(name: str, *, smoke: bool) -> Tally:
    """Run one part in an empty folder of its own."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix=f"faults-{name}-") as scratch:
        tally = PARTS[name](Path(scratch), smoke=smoke)
    print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return tally


def main(words: list[str] | None = None) -> int:
    """Run the parts and print the table; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="try a little of each part")
    parser.add_argument("--only", choices=PARTS, action="append", help="try this part alone")
    options = parser.parse_args(words)
    names = options.only or list(PARTS)
    tallies = [run_apart(name, smoke=options.smoke) for name in names]
    print(table(tallies))
    faults = [fault for tally in tallies for fault in tally.faults(documented())]
    if faults:
        print("\n".join(["", "what went wrong:", *faults]))
    return 1 if faults else 0


if __name__ == "__main__":
    if any(os.environ.get(name) != value for name, value in ENVIRONMENT.items()):
        words = [sys.executable, "-m", "tests.faults", *sys.argv[1:]]
        os.execve(sys.executable, words, {**os.environ, **ENVIRONMENT})
    sys.exit(main())
