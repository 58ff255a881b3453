"""Print the short table of results."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from rich.console import Console

from ddl_bench.cli.output import print_paragraph
from ddl_bench.cli.table import NAME_WIDTH, Column, Table, print_table
from ddl_bench.errors import UserError, nearest
from ddl_bench.results.columns import refuse_taken
from ddl_bench.results.rows import Row

if TYPE_CHECKING:  # it imports pandas
    from ddl_bench.results.groups import Group

RESULTS = (
    Column("data set", folds_to=NAME_WIDTH, name="dataset"),
    Column("method", folds_to=NAME_WIDTH, name="method"),
    Column("status", name="status"),
    Column("seeds", rank=6, is_right=True, name="seeds"),
    Column("accuracy (%)", is_right=True, name="accuracy"),
    Column("behind the best", rank=2, is_right=True, name="behind"),
    Column("recovered (%)", rank=1, is_right=True, name="recovered"),
    Column("parameters", rank=5, is_right=True, name="n_params"),
    Column("residual (%)", rank=9, has_spread=True, is_right=True, name="reconstruction"),
    Column("passes", rank=8, has_spread=True, is_right=True, name="passes"),
    Column("train (ms/image)", rank=4, has_spread=True, is_right=True, name="train_s_per_image"),
    Column("test (µs/image)", rank=3, has_spread=True, is_right=True, name="test_s_per_image"),
    Column("latency (ms)", rank=7, has_spread=True, is_right=True, name="test_latency_s"),
)
INTERVAL = Column("95 % interval", rank=10, is_right=True, name="interval")
RANK_ADDED = 1  # of a column that a plugin has brought
RANK_REST = 11
ELSEWHERE = "--wide or --columns"


class Choice(NamedTuple):
    """Which columns of the table are wanted.

    Parameters
    ----------
    names
        Their names; None for those of the short table.
    is_wide
        All columns that have a value, none of them folded.
    """

    names: tuple[str, ...] | None = None
    is_wide: bool = False

    @classmethod
    def of(cls, text: str | None, is_wide: bool, metrics: Sequence[str] = ()) -> "Choice":
        """Read the options --columns and --wide; `metrics` are columns that plugins bring.

        Raises UserError for a column that is unknown, and for a metric with the name of another.
        """
        refuse_taken(metrics)
        if text is None:
            return cls(None, is_wide)
        names = tuple(filter(None, (name.strip() for name in text.split(","))))
        known = {column.name for column in every_column()} | {*metrics}
        for name in names:
            if name not in known:
                raise UserError(f"--columns: no column {name!r:.80}: {nearest(name, known)}")
        if not names:
            raise UserError(f"--columns: expected names by commas; {nearest('', known)}")
        return cls(names, is_wide)


def every_column(groups: "Sequence[Group]" = ()) -> list[Column]:
    """List all columns that a table can have: those of the short one, then the rest."""
    from ddl_bench.results.table import columns_of

    brief = {column.title for column in RESULTS}
    added = {name for group in groups for row in group.ok for name in row.metrics}
    rest = []
    for each in columns_of(groups):
        if each.title not in brief:
            rank = RANK_ADDED if each.field in added else RANK_REST
            column = Column(each.title, rank=rank, has_spread=True, is_right=True, name=each.field)
            rest.append(column)
    return [*RESULTS, INTERVAL, *rest]


def print_results(console: Console, rows: Sequence[Row], choice: Choice | None = None) -> None:
    """Print the short table of rows, with notes below it, as there is no room for them beside."""
    from ddl_bench.results.groups import gather
    from ddl_bench.results.table import display_of, foot_of

    choice = choice or Choice()
    groups = gather(rows)
    table = display_of(groups)
    statuses = [status_of(group) for group in groups]
    if set(statuses) != {"ok"}:
        table["status"] = statuses
    columns = [column for column in chosen(choice, groups) if column.title in table]
    if table["data set"].nunique() == 1:
        columns = [column for column in columns if column.name != "dataset"]
    lines = table[[column.title for column in columns]].astype(str).to_numpy().tolist()
    console.print()
    is_wide = choice.is_wide or choice.names is not None
    shown = Table(columns=columns, lines=lines, elsewhere=ELSEWHERE, is_wide=is_wide)
    print_table(console, shown)
    console.print()
    absent = [name for name in choice.names or () if name not in {each.name for each in columns}]
    if set(absent) - {"dataset", "status"}:
        print_paragraph(console, f"no row has a value of: {', '.join(absent)}")
    if "note" in table:
        for method, note in zip(table["method"], table["note"], strict=True):
            if note:
                print_paragraph(console, f"{method}: {note}")
    if any(group.name != group.cell.label for group in groups):
        print_paragraph(console, "In brackets: settings in which the rows of one label differ.")
    print_paragraph(console, foot_of(groups))
    print_paragraph(console, count_of(rows))


def chosen(choice: Choice, groups: "Sequence[Group]") -> list[Column]:
    """List the columns that are wanted; what a line is about always comes first.

    The short table has those of plugins, too.
    """
    every = every_column(groups)
    by_name = {column.name: column for column in every}
    if choice.names is None:
        if choice.is_wide:
            return every
        added = {name: None for group in groups for row in group.ok for name in row.metrics}
        return [*RESULTS, *(by_name[name] for name in added if name in by_name)]
    names = dict.fromkeys(["dataset", "method", "status", *choice.names])
    return [by_name[name] for name in names if name in by_name]


def status_of(group: "Group") -> str:
    """Say how the seeds of a line ended: "ok", "failed", or "2 ok, 1 timeout"."""
    counts = Counter(row.status.replace("_", " ") for row in group.rows)
    if len(counts) == 1:
        return next(iter(counts))
    return ", ".join(f"{count} {status}" for status, count in counts.most_common())


def count_of(rows: Sequence[Row]) -> str:
    """Count the rows by their status where not all are ok; empty otherwise."""
    counts = Counter(row.status.replace("_", " ") for row in rows)
    if set(counts) <= {"ok"}:
        return ""
    parts = ", ".join(f"{count} {status}" for status, count in counts.most_common())
    return f"{len(rows)} rows: {parts}."
