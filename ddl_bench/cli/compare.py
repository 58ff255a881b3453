"""Print what separates two methods."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from ddl_bench.cli.output import emit, print_facts


def print_comparison(console: Console, run: Path, a: str, b: str, *, as_json: bool) -> None:
    """Print the comparison of two methods of a run, one for each data set."""
    from ddl_bench.results.stats.compare import compare as compare_methods

    print_findings(console, compare_methods(run, a, b), as_json=as_json)


def print_power(
    console: Console, run: Path, a: str, b: str, difference: float | None, *, as_json: bool
) -> None:
    """Print the seeds and images that would separate two methods, for each data set."""
    from ddl_bench.results.stats.separate import power as power_of

    print_findings(console, power_of(run, a, b, difference), as_json=as_json)


def print_findings(console: Console, findings: Sequence[Any], *, as_json: bool) -> None:
    """Print dataclasses, one fact a line; those of a nested one are named NAME.FACT."""
    records = [dataclasses.asdict(finding) for finding in findings]
    if as_json:
        emit(records)
        return
    for record in records:
        facts: dict[str, Any] = {}
        for key, value in record.items():
            if isinstance(value, dict):
                facts |= {f"{key}: {part}": item for part, item in value.items()}
            else:
                facts[key] = value
        print_facts(console, {key: value for key, value in facts.items() if value is not None})
        console.print()
