"""Options that several commands take."""

from pathlib import Path
from typing import Annotated

import typer

from ddl_bench.cli.commands import complete
from ddl_bench.cli.messages import tell
from ddl_bench.errors import UserError
from ddl_bench.files import name_of

LAST_RUN = Path("results/quick")  # what the commands about runs read without being told
JSON_HELP = "Print JSON for scripts instead of text for people."
PLUGIN_HELP = (
    "Also take methods, data sets, columns and reports from this Python file; may be repeated."
)
DATA_DIR_HELP = (
    "Look for published data sets in this folder. Without it the environment variable "
    "DDL_BENCH_DATA names the folder, or else it is ~/.cache/ddl-bench."
)
COLUMNS_HELP = (
    "Show these columns of the table, by commas, as in accuracy,train_s,n_params; docs/columns.md "
    "explains them."
)
WIDE_HELP = "Show all columns of the table, below each other where the terminal is narrow."
OPEN_HELP = "Open the page of the report in the browser."


def known_run(folder: Path) -> Path:
    """Return a run folder; a name stands for the one of that name in results/, if there is one."""
    named = LAST_RUN.parent / folder
    return named if not folder.exists() and named.is_dir() else folder


def one_run(folder: Path | None, named: Path | None) -> Path:
    """Return the run folder of a command, which is given as its last word, or by --run.

    Without either it is LAST_RUN, and a line on standard error says so. Raises UserError for both.
    """
    if folder and named:
        raise UserError(f"two run folders: {folder} and --run {named}; give one of them")
    given = folder or named
    if given is None:
        if LAST_RUN.is_dir():  # without it, an error says so in one line
            tell(f"reading {LAST_RUN}; another run folder can be named as the last word")
        return LAST_RUN
    return known_run(given)


def no_run(what: str, folder: Path | None, named: Path | None) -> None:
    """Raise UserError for a run folder beside what needs none, as nothing would be read of it."""
    given = folder or named
    if given:
        raise UserError(
            f"{name_of(given)}: no run folder is read beside {name_of(what)}; leave it out"
        )


def runs_of(folders: list[Path] | None, named: list[Path] | None) -> list[Path]:
    """Return the run folders that a command reads, given as words or by --run, see `one_run`."""
    given = [*(folders or ()), *(named or ())]
    return [known_run(folder) for folder in given] or [one_run(None, None)]


JsonFlag = Annotated[bool, typer.Option("--json", help=JSON_HELP)]
RunArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="[RUN]",
        show_default=False,
        autocompletion=complete.runs,
        help="The run folder, the --out of `run`, or its name in results/. Without it: "
        f"{LAST_RUN}.",
    ),
]
RunOption = Annotated[
    Path | None,
    typer.Option(
        "--run",
        metavar="RUN",
        autocompletion=complete.runs,
        help="The same as the last word, RUN.",
    ),
]
Plugins = Annotated[list[Path] | None, typer.Option("--plugin", help=PLUGIN_HELP)]
Columns = Annotated[str | None, typer.Option(help=COLUMNS_HELP, autocompletion=complete.columns)]
Wide = Annotated[bool, typer.Option("--wide", help=WIDE_HELP)]
Open = Annotated[bool, typer.Option("--open", help=OPEN_HELP)]
RunArguments = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="[RUN]...",
        show_default=False,
        autocompletion=complete.runs,
        help=f"Run folders, or their names in results/. Without any: {LAST_RUN}.",
    ),
]
RunOptions = Annotated[
    list[Path] | None,
    typer.Option(
        "--run",
        metavar="RUN",
        autocompletion=complete.runs,
        help="A further run folder; may be repeated.",
    ),
]
