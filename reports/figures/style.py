"""What all figures share: colours, markers, the canvas, and how a figure is saved."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import seaborn as sns
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ddl_bench.files import explained

INK = "#1b1f24"  # the page puts its own text colour in its place, which follows light and dark
PAPER = "#ffffff"  # so that the ink is legible on a dark page; the report's page has no need of it
FAINT = "#8888884d"
YELLOW = "#ece133"
SIZE_INCHES = (7, 4.4)
SCREEN_DPI = 72  # at this resolution a pixel is a point
PRINT_DPI = 200
MOST_PANELS = 40  # of one method each; a figure of a hundred takes a gigabyte

COLOURS = [
    colour
    for colour in sns.color_palette("colorblind").as_hex()
    if colour != YELLOW  # it fades on white
]
MARKERS = "oDs^vPXp<>"  # ten beside nine colours: no pair comes twice in 90 lines

STYLE = {
    "axes.facecolor": "none",
    "grid.color": FAINT,
    "text.parse_math": False,
    "font.size": 9,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
}
NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))


class Look(NamedTuple):
    """Hold how the points and lines of a method look; each look is unlike the others in shape."""

    colour: str
    marker: str


def looks(names: Iterable[str]) -> dict[str, Look]:
    """Give each name a look of its own, in the order of the names."""
    return {
        name: Look(colour, marker)
        for name, colour, marker in zip(names, cycle(COLOURS), cycle(MARKERS), strict=False)
    }


def best_panels(shown: dict[str, Any]) -> dict[str, Any]:
    """Keep what is shown of the most accurate methods, which come last, where they are many."""
    return dict(list(shown.items())[-MOST_PANELS:])


def note_panels(figure: Figure, n_methods: int) -> None:
    """Say below a figure that it has no panel for some methods."""
    if n_methods > MOST_PANELS:
        figure.supxlabel(f"the {MOST_PANELS} most accurate of {n_methods} methods")


@contextmanager
def styled(salt: str) -> Iterator[None]:
    """Draw and save in the style of this module; equal data and `salt` give equal SVG files."""
    with mpl.rc_context(sns.axes_style("whitegrid") | STYLE | {"svg.hashsalt": salt}):
        yield


def new_figure(
    width: float = SIZE_INCHES[0], height: float = SIZE_INCHES[1], dpi: float = SCREEN_DPI
) -> Figure:
    """Make an empty figure, `width` x `height` inches, with a canvas that keeps its renderer.

    Without such a canvas each text that is measured makes a renderer of the size of the figure:
    14 GB for 33 matrices of confusion.
    """
    figure = Figure(figsize=(width, height), dpi=dpi, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path: Path) -> Path:
    """Save a figure as an SVG file, and as PNG beside it; return the path of the SVG file."""
    with explained(path, "cannot write"):
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, facecolor=PAPER, metadata=NO_METADATA)
        figure.savefig(path.with_name(f"{path.stem}.png"), dpi=PRINT_DPI)
    return path
