"""Try to hurt the harness: `python -m tests.faults [--smoke] [--only PART]` prints one table.

The exit code is 1 where something was lost, doubled, torn, ended in a traceback, or was neither
detected nor named in SECURITY.md.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from tests.faults.tally import Tally, table
from tests.faults.kills import try_kills


class Part(Protocol):
    """A part of the program."""

    def __call__(self, scratch: Path, *, smoke: bool) -> Tally:
        """Try what the part is about, in an empty folder."""


PARTS: dict[str, Part] = {"kills": try_kills}


def main(words: list[str] | None = None) -> int:
    """Run the parts and print the table; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="try a little of each part")
    parser.add_argument("--only", choices=PARTS, action="append", help="try this part alone")
    options = parser.parse_args(words)
    tallies = []
    with tempfile.TemporaryDirectory(prefix="faults-") as scratch:
        for name in options.only or PARTS:
            began = time.monotonic()
            folder = Path(scratch) / name.replace(" ", "-")
            folder.mkdir()
            tally = PARTS[name](folder, smoke=options.smoke)
            tallies.append(tally)
            print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    print(table(tallies))
    return 0
if __name__ == "__main__":
    sys.exit(main())
