"""What methods choose for images where an option is None."""

from collections.abc import Sequence

SMALL_SIDE_PIXELS = 16


def is_small(shape: Sequence[int]) -> bool:
    """Return whether images of shape (..., height, width) are small, as digits are."""
    return min(shape[-2:]) < SMALL_SIDE_PIXELS


def default_patch(shape: Sequence[int]) -> int:
    """Return the side of patches, in pixels: half that of small images, 6 at most."""
    return min(6, max(2, min(shape[-2:]) // 2))


def default_cells(shape: Sequence[int]) -> int:
    """Return the number of cells along each side on which codes are pooled."""
    return 2 if is_small(shape) else 3
