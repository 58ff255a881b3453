"""The consoles on which the commands print for people."""

import os

from rich.console import Console

UNFOLDED = 100_000  # characters: the width of what is no terminal, so that no line is folded


def console_of(*, is_error: bool = False) -> Console:
    """Make the console of standard output, or of standard error.

    Into a file or a pipe lines go as long as they are, unless COLUMNS gives a width.
    """
    console = Console(stderr=is_error)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = UNFOLDED
    return console
