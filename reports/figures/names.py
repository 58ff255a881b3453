"""Where the names of points stand in a figure."""

from itertools import product

import numpy as np
from matplotlib.axes import Axes
from matplotlib.text import Text

INK = "#1b1f24"  # the page puts its own text colour in its place, which follows light and dark
ANGLES = (
    0,
    1,
    0.5,
    1.5,
    0.25,
    1.75,
    0.75,
    1.25,
    0.12,
    1.88,
    0.88,
    1.12,
    0.38,
    0.62,
    1.38,
    1.62,
)  # from point to name
NEAR = 6  # pixels between a line and a point that it does not lead to


def write_names(axes: Axes, means: dict[str, np.ndarray], covered: np.ndarray) -> None:
    """Write each name at the place nearest to its point where it and the line to it cover no data and no name.

    Of these the first whose line keeps away from other points and lines, lest it seem to lead to them; or the nearest.
    """
    at, frame, taken = (
        axes.transData.transform,
        axes.bbox.extents,
        list[tuple[np.ndarray, np.ndarray]](),
    )
    blocked, spots = at(covered), at(np.array(list(means.values())))
    for name, mean in means.items():
        arrow = {"arrowstyle": "-", "lw": 0.5, "color": INK}
        text = axes.annotate(
            name, tuple(mean), (0, 0), textcoords="offset points", arrowprops=arrow, in_layout=False
        )
        size, home = np.array(Text.get_window_extent(text).size), at(mean)
        others, place = spots[np.hypot(*(spots - home).T) > NEAR], None
        for radius, angle in product(range(9, 200, 5), np.pi * np.array(ANGLES)):
            way = np.array([np.cos(angle), np.sin(angle)])
            low = home + radius * way + (way - 1) / 2 * size  # the text grows away from the point
            high, line = low + size, home + np.linspace(0, radius, 20)[:, None] * way
            inside = (low > frame[:2]).all() and (high < frame[2:]).all()
            hit = ((blocked > low - 5) & (blocked < high + 5)).all(axis=1).any()
            over = (
                (low < b).all() & (high > a).all() | ((line > a) & (line < b)).all(axis=1).any()
                for a, b in taken
            )
            if inside and not hit and not any(over):
                clear = (np.hypot(*(line[:, None] - others).T) > NEAR).all()
                place = (low, high, line, radius) if clear or place is None else place
                if clear:
                    break
        low, high, line, radius = place or (low, high, line, radius)
        text.set_position(tuple(low - home))
        if text.arrow_patch is not None:
            text.arrow_patch.set_visible(radius > 15)
        taken.append((low, high))
        blocked, spots = np.vstack([blocked, line]), np.vstack([spots, line])
