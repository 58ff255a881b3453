"""Keep what docs/speed.md shows of benchmarks: `python -m tests.benchmarks.keep_speed FILE...`.

Each FILE is what `tox -e bench -- --benchmark-json=FILE` writes. Benchmarks that no FILE holds stay
as they were measured before, unless the suite no longer has them. What became slower or faster is
printed, and what is no longer there.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

from reports.documentation import renew
from reports.speed import SPEED, UNITS, benchmarks

CHANGE = 1.2  # factor between two times or ratios from which it is printed


def keep_speed(*reports: str) -> None:
    """Write the committed results of the benchmarks, and renew the pages that show them."""
    before = benchmarks()
    runs = results_of(*reports)
    fresh = {run["name"] for run in runs}
    runs += [run for run in before if run["name"] not in fresh and _test_of(run) in suite()]
    for line in changes(before, runs):
        print(line)
    SPEED.write_text(json.dumps({"runs": runs}, indent=1) + "\n")
    renew()


def suite() -> set[str]:
    """Return the names of the tests in the files of the benchmarks."""
    files = Path(__file__).parent.glob("bench_*.py")
    return {name for file in files for name in re.findall(r"def (test_\w+)\(", file.read_text())}


def _test_of(run: dict[str, Any]) -> str:
    """Return the name of the test of a result, without its parameters."""
    return str(run["name"]).partition("[")[0]


def results_of(*reports: str) -> list[dict[str, Any]]:
    """Return what the benchmarks of some files recorded, each with its machine and date."""
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
    return runs


def changes(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> list[str]:
    """Describe what differs by a factor of `CHANGE` or more between two lists of results.

    Times of methods are compared in units of the yardstick of their run.
    """
    lines = []
    new = {run["name"]: run for run in after}
    for old in before:
        name = old["name"]
        if name not in new:
            lines.append(f"{name}: no longer there")
            continue
        for key in (*UNITS, "step_s", "image_s"):
            if key in old and key in new[name]:
                first = old[key] / old.get("yardstick_s", 1)
                last = new[name][key] / new[name].get("yardstick_s", 1)
                if max(first, last) >= CHANGE * min(first, last):
                    lines.append(f"{name}: {key} {first:.3g}, now {last:.3g}")
    return lines


if __name__ == "__main__":
    keep_speed(*sys.argv[1:])
