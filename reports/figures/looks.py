"""The look of each method, which is the same in every figure and every report."""

from collections.abc import Iterable
from itertools import count
from typing import Any, NamedTuple
from zlib import crc32

from matplotlib.colors import to_hex, to_rgb

COLOURS = {
    "baseline": "#6b7078",
    "dictionaries, layer by layer": "#00795a",
    "dictionaries, discriminative": "#5d7a00",
    "deep dictionaries, end to end": "#b03a7c",
    "convolutional sparse coding": "#00838f",
    "unrolled networks": "#7a4bb0",
    "plain networks": "#0068a8",
    "DeTraMe-Net": "#c84a00",
    "DeTraMe-Net, controls": "#a06a00",
}
"""Colour of each family, that of the page: shades of it, with the markers, are its methods'.

They are those of Okabe and Ito, which the three common kinds of colour blindness tell apart, darker
until they stand out from white by 3:1.
"""
OTHER_COLOUR = "#3f4a5a"  # of methods of plugins

METHODS = {
    "baseline": ("nearest-mean", "logistic"),
    "dictionaries, layer by layer": ("sdl", "spams", "adl", "adl-sdl", "ddl-greedy"),
    "dictionaries, discriminative": ("src", "d-ksvd", "lc-ksvd", "dpl"),
    "deep dictionaries, end to end": ("ddl", "task-driven", "scn"),
    "convolutional sparse coding": (
        "csc-net",
        "ml-ista",
        "ml-fista",
        "ml-lista",
        "ml-cnn",
        "deq-sc",
    ),
    "unrolled networks": ("lista", "cnn-lista", "sparse-lstm", "crate-lite"),
    "plain networks": ("plainnet", "resnet", "fastnet"),
    "DeTraMe-Net": ("detrame-plainnet", "detrame-resnet", "detrame-fastnet"),
    "DeTraMe-Net, controls": ("plainnet-wide", "plainnet-deep", "plainnet-extra"),
}
"""Methods by family; a new one goes to the end of its family: the others keep their look."""

MARKERS = "oDs^vPXp<>"
SHADES = (0.0, -0.35, 0.3)  # towards black, and towards white
DASHES: tuple[Any, ...] = ("-", "--", "-.", (0, (1, 1)), (0, (6, 1, 1, 1, 1, 1)))
SHIFT = 3  # markers by which the families are shifted against one another
N_LOOKS = 30  # ranks after which a look comes again


class Look(NamedTuple):
    """Hold how the point and the line of a method look: both differ in shape, too."""

    colour: str
    marker: str
    dash: Any


class Named(NamedTuple):
    """Hold what a look follows from: the line of a table, its method and its family."""

    line: str
    method: str
    family: str


def look(family: str, rank: int) -> Look:
    """Return the look of a rank within a family."""
    place = list(COLOURS).index(family) if family in COLOURS else len(COLOURS)
    colour = COLOURS.get(family, OTHER_COLOUR)
    marker = MARKERS[(SHIFT * place + rank) % len(MARKERS)]
    shade = shaded(colour, SHADES[rank % len(SHADES)])
    return Look(shade, marker, DASHES[(place + rank) % len(DASHES)])


def shaded(colour: str, share: float) -> str:
    """Mix a colour with white, or with black where the share is below 0."""
    target = 1.0 if share > 0 else 0.0
    weight = abs(share)
    red, green, blue = ((1 - weight) * part + weight * target for part in to_rgb(colour))
    return to_hex((red, green, blue))


def rank_of(method: str, family: str) -> int:
    """Return the rank of a method in its family; of one that is not known, a hash of its name."""
    known = METHODS.get(family, ())
    if method in known:
        return known.index(method)
    return len(known) + crc32(method.encode()) % (N_LOOKS - len(known))


def looks(lines: Iterable[Named]) -> dict[str, Look]:
    """Return the look of each line of a table by its name.

    It follows from method and family alone. Where a method has several lines, further ones take
    the next looks of the family that no other line has.
    """
    looks_of: dict[str, Look] = {}
    taken: set[Look] = set()
    for line in sorted(lines):
        first = rank_of(line.method, line.family)
        for rank in count(first):
            given = look(line.family, rank)
            if given not in taken or rank >= first + N_LOOKS:
                break
        taken.add(given)
        looks_of[line.line] = given
    return looks_of
