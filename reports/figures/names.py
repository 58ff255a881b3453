"""Where the names of points stand in a figure."""

from collections.abc import Container, Iterable, Iterator, Mapping
from itertools import product, takewhile
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.text import Text

from reports.figures.looks import Look
from reports.figures.style import INK, NAME_POINTS, short

ANGLES = np.pi * np.array(
    [0, 1, 0.5, 1.5, 0.25, 1.75, 0.75, 1.25, 0.12, 1.88, 0.88, 1.12, 0.38, 0.62, 1.38, 1.62]
)
"""Directions from a point to its name, the best ones first."""
RADII_PIXELS = range(8, 44, 4)  # where a thin line leads to the name
FAR_PIXELS = range(44, 480, 8)  # where the line to the name has the colour of its point
CROSSING_PIXELS = 3  # between a line and a bar that it crosses
NEAR_PIXELS = 5  # between a line and a point that it does not lead to
MARGIN_PIXELS = 3  # between a name and data
MOST_EXACT = 2_000  # covered places; more are taken once a pixel
LONG_PIXELS = 13  # a name farther from its point has a line to it


class Place(NamedTuple):
    """Hold where a name may stand, in pixels: its corners, and points of the line to it.

    Parameters
    ----------
    low, high
        Corners of the name, shape (2,).
    line
        Points from the point to the name, shape (n, 2).
    radius
        Length of the line.
    """

    low: np.ndarray
    high: np.ndarray
    line: np.ndarray
    radius: int


def write_names(
    axes: Axes,
    means: Mapping[str, np.ndarray],
    covered: np.ndarray,
    looks: Mapping[str, Look],
    bold: Container[str] = (),
    faint: np.ndarray | None = None,
    unnamed: np.ndarray | None = None,
) -> None:
    """Write each name near its point, where neither name nor line covers data or another name.

    Of these places take the nearest one that does not seem to belong to another point: a name
    without a line is nearest to its own, and a line keeps away from other points and lines. Where
    there is none, take the nearest. A name that has no place near its point stands farther away,
    and the line to it has the colour of the point. No marker stands beside a name, where it would
    look like a point.

    Parameters
    ----------
    axes
        Where the points are drawn already.
    means
        Point by name, in the coordinates of the data.
    covered
        Places that no name may cover, shape (n, 2).
    looks
        Look by name.
    bold
        Names that are written in bold.
    faint
        Places that a name covers rather than to stand far from its point, shape (n, 2).
    unnamed
        Points without a name, shape (n, 2).
    """
    to_pixels = axes.transData.transform
    blocked = to_pixels(covered)
    if len(blocked) > MOST_EXACT:
        blocked = np.unique(blocked.round(), axis=0)
    spots = to_pixels(np.array(list(means.values())))
    points = spots if unnamed is None else np.vstack([spots, to_pixels(unnamed)])
    written: list[Place] = []
    for name, mean in means.items():
        text = axes.annotate(
            short(name),
            tuple(mean),
            (0, 0),
            textcoords="offset points",
            arrowprops={"arrowstyle": "-", "lw": 0.5, "color": INK},
            in_layout=False,
            size=NAME_POINTS,
            weight="bold" if name in bold else "normal",
        )
        size = np.array(Text.get_window_extent(text).size)
        home = to_pixels(mean)
        others = spots[np.hypot(*(spots - home).T) > NEAR_PIXELS]
        strangers = points[(points != home).any(axis=1)]
        place = None
        if faint is not None:
            beside = np.vstack([blocked, to_pixels(faint)])
            near = [place for place in near_places(home, size) if is_own(place, strangers)]
            place = best_place(axes, near, beside, written, others, strangers)
        if place is None:
            around = places(home, size)
            place = best_place(axes, around, blocked, written, others, strangers)
        is_near = place is not None
        if place is None:
            place = far_place(axes, far_places(home, size), blocked, written)
        text.set_position(tuple(place.low - home))
        if text.arrow_patch is not None:
            text.arrow_patch.set_visible(place.radius > LONG_PIXELS)
            if not is_near:
                text.arrow_patch.set_color(looks[name].colour)
        written.append(place)
        blocked = np.vstack([blocked, place.line])
        spots = np.vstack([spots, place.line])


def far_places(home: np.ndarray, size: np.ndarray) -> Iterator[Place]:
    """Yield places far from a point for its name, the nearest ones first."""
    for radius, angle in product(FAR_PIXELS, ANGLES):
        way = np.array([np.cos(angle), np.sin(angle)])
        low = home + radius * way + (way - 1) / 2 * size
        yield Place(low, low + size, (low + size / 2)[None], radius)


def far_place(
    axes: Axes, candidates: Iterator[Place], blocked: np.ndarray, written: list[Place]
) -> Place:
    """Return the first free place; where none is, the first that is inside the axes."""
    inside = None
    frame = np.array(axes.bbox.extents)
    lows, highs = corners(written)
    for place in candidates:
        if is_free(place, frame, blocked, lows, highs):
            return place
        is_inside = (place.low > frame[:2]).all() and (place.high < frame[2:]).all()
        if inside is None and is_inside:
            inside = place
    return inside or place


def corners(written: list[Place]) -> tuple[np.ndarray, np.ndarray]:
    """Return the lower and the upper corners of written names, shape (n_names, 2) each."""
    lows = np.array([other.low for other in written]).reshape(-1, 2)
    highs = np.array([other.high for other in written]).reshape(-1, 2)
    return lows, highs


def places(home: np.ndarray, size: np.ndarray) -> Iterator[Place]:
    """Yield the places around a point for a name of some size, the nearest ones first."""
    for radius, angle in product(RADII_PIXELS, ANGLES):
        way = np.array([np.cos(angle), np.sin(angle)])
        low = home + radius * way + (way - 1) / 2 * size  # the text grows away from the point
        line = home + np.linspace(0, radius, 20)[:, None] * way
        yield Place(low, low + size, line, radius)


def near_places(home: np.ndarray, size: np.ndarray) -> Iterator[Place]:
    """Yield the places right beside a point, to which no line leads."""
    return takewhile(lambda place: place.radius <= LONG_PIXELS, places(home, size))


def is_own(place: Place, strangers: np.ndarray) -> bool:
    """Say whether a name at a place is nearer to its own point than to any of `strangers`."""
    points = np.vstack([place.line[:1], strangers])
    outside = np.maximum(np.maximum(place.low - points, points - place.high), 0)
    own, *others = np.hypot(*outside.T)
    return bool(own < min(others, default=np.inf))


def best_place(
    axes: Axes,
    candidates: Iterable[Place],
    blocked: np.ndarray,
    written: list[Place],
    others: np.ndarray,
    strangers: np.ndarray,
) -> Place | None:
    """Return the first free place that seems to belong to no other point.

    Its line passes no point of `others`; a long one crosses nothing, and a name without a line is
    nearer to its point than to those of `strangers`. Where there is none, return the first free
    place whose line passes no point, or else the first free one; None without one.
    """
    nearest = None
    passing = None
    frame = np.array(axes.bbox.extents)
    lows, highs = corners(written)
    for place in candidates:
        if not is_free(place, frame, blocked, lows, highs):
            continue
        distances = np.hypot(*(place.line[:, None] - others).T)
        nearest = nearest or place
        if (distances > NEAR_PIXELS).all():
            passing = passing or place
            if place.radius > LONG_PIXELS:
                is_clear = not crosses(place, blocked)
            else:
                is_clear = is_own(place, strangers)
            if is_clear:
                return place
    return passing or nearest


def crosses(place: Place, blocked: np.ndarray) -> bool:
    """Say whether the line to a place leads over blocked points, but for those of its own."""
    away = place.line[len(place.line) // 3 :]
    distances = np.hypot(*(away[:, None] - blocked).T)
    return bool((distances < CROSSING_PIXELS).any())


def is_free(
    place: Place, frame: np.ndarray, blocked: np.ndarray, lows: np.ndarray, highs: np.ndarray
) -> bool:
    """Say whether a place is inside the frame, and covers no blocked point and no written name.

    The corners of written names are `lows` and `highs`, shape (n_names, 2).
    """
    if (place.low <= frame[:2]).any() or (place.high >= frame[2:]).any():
        return False
    above = blocked > place.low - MARGIN_PIXELS
    below = blocked < place.high + MARGIN_PIXELS
    if (above & below).all(axis=1).any():
        return False
    if ((place.low < highs) & (place.high > lows)).all(axis=1).any():
        return False
    points = place.line[:, None]
    return not ((points > lows) & (points < highs)).all(axis=2).any()
