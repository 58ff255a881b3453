"""Measure and simulate what docs/scale.md says: `python -m tests.scale --out FILE`."""

import argparse
import dataclasses
import datetime
import json
import tempfile
from pathlib import Path
from typing import Any

from ddl_bench.harness import claims, progress, provenance
from tests.scale.measure import N_CLAIMS, count_operations, time_folder
from tests.scale.simulate import simulate

SIZES = (1_000, 10_000, 100_000)
SIMULATED = (  # cells, runners, in the order of the plan
    (2_000, 20, True),
    (2_000, 20, False),
    (20_000, 20, False),
    (20_000, 200, False),
)


def study(sizes: tuple[int, ...], settings: tuple[tuple[int, int, bool], ...]) -> dict[str, Any]:
    """Measure folders of some sizes and simulate some numbers of runners."""
    with tempfile.TemporaryDirectory(prefix="scale-") as name:
        scratch = Path(name)
        counts = [dataclasses.asdict(costs) for costs in count_operations(scratch)]
        times = [time_folder(scratch / f"of-{size}", size) for size in sizes]
    loads = []
    for n_cells, n_runners, in_order in settings:
        loads.append(dataclasses.asdict(simulate(n_cells, n_runners, in_order=in_order)))
    return {
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "cpu": provenance.collect(())["cpu"],
        "n_claims": N_CLAIMS,
        "sign_of_life_s": claims.STALE_AFTER_S / claims.SIGNS_OF_LIFE,
        "progress_s": progress.EVERY_S,
        "progress_share": progress.EVERY_SHARE,
        "progress_most_s": progress.AT_LEAST_EVERY_S,
        "counts": counts,
        "times": times,
        "simulated": loads,
    }


def main() -> None:
    """Write the results to a file."""
    parser = argparse.ArgumentParser(prog="python -m tests.scale", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="write to this JSON file")
    parser.add_argument("--most", type=int, default=SIZES[-1], help="cells of a folder at most")
    options = parser.parse_args()
    results = study(tuple(size for size in SIZES if size <= options.most), SIMULATED)
    options.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
