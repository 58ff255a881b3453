"""Try several things side by side, in processes of their own."""

import dataclasses
import functools
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.faults import commands
from tests.faults.tally import Tally

N_PROCESSES = 2
LIMIT_S = 900.0

Task = Callable[[], Tally]


def side_by_side(tasks: Sequence[Task], scratch: Path) -> list[Tally]:
    """Do all tasks at the same time; returns what each has found, in their order.

    Raises RuntimeError where a task does not come to its end.
    """
    results = {}
    for number, task in enumerate(tasks):
        path = scratch / f"share{number}.json"

        def action(number: int = number, task: Task = task, path: Path = path) -> None:
            # the locks of cores, which a runner that is stopped keeps
            tempfile.tempdir = os.environ["TMPDIR"] = str(scratch / f"temporary{number}")
            Path(tempfile.tempdir).mkdir()
            path.write_text(json.dumps(dataclasses.asdict(task())))

        results[commands.start(action, path.with_suffix(".log"))] = path
    tallies = []
    for pid, path in results.items():
        if commands.wait(pid, LIMIT_S) != 0:
            output = path.with_suffix(".log").read_text(errors="replace")
            raise RuntimeError(f"what ran beside others stopped: {output[-2_000:]}")
        tallies.append(Tally(**json.loads(path.read_text())))
    return tallies


def in_shares(part: str, share: Callable[[int], Tally], scratch: Path) -> Tally:
    """Do `share(0)`, `share(1)`, ... at the same time; returns what all have found."""
    tally = Tally(part)
    tasks = [functools.partial(share, number) for number in range(N_PROCESSES)]
    for found in side_by_side(tasks, scratch):
        tally.add(found)
    return tally
