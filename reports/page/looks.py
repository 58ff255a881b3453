"""Colour and shape of each family of methods: the same in every report."""

from typing import NamedTuple
from zlib import crc32

from reports.figures.looks import COLOURS


class Look(NamedTuple):
    """Hold how a family looks: a colour on light pages, one on dark pages, and a shape of d3."""

    light: str
    dark: str
    shape: str


# Dark pages have the colours of the figures, lighter until they stand out from the page by 3:1.
LOOKS = {
    family: Look(COLOURS[family], dark, shape)
    for family, dark, shape in (
        ("DeTraMe-Net", "#ff8a4c", "star"),
        ("DeTraMe-Net, controls", "#f0b429", "wye"),
        ("plain networks", "#62b1ea", "square"),
        ("unrolled networks", "#b898e8", "triangle2"),
        ("convolutional sparse coding", "#4dd0da", "triangle"),
        ("dictionaries, layer by layer", "#3fcf9f", "circle"),
        ("dictionaries, discriminative", "#b1d04a", "hexagon"),
        ("deep dictionaries, end to end", "#f08ac0", "diamond"),
        ("baseline", "#a3abb5", "cross"),
    )
}
SHAPES = ("diamond2", "square2", "hexagon", "triangle2", "wye", "circle")
PAIRS = tuple(look[:2] for look in LOOKS.values())  # of colours


def look_of(family: str) -> Look:
    """Return the look of a family; that of an unknown one follows from its name alone."""
    if family in LOOKS:
        return LOOKS[family]
    number = crc32(family.encode("utf-8", "backslashreplace"))
    light, dark = PAIRS[number % len(PAIRS)]
    return Look(light, dark, SHAPES[number // len(PAIRS) % len(SHAPES)])
