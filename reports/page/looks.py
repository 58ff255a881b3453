"""Colour and shape of each family of methods: the same in every report."""

from typing import NamedTuple
from zlib import crc32


class Look(NamedTuple):
    """Hold how a family looks: a colour on light pages, one on dark pages, and a shape of d3."""

    light: str
    dark: str
    shape: str


# Colours are those of Okabe and Ito, darker or lighter until they stand out from the page by 3:1.
LOOKS = {
    "DeTraMe-Net": Look("#c84a00", "#ff8a4c", "star"),
    "DeTraMe-Net, controls": Look("#a06a00", "#f0b429", "wye"),
    "plain networks": Look("#0068a8", "#62b1ea", "square"),
    "unrolled networks": Look("#7a4bb0", "#b898e8", "triangle2"),
    "convolutional sparse coding": Look("#00838f", "#4dd0da", "triangle"),
    "dictionaries, layer by layer": Look("#00795a", "#3fcf9f", "circle"),
    "dictionaries, discriminative": Look("#5d7a00", "#b1d04a", "hexagon"),
    "deep dictionaries, end to end": Look("#b03a7c", "#f08ac0", "diamond"),
    "baseline": Look("#6b7078", "#a3abb5", "cross"),
}
SHAPES = ("diamond2", "square2", "hexagon", "triangle2", "wye", "circle")
COLOURS = tuple(look[:2] for look in LOOKS.values())


def look_of(family: str) -> Look:
    """Return the look of a family; that of an unknown one follows from its name alone."""
    if family in LOOKS:
        return LOOKS[family]
    number = crc32(family.encode("utf-8", "backslashreplace"))
    light, dark = COLOURS[number % len(COLOURS)]
    return Look(light, dark, SHAPES[number // len(COLOURS) % len(SHAPES)])
