"""The rows of the pack: one JSON a line, a file a part; and the files that a run leaves."""

import json
import subprocess
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

PARTS = ("correctness", "speed", "fast", "schedule")
UNDER_WAY = ", under way"  # ends the name of a row whose job is to be taken up again
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One measurement.

    part, name: what was measured. status: "ok", "failed" or "skipped", with a reason.
    device, gpu, torch, cuda: where; gpu and cuda are None on a CPU.
    commit: of the code, None if unknown.
    started: UTC, ISO 8601. wall_s: seconds that it took. resumed: how often it was taken up again.
    values: numbers and names; the unit is the end of a key: `_s`, `_ms`, `_per_s`, `_percent`,
        `_bytes`; `n_...` are counts, `relative_...` are shares of what is measured beside them.
    """

    part: str
    name: str
    status: Literal["ok", "failed", "skipped"]
    reason: str = ""
    device: str
    gpu: str | None
    torch: str
    cuda: str | None
    commit: str | None
    started: str
    wall_s: float
    resumed: int = 0
    values: dict[str, Any] = field(default_factory=dict)


def rows_file(out: Path, part: str) -> Path:
    return out / f"rows-{part}.jsonl"


def append(out: Path, row: Row) -> None:
    """Write a row at once, so that a kill loses none that is finished."""
    with rows_file(out, row.part).open("a") as file:
        file.write(json.dumps(asdict(row)) + "\n")


def load(out: str | Path) -> list[Row]:
    """All rows of a run, part by part as they were measured; of two of one name the newer counts.

    A last line that was cut off is left out. Raises ValueError for any other line that is no row.
    """
    found: dict[tuple[str, str], Row] = {}
    for part in PARTS:
        path = rows_file(Path(out), part)
        text = path.read_text() if path.exists() else ""
        lines = text.split("\n")
        for number, line in enumerate(lines, 1):
            if not line or (number == len(lines) and not text.endswith("\n")):
                continue
            row = parse(line, f"{path}, line {number}")
            found[row.part, row.name] = row
    return [
        row
        for (part, name), row in found.items()
        if not name.endswith(UNDER_WAY) or (part, name.removesuffix(UNDER_WAY)) not in found
    ]


def parse(line: str, where: str) -> Row:
    try:
        values = json.loads(line)
        known = {each.name for each in fields(Row)}
        if not isinstance(values, dict) or not values.keys() <= known:
            raise ValueError(f"expected an object with {', '.join(sorted(known))}")
        return Row(**values)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{where}: not a row: {error}") from None


def commit() -> str | None:
    """Of the checkout that this file lies in."""
    words = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() or None
