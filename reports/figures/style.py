"""What all figures share: sizes, fonts, the canvas, and how a figure is saved."""

import hashlib
import io
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, wraps
from html import escape
from inspect import signature
from pathlib import Path
from textwrap import fill
from typing import Literal, ParamSpec, TypeVar

import matplotlib as mpl
import numpy as np
import seaborn as sns
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import Collection
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from matplotlib.image import AxesImage
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from PIL import Image

from ddl_bench.files import explained

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
Width = Literal["single", "double"]

INK = "#1b1f24"  # the page puts its own text colour in its place, which follows light and dark
PAPER = "#ffffff"  # so that the ink is legible on a dark page; the report's page has no need of it
FAINT = "#8888884d"
WIDTHS_INCHES = {"single": 3.5, "double": 7.2}  # a column of a paper, and a page with two of them
SCREEN_DPI = 72  # at this resolution a pixel is a point
PRINT_DPI = 200
NOTEBOOK_DPI = 110
NAME_POINTS = 7  # size of the names of points
CAPTION_POINTS = 7
CAPTION_LETTERS_PER_INCH = 19.5
MARGIN_INCHES = 0.06
LONGEST_NAME = 44  # letters
COLLAPSED = "constrained_layout not applied"  # the warning of matplotlib where axes have no room
MOST_LAYOUTS = 12  # of a figure that grows until its axes have room,
GROWTH = 1.25  # each time by this factor,
LEAST_POINTS = 4.0  # with texts of at least this size

STYLE = {
    "axes.facecolor": "none",
    "axes.linewidth": 0.6,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "text.parse_math": False,
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "pdf.fonttype": 42,  # TrueType, which publishers ask for
}
# Fonts for scripts that DejaVu lacks, taken where they are installed.
FURTHER_FONTS = (
    "Noto Sans CJK JP",
    "Noto Sans CJK SC",
    "Noto Sans",
    "Noto Sans Arabic",
    "Noto Sans Hebrew",
    "Noto Sans Devanagari",
    "WenQuanYi Zen Hei",
    "IPAGothic",
    "Hiragino Sans",
    "Microsoft YaHei",
    "Arial Unicode MS",
)
SUFFIXES = (".pdf", ".svg", ".png")
DRAWN = "Drawn"  # the metadata that hold a hash of what is drawn
DIGEST = re.compile(rf"<metadata>{DRAWN}: (\w+)</metadata>")
NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))
NO_PDF_METADATA = dict.fromkeys(("Creator", "Producer", "CreationDate"))


@cache
def fonts() -> list[str]:
    """Return the fonts of figures: DejaVu Sans, and what is installed for other scripts."""
    installed = {font.name for font in fontManager.ttflist}
    return ["DejaVu Sans", *(name for name in FURTHER_FONTS if name in installed)]


@contextmanager
def styled(salt: str = "") -> Iterator[None]:
    """Draw and save in the style of this module; equal data and `salt` give equal SVG files.

    A letter that no font has is drawn as a box, without a warning.
    """
    settings = sns.axes_style("whitegrid") | {"font.sans-serif": fonts()} | STYLE
    with mpl.rc_context(settings | {"svg.hashsalt": salt}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph .* missing from", UserWarning)
        warnings.filterwarnings("ignore", r"Matplotlib currently does not support", UserWarning)
        yield


def check_width(width: object) -> None:
    """Raise ValueError for a width that no figure has."""
    if width not in WIDTHS_INCHES:
        choice = " or ".join(map(repr, WIDTHS_INCHES))
        raise ValueError(f"width: expected {choice}, got {width!r}")


def in_style(draw: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Let a function draw in the style of this module; a wrong `width` is a ValueError."""

    parameters = signature(draw)

    @wraps(draw)
    def drawn(*arguments: Arguments.args, **options: Arguments.kwargs) -> Result:
        given = parameters.bind_partial(*arguments, **options).arguments
        check_width(given.get("width", "double"))
        with styled():
            return draw(*arguments, **options)

    return drawn


class _ShownFigure(Figure):
    """A figure that notebooks show, whether pyplot was imported or not."""

    def _repr_png_(self) -> bytes:
        """Return the picture for a notebook."""
        buffer = io.BytesIO()
        with styled():
            self.savefig(buffer, format="png", dpi=NOTEBOOK_DPI, facecolor=PAPER)
        return buffer.getvalue()


def new_figure(width: Width | float = "double", height: float = 4.0) -> Figure:
    """Make an empty figure for a paper, with a canvas that keeps its renderer.

    Without such a canvas each text that is measured makes a renderer of the size of the figure:
    14 GB for 33 matrices of confusion.

    Parameters
    ----------
    width
        "single" or "double" columns, or inches.
    height
        In inches.
    """
    inches = WIDTHS_INCHES[width] if isinstance(width, str) else width
    figure = _ShownFigure(figsize=(inches, height), dpi=SCREEN_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def lay_out(figure: Figure) -> None:
    """Find the places of axes and labels, once: names are placed by them, and they stay.

    Where names leave no room for the axes, the figure grows in height and its texts shrink.
    """
    if not isinstance(figure.get_layout_engine(), ConstrainedLayoutEngine):
        return
    for _ in range(MOST_LAYOUTS):
        with warnings.catch_warnings(record=True) as raised:
            warnings.simplefilter("always")
            figure.draw_without_rendering()
        if not any(COLLAPSED in str(each.message) for each in raised):
            break
        make_room(figure)
    figure.set_layout_engine("none")


def make_room(figure: Figure) -> None:
    """Make a figure higher, and its texts smaller down to LEAST_POINTS."""
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, GROWTH * height)
    for text in figure.findobj(Text):
        if isinstance(text, Text):
            points = float(text.get_fontsize())
            text.set_fontsize(max(points / GROWTH, min(LEAST_POINTS, points)))


def short(name: str) -> str:
    """Shorten a name that would not fit into a figure."""
    name = " ".join(name.split())
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


def set_caption(figure: Figure, caption: str) -> None:
    """Give a figure its caption, which `save` writes below it, and papers beside it."""
    figure.set_label(caption)


def caption_of(figure: Figure) -> str:
    """Return the caption of a figure: what it shows, of how many runs, and what its bars are."""
    return str(figure.get_label())


def digest_of(figure: Figure) -> str:
    """Return a hash of what a figure draws, before it is laid out: its names and its numbers.

    Numbers count with four digits, as other processors round them otherwise.
    """
    hashed = hashlib.sha256()
    for axes in figure.axes:
        parts = [np.asarray(line.get_xydata()) for line in axes.lines]
        for collection in axes.collections:
            parts += [np.asarray(path.vertices) for path in collection.get_paths()]
            parts.append(np.ma.filled(np.ma.asarray(collection.get_offsets(), float), np.nan))
        coloured: list[Collection | AxesImage] = [*axes.collections, *axes.images]
        for each in coloured:
            values = each.get_array()
            if values is not None:
                parts.append(np.ma.filled(np.ma.asarray(values, float), np.nan))
        texts = [text.get_text() for text in axes.texts]
        texts += [f"{number + 0.0:.4g}" for part in parts for number in part.ravel()]
        hashed.update("\n".join(texts).encode())
    return hashed.hexdigest()[:16]


def digest_in(path: Path) -> str:
    """Return the hash that `save` wrote into an SVG or PNG file; empty where it has none."""
    if path.suffix == ".png":
        with Image.open(path) as image:
            return str(image.info.get(DRAWN, ""))
    found = DIGEST.search(path.read_text(encoding="utf-8"))
    return found[1] if found else ""


def save(figure: Figure, path: Path, title: str = "", suffixes: Sequence[str] = SUFFIXES) -> Path:
    """Save a figure as PDF for papers, and with its caption as SVG and PNG.

    Parameters
    ----------
    figure
        The figure.
    path
        Of the SVG file; the others lie beside it.
    title
        What the caption begins with.
    suffixes
        Which of these files are written.

    Returns
    -------
    Path
        The SVG file. It has title and caption as text for readers of a screen. SVG and PNG have
        the hash of what they draw.
    """
    caption = caption_of(figure)
    digest = digest_of(figure)
    with explained(path, "cannot write"), styled(path.stem):
        path.parent.mkdir(parents=True, exist_ok=True)
        lay_out(figure)
        if ".pdf" in suffixes:
            pdf = path.with_name(f"{path.stem}.pdf")
            figure.savefig(pdf, facecolor=PAPER, metadata=NO_PDF_METADATA)
        frame = with_caption(figure, " ".join(filter(None, [title and f"{title}.", caption])))
        if ".svg" in suffixes:
            figure.savefig(path, facecolor=PAPER, metadata=NO_METADATA, bbox_inches=frame)
            describe_svg(path, title or path.stem, caption, digest)
        if ".png" in suffixes:
            png = path.with_name(f"{path.stem}.png")
            metadata = {DRAWN: digest}
            figure.savefig(
                png, facecolor=PAPER, dpi=PRINT_DPI, metadata=metadata, bbox_inches=frame
            )
    return path


def with_caption(figure: Figure, caption: str) -> Bbox:
    """Write the caption below a figure; returns the frame of both in inches."""
    width, height = figure.get_size_inches()
    below = 0.0
    if caption:
        text = figure.text(
            MARGIN_INCHES / width,
            -MARGIN_INCHES / height,
            fill(caption, int(CAPTION_LETTERS_PER_INCH * width), break_long_words=True),
            size=CAPTION_POINTS,
            va="top",
            linespacing=1.3,
        )
        below = -text.get_window_extent().y0 / figure.dpi + MARGIN_INCHES
    return Bbox([[0, -below], [width, height]])


DESCRIPTION = "@description@"  # which no SVG file has


def describe_svg(path: Path, title: str, caption: str, digest: str) -> None:
    """Add title, caption and hash to an SVG file, for readers of a screen and for searches."""
    text = path.read_text(encoding="utf-8")
    words = f"<title>{escape(title)}</title>\n <desc>{escape(caption)}</desc>"
    words += f"\n <metadata>{DRAWN}: {digest}</metadata>"
    head = re.sub(r"<svg ([^>]*)>", rf'<svg role="img" \1>\n {DESCRIPTION}', text, count=1)
    path.write_text(head.replace(DESCRIPTION, words, 1), encoding="utf-8")
