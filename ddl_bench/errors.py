"""The errors that a user sees, and the end of their messages."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake that the user can mend, in one line: what, where, what was expected, what to do."""


class Skip(Exception):
    """Raised by a method that cannot run on this task; the message is the reason in the table."""


class Diverged(Exception):
    """Raised by a method whose training broke down; the message names the step."""


def nearest(word: str, known: Iterable[str]) -> str:
    """The end of an error message: the nearest valid name and all of them."""
    names = sorted(known)
    name_of = {name.lower(): name for name in names}
    close = difflib.get_close_matches(word.lower(), name_of, n=1, cutoff=0.4)
    hint = f"did you mean {name_of[close[0]]!r}? " if close else ""
    return f"{hint}valid: {', '.join(names) or 'none'}"
