"""Claims of publications beside the committed rows of this suite: the table of docs/claims.md.

Each claim is judged by itself, by the training runs of our rows. A verdict needs 5 seeds.
"""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict

from ddl_bench.results.groups import Group, gather
from ddl_bench.results.rows import load_rows
from ddl_bench.results.stats.replication import Term, contrast
from ddl_bench.results.stats.welch import (
    SEEDS_FOR_INTERVAL,
    SEEDS_FOR_VERDICT,
    Sample,
    students,
    welch,
)

CLAIMS = Path(__file__).parent / "reference" / "claims.toml"
RESULTS = Path(__file__).parents[1] / "docs" / "results"
HOLDS = "holds"
DIFFERS = "differs"
UNRESOLVED = "does not resolve"
ABSENT = "cannot be tested here"
SIGNS = {"above": (1.0, -1.0), "gains": (1.0, -1.0, -1.0, 1.0)}  # of a, b, a2 and b2
COLUMNS = ("claim", "source", "theirs", "ours", "verdict", "rows")


class Claim(BaseModel):
    """One claim of a publication; the keys are explained in claims.toml."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    says: str
    source: str
    theirs: str
    protocol: str
    test: Literal["above", "level", "times", "gains", "absent"]
    here: str = ""
    rows: str = ""
    a: str = ""
    b: str = ""
    a2: str = ""
    b2: str = ""
    column: str = "accuracy"
    amount: float | None = None
    bound: Literal["", "at least", "at most"] = ""
    because: str = ""


class Finding(NamedTuple):
    """What our rows say of a claim: a text with its interval and seeds, and the verdict."""

    text: str
    verdict: str


class Estimate(NamedTuple):
    """A value with its interval, which is empty below 3 seeds, and the number of seeds."""

    value: float
    low: float | None
    high: float | None
    n_seeds: int


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


def cells_of(claim: Claim, results: Path) -> list[str]:
    """Write the line of a claim."""
    found = finding(claim, results)
    theirs = f"{claim.theirs} ({claim.protocol})"
    ours = f"{found.text} ({claim.here})" if claim.here and found.text else found.text
    link = ""
    if claim.rows and found.text:
        link = f"[{claim.rows}](results/{claim.rows})"
    return [claim.says, claim.source, theirs, ours, found.verdict, link]


def finding(claim: Claim, results: Path) -> Finding:
    """Say what our rows show of a claim."""
    if claim.test == "absent":
        return Finding("", f"{ABSENT}: {claim.because}")
    names = [name for name in (claim.a, claim.b, claim.a2, claim.b2) if name]
    lines = lines_of(results / claim.rows, names) if (results / claim.rows).is_dir() else {}
    missing = [name for name in names if name not in lines]
    if missing:
        return Finding("", f"no rows yet: {', '.join(missing)} in {claim.rows}")
    if claim.test == "times":
        return of_times(claim, lines[claim.a], lines[claim.b])
    if claim.test == "level":
        return of_level(claim, lines[claim.a])
    return of_sum(claim, [lines[name] for name in names])


def lines_of(run: Path, names: Sequence[str]) -> dict[str, Group]:
    """Find the lines of a run that have rows, by their label."""
    groups = gather(load_rows(run))
    return {group.cell.label: group for group in groups if group.ok and group.cell.label in names}


def of_level(claim: Claim, a: Group) -> Finding:
    """Judge that the accuracy of a is about the amount, or on one side of it."""
    if claim.amount is None:
        raise ValueError(f"{claim.says}: a level needs an amount")
    sample = sample_of(a)
    estimate = Estimate(sample.mean, None, None, sample.n)
    if sample.n >= SEEDS_FOR_INTERVAL:
        result = students(sample.mean, sample.error2**0.5, sample.n - 1)
        estimate = Estimate(sample.mean, result.low, result.high, sample.n)
    text = written(estimate, "%", signed=False)
    if estimate.low is None or estimate.high is None or estimate.n_seeds < SEEDS_FOR_VERDICT:
        return Finding(text, no_verdict(estimate.n_seeds))
    is_above = estimate.low > claim.amount
    is_below = estimate.high < claim.amount
    if (is_above and claim.bound != "at least") or (is_below and claim.bound != "at most"):
        return Finding(text, DIFFERS)
    if claim.bound and not (is_above or is_below):
        return Finding(text, UNRESOLVED)
    return Finding(text, HOLDS)


def of_times(claim: Claim, a: Group, b: Group) -> Finding:
    """Judge that b takes longer than a, by the ratio of their geometric means."""
    if min(a.values(claim.column).min(), b.values(claim.column).min()) <= 0:
        return Finding("", "no verdict: a time of 0")
    fast = Sample.of(np.log(a.values(claim.column)).tolist())
    slow = Sample.of(np.log(b.values(claim.column)).tolist())
    n_seeds = min(fast.n, slow.n)
    value = float(np.exp(slow.mean - fast.mean))
    estimate = Estimate(value, None, None, n_seeds)
    if n_seeds >= SEEDS_FOR_INTERVAL:
        result = welch(slow, fast)
        estimate = Estimate(value, float(np.exp(result.low)), float(np.exp(result.high)), n_seeds)
    return judged(estimate, null=1.0, unit="times", amount=claim.amount, signed=False)


def of_sum(claim: Claim, lines: Sequence[Group]) -> Finding:
    """Judge that a sum of accuracies with alternating signs is positive: a - b, or a gain more."""
    samples = [sample_of(line) for line in lines]
    n_seeds = min(sample.n for sample in samples)
    terms = [Term(*pair) for pair in zip(SIGNS[claim.test], samples, strict=True)]
    value = sum(term.factor * term.sample.mean for term in terms)
    estimate = Estimate(value, None, None, n_seeds)
    if n_seeds >= SEEDS_FOR_INTERVAL:
        result = contrast(terms)
        estimate = Estimate(value, result.low, result.high, n_seeds)
    return judged(estimate, null=0.0, unit="points", amount=claim.amount, signed=True)


def judged(
    estimate: Estimate, *, null: float, unit: str, amount: float | None, signed: bool
) -> Finding:
    """Judge that a value is above `null`, and whether the printed amount lies in its interval."""
    text = written(estimate, unit, signed=signed)
    if estimate.low is None or estimate.high is None or estimate.n_seeds < SEEDS_FOR_VERDICT:
        return Finding(text, no_verdict(estimate.n_seeds))
    if estimate.high < null:
        return Finding(text, DIFFERS)
    if estimate.low <= null:
        return Finding(text, UNRESOLVED)
    if amount is not None and estimate.high < amount:
        return Finding(text, f"{HOLDS}, by less")
    if amount is not None and estimate.low > amount:
        return Finding(text, f"{HOLDS}, by more")
    return Finding(text, HOLDS)


def written(estimate: Estimate, unit: str, *, signed: bool) -> str:
    """Write a value with its interval and seeds: "+3.9 points, 95 % +2.1 to +5.7, 5 seeds"."""
    form = "{:+.2f}" if signed else "{:.2f}"
    text = f"{form.format(estimate.value)} {unit}"
    if estimate.low is None or estimate.high is None:
        what = "single networks" if estimate.n_seeds == 1 else f"{estimate.n_seeds} seeds"
        return f"{text}, {what}"
    interval = f"{form.format(estimate.low)} to {form.format(estimate.high)}"
    return f"{text}, 95 % {interval}, {estimate.n_seeds} seeds"


def no_verdict(n_seeds: int) -> str:
    """Say that there are too few seeds for a verdict."""
    few = "single networks" if n_seeds == 1 else f"{n_seeds} seeds"
    return f"no verdict: {few}"


def sample_of(group: Group) -> Sample:
    """Summarise the accuracies of a line, on the official test images where these are apart."""
    official = group.values("official_accuracy")
    values = group.values("accuracy") if official.empty else official
    return Sample.of(values.tolist())
