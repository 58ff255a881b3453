"""Renew tables, values and figures of the documentation from committed rows.

The command is `python -m reports.documentation`.

A page marks a table with the comments `<!-- table NAME -->` and `<!-- /table -->`, each on a line
of its own. NAME is a table of `MADE`, or else the folder of a run in docs/results. Values in
sentences are marked as reports/sentences.py says. The figures are those of `DRAWN`. With `--check`
nothing is written: the command names the stale pages, and the figures whose captions or numbers are
stale, and exits with status 1.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable, Sequence
from functools import partial
from html import unescape
from itertools import groupby
from pathlib import Path
from textwrap import fill
from typing import NamedTuple

import pandas as pd
from matplotlib.figure import Figure

from ddl_bench import describe
from ddl_bench.errors import UserError
from ddl_bench.results.columns import (
    CURVE_COLUMNS,
    FRAME_COLUMNS,
    PREDICTION_COLUMNS,
    FrameColumn,
)
from ddl_bench.results.frame import load
from ddl_bench.results.groups import Group, gather
from ddl_bench.results.marks import LOADED
from ddl_bench.results.models import NOT_KEPT
from ddl_bench.results.rows import load_rows
from ddl_bench.results.table import BRIEF, display_of, foot_of, notes, number
from reports import ledger, scale, speed, statistics
from reports.estimates import RESULTS, UNTIMED, accuracies
from reports.figures import FIGURES
from reports.figures.error_curves import errors_figure
from reports.figures.style import caption_of, digest_in, digest_of, save
from reports.paper.claims import published_claims
from reports.paper.tables import chances
from reports.sentences import with_values

ROOT = Path(__file__).parents[1]
UNROLLING = RESULTS / "unrolling.json"
NAMES = (
    "cifar10",
    "claims",
    "columns",
    "equal-time",
    "fast",
    "findings",
    "head-to-head",
    "methods",
    "recovery",
    "scale",
    "speed",
    "statistics",
    "table1",
    "table2",
    "tuning",
    "unrolling",
)
PAGES = ("README.md", *(f"docs/{name}.md" for name in NAMES))
TIMED = ("fast-cifar10",)  # a run whose page is about the time of a training
# runs that chose options, of whose choices other runs have the accuracies
SEARCHED = ("discriminative-search", "fast-search", "sdl-search")
PLANTED = "recovery"  # a run about dictionaries, not about classes
TABLE = re.compile(  # name, text, which does not reach into another mark
    r"<!-- table ([\w-]+) -->\n((?:(?!<!-- /?table).)*?)\n?<!-- /table -->", re.S
)
ENDS = re.compile(r"<!--\s*/?\s*table\b")  # of a table, also of one that is mistyped
WIDTH = 100  # characters of a line
FOOT_WIDTH = 120  # of the text below a table
OF_FAMILIES = (
    "family",
    "method",
    "seeds",
    "accuracy (%)",
    "behind the best",
    "parameters",
    "Mflop/image",
)  # columns of the table of families
NO_BREAK = "\N{NO-BREAK SPACE}"  # stands for a space at which a line must not end


def renew() -> list[str]:
    """Write all tables of the pages anew; return the pages that change."""
    stale = []
    for page in PAGES:
        text, renewed = both_texts(page)
        if renewed != text:
            (ROOT / page).write_text(renewed, encoding="utf-8")
            stale.append(page)
    return stale


def stale_pages() -> list[str]:
    """Return the pages that `renew` would change."""
    return [page for page in PAGES if is_stale(page)]


def is_stale(page: str) -> bool:
    """Say whether a page, a path below the root, shows another table than its committed rows."""
    text, renewed = both_texts(page)
    return renewed != text


def both_texts(page: str) -> tuple[str, str]:
    """Return the text of a page as it is, and as it would be made anew.

    Raises
    ------
    UserError
        If a mark of the page cannot be filled in.
    """
    text = (ROOT / page).read_text(encoding="utf-8")
    try:
        return text, with_tables(text)
    except UserError as error:
        raise UserError(f"{page}: {error}") from error


def with_tables(text: str) -> str:
    """Return the text of a page with its tables and the values of its sentences made anew.

    Raises UserError for a mark that is not whole.
    """

    n_ends = len(ENDS.findall(text))
    if n_ends != 2 * len(TABLE.findall(text)):
        raise UserError(
            "a mark of a table is not whole: expected `<!-- table NAME -->` and `<!-- /table -->`,"
            " each on a line of its own"
        )

    def marked(match: re.Match[str]) -> str:
        name = match[1]
        return f"<!-- table {name} -->\n{table(name)}\n<!-- /table -->"

    return with_values(TABLE.sub(marked, text))


def table(name: str) -> str:
    """Return the text of a table: one of `MADE`, or the brief table of a committed run."""
    if name in MADE:
        return MADE[name]()
    groups = gather(load_rows(RESULTS / name))
    shown = display_of(groups)
    columns = ["data set"] if shown["data set"].nunique() > 1 else []
    n_times = BRIEF.index("train (ms/image)")
    columns += [*BRIEF[1:4], "official (%)", *BRIEF[4:n_times]]
    is_timed = name not in UNTIMED
    machines = {machine for group in groups for machine in group.machines}
    names_machine = is_timed and len(machines) > 1
    shown["note"] = [
        lasting_notes(group, timed=is_timed, names_machine=names_machine) for group in groups
    ]
    if is_timed:
        columns.append(BRIEF[n_times])
        columns += ["train (s)"] if name in TIMED else []
        columns += [column for column in BRIEF[n_times + 1 :] if column != "note"]
    else:
        columns.append("Mflop/image")
    if any(shown["note"]):
        columns.append("note")
    present = [column for column in columns if column in shown]
    text = str(shown[present].to_markdown(index=False, disable_numparse=True))
    return f"{text}\n\n{wrapped(foot_of(groups, timed=is_timed), FOOT_WIDTH)}"


def lasting_notes(group: Group, *, timed: bool, names_machine: bool) -> str:
    """Return the notes of a line that a reader needs, and the machine where times are of several.

    Kept models are not published, and the load changes times alone.
    """
    left_out = (NOT_KEPT,) if timed else (NOT_KEPT, LOADED)
    texts = [text for text in notes(group) if not text.startswith(left_out)]
    if names_machine:
        texts.append(f"timed on {group.machine}")
    return "; ".join(texts)


class Drawn(NamedTuple):
    """Hold what a figure of a page shows: a run, a title of FIGURES, and the kind of its file.

    That of UNROLLED is of no run.
    """

    run: str
    title: str
    suffix: str = ".svg"


UNROLLED = "unrolling"
DRAWN = {
    "quick": Drawn("quick", "accuracy against training time"),
    "quick-ranked": Drawn("quick", "accuracy, ranked"),
    "recovery": Drawn("recovery", "recovery"),
    "sdl-confusion": Drawn("sdl", "confusion", ".png"),
    "equal-passes-ranked": Drawn("equal-passes", "accuracy, ranked"),
    "equal-passes-operations": Drawn("equal-passes", "accuracy against operations"),
    "equal-time": Drawn("equal-time", "accuracy while training"),
    "equal-time-ranked": Drawn("equal-time", "accuracy, ranked"),
    "equal-time-test-time": Drawn("equal-time", "accuracy against test time per image"),
    UNROLLED: Drawn(UNROLLED, "errors of the codes"),
}
"""Figures of committed runs, and of the errors in UNROLLING, by the stem of their file."""
TITLES = {
    "quick": "Digits: accuracy against training time",
    "quick-ranked": "Digits: accuracy, ranked",
    "recovery": "Recovery of planted atoms",
    UNROLLED: "Unrolled iterations",
}  # where run and title would not say it
CAPTION = re.compile(r"<desc>(.*?)</desc>", re.S)


def drawn(name: str) -> Figure:
    """Draw a figure of the documentation."""
    if name == UNROLLED:
        return unrolling_figure()
    figure = FIGURES[DRAWN[name].title](load(RESULTS / DRAWN[name].run))
    if figure is None:
        raise UserError(f"{DRAWN[name].run} has nothing to show as {DRAWN[name].title!r}")
    return figure


def draw_figures(folder: Path, names: Sequence[str]) -> list[str]:
    """Draw figures of the documentation into a folder; return the names of their files."""
    files = []
    for name in names:
        shown = DRAWN[name]
        title = TITLES.get(name, f"{shown.run}: {shown.title}")
        path = save(drawn(name), folder / f"{name}.svg", title, [shown.suffix])
        files.append(path.with_suffix(shown.suffix).name)
    return files


def stale_figures() -> list[str]:
    """Return the names of figures that are missing, or do not show their committed rows."""
    return [name for name in DRAWN if is_stale_figure(name)]


def is_stale_figure(name: str, folder: Path = RESULTS) -> bool:
    """Say whether a figure is missing or shows something else than its committed rows."""
    path = folder / f"{name}{DRAWN[name].suffix}"
    if not path.is_file():
        return True
    figure = drawn(name)
    if digest_in(path) != digest_of(figure):
        return True
    if path.suffix != ".svg":
        return False
    written = CAPTION.search(path.read_text(encoding="utf-8"))
    return written is None or unescape(written[1]) != caption_of(figure)


def frame_columns() -> str:
    """Return the columns of `ddl_bench.load` and of cells.csv."""
    return column_table(FRAME_COLUMNS)


def curve_columns() -> str:
    """Return the columns of `ddl_bench.curves`, without those of the first kind."""
    return column_table([column for column in CURVE_COLUMNS if column not in FRAME_COLUMNS])


def prediction_columns() -> str:
    """Return the columns of `ddl_bench.predictions`, without those of the first kind."""
    return column_table([column for column in PREDICTION_COLUMNS if column not in FRAME_COLUMNS])


def column_table(columns: Sequence[FrameColumn]) -> str:
    """Return columns of a DataFrame as Markdown: name, type, unit and meaning."""
    records = []
    for column in columns:
        records.append(
            {
                "column": f"`{column.name}`",
                "type": column.dtype.replace("datetime64[us, UTC]", "datetime"),
                "unit": column.unit,
                "meaning": column.meaning,
            }
        )
    return str(pd.DataFrame(records).to_markdown(index=False, disable_numparse=True))


def best_of_families(run: str) -> str:
    """Return the most accurate line of each family of methods in a run, the best first.

    What stands behind the best, and by how much, is found among all lines of the run.
    """
    groups = gather(load_rows(RESULTS / run))
    family_of = {record["name"]: record["family"] for record in describe.methods()}
    families = [family_of[group.cell.method] for group in groups]
    shown = display_of(groups)
    shown.insert(0, "family", families)
    best = shown.drop_duplicates("family")
    present = [column for column in OF_FAMILIES if column in best]
    return str(best[present].to_markdown(index=False, disable_numparse=True))


def draw_unrolling(folder: Path) -> None:
    """Draw the figure of docs/unrolling.md."""
    draw_figures(folder, [UNROLLED])


def unrolling_figure() -> Figure:
    """Return the figure of docs/unrolling.md, of its committed errors."""
    errors = json.loads(UNROLLING.read_text(encoding="utf-8"))
    xlabel = "layers, or iterations"
    ylabel = "squared error of the codes / their squared norm"
    caption = (
        "Error of the codes by the number of layers, or of iterations, one training of LISTA for"
        " each number (n = 1), so that there are no bars. Scales: both logarithmic."
    )
    return errors_figure(errors, xlabel, ylabel, caption)


def unrolled() -> str:
    """Return the table of docs/unrolling.md."""
    curves = json.loads(UNROLLING.read_text(encoding="utf-8"))
    steps = sorted({int(n) for curve in curves.values() for n in curve})
    lines = [
        f"| layers or iterations | {' | '.join(curves)} |",
        "| ---: |" + " ---: |" * len(curves),
    ]
    for n in steps:
        errors = [curve.get(str(n)) for curve in curves.values()]
        texts = ["" if error is None else f"{error:.2g}" for error in errors]
        lines.append(f"| {n} | {' | '.join(texts)} |")
    return "\n".join(lines)


def claims() -> str:
    """Return what the paper's own values say of its claims."""
    table = published_claims().rename(columns={"dataset": "data set"})
    return str(table.to_markdown(index=False, disable_numparse=True))


def methods() -> str:
    """Return the paragraphs of docs/methods.md: one for each method, by family."""
    parts = []
    for family, members in groupby(describe.methods(), key=lambda record: record["family"]):
        parts.append(f"## {family[0].upper()}{family[1:]}")
        for record in members:
            parts += [f"### {record['name']}", paragraph(record)]
    return "\n\n".join(parts)


def paragraph(record: describe.MethodRecord) -> str:
    """Return what a method is, its formula, references, published and committed accuracies."""
    formula = f"`{record['formula'].replace('`', '')}`".replace(" ", NO_BREAK)
    references = [
        f"{reference['citation']} [{reference['key']}]" for reference in record["references"]
    ]
    facts = {
        "Reference": "; ".join(references),
        "Published": record["published"] or "none known",
        "Here": "; ".join(committed_accuracies(record["name"])) or "no row yet",
        "Differs": record["differs"],
    }
    sentences = [record["about"], f"{formula}."]
    sentences += [f"*{key}*: {fact}." for key, fact in facts.items() if fact]
    if record["needs"]:
        sentences.append(f"Needs the extra `{record['needs'][0]}`.")
    return wrapped(" ".join(filter(None, sentences)), WIDTH)


def wrapped(text: str, width: int) -> str:
    """Break text into lines of Markdown, none of which begins a list, a heading or a comment."""
    text = re.sub(r" (?=[-+*>#] |%)", NO_BREAK, text)
    lines = fill(text, width, break_long_words=False, break_on_hyphens=False)
    return lines.replace(NO_BREAK, " ")


def committed_accuracies(method: str) -> list[str]:
    """Return the accuracies of a method in the committed rows that a page shows."""
    texts = []
    for page in PAGES:
        for name, _ in TABLE.findall((ROOT / page).read_text(encoding="utf-8")):
            if name in (*MADE, *SEARCHED, PLANTED):
                continue
            link = f"[{name}]({page.removeprefix('docs/')})".replace("(README", "(../README")
            for group in gather(load_rows(RESULTS / name)):
                if group.cell.method == method and group.ok:
                    texts.append(accuracy_text(group, link))
    return texts


def accuracy_text(group: Group, link: str) -> str:
    """Return the accuracy of a group with its data set, size, budget, seeds and page.

    It is that on the official test images where these are apart, as publications have it.
    """
    values = accuracies(group)
    settings = [f"{group.ok[0].measured.n_train:,} training images"]
    if not group.values("official_accuracy").empty:
        settings.append("official test images")
    if group.name != group.cell.method:
        settings.insert(0, f"`{group.name}`")
    elif group.cell.params:
        settings.insert(0, "options of the track")
    settings.append(re.sub("^1 epochs", "1 epoch", str(group.cell.budget)))
    settings.append("1 seed" if len(values) == 1 else f"{len(values)} seeds")
    accuracy = number(values.mean(), values.std(), ".2f")
    return f"{accuracy} % on {group.dataset} ({', '.join(settings)}; {link})"


MADE: dict[str, Callable[[], str]] = {
    "families": partial(best_of_families, "equal-passes"),
    "operations": scale.operations,
    "folders": scale.times,
    "runners": scale.runners,
    "loads": scale.loads,
    "speed": speed.speeds,
    "grids": speed.grids,
    "frame": frame_columns,
    "curves": curve_columns,
    "predictions": prediction_columns,
    "costs": speed.costs,
    "steps": speed.steps,
    "unrolling": unrolled,
    "methods": methods,
    "rules": statistics.rules,
    "simulations": statistics.simulations,
    "features": statistics.features,
    "claims": claims,
    "commands": ledger.commands,
    "ledger": ledger.ledger,
    "verdicts": ledger.summary,
    "chances": chances,
}
"""Tables that are not of a run, by name."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m reports.documentation",
        description="Renew tables and figures of the documentation from committed rows.",
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; name stale pages and exit with 1"
    )
    parser.add_argument(
        "--figures", action="store_true", help="draw all figures anew, not only stale ones"
    )
    options = parser.parse_args(arguments)
    try:
        return check() if options.check else rebuild(every_figure=options.figures)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2


def check() -> int:
    """Name the pages and figures that are stale; returns the exit code."""
    stale = stale_pages()
    for page in stale:
        print(f"{page}: its tables or values are stale, run `python -m reports.documentation`")
    figures = stale_figures()
    for figure in figures:
        print(f"{figure}: the figure is stale, run `python -m reports.documentation`")
    return 1 if stale or figures else 0


def rebuild(*, every_figure: bool) -> int:
    """Renew the pages, and the figures that are stale or all; returns the exit code."""
    for page in renew():
        print(f"{page}: renewed")
    for figure in draw_figures(RESULTS, list(DRAWN) if every_figure else stale_figures()):
        print(f"{figure}: drawn")
    return 0


if __name__ == "__main__":
    sys.exit(main())
