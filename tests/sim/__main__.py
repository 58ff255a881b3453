"""Run the simulations: `python -m tests.sim`; exits with 1 where a rule is wrong too often."""

import argparse
import json
import sys
from pathlib import Path

from tests.sim.study import N_RUNS, PARTS, SEEDS, record, study


def main() -> int:
    """Print each rate as it is known; write all to a file where one is given."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--runs", type=int, default=N_RUNS, help="experiments in each setting")
    parser.add_argument("--parts", default=",".join(PARTS), help=f"of {', '.join(PARTS)}")
    parser.add_argument("--seeds", default=",".join(map(str, SEEDS)), help="of each method")
    parser.add_argument("--out", type=Path, help="write the rates to this JSON file")
    options = parser.parse_args()
    rates = []
    for rate in study(
        options.parts.split(","), options.runs, [int(n) for n in options.seeds.split(",")]
    ):
        rates.append(rate)
        mark = "  TOO OFTEN WRONG" if rate.is_bad else ""
        print(
            f"{rate.setting:45} {rate.rule:35} {rate.kind:32} sd {rate.spread:4}"
            f" seeds {rate.n_seeds:2}  {rate.rate:6.1%}{mark}",
            flush=True,
        )
    if options.out:
        options.out.write_text(json.dumps([record(rate) for rate in rates], indent=1) + "\n")
    return int(any(rate.is_bad for rate in rates))


if __name__ == "__main__":
    sys.exit(main())
