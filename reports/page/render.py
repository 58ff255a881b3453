"""Put a page together: its values, its style, its scripts and the library that draws."""

import re
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import jinja2
import pandas as pd
from markupsafe import Markup

from ddl_bench.results.groups import Group
from ddl_bench.results.rows import Row
from ddl_bench.results.stats.comparison import Comparison
from ddl_bench.results.table import columns_of
from reports.figures.style import INK, PAPER
from reports.page.curves import Read
from reports.page.looks import look_of
from reports.page.values import distinct_facts, known
from reports.page.words import lead_of

HERE = Path(__file__).parent
LIBRARY = ("d3-7.9.0.min.js", "plot-0.6.17.umd.min.js")
SCRIPTS = (  # in the order of the page; they share one scope
    "dom",
    "lines",
    "state",
    "filter",
    "axes",
    "pointer",
    "labels",
    "plots",
    "scatter",
    "ranking",
    "curves",
    "table",
    "export",
    "pairs",
    "details",
    "page",
)
LIVE = "live"  # of a page that follows a run alone
DRAWN_BY_SCRIPTS = ("accuracy",)  # how titles of static figures begin
LARGEST_PAGE_BYTES = 1_900_000  # that static figures may make of it
LARGEST_PICTURES_BYTES = 600_000  # of all of them
RECOVERY = "recovery"
TITLE_OF_RECOVERY = "Planted dictionaries: recovered atoms"
ABOUT_RECOVERY = (
    "The signals are made of known atoms. An atom counts as recovered if a learned atom matches it"
    " with an inner product of at least 0.99, up to sign. Points are means over seeds, bars one"
    " standard deviation."
)


class Picture(NamedTuple):
    """Hold a static figure that the page shows: its title, a note, and whether it is unfolded."""

    title: str
    note: str
    svg: Markup
    is_open: bool


class BesidePaper(NamedTuple):
    """Hold a table of the paper: lines that rows of ours belong beside, and the rest."""

    title: str
    ours: pd.DataFrame
    rest: pd.DataFrame


def render(
    name: str,
    rows: Sequence[Row],
    groups: Sequence[Group],
    tests: Mapping[str, Sequence[Comparison]],
    paper: Mapping[str, pd.DataFrame],
    figures: Mapping[str, Mapping[str, Path]],
    read: Read,
    *,
    stamp: str = "",
) -> str:
    """Return the page of a run as HTML: one file, which needs neither network nor server.

    Parameters
    ----------
    name
        Name of the run.
    rows, groups
        Its rows, and the lines of its table.
    tests
        Comparisons of methods by data set.
    paper
        Tables of the paper beside ours, by name.
    figures
        SVG files by data set and title; those of the whole run are under an empty name. The page
        holds small ones that it does not draw itself.
    read
        Returns the arrays beside a row, of which the page needs those of CURVE.
    stamp
        Of a page that follows a run: which rows it shows. Empty for a file, which asks nobody.
    """
    page = known(groups, tests, read)
    code = scripts()
    if stamp:
        code.append(script_of(LIVE))
    size = len(page.json) + sum(map(len, code))
    loader = jinja2.FileSystemLoader(HERE)
    environment = jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("page.html.j2").render(
        run=name,
        lead=lead_of(rows, groups),
        findings=page.findings,
        paper=[beside_ours(title, table) for title, table in paper.items()],
        pictures=pictures_of(figures, LARGEST_PAGE_BYTES - size),
        columns=columns_of(groups),
        provenance=distinct_facts(rows),
        version=installed_version(),
        stamp=stamp,
        data=Markup(page.json),  # noqa: S704  without < > &, see `script_json`
        style=Markup(style_of(page.families)),  # noqa: S704  of this folder
        scripts=[Markup(script) for script in code],  # noqa: S704  of this folder
    )


def beside_ours(title: str, table: pd.DataFrame) -> BesidePaper:
    """Tell the lines of a table of the paper that have something of ours from the rest."""
    has_ours = (table["ours"] != "") | (table["verdict"] != "")
    return BesidePaper(title, table[has_ours], table[~has_ours])


def scripts() -> list[str]:
    """Return the library and the scripts of the page."""
    library = [(HERE / "library" / name).read_text(encoding="utf-8") for name in LIBRARY]
    return library + [script_of(name) for name in SCRIPTS]


def script_of(name: str) -> str:
    """Return a script of the page."""
    return (HERE / "scripts" / f"{name}.js").read_text(encoding="utf-8")


def style_of(families: Sequence[str]) -> str:
    """Return the style of the page, with the colours of its families."""
    looks = [look_of(family) for family in families]
    light = "".join(f"--family-{place}:{look.light};" for place, look in enumerate(looks))
    dark = "".join(f"--family-{place}:{look.dark};" for place, look in enumerate(looks))
    colours = f":root{{{light}}}@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}"
    return (HERE / "page.css").read_text(encoding="utf-8") + colours


def installed_version() -> str:
    """Return the version of this project; empty where it is not installed."""
    try:
        return version("ddl-bench")
    except PackageNotFoundError:
        return ""


def pictures_of(figures: Mapping[str, Mapping[str, Path]], room: int) -> list[Picture]:
    """Return the static figures that the page holds: those that its scripts do not draw.

    Parameters
    ----------
    figures
        As in `render`.
    room
        Bytes that they may have; those that do not fit are left out.
    """
    pictures = []
    room = min(room, LARGEST_PICTURES_BYTES)
    for dataset, paths in figures.items():
        for title, path in paths.items():
            size = path.stat().st_size
            if title.startswith(DRAWN_BY_SCRIPTS) or size > room:
                continue
            room -= size
            svg = inline(path)
            if title == RECOVERY:
                pictures.append(Picture(TITLE_OF_RECOVERY, ABOUT_RECOVERY, svg, is_open=True))
            else:
                text = f"{title.capitalize()}, {dataset}"
                pictures.append(Picture(text, "", svg, is_open=False))
    return sorted(pictures, key=lambda picture: not picture.is_open)


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
