"""Smaller images at the start of training: progressive resizing."""

import torch
from torch import Tensor
from torch.nn import functional as F

SIDES = (0.625, 0.875)  # of the full side, for one half of the share each: 20 and 28 of 32 pixels


def side_after(progress: float, share: float) -> float:
    """Return the side of images / their full side, after the share `progress` of the training.

    Parameters
    ----------
    progress
        Share of the training that is over, 0 to 1.
    share
        Share of the training in which images are smaller than they are; 0 for none.
    """
    if progress >= share:
        return 1.0
    first, second = SIDES
    return first if progress < share / 2 else second


def resized(X: Tensor, side: float) -> Tensor:
    """Return uint8 images (n, channels, height, width) with `side` times the height and width.

    Pixels are bilinear means (antialiased), rounded; memory keeps its order.
    """
    size = [max(1, round(side * each)) for each in X.shape[2:]]
    small = F.interpolate(X.float(), size, mode="bilinear", antialias=True)
    channels_last = X.is_contiguous(memory_format=torch.channels_last) and X.shape[1] > 1
    order = torch.channels_last if channels_last else torch.contiguous_format
    return small.round().clamp(0, 255).to(torch.uint8).contiguous(memory_format=order)
