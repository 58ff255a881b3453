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
from ddl_bench.cli.results import RESULTS, Choice, every_column, print_results
from ddl_bench.cli.table import Column, Table, folded, print_table, without_spread
from ddl_bench.errors import UserError
from ddl_bench.harness.progress import Seen
from ddl_bench.results.columns import TAKEN
from ddl_bench.results.rows import load_rows
from ddl_bench.results.table import BRIEF, display
from tests.conftest import ROOT, make_cell, make_row

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
    titles = [column.title for column in RESULTS if column.title != "status"]
    assert titles == [title for title in BRIEF if title != "note"]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("run", ["quick", "recovery", "equal-time", "patch-features"])
def test_each_number_stands_whole_in_its_line(run: str, width: int) -> None:
    rows = load_rows(RUNS / run)
    lines = lines_of(lambda console: print_results(console, rows), width)
    assert max(map(cell_len, lines)) <= width
    table = display(rows)
    if table["data set"].nunique() == 1:
        del table["data set"]
    left_out = re.search(r"more columns? \((.*?)\)", " ".join(lines))
    names = left_out[1].split(", ") if left_out else []
    numbers = [
        column.title
        for column in RESULTS
        if column.title in table and column.folds_to is None and column.name not in names
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
        "... the spread of test (µs/image):",
        "a wider terminal or --json",
    ]
    assert lines(32)[2:5] == [
        "plainnet[depth=     226 (IQR 19)",
        "6]",
        "sdl                       0.0881",
    ]
    assert lines(32)[-2:] == ["... 1 more column (parameters):", "a wider terminal or --json"]
    assert lines(20)[:3] == ["method", "─" * 17, "plainnet[depth=6]"]


def test_no_metric_can_have_the_name_or_the_heading_of_a_column() -> None:
    for column in every_column():
        assert column.name in TAKEN
        assert column.title in TAKEN or not column.title.isidentifier(), column.title


@pytest.mark.parametrize("width", [40, *WIDTHS, 200])
def test_a_wide_table_shows_all_in_blocks(width: int) -> None:
    rows = load_rows(RUNS / "quick")
    lines = lines_of(lambda console: print_results(console, rows, Choice.of(None, True)), width)
    shown = display(rows)
    numbers = shown.drop(columns=["data set", "method", "seeds"])
    longest_number = numbers.map(cell_len).to_numpy().max()
    longest_name = shown["method"].map(cell_len).max()
    assert max(map(cell_len, lines)) <= max(width, 2 + longest_name + 2 + longest_number)
    text = "\n".join(lines)
    for column in every_column():
        if column.title != "data set":  # a run of one has none, and the foot may name it
            assert (column.title in text) == (column.title in shown), column.title
    for number in numbers.to_numpy().ravel():
        assert number in text
    assert "more column" not in text


def test_the_columns_that_are_asked_for_are_shown_in_their_order() -> None:
    rows = load_rows(RUNS / "quick")
    choice = Choice.of(" train_s, accuracy,search_s", False)
    lines = lines_of(lambda console: print_results(console, rows, choice), 80)
    assert re.fullmatch(r"method +train \(s\) +accuracy \(%\)", lines[1])
    assert "  no row has a value of: search_s" in lines
    for wrong in ("acuracy", ","):
        with pytest.raises(UserError, match=r"--columns: .*accuracy"):
            Choice.of(wrong, False)


def test_a_row_that_failed_is_told_from_one_that_is_ok() -> None:
    rows = [
        make_row(make_cell("good"), status="ok", accuracy=90.0),
        make_row(make_cell("bad"), status="failed", reason="no luck"),
        make_row(make_cell("half"), status="ok", accuracy=80.0),
        make_row(make_cell("half", 1), status="timeout", reason="too slow"),
        make_row(make_cell("absent"), status="not_installed", reason="pip install absent"),
    ]
    lines = lines_of(lambda console: print_results(console, rows), 60)
    for method, status in (
        ("good", "ok"),
        ("bad", "failed"),
        ("half", "1 ok, 1 timeout"),
        ("absent", "not installed"),
    ):
        assert any(re.match(rf"{method} +{status}\b", line) for line in lines), method
    assert "  5 rows: 2 ok, 1 failed, 1 timeout, 1 not installed." in lines
    fine = lines_of(lambda console: print_results(console, rows[:1]), 60)
    assert not any("status" in line or "rows:" in line for line in fine)


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
    rows = load_rows(RUNS / "quick")
    print_results(console_of(), rows)
    text = capsys.readouterr().out
    assert ("more columns" in text) == (columns is not None)
    assert (display(rows)["test (µs/image)"][0] in text) == (columns is None)
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


def test_of_two_columns_with_one_title_the_one_that_is_left_out_is_named() -> None:
    columns = (Column("a"), Column("in the run", rank=1), Column("in the run", rank=2))
    table = Table(columns=columns, lines=[["x", "1.0", "longer than the others"]])
    wide = lines_of(lambda console: print_table(console, table), 80)
    assert "more column" not in " ".join(wide)
    assert "the spread of" not in " ".join(wide)
    narrow = lines_of(lambda console: print_table(console, table), 20)
    assert "1 more column (in the run)" in " ".join(narrow)
