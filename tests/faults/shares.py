"""Try the halves of a part side by side, in processes of their own."""

import dataclasses
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.faults import commands
from tests.faults.tally import Tally

N_PROCESSES = 2
LIMIT_S = 900.0


def side_by_side(tally: Tally, scratch: Path, share: Callable[[int], Tally]) -> Tally:
    """Do `share(0)`, `share(1)`, ... at the same time, and add what they found to `tally`.

    Raises RuntimeError where a share does not come to its end.
    """
    pids = {}
    for number in range(N_PROCESSES):
        results = scratch / f"share{number}.json"

        def action(number: int = number, results: Path = results) -> None:
            # the locks of cores, which a runner that is stopped keeps
            tempfile.tempdir = os.environ["TMPDIR"] = str(scratch / f"temporary{number}")
            Path(tempfile.tempdir).mkdir()
            results.write_text(json.dumps(dataclasses.asdict(share(number))))

        pids[commands.start(action, results.with_suffix(".log"))] = results
    for pid, results in pids.items():
        if commands.wait(pid, LIMIT_S) != 0:
            output = results.with_suffix(".log").read_text(errors="replace")
            raise RuntimeError(f"a share of {tally.part} stopped: {output[-2_000:]}")
        tally.add(Tally(**json.loads(results.read_text())))
    return tally
