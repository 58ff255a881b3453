"""Print the short table of results."""

from collections.abc import Sequence

from rich.console import Console

from ddl_bench.cli.output import print_paragraph
from ddl_bench.cli.table import NAME_WIDTH, Column, Table, print_table
from ddl_bench.results.rows import Row

RESULTS = (
    Column("data set", folds_to=NAME_WIDTH),
    Column("method", folds_to=NAME_WIDTH),
    Column("seeds", rank=6, is_right=True),
    Column("accuracy (%)", is_right=True),
    Column("behind the best", rank=2, is_right=True),
    Column("recovered (%)", rank=1, is_right=True),
    Column("parameters", rank=5, is_right=True),
    Column("residual (%)", rank=9, has_spread=True, is_right=True),
    Column("passes", rank=8, has_spread=True, is_right=True),
    Column("train (ms/image)", rank=4, has_spread=True, is_right=True),
    Column("test (µs/image)", rank=3, has_spread=True, is_right=True),
    Column("latency (ms)", rank=7, has_spread=True, is_right=True),
)


def print_results(console: Console, rows: Sequence[Row]) -> None:
    """Print the short table of rows, with notes below it, as there is no room for them beside."""
    from ddl_bench.results.groups import gather
    from ddl_bench.results.table import display_of, foot_of

    groups = gather(rows)
    table = display_of(groups)
    columns = [column for column in RESULTS if column.title in table]
    if table["data set"].nunique() == 1:
        columns = columns[1:]
    lines = table[[column.title for column in columns]].astype(str).to_numpy().tolist()
    elsewhere = "`ddl-bench show`, row by row"
    console.print()
    print_table(console, Table(columns=columns, lines=lines, elsewhere=elsewhere))
    console.print()
    if "note" in table:
        for method, note in zip(table["method"], table["note"], strict=True):
            if note:
                print_paragraph(console, f"{method}: {note}")
    if any(group.name != group.cell.label for group in groups):
        print_paragraph(console, "In brackets: settings in which the rows of one label differ.")
    print_paragraph(console, foot_of(groups))
