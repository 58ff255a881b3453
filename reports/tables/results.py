"""The table of a run, and the paper's tables beside it, as LaTeX for an article."""

from collections.abc import Mapping, Sequence

import pandas as pd

from ddl_bench.results.groups import Group
from ddl_bench.results.marks import LOADED
from ddl_bench.results.stats.welch import SEEDS_FOR_INTERVAL
from ddl_bench.results.table import by_dataset, display_of, foot_of
from reports.figures.captions import count_text, machines_of, span_text, versions_text
from reports.tables.latex import latex_table

SHOWN = (
    "method",
    "seeds",
    "accuracy (%)",
    "behind the best",
    "recovered (%)",
    "parameters",
    "train (ms/image)",
    "test (µs/image)",
)
OF_PAPER = ("network", "dataset", "quantity", "paper", "ours", "95 % interval", "verdict")


def result_tables(groups: Sequence[Group], df: pd.DataFrame, name: str) -> str:
    """Return the table of a run as LaTeX, one for each data set.

    The best is in bold where its seeds are enough for an interval, and what cannot be told from it
    is marked.

    Parameters
    ----------
    groups
        The lines of the table.
    df
        The rows, of `ddl_bench.results.frame.frame`.
    name
        Of the run.
    """
    written = []
    for dataset, lines in by_dataset(groups).items():
        table = display_of(lines)
        rows = df[df["dataset"] == dataset]
        label = f"tab:{name}" if len(lines) == len(groups) else f"tab:{name}-{dataset}"
        notes = {}
        if "note" in table:
            texts = table["note"].map(without_load)
            notes = dict(zip(table["method"], texts, strict=True))
            notes = {method: text for method, text in notes.items() if text}
        written.append(
            latex_table(
                short_times(table[[column for column in SHOWN if column in table]]),
                caption=caption(lines, rows),
                label=label,
                comments=[f"Written by: ddl-bench report {name}"],
                bold=[(0, "accuracy (%)")] if has_best(lines) else (),
                notes=notes,
            )
        )
    return "\n".join(written)


def short_times(table: pd.DataFrame) -> pd.DataFrame:
    """Leave out the interquartile ranges, for which a page has no room."""
    return table.replace(r" \(IQR [^)]*\)", "", regex=True)


def without_load(note: str) -> str:
    """Leave the load of the machine out of a note: a mark beside the time says it in a paper."""
    parts = note.split("; ")
    return "; ".join(part for part in parts if not part.startswith(LOADED))


def has_best(groups: Sequence[Group]) -> bool:
    """Say whether the first of these lines is the most accurate of several, by enough seeds."""
    counts = [len(group.values("accuracy")) for group in groups]
    return sum(count > 0 for count in counts) > 1 and counts[0] >= SEEDS_FOR_INTERVAL


def numbers_text(n_seeds: Sequence[int], images: str) -> str:
    """Say what the accuracies are: of how many seeds and images."""
    if n_seeds[-1] <= 1:
        return f"One network for each method (n = {n_seeds[-1]} seed), {images}."
    span = span_text(n_seeds)
    text = f"Means and standard deviations (±) over n = {span} seeds, {images}."
    if n_seeds[0] == 1:
        text += " One seed has no standard deviation."
    return text


def caption(groups: Sequence[Group], df: pd.DataFrame) -> str:
    """Say what the numbers and marks are, and what follows from them, as the foot of the table.

    That is of how many seeds and images, on what machine and with which version.
    """
    ok = df[df["status"] == "ok"]
    seeds = sorted({len(group.ok) for group in groups if group.ok}) or [0]
    foot = foot_of(groups)
    sentences = [f"Results on {groups[0].dataset}."]
    images = count_text(ok["n_test"].dropna().astype(float))
    sentences.append(numbers_text(seeds, images))
    if has_best(groups):
        sentences.append("Bold: the highest mean accuracy.")
    if foot:
        sentences.append(foot)
    machines = machines_of(ok)
    if len(machines) == 1:
        sentences.append(f"Times on {machines[0]}.")
    elif machines and "machines" not in foot:
        sentences.append(f"Times are of {len(machines)} machines, and do not compare.")
    sentences.append(f"Measured with {versions_text(ok)}.")
    return " ".join(sentences)


def paper_tables(tables: Mapping[str, pd.DataFrame], df: pd.DataFrame, name: str) -> dict[str, str]:
    """Return the paper's tables beside ours as LaTeX, by the stems of their files."""
    written = {}
    for title, table in tables.items():
        shown = table[[column for column in table if column in OF_PAPER]]
        if title == "Claims":
            shown = table
        what = "Claims of the DeTraMe-Net paper" if title == "Claims" else f"{title} of the paper"
        written[stem_of(title)] = latex_table(
            shown.astype(str),
            caption=(
                f"{what} beside our runs: mean ± standard deviation (number of seeds), and the"
                f" 95 % interval of ours - paper. Measured with {versions_text(df)}."
            ),
            label=f"tab:{name}-{stem_of(title)}",
            comments=[f"Written by: ddl-bench report {name}"],
            is_wide=True,
        )
    return written


def stem_of(title: str) -> str:
    """Return the name of the files of a table of the paper: "paper-table-1"."""
    return f"paper-{title.lower().replace(' ', '-')}"
