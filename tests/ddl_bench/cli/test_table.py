"""Tables on terminals of any width, and on a pipe: no number is broken, nothing goes unsaid."""

import io
import re
from collections.abc import Callable

import pytest
from rich.cells import cell_len
from rich.console import Console
from typer.testing import CliRunner

from ddl_bench.cli.console import console_of
from ddl_bench.cli.live import WIDE, Live, said
from ddl_bench.cli.main import app
from ddl_bench.cli.results import RESULTS, print_results
from ddl_bench.cli.table import Column, Table, folded, print_table, without_spread
from ddl_bench.harness.progress import Seen
from ddl_bench.results.rows import load_rows
from ddl_bench.results.table import BRIEF, display
from tests.conftest import ROOT

WIDTHS = (60, 80, 100, 120)
RUNS = ROOT / "docs" / "results"
METHOD = Column("method", folds_to=10)
TIME = Column("test (µs/image)", rank=1, has_spread=True, is_right=True)
SIZE = Column("parameters", rank=2, is_right=True)
TABLE = Table(
    columns=(METHOD, TIME, SIZE),
    lines=[("plainnet[depth=6]", "226 (IQR 19)", "169,258"), ("sdl", "0.0881", "640")],
)


def lines_of(write: Callable[[Console], None], width: int) -> list[str]:
    """What is printed on a console of a width."""
    stream = io.StringIO()
    write(Console(file=stream, width=width))
    return stream.getvalue().splitlines()


def test_the_short_table_has_a_place_for_each_of_its_columns() -> None:
    assert [column.title for column in RESULTS] == [title for title in BRIEF if title != "note"]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("run", ["quick", "recovery", "equal-time", "cifar10-small"])
def test_each_number_stands_whole_in_its_line(run: str, width: int) -> None:
    rows = load_rows(RUNS / run)
    lines = lines_of(lambda console: print_results(console, rows), width)
    assert max(map(cell_len, lines)) <= width
    table = display(rows)
    if table["data set"].nunique() == 1:
        del table["data set"]
    left_out = re.search("left out: (.*); a wider", " ".join(lines))
    names = left_out[1].partition("the spread of ")[0] if left_out else ""
    numbers = [
        column.title
        for column in RESULTS
        if column.title in table and column.folds_to is None and column.title not in names
    ]
    spread = {column.title for column in RESULTS if column.has_spread}
    assert {"accuracy (%)"} <= {*numbers}
    rest = iter(lines)
    for _, texts in table[numbers].astype(str).iterrows():
        line = next(line for line in rest if texts["accuracy (%)"] in line)
        for title, text in texts.items():
            number = without_spread(text) if title in spread else text
            assert re.search(rf"(^|  ){re.escape(number)}($|  | ± | \(IQR)", line), title


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(
    "words",
    [
        "runs docs/results",
        "show logistic --run docs/results/quick",
        "run --dry-run",
        "methods",
        "methods lista",
        "datasets",
        "tracks",
        "status docs/results/quick",
        "power sdl spams --run docs/results/quick",
    ],
)
def test_what_a_command_prints_fits(
    words: str, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("COLUMNS", str(width))
    result = CliRunner().invoke(app, words.split())
    assert result.exit_code == 0 or "rows match" in str(result.exception)
    lines = result.output.splitlines()
    long = [line for line in lines if cell_len(line) > width]
    # what is to be copied is left whole: paths, BibTeX, and the values of facts
    assert [
        line for line in long if not re.match(r"( .*  |Their files|  (title|author|book))", line)
    ] == []


def test_a_narrow_table_folds_names_then_drops_spreads_then_columns() -> None:
    def lines(width: int) -> list[str]:
        return lines_of(lambda console: print_table(console, TABLE), width)

    assert lines(46) == [
        "method             test (µs/image)  parameters",
        "─────────────────  ───────────────  ──────────",
        "plainnet[depth=6]     226 (IQR 19)     169,258",
        "sdl                         0.0881         640",
    ]
    assert lines(36) == [
        "method              test  parameters",
        "              (µs/image)",
        "──────────  ────────────  ──────────",
        "plainnet[   226 (IQR 19)     169,258",
        "depth=6]",
        "sdl               0.0881         640",
    ]
    assert lines(34)[3:] == [
        "plainnet[          226     169,258",
        "depth=6]",
        "sdl             0.0881         640",
        "left out: the spread of test",
        "(µs/image); a wider terminal shows",
        "all, and so does --json",
    ]
    assert lines(32)[2:5] == [
        "plainnet[depth=     226 (IQR 19)",
        "6]",
        "sdl                       0.0881",
    ]
    assert "left out: parameters; a wider" in lines(32)
    assert lines(20)[:3] == ["method", "─" * 17, "plainnet[depth=6]"]


def test_texts_are_folded_at_blanks_and_long_words_at_punctuation() -> None:
    assert folded("a short text", 7) == ["a short", "text"]
    assert folded("see x[depth=6,width=32] there", 10) == [
        "see",
        "x[depth=6,",
        "width=32]",
        "there",
    ]
    assert folded("abcdef", 4) == ["abcd", "ef"]
    assert folded("", 4) == []
    wide = folded("字典学習", 4)
    assert wide == ["字典", "学習"]


def test_wide_characters_keep_columns_in_line() -> None:
    table = Table(columns=(METHOD, SIZE), lines=[("字典", "1"), ("sdl\n", "22")])
    lines = lines_of(lambda console: print_table(console, table), 80)
    assert {cell_len(line) for line in lines} == {18}


def test_a_console_of_another_encoding_gets_a_rule_of_hyphens() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="strict")
    table = Table(columns=(METHOD,), lines=[("sdl",)])
    print_table(Console(file=stream, width=20), table)
    stream.seek(0)
    assert stream.read().splitlines() == ["method", "------", "sdl"]


@pytest.mark.parametrize("columns", [None, "60"])
def test_a_pipe_gets_lines_of_any_length(
    columns: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns is not None:
        monkeypatch.setenv("COLUMNS", columns)
    print_results(console_of(), load_rows(RUNS / "quick"))
    text = capsys.readouterr().out
    assert ("left out" in text) == (columns is not None)
    assert ("226† (IQR 19)" in text) == (columns is None)
    longest = max(map(len, text.splitlines()))
    assert longest <= 60 if columns else longest > 120


@pytest.mark.parametrize("width", [*WIDTHS, WIDE])
def test_a_live_line_shows_its_numbers(width: int) -> None:
    view = Live(Console(file=io.StringIO(), width=width))
    seen = Seen("training", 0.4, train_s=60.0, remaining_s=12.0, val_accuracy=93.1)
    phase = said(seen, is_brief=width < WIDE)
    view.bars.add_task("detrame-plainnet-3 on digits, seed 0", total=100, completed=40, phase=phase)
    lines = lines_of(lambda console: console.print(view.bars.get_renderable()), width)
    assert max(map(cell_len, lines)) <= width
    assert "40/100" in lines[0]
    assert phase in lines[0]
    assert "seed 0" in " ".join(lines)
