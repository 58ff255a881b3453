"""What a part of the program has tried and what went wrong, and the table of all parts."""

import dataclasses
from collections.abc import Sequence

COLUMNS = ("lost", "doubled", "torn", "tracebacks", "undetected")


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
    undetected
        Distortions that leave no mark.
    skipped
        What was not tried, with the reason.
    """

    part: str
    tried: int = 0
    lost: list[str] = dataclasses.field(default_factory=list)
    doubled: list[str] = dataclasses.field(default_factory=list)
    torn: list[str] = dataclasses.field(default_factory=list)
    tracebacks: list[str] = dataclasses.field(default_factory=list)
    undetected: list[str] = dataclasses.field(default_factory=list)
    skipped: list[str] = dataclasses.field(default_factory=list)

    def faults(self, documented: Sequence[str] = ()) -> list[str]:
        """List what went wrong, a line each; `documented` names need not be detected."""
        lines = []
        for column in COLUMNS:
            for name in getattr(self, column):
                if column != "undetected" or name not in documented:
                    lines.append(f"{self.part}: {column}: {name}")
        return lines


def table(tallies: Sequence[Tally]) -> str:
    """Write the table: a line for each part, and the names of what was not detected."""
    head = f"{'':18}{'tried':>8}" + "".join(f"{column:>12}" for column in COLUMNS)
    lines = [head]
    for tally in tallies:
        counts = "".join(f"{len(getattr(tally, column)):>12}" for column in COLUMNS)
        lines.append(f"{tally.part:18}{tally.tried:>8}{counts}")
    names = [name for tally in tallies for name in tally.undetected]
    lines.append(f"undetected: {', '.join(names) or 'nothing was tried that is not detected'}")
    lines += [f"not tried: {tally.part}: {text}" for tally in tallies for text in tally.skipped]
    return "\n".join(lines)
