"""Tables for terminals of any width: no number is broken, and what finds no room is named.

On a narrow terminal texts are folded, the spreads of numbers go, and then whole columns, the least
important first. A line below the table says what was left out.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

from rich.cells import cell_len, chop_cells
from rich.console import Console, ConsoleOptions, RenderResult
from rich.control import strip_control_codes
from rich.segment import Segment
from rich.style import Style

GAP = 2  # characters between two columns
NAME_WIDTH = 24  # characters; longer names may be folded
TEXT_WIDTH = 28  # the same of sentences and lists
PIECE = re.compile(r"[^,/|\[=-]+[,/|\[=-]*|[,/|\[=-]+")  # a long word is folded between two
HEADING = Style(bold=True)


@dataclass(frozen=True)
class Column:
    """What a column of a table is.

    Parameters
    ----------
    title
        Heading; it is folded at words where its texts are narrower.
    rank
        How early the column is left out on a narrow terminal: the highest rank goes first, and
        rank 0 never goes.
    folds_to
        Characters to which its texts may be folded; None for numbers and others that stay whole.
    has_spread
        Whether its texts are numbers with a spread, "1.08 ± 0.13" or "226 (IQR 19)", of which the
        number alone is shown where room is scarce.
    is_right
        Whether its texts stand on the right.
    name
        What it is called where it is left out; empty for the title.
    """

    title: str
    rank: int = 0
    folds_to: int | None = None
    has_spread: bool = False
    is_right: bool = False
    name: str = ""


@dataclass
class Shown:
    """A column of a table as it is shown: with these texts, in so many characters."""

    column: Column
    texts: Sequence[str]
    narrowest: int = field(init=False)
    widest: int = field(init=False)
    width: int = field(init=False)

    def __post_init__(self) -> None:
        words = self.column.title.split()
        longest_text = max(map(cell_len, self.texts), default=0)
        self.narrowest = max(map(cell_len, words), default=0)
        self.widest = max(longest_text, cell_len(self.column.title))
        if self.column.folds_to is not None:
            longest_text = min(longest_text, self.column.folds_to)
        self.narrowest = max(self.narrowest, longest_text)
        self.width = self.narrowest

    def without_spread(self) -> "Shown":
        """Return the column with its numbers alone, where they have a spread."""
        if not self.column.has_spread:
            return self
        return Shown(self.column, tuple(without_spread(text) for text in self.texts))

    def padded(self, text: str) -> str:
        """Pad a text to the width of the column."""
        padding = " " * (self.width - cell_len(text))
        if self.column.is_right:
            return padding + text
        return text + padding


@dataclass(frozen=True, kw_only=True)
class Table:
    """Texts in columns, which rich prints in the width that there is.

    Parameters
    ----------
    columns
        What the columns are.
    lines
        A text for each column, line by line.
    title
        Stands above the table.
    elsewhere
        What shows the columns that are left out, for the line that names them.
    is_wide
        Leave nothing out: what does not fit side by side stands in several blocks, each with the
        first columns that are names.
    """

    columns: Sequence[Column]
    lines: Sequence[Sequence[str]]
    title: str = ""
    elsewhere: str = "a wider terminal or --json"
    is_wide: bool = False

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for line, style in self.drawn(options.max_width, "-" if options.ascii_only else "─"):
            yield Segment(line, style)
            yield Segment.line()

    def drawn(self, room: int, rule: str = "─") -> Iterator[tuple[str, Style | None]]:
        """Yield the lines of the table in a width of `room` characters, each with its style."""
        columns = []
        for index, column in enumerate(self.columns):
            columns.append(Shown(column, tuple(one_line(texts[index]) for texts in self.lines)))
        for line in folded(self.title, room):
            yield line, None
        if self.is_wide:
            for index, part in enumerate(parts_of(columns, room)):
                if index:
                    yield "", None
                yield from self.drawn_part(part, rule)
            return
        shown = fitted(columns, room)
        yield from self.drawn_part(shown, rule)
        for line in folded(self.left_out(columns, shown), room):
            yield line, None

    def drawn_part(self, shown: "Sequence[Shown]", rule: str) -> Iterator[tuple[str, Style | None]]:
        """Yield the lines of columns whose widths are known."""
        for line in block([each.column.title for each in shown], shown):
            yield line, HEADING
        yield (" " * GAP).join(rule * each.width for each in shown), None
        for index in range(len(self.lines)):
            for line in block([each.texts[index] for each in shown], shown):
                yield line, None

    def left_out(self, columns: Sequence[Shown], shown: Sequence[Shown]) -> str:
        """Say what of the table is not shown, and what shows it; empty where all is."""
        texts = {id(each.column): each.texts for each in shown}  # two may have one title
        missing = []
        bare = []
        for each in columns:
            name = each.column.name or each.column.title
            if id(each.column) not in texts:
                missing.append(name)
            elif texts[id(each.column)] != each.texts:
                bare.append(name)
        parts = []
        if missing:
            noun = "column" if len(missing) == 1 else "columns"
            parts.append(f"{len(missing)} more {noun} ({', '.join(missing)})")
        if bare:
            parts.append(f"the spread of {', '.join(bare)}")
        if not parts:
            return ""
        return f"... {' and '.join(parts)}: {self.elsewhere}"


def parts_of(columns: Sequence[Shown], room: int) -> Iterator[list[Shown]]:
    """Share out all columns among blocks that fit into `room` characters, none of them folded.

    Each block begins with the leading columns that may be folded, which say what a line is.
    """
    for each in columns:
        each.width = each.widest
    names = []
    for each in columns:
        if each.column.folds_to is None:
            break
        names.append(each)
    part = [*names]
    for each in columns[len(names) :]:
        if len(part) > len(names) and needed([other.width for other in [*part, each]]) > room:
            yield part
            part = [*names]
        part.append(each)
    yield part


def print_table(console: Console, table: Table) -> None:
    """Print a table; where not even its narrowest form fits, the terminal wraps the lines."""
    console.print(table, crop=False)


def fitted(columns: Sequence[Shown], room: int) -> list[Shown]:
    """Choose the columns that fit into `room` characters, and how wide each of them is.

    Columns are taken by their ranks as long as each fits in its narrowest form. What room is left
    is for spreads first, and then for texts and headings that would be folded.
    """
    if needed([each.widest for each in columns]) <= room:
        for each in columns:
            each.width = each.widest
        return list(columns)
    by_rank = sorted(range(len(columns)), key=lambda index: columns[index].column.rank)
    chosen: dict[int, Shown] = {}
    for index in by_rank:
        each = columns[index]
        narrow = each.without_spread()
        widths = [other.width for other in chosen.values()]
        if each.column.rank == 0 or needed([*widths, narrow.width]) <= room:
            chosen[index] = narrow
    spare = room - needed([each.width for each in chosen.values()])
    for index in chosen:
        more = columns[index].width - chosen[index].width
        if more <= spare:
            chosen[index] = columns[index]
            spare -= more
    shown = [chosen[index] for index in sorted(chosen)]
    widen(shown, spare)
    return shown


def widen(shown: Sequence[Shown], spare: int) -> None:
    """Share out spare characters: to headings that then need no folding, and to long texts.

    Texts get their shares by what they lack, so that the longest are folded least.
    """
    for each in shown:
        more = each.widest - each.width
        if each.column.folds_to is None and more <= spare:
            each.width += more
            spare -= more
    texts = [each for each in shown if each.column.folds_to is not None]
    lacking = sum(each.widest - each.width for each in texts)
    if lacking > 0 and spare > 0:
        for each in texts:
            more = each.widest - each.width
            each.width += min(more, more * spare // lacking)


def needed(widths: Sequence[int]) -> int:
    """Return the width of columns with the gaps between them."""
    return sum(widths) + GAP * (len(widths) - 1)


def block(texts: Sequence[str], shown: Sequence[Shown]) -> Iterator[str]:
    """Yield the lines that the texts of one line of a table take once they are folded."""
    cells = [folded(text, each.width) for text, each in zip(texts, shown, strict=True)]
    for parts in zip_longest(*cells, fillvalue=""):
        padded = [each.padded(part) for each, part in zip(shown, parts, strict=True)]
        yield (" " * GAP).join(padded).rstrip()


def folded(text: str, width: int) -> list[str]:
    """Fold a text at blanks, and a word that is too long at punctuation or anywhere."""
    if not text:
        return []
    if cell_len(text) <= width:
        return [text]
    lines = [""]
    for word in text.split():
        gap = " " if lines[-1] else ""
        if cell_len(lines[-1] + gap + word) <= width:
            lines[-1] += gap + word
        elif cell_len(word) <= width:
            lines.append(word)
        else:
            lines += folded_word(word, width)
    return [line for line in lines if line]


def folded_word(word: str, width: int) -> list[str]:
    """Fold a word that is longer than a line."""
    lines = [""]
    for piece in PIECE.findall(word):
        if cell_len(lines[-1] + piece) <= width:
            lines[-1] += piece
        else:
            lines += chop_cells(piece, width)
    return lines


def one_line(text: str) -> str:
    """Return a text without what would move the cursor."""
    return strip_control_codes(text).replace("\n", " ")


def without_spread(text: str) -> str:
    """Return a number without its spread: "226" of "226 (IQR 19)"."""
    return text.partition(" ± ")[0].partition(" (")[0]
