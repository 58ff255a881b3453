"""Scales of axes: accuracy in its error where it spans much, costs with the prefixes of units."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import EngFormatter, FixedLocator, LogLocator, NullFormatter

from reports.figures.lines import Span

ACCURACY_TICKS = (0, 50, 80, 90, 95, 98, 99, 99.5, 99.8, 100)  # percent
FEW_TICKS = 5
LEAST_ERROR = 0.1  # percent: errors are shown from here on, so that 100 % has a place
MUCH = 10  # ratio of errors, and
MUCH_OF_COST = 20  # of costs, from which on a scale is logarithmic
PADDING = 0.06  # of an axis, beyond what it shows


class Accuracy:
    """An axis of accuracies: linear, or logarithmic in the error.

    Parameters
    ----------
    span
        Of the accuracies to be shown, bars included.
    n_images
        Images that are scored: an error of less than one image has no place of its own.
    """

    def __init__(self, span: Span, n_images: float) -> None:
        one_image = 100 / n_images if n_images >= 1 else LEAST_ERROR
        self.offset = max(LEAST_ERROR, one_image)
        self.span = span
        self.is_log = 100 - span.low > MUCH * max(100 - span.high, self.offset)

    def forward(self, accuracy: np.ndarray) -> np.ndarray:
        """Compute -log of the error in percent, with the offset added."""
        error = 100 - np.asarray(accuracy, dtype=float)
        return np.asarray(-np.log((error + self.offset).clip(1e-3)))

    def backward(self, height: np.ndarray) -> np.ndarray:
        """Invert `forward`."""
        return np.asarray(100 + self.offset - np.exp(-np.asarray(height, dtype=float)))

    def apply(self, axes: Axes, which: str, padding: float = PADDING) -> None:
        """Scale an axis, "x" or "y", and set its limits."""
        low, high = self.span
        if self.is_log:
            getattr(axes, f"set_{which}scale")("function", functions=(self.forward, self.backward))
            ends = self.forward(np.array([low, high]))
            gap = padding * (ends[1] - ends[0])
            low, high = self.backward(ends + np.array([-gap, gap]))
            axis: Axis = getattr(axes, f"{which}axis")
            ticks = [tick for tick in ACCURACY_TICKS if low <= tick <= high]
            axis.set_major_locator(FixedLocator(ticks))
            axis.set_major_formatter("{x:g}")
        else:
            gap = padding * (high - low or 1.0)
            low -= gap
            high += gap
        getattr(axes, f"set_{which}lim")(low, high)

    @property
    def words(self) -> str:
        """Say in words what the scale is."""
        return "logarithmic in the error" if self.is_log else "linear"


def scale_cost(axes: Axes, span: Span, *, is_time: bool, padding: float = PADDING) -> str:
    """Scale the axis of a cost; returns what the scale is in words.

    Parameters
    ----------
    axes
        Whose x axis it is.
    span
        Of the costs to be shown, bars included.
    is_time
        Whether they are seconds.
    padding
        Of the axis, beyond the span.
    """
    low, high = span
    is_log = high > MUCH_OF_COST * low > 0
    if is_log:
        ratio = (high / low) ** padding
        axes.set_xscale("log")
        axes.set_xlim(low / ratio, high * ratio)
        axes.xaxis.set_major_locator(LogLocator(numticks=FEW_TICKS + 1))
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        # From zero, so that a small difference looks small.
        axes.set_xlim(min(low, 0.0), (1 + padding) * high or 1.0)
        axes.locator_params(axis="x", nbins=FEW_TICKS)
    format_cost(axes, is_time=is_time)
    return "logarithmic" if is_log else "linear from 0"


def format_cost(axes: Axes, *, is_time: bool) -> None:
    """Write costs with the prefixes of units, but 1,000 s and more as seconds."""
    engineering = EngFormatter("s" if is_time else "")

    def text(value: float, _: float) -> str:
        if is_time and value >= 1000:
            return f"{value:,.0f} s"
        return engineering(value)

    axes.xaxis.set_major_formatter(text)
