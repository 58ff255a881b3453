"""What a part of the program has tried and what went wrong, and the table of all parts."""

import dataclasses
from collections.abc import Sequence

COLUMNS = ("lost", "doubled", "torn", "tracebacks", "slow", "undetected")


@dataclasses.dataclass
class Tally:
    """What one part has tried, and the names of what went wrong, by column of the table.

    Parameters
    ----------
    part
        Name of the part, the first word of its line.
    tried
        How many attempts were made.
    lost
        Results that are missing at the end, or were replaced.
    doubled
        Work that was done again although it had been done.
    torn
        Files that are half written, and temporary files that stay.
    tracebacks
        Commands that ended in a traceback, never, or with anything but a line for the user.
    slow
        Commands that took more time or memory than they may.
    undetected
        Distortions that leave no mark.
    skipped
        What was not tried, with the reason.
    seconds
        How long it took.
    """

    part: str
    tried: int = 0
    lost: list[str] = dataclasses.field(default_factory=list)
    doubled: list[str] = dataclasses.field(default_factory=list)
    torn: list[str] = dataclasses.field(default_factory=list)
    tracebacks: list[str] = dataclasses.field(default_factory=list)
    slow: list[str] = dataclasses.field(default_factory=list)
    undetected: list[str] = dataclasses.field(default_factory=list)
    skipped: list[str] = dataclasses.field(default_factory=list)
    seconds: float = 0.0

    def add(self, other: "Tally") -> None:
        """Add what another one has."""
        self.tried += other.tried
        for column in (*COLUMNS, "skipped"):
            getattr(self, column).extend(getattr(other, column))

    def faults(self, documented: Sequence[str] = ()) -> list[str]:
        """List what went wrong, a line each; `documented` names need not be detected."""
        lines = []
        for column in COLUMNS:
            for name in getattr(self, column):
                if column != "undetected" or name not in documented:
                    lines.append(f"{self.part}: {column}: {name}")
        return lines


def table(tallies: Sequence[Tally], documented: Sequence[str] = ()) -> str:
    """Write the table: a line for each part and one for all, and below it what went wrong.

    Parameters
    ----------
    tallies
        What the parts have tried.
    documented
        Names of distortions that need not be detected.
    """
    total = Tally("all")
    for tally in tallies:
        total.add(tally)
        total.seconds += tally.seconds
    head = f"{'part':<18}{'seconds':>8}{'tried':>8}"
    head += "".join(f"{column:>12}" for column in COLUMNS)
    rule = "-" * len(head)
    lines = [head, rule, *map(line, tallies)]
    if len(tallies) > 1:
        lines += [rule, line(total)]
    if total.undetected:
        lines += ["", f"undetected: {', '.join(sorted(total.undetected))}"]
        if set(total.undetected) <= set(documented):
            lines.append("all of these stand in SECURITY.md, as what cannot be detected")
    lines += [f"not tried: {text}" for text in total.skipped]
    faults = [fault for tally in tallies for fault in tally.faults(documented)]
    if faults:
        lines += ["", f"{len(faults)} went wrong:", *faults]
    else:
        lines += ["", "nothing went wrong"]
    return "\n".join(lines)


def line(tally: Tally) -> str:
    """Write the line of a part."""
    counts = "".join(f"{len(getattr(tally, column)):>12}" for column in COLUMNS)
    return f"{tally.part:<18}{tally.seconds:>8.0f}{tally.tried:>8}{counts}"
