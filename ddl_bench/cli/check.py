"""Print what the contract finds in a method."""

import dataclasses

from rich.console import Console
from rich.markup import escape

from ddl_bench.cli.output import emit, print_line


def print_check(console: Console, target: str, like: str | None, *, as_json: bool) -> bool:
    """Print each finding of the contract as it is made; returns whether a rule is broken."""
    from ddl_bench.contract.check import findings as findings_of

    marks = {"held": "[green]ok     [/]", "broken": "[red]broken [/]", "skipped": "skipped"}
    findings = []
    for finding in findings_of(target, like):
        findings.append(finding)
        if not as_json:
            text = f"{finding.rule}: {finding.detail}" if finding.detail else finding.rule
            print_line(console, f"{marks[finding.status]} {escape(text)}")
            console.file.flush()
    if as_json:
        emit([dataclasses.asdict(finding) for finding in findings])
    return any(finding.status == "broken" for finding in findings)
