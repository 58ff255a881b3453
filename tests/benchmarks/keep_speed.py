"""Keep what docs/speed.md shows of benchmarks: `python -m tests.benchmarks.keep_speed FILE...`.

Each FILE is what `tox -e bench -- --benchmark-json=FILE` writes.
"""

import json
import sys
from pathlib import Path

from reports.documentation import SPEED, renew


def keep_speed(*reports: str) -> None:
    """Write the committed results of the benchmarks, and renew the pages that show them."""
    runs = []
    for path in reports:
        report = json.loads(Path(path).read_text())
        conditions = {
            "cpu": report["machine_info"]["cpu"]["brand_raw"],
            "date": report["datetime"][:10],
            "commit": report["commit_info"]["id"],
            "dirty": report["commit_info"]["dirty"],
        }
        for benchmark in report["benchmarks"]:
            runs.append({"name": benchmark["name"], **benchmark["extra_info"], **conditions})
    SPEED.write_text(json.dumps({"runs": runs}, indent=1) + "\n")
    renew()


if __name__ == "__main__":
    keep_speed(*sys.argv[1:])
