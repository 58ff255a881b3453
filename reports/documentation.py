"""What the pages of the documentation show: tables from committed rows, figures, and how to renew them."""

import json
import re
from itertools import groupby
from pathlib import Path
from textwrap import fill
from typing import Any

from ddl_bench import describe
from ddl_bench.results.groups import gather
from ddl_bench.results.rows import load_rows
from ddl_bench.results.table import BRIEF, display, number
from reports.figures.draw import errors

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results"
SPEED = RESULTS / "speed.json"
UNROLLING = RESULTS / "unrolling.json"
NAMES = (
    "cifar10-small",
    "cifar10",
    "equal-time",
    "methods",
    "recovery",
    "speed",
    "table2",
    "unrolling",
)
PAGES = ("README.md", *(f"docs/{name}.md" for name in NAMES))
TIMED = ("fast-cifar10",)  # runs whose pages are about the time of a training
UNTRAINED = "ddl-time"  # a run for its times alone: its accuracies mean nothing
PLANTED = "recovery"  # a run about dictionaries, not about classes
TABLE = re.compile(
    r"<!-- table ([\w-]+) -->\n(.*?)\n<!-- /table -->", re.S
)  # of a page: its committed run, its text
PAGE = (ROOT / "docs" / "add-a-method.md").read_text()


def table(name: str) -> str:
    """The text of a table in a page; to renew all: `python -c "from reports.documentation import renew; renew()"`."""
    if name in MADE:
        return MADE[name]()
    shown = display(load_rows(RESULTS / name))
    names = ["data set"] if shown["data set"].nunique() > 1 else []
    names += [
        *BRIEF[1:4],
        "official (%)",
        *BRIEF[4:-2],
        *["train (s)"] * (name in TIMED),
        *BRIEF[-2:],
    ]
    names = [it for it in names if name != UNTRAINED or it not in ("accuracy (%)", "official (%)")]
    return str(
        shown[[it for it in names if it in shown]].to_markdown(index=False, disable_numparse=True)
    )


def renew() -> None:
    for page in PAGES:
        text = (ROOT / page).read_text()
        text = TABLE.sub(
            lambda it: f"<!-- table {it[1]} -->\n{table(it[1])}\n<!-- /table -->", text
        )
        (ROOT / page).write_text(text)


def keep_speed(*reports: str) -> None:
    """Keep what docs/speed.md shows of what `tox -e bench -- --benchmark-json=FILE` wrote, and renew the page."""
    runs = []
    for found in (json.loads(Path(report).read_text()) for report in reports):
        machine = {"cpu": found["machine_info"]["cpu"]["brand_raw"], "date": found["datetime"][:10]}
        commit = {"commit": found["commit_info"]["id"], "dirty": found["commit_info"]["dirty"]}
        runs += [
            {"name": it["name"], **it["extra_info"], **machine, **commit}
            for it in found["benchmarks"]
        ]
    SPEED.write_text(json.dumps({"runs": runs}, indent=1) + "\n")
    renew()


def _told(run: dict[str, Any]) -> str:
    return (
        str(run["name"]).removeprefix("test_").replace("_", " ").replace("[", ": ").replace("]", "")
    )


def speeds() -> str:
    """What docs/speed.md shows of us beside other libraries."""
    runs = [it for it in json.loads(SPEED.read_text())["runs"] if "ours_s" in it]
    at = runs[0]
    lines = [
        f"{at['n_patches']:,} patches of {at['images']}, {at['threads']} threads, {at['cpu']}, {at['date']}.",
        "",
    ]
    lines += [
        "| comparison | ours (s) | theirs (s) | theirs / ours | bar |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for it in runs:
        ratio = f"{it['ratio']:.2f} | {it['bar']:.3g}"
        lines.append(f"| {_told(it)} | {it['ours_s']:.3g} | {it['theirs_s']:.3g} | {ratio} |")
    return "\n".join(lines)


def costs() -> str:
    """What docs/speed.md shows of networks, memory and harness."""
    lines = ["| what | measured | at most |", "| --- | ---: | ---: |"]
    for it in (it for it in json.loads(SPEED.read_text())["runs"] if "ours_s" not in it):
        kind = next(kind for kind in ("ratio", "gigabytes", "seconds") if kind in it)
        unit = {"ratio": "", "gigabytes": " GB", "seconds": " s"}[kind]
        lines.append(f"| {_told(it)} | {it[kind]:.3g}{unit} | {it['bar']:.3g}{unit} |")
    return "\n".join(lines)


def draw_unrolling(folder: Path) -> None:
    labels = "layers, or iterations", "squared error of the codes / their squared norm"
    errors(json.loads(UNROLLING.read_text()), *labels, folder / "unrolling.svg")


def unrolled() -> str:
    """The table of docs/unrolling.md."""
    found = json.loads(UNROLLING.read_text())
    steps = sorted({int(n) for curve in found.values() for n in curve})
    lines = [f"| layers or iterations | {' | '.join(found)} |", "| ---: |" + " ---: |" * len(found)]
    for n in steps:
        values = (curve.get(str(n)) for curve in found.values())
        lines.append(f"| {n} | {' | '.join('' if it is None else f'{it:.2g}' for it in values)} |")
    return "\n".join(lines)


def methods() -> str:
    """The paragraphs of docs/methods.md: one a method, by family."""
    parts = []
    for family, members in groupby(describe.methods(), key=lambda record: record["family"]):
        parts.append(f"## {family[0].upper()}{family[1:]}")
        for record in members:
            parts += [f"### {record['name']}", paragraph(record)]
    return "\n\n".join(parts)


def paragraph(record: describe.MethodRecord) -> str:
    """What the method is, its formula, references, published and committed figures, and what is not as published."""
    formula = f"`{record['formula'].replace('`', '')}`".replace(" ", HELD)
    needs = f"Needs the extra `{record['needs'][0]}`." if record["needs"] else ""
    told = {
        "Reference": "; ".join(
            f"{reference['citation']} [{reference['key']}]" for reference in record["references"]
        ),
        "Published": record["published"] or "none known",
        "Here": "; ".join(figures(record["name"])) or "no row yet",
        "Differs": record["differs"],
    }
    facts = [f"*{key}*: {text}." for key, text in told.items() if text]
    text = " ".join(filter(None, [record["about"], f"{formula}.", *facts, needs]))
    text = re.sub(r" (?=[-+*>#] )", HELD, text)  # a line that began so would be a list or a heading
    return fill(text, 120, break_long_words=False, break_on_hyphens=False).replace(HELD, " ")


def figures(method: str) -> list[str]:
    """Accuracies of a method in the committed rows that a page shows."""
    found = []
    for page in PAGES:
        for name in (
            it
            for it, _ in TABLE.findall((ROOT / page).read_text())
            if it not in (*MADE, UNTRAINED, PLANTED)
        ):
            for group in (
                it for it in gather(load_rows(RESULTS / name)) if it.cell.method == method and it.ok
            ):
                values, link = group.values("accuracy"), f"[{name}]({page.removeprefix('docs/')})"
                link = link.replace("(README", "(../README")
                label = f"`{group.name}`, " if group.name != method else ""
                seeds = f"{len(values)} seed{'s' * (len(values) > 1)}"
                images = f"{group.ok[0].measured.n_train:,} training images"
                budget = re.sub("^1 epochs", "1 epoch", str(group.cell.budget))
                accuracy = number(values.mean(), values.std(), ".2f")
                found.append(
                    f"{accuracy} % on {group.dataset} ({label}{images}, {budget}, {seeds}; {link})"
                )
    return found


HELD = "\N{NO-BREAK SPACE}"  # stands for a space at which a line must not end
MADE = {
    "speed": speeds,
    "costs": costs,
    "unrolling": unrolled,
    "methods": methods,
}  # tables that are not of a run
