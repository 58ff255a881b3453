"""Lines for the user on standard error: a mistake, a warning, damaged files."""

import sys
import warnings
from typing import NoReturn, TextIO

from rich.console import Console
from rich.markup import escape

from ddl_bench.files import DamagedFile

MOST_NAMED = 3  # damaged files that are named; the rest is counted


class Warned:
    """Show warnings as lines for users; those of damaged files as one line at the end."""

    def __init__(self) -> None:
        self.damaged: dict[str, None] = {}
        warnings.simplefilter("always", DamagedFile)
        warnings.showwarning = self.show

    def show(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        """Take the place of `warnings.showwarning`."""
        if issubclass(category, DamagedFile):
            self.damaged[str(message)] = None
        else:
            tell(str(message))

    def summarise(self) -> None:
        """Print how many files were damaged, and the first of them."""
        if not self.damaged:
            return
        first = list(self.damaged)[:MOST_NAMED]
        more = len(self.damaged) - len(first)
        rest = f"; and {more} more" if more else ""
        advice = "`ddl-bench run` makes rows anew, and --rerun ID what is kept beside one"
        tell(f"damaged and left out: {'; '.join(first)}{rest}; {advice}")


def tell(text: str) -> None:
    """Print a line of ours on standard error, where there is one."""
    if sys.stderr is not None:
        sys.stderr.write(f"ddl-bench: {text}\n")


def end_with(message: str) -> NoReturn:
    """Print the line of a user's mistake, and end with exit code 2."""
    Console(stderr=True, soft_wrap=True).print(f"[red]ddl-bench:[/] {escape(message)}")
    sys.exit(2)
