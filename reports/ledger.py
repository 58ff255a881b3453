"""Claims of publications beside the committed rows of this suite: the table of docs/claims.md.

Each claim is judged by itself, by the training runs of our rows. A verdict needs 5 seeds.
"""

import json
import math
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

from ddl_bench.errors import UserError
from ddl_bench.results.groups import Group
from ddl_bench.results.stats.replication import MARGIN
from ddl_bench.results.stats.welch import SEEDS_FOR_VERDICT
from reports.estimates import (
    RESULTS,
    Estimate,
    level_of,
    lines_of,
    ratio_of,
    refuse_times,
    sum_of,
    written,
)

CLAIMS = Path(__file__).parent / "reference" / "claims.toml"
HOLDS = "holds"
DIFFERS = "differs"
UNRESOLVED = "does not resolve"
UNDECIDED = "no verdict"
ABSENT = "cannot be tested here"
MISSING = "no rows yet"
KINDS = (HOLDS, DIFFERS, UNRESOLVED, UNDECIDED, MISSING, ABSENT)  # how a verdict begins
SIGNS = {  # of a, b, a2 and b2
    "above": (1.0, -1.0),
    "near": (1.0, -1.0),
    "gains": (1.0, -1.0, -1.0, 1.0),
}
COLUMNS = ("claim", "source", "theirs", "ours", "verdict", "rows")


class Claim(BaseModel):
    """One claim of a publication; the keys are explained in claims.toml."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    says: str
    source: str
    theirs: str
    protocol: str
    test: Literal["above", "near", "level", "times", "gains", "errors", "missing", "absent"]
    here: str = ""
    rows: str = ""
    a: str = ""
    b: str = ""
    a2: str = ""
    b2: str = ""
    column: str = "accuracy"
    amount: float | None = None
    n_steps: int | None = None
    bound: Literal["", "at least", "at most"] = ""
    because: str = ""
    command: str = ""


class Judgement(NamedTuple):
    """What our rows say of a claim: a text with its interval and seeds, and the verdict."""

    text: str
    verdict: str


def read_claims(path: Path = CLAIMS) -> list[Claim]:
    """Read the claims."""
    with path.open("rb") as file:
        return [Claim.model_validate(values) for values in tomllib.load(file)["claim"]]


def ledger(claims: Sequence[Claim] | None = None, results: Path = RESULTS) -> str:
    """Return the table of all claims."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + " :-- |" * len(COLUMNS)]
    for claim in read_claims() if claims is None else claims:
        lines.append("| " + " | ".join(cells_of(claim, results)) + " |")
    return "\n".join(lines)


def summary(claims: Sequence[Claim] | None = None, results: Path = RESULTS) -> str:
    """Count the kinds of verdicts: "4 claims: holds 1, differs 1, ..."."""
    judged_claims = read_claims() if claims is None else claims
    verdicts = [finding(claim, results).verdict for claim in judged_claims]
    counts = [f"{kind} {sum(text.startswith(kind) for text in verdicts)}" for kind in KINDS]
    return f"{len(verdicts)} claims: {', '.join(counts)}."


def cells_of(claim: Claim, results: Path) -> list[str]:
    """Write the line of a claim."""
    found = finding(claim, results)
    theirs = f"{claim.theirs} ({claim.protocol})"
    ours = f"{found.text} ({claim.here})" if claim.here and found.text else found.text
    link = ""
    if claim.rows and found.text:
        page = f"{claim.rows}.md" if claim.test == "errors" else f"results/{claim.rows}"
        link = f"[{claim.rows}]({page})"
    return [claim.says, claim.source, theirs, ours, found.verdict, link]


def commands(claims: Sequence[Claim] | None = None) -> str:
    """Return the table of the commands that make rows for claims, where there is one."""
    lines = ["| claim | command |", "| :-- | :-- |"]
    for claim in read_claims() if claims is None else claims:
        command = command_of(claim)
        if command:
            lines.append(f"| {claim.says} | `{command}` |")
    return "\n".join(lines)


def command_of(claim: Claim) -> str:
    """Return the command that makes rows for a claim, with the seeds that a verdict needs.

    The rows of a claim are those of the track of their name where `command` is empty.
    """
    if claim.command or not claim.rows:
        return claim.command
    lines = ",".join(dict.fromkeys(lines_named(claim)))
    return f'ddl-bench run {claim.rows} --methods "{lines}" --seeds 0-{SEEDS_FOR_VERDICT - 1}'


def lines_named(claim: Claim) -> list[str]:
    """Return the names of the lines that a claim compares."""
    return [name for name in (claim.a, claim.b, claim.a2, claim.b2) if name]


def finding(claim: Claim, results: Path) -> Judgement:
    """Say what our rows show of a claim.

    Raises
    ------
    UserError
        If the claim lacks something, or compares what cannot be compared.
    """
    if claim.test == "absent":
        return Judgement("", f"{ABSENT}: {claim.because}")
    if claim.test == "missing":
        return Judgement("", f"{MISSING}: {claim.because}")
    try:
        return tested(claim, results)
    except ValueError as error:
        raise UserError(f"claim {claim.says!r}: {error}") from error


def tested(claim: Claim, results: Path) -> Judgement:
    """Test a claim by our rows.

    Raises
    ------
    ValueError
        As `finding`, without naming the claim.
    """
    if claim.test == "errors":
        return of_errors(claim, results)
    names = lines_named(claim)
    lines = lines_of(results / claim.rows, names)
    missing = [name for name in names if name not in lines]
    if missing:
        return Judgement("", f"{MISSING}: {', '.join(missing)} in {claim.rows}")
    if claim.test == "times":
        refuse_times(claim.rows, lines.values(), claim.column)
        ratio = ratio_of(lines[claim.b], lines[claim.a], claim.column)
        if ratio is None:
            return Judgement("", f"{UNDECIDED}: a time of 0")
        return judged(ratio, null=1.0, unit="times as fast", amount=claim.amount, signed=False)
    if claim.test == "level":
        return of_level(claim, lines[claim.a])
    total = sum_of([lines[name] for name in names], SIGNS[claim.test])
    if claim.test == "near":
        return of_nearness(claim, total)
    return judged(total, null=0.0, unit="points", amount=claim.amount, signed=True)


def of_errors(claim: Claim, results: Path) -> Judgement:
    """Divide the error of b by that of a after as many steps; a curve is of one training."""
    curves = json.loads((results / f"{claim.rows}.json").read_text())
    for name in (claim.a, claim.b):
        if str(claim.n_steps) not in curves.get(name, {}):
            raise ValueError(f"{claim.rows} has no error of {name} after {claim.n_steps} steps")
    error_a = curves[claim.a][str(claim.n_steps)]
    error_b = curves[claim.b][str(claim.n_steps)]
    text = f"{error_b / error_a:.3g} times as close, single networks"
    return Judgement(text, f"{UNDECIDED}: single networks")


def of_nearness(claim: Claim, difference: Estimate) -> Judgement:
    """Judge that two accuracies differ by at most the amount: the interval lies within it."""
    if claim.amount is None:
        raise ValueError("nearness needs an amount")
    return within(difference, -claim.amount, claim.amount, unit="points", signed=True)


def of_level(claim: Claim, a: Group) -> Judgement:
    """Judge that the accuracy of a is within MARGIN of the amount, or on one side of it."""
    if claim.amount is None:
        raise ValueError("a level needs an amount")
    level = level_of(a)
    if claim.bound == "at least":
        return within(level, claim.amount, math.inf, unit="%", signed=False)
    if claim.bound == "at most":
        return within(level, -math.inf, claim.amount, unit="%", signed=False)
    return within(level, claim.amount - MARGIN, claim.amount + MARGIN, unit="%", signed=False)


def within(estimate: Estimate, least: float, most: float, *, unit: str, signed: bool) -> Judgement:
    """Judge that a value lies between two bounds: its whole interval does."""
    text = written(estimate, unit, (least, most), signed=signed)
    low, high = estimate.low, estimate.high
    if low is None or high is None or has_no_verdict(estimate):
        return Judgement(text, without_verdict(estimate))
    if low > most or high < least:
        return Judgement(text, DIFFERS)
    if least <= low and high <= most:
        return Judgement(text, HOLDS)
    return Judgement(text, UNRESOLVED)


def judged(
    estimate: Estimate, *, null: float, unit: str, amount: float | None, signed: bool
) -> Judgement:
    """Judge that a value is above `null`, and whether the printed amount lies in its interval."""
    bounds = (null,) if amount is None else (null, amount)
    text = written(estimate, unit, bounds, signed=signed)
    low, high = estimate.low, estimate.high
    if low is None or high is None or has_no_verdict(estimate):
        return Judgement(text, without_verdict(estimate))
    if high < null:
        return Judgement(text, DIFFERS)
    if low <= null:
        return Judgement(text, UNRESOLVED)
    if amount is not None and high < amount:
        return Judgement(text, f"{HOLDS}, by less")
    if amount is not None and low > amount:
        return Judgement(text, f"{HOLDS}, by more")
    return Judgement(text, HOLDS)


def has_no_verdict(estimate: Estimate) -> bool:
    """Whether there are too few seeds, or none that differ, as copies of one training would."""
    return estimate.n_seeds < SEEDS_FOR_VERDICT or not estimate.has_spread


def without_verdict(estimate: Estimate) -> str:
    """Say why an estimate has no verdict."""
    if estimate.n_seeds < SEEDS_FOR_VERDICT:
        return f"{UNDECIDED}: {estimate.seeds}"
    return f"{UNDECIDED}: no spread over seeds"
