"""Put a page together: its values, its style, its scripts and the library that draws."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from ddl_bench.results.groups import Group
from ddl_bench.results.rows import Row
from ddl_bench.results.stats.compare import Comparison
from ddl_bench.results.table import COLUMNS, display_of, foot_of
from reports.figures.style import INK, PAPER

OF_ONE_ROW = ("command", "cores_used")  # entries of the provenance that the page shows elsewhere


def render(
    run: Path,
    rows: Sequence[Row],
    groups: Sequence[Group],
    tests: Mapping[str, Sequence[Comparison]],
    paper: Mapping[str, pd.DataFrame],
    figures: Mapping[str, Mapping[str, Path]],
) -> str:
    """Return the page of a run as HTML.

    Parameters
    ----------
    run
        The run folder.
    rows, groups
        Its rows, and the lines of its table.
    tests
        Comparisons of methods by data set.
    paper
        Tables of the paper beside ours, by name.
    figures
        SVG files by data set and title; those of the whole run are under an empty name.
    """
    datasets = list(dict.fromkeys(group.dataset for group in groups))
    feet = {}
    for dataset in datasets:
        feet[dataset] = foot_of([each for each in groups if each.dataset == dataset and each.ok])
    inlined = {
        dataset: {title: inline(path) for title, path in paths.items()}
        for dataset, paths in figures.items()
    }
    common = inlined.pop("", {})
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(loader=loader, autoescape=True)
    return environment.get_template("page.html.j2").render(
        run=run.resolve().name,
        rows=rows,
        groups=groups,
        table=display_of(groups),
        columns=COLUMNS,
        figures=inlined,
        tests=tests,
        feet=feet,
        facts=distinct_provenance(rows),
        paper=paper,
        planted=common.get("recovery"),
    )


def distinct_provenance(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return each kind of machine and code that rows were measured with, once."""
    distinct = {}
    for row in rows:
        facts = {key: value for key, value in row.provenance.items() if key not in OF_ONE_ROW}
        if facts:
            distinct[json.dumps(facts, sort_keys=True)] = facts
    return list(distinct.values())


def inline(path: Path) -> Markup:
    """Return an SVG file as part of a page.

    It has the colours of the page for its text and its background, which is drawn first, and its
    names differ from those of other figures.
    """
    svg = path.read_text(encoding="utf-8").replace(INK, "currentColor")
    svg = svg.replace(f"fill: {PAPER}", "fill: none", 1)
    own_names = rf"\g<1>{path.stem}-"  # a name may begin with a digit, so no \1
    svg = re.sub(r'( id="|url\(#|href="#)', own_names, svg[svg.index("<svg") :])
    return Markup(svg)  # noqa: S704  made by matplotlib, which escapes every text
