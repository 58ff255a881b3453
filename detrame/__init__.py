"""Q-metric ReLUs: the layer, `convert` to put it in a network, `fold` for fast inference."""

from detrame.convert import convert
from detrame.fold import fold
from detrame.layer import QMetricReLU

__all__ = ["QMetricReLU", "convert", "fold"]
