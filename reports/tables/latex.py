"""Tables as LaTeX that compiles with booktabs, for articles in one column or two."""

import re
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import pandas as pd

SPECIALS = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "%": r"\%",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"{\char34}",
    "[": "{[}",
    "]": "{]}",
    "±": r"$\pm$",
    "≈": r"$\approx$",
    "†": r"$\dagger$",
    "‡": r"$\ddagger$",
    "§": r"\S{}",
    "\N{MICRO SIGN}": r"$\mu$",
    "\N{GREEK SMALL LETTER MU}": r"$\mu$",
    "\N{MULTIPLICATION SIGN}": r"$\times$",
    "·": r"$\cdot$",
    "°": r"$^\circ$",
    "²": r"$^2$",
    "³": r"$^3$",
    "\N{MINUS SIGN}": "$-$",
    "\N{EN DASH}": "--",
    "\N{EM DASH}": "---",
    "…": r"\ldots{}",
    "\N{LEFT DOUBLE QUOTATION MARK}": "``",
    "\N{RIGHT DOUBLE QUOTATION MARK}": "''",
    "\N{LEFT SINGLE QUOTATION MARK}": "`",
    "\N{RIGHT SINGLE QUOTATION MARK}": "'",
    "\N{NO-BREAK SPACE}": "~",
}
LETTERS = frozenset("ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜÝßàáâãäåæçèéêëìíîïñòóôõöøùúûüýÿ")  # of each font
LONGEST_WORD = 18  # letters, from which on a word may be broken,
LONGEST_PART = 14  # and of a part of it
BREAKS = frozenset("/_.-=,:;@")  # after which a line may end
# A letter that a font of pdfTeX lacks: itself where the engine knows Unicode, or else its number.
PREAMBLE = r"\providecommand{\unicodetext}[2]{\ifdefined\Umathchar #1\else{\ttfamily #2}\fi}"
SYMBOLS = re.compile(r"^[\d\s.,+±≈†‡§()%eE-]*(to|IQR|µ)?[\d\s.,+±≈†‡§()%eE-]*$")
LONG_TEXT = 22  # letters from which on a column of texts is broken into lines
LEAST_SHARE = 0.1  # of a line, for a column of such texts
LARGE = r"\footnotesize"
SMALL = r"\scriptsize"
LETTERS_OF_PAGE = {LARGE: 76, SMALL: 88}  # on a line of an article
GAP_LETTERS = 1.6  # between two columns
MOST_LINES = 46  # of a table on one page
CONTINUED = "Continued."


class Layout(NamedTuple):
    """Hold how the columns of a table are set.

    Parameters
    ----------
    columns
        The argument of `tabular`.
    broken
        Names of columns whose texts are broken into lines.
    broken_letters
        Letters of a line of these.
    size
        Command that sets the size of the font.
    """

    columns: str
    broken: frozenset[str]
    broken_letters: int
    size: str


def tex(text: str) -> str:
    r"""Write a text so that LaTeX shows it as it is, whatever it holds.

    A long word may be broken after a sign such as a slash, and anywhere if it has none.

    Examples
    --------
    >>> print(tex("100 % of a_b"))
    100 \% of a\_b
    """
    return " ".join(map(word_tex, text.split()))


def word_tex(word: str) -> str:
    """Write a word of a text, see `tex`."""
    parts = []
    n_unbroken = 0
    for letter in word:
        parts.append(letter_tex(letter))
        n_unbroken += 1
        is_break = letter in BREAKS or n_unbroken == LONGEST_PART
        if len(word) > LONGEST_WORD and is_break:
            parts.append(r"\allowbreak{}")
            n_unbroken = 0
    return "".join(parts)


def letter_tex(letter: str) -> str:
    """Write one letter."""
    if letter in SPECIALS:
        return SPECIALS[letter]
    if letter in LETTERS or (letter.isascii() and letter.isprintable()):
        return letter
    shown = letter if letter.isprintable() else "?"
    return rf"\unicodetext{{{shown}}}{{U+{ord(letter):04X}}}"


def latex_table(
    table: pd.DataFrame,
    *,
    caption: str,
    label: str,
    comments: Sequence[str] = (),
    bold: Collection[tuple[int, str]] = (),
    notes: Mapping[str, str] | None = None,
    is_wide: bool = False,
) -> str:
    r"""Return a table of texts as a `table` of LaTeX, which needs the package booktabs alone.

    Numbers are set on the right. Columns in which all lines say the same are left out where there
    are several lines.

    Parameters
    ----------
    table
        The texts.
    caption, label
        For `\caption` and `\label`.
    comments
        Lines of comments above the table, such as the command that made it.
    bold
        Cells in bold, by line and column.
    notes
        What stands below the table, by what it is about.
    is_wide
        Whether the table takes the width of a page of two columns.
    """
    shown = table.loc[:, [is_worth_a_column(table[name]) for name in table]]
    layout = layout_of(shown)
    environment = "table*" if is_wide else "table"
    rows = []
    for place, record in enumerate(shown.to_dict("records")):
        cells = [
            cell_tex(str(text), str(name), layout, is_bold=(place, str(name)) in bold)
            for name, text in record.items()
        ]
        rows.append(" & ".join(cells) + r" \tabularnewline")
    written = [f"% {one_line(comment)}" for comment in comments]
    written += [r"% \usepackage{booktabs}", PREAMBLE]
    parts = pages(shown, layout)
    for number, part in enumerate(parts):
        is_last = number == len(parts) - 1
        written += [
            rf"\begin{{{environment}}}[t]",
            r"\centering",
            rf"\caption{{{tex(caption if not number else CONTINUED)}}}",
            rf"\label{{{label_of(label)}{f'-{number + 1}' if number else ''}}}",
            layout.size,
            r"\setlength{\tabcolsep}{3pt}",
            rf"\begin{{tabular}}{{@{{}}{layout.columns}@{{}}}}",
            r"\toprule",
            *head_lines([str(name) for name in shown]),
            r"\midrule",
            *rows[part.start : part.stop],
            r"\bottomrule",
            r"\end{tabular}",
            *note_lines(notes or {} if is_last else {}),
            rf"\end{{{environment}}}",
        ]
    return "\n".join(written) + "\n"


def pages(table: pd.DataFrame, layout: Layout) -> list[range]:
    """Return which lines of a table are set on each page, as many as fit."""
    starts = [0]
    n_lines = 0
    for place, record in enumerate(table.to_dict("records")):
        heights = [1]
        for name in layout.broken:
            heights.append(-(-len(str(record[name])) // layout.broken_letters))
        n_lines += max(heights)
        if n_lines > MOST_LINES and place > starts[-1]:
            starts.append(place)
            n_lines = max(heights)
    return [range(*ends) for ends in pairwise([*starts, len(table)])]


def head_lines(names: Sequence[str]) -> list[str]:
    """Write the headings of columns in two lines, so that none is wider than its column."""
    halves = [split_heading(name) for name in names]
    lines = [" & ".join(tex(half) for half in line) for line in zip(*halves, strict=True)]
    return [rf"{line} \tabularnewline" for line in lines if line.strip(" &")]


def split_heading(name: str) -> tuple[str, str]:
    """Split a heading before its unit, or else in the middle; one word is below."""
    before, bracket, unit = name.partition(" (")
    if bracket:
        return before, f"({unit}"
    words = name.split(" ")
    middle = len(words) // 2
    return " ".join(words[:middle]), " ".join(words[middle:])


def one_line(text: str) -> str:
    """Write a comment on one line, in letters that every engine reads."""
    return " ".join(text.split()).encode("ascii", "backslashreplace").decode()


def label_of(name: str) -> str:
    r"""Write a name as a `\label`; letters that are not of ASCII by their numbers."""
    spelled = [
        letter if letter.isascii() or not letter.isalnum() else f"u{ord(letter):04x}"
        for letter in name
    ]
    return re.sub(r"[^A-Za-z0-9:-]+", "-", "".join(spelled)).strip("-")


def is_worth_a_column(column: "pd.Series[str]") -> bool:
    """Say whether a column tells something: lines differ in it, or there is only one."""
    return column.nunique() > 1 or (len(column) == 1 and column.iloc[0] != "")


def is_number(text: str) -> bool:
    """Say whether a text is a number, with spreads, marks and intervals."""
    return SYMBOLS.match(text) is not None


def layout_of(table: pd.DataFrame) -> Layout:
    """Choose alignment, broken columns and size, so that the table fits on the page.

    Columns of long texts share what the others leave of a line.
    """
    texts = [str(name) for name in table if not table[name].map(is_number).all()]
    broken = set()
    n_letters = 0.0
    for name in map(str, table):
        longest = max([0, *table[name].str.len()])
        if name in texts and longest > LONG_TEXT:
            broken.add(name)
        else:
            heading = max(map(len, split_heading(name)))
            n_letters += max(longest, heading)
        n_letters += GAP_LETTERS
    size = SMALL if broken or n_letters > LETTERS_OF_PAGE[LARGE] else LARGE
    share = 0.0
    if broken:
        share = max((1 - n_letters / LETTERS_OF_PAGE[size]) / len(broken), LEAST_SHARE)
    columns = ""
    for name in map(str, table):
        if name in broken:
            columns += rf"p{{{share:.2f}\linewidth}}"
        else:
            columns += "l" if name in texts else "r"
    letters = max(1, int(LETTERS_OF_PAGE[size] * share))
    return Layout(columns, frozenset(broken), letters, size)


def cell_tex(text: str, name: str, layout: Layout, *, is_bold: bool) -> str:
    """Write one cell of a table."""
    written = tex(text)
    if is_bold:
        written = rf"\textbf{{{written}}}"
    return rf"\raggedright {written}" if name in layout.broken else written


def note_lines(notes: Mapping[str, str]) -> list[str]:
    """Write notes below a table, broken into lines of its width."""
    if not notes:
        return []
    lines = [r"\par\smallskip", r"\begin{minipage}{\linewidth}", r"\footnotesize\raggedright"]
    for name, note in notes.items():
        lines.append(rf"{tex(name)}: {tex(note)}\par")
    return [*lines, r"\end{minipage}"]
