"""The command line: its commands, and what becomes of mistakes, signals and closed streams."""

import gc
import sys
import threading
import traceback
from importlib import metadata
from os import _exit  # before a plugin can replace it
from pathlib import Path
from typing import Annotated

import typer

from ddl_bench.api import API_VERSION
from ddl_bench.cli.caches import provide_caches
from ddl_bench.cli.commands import catalogue, examine, rows, run, runs
from ddl_bench.cli.commands.shared import JsonFlag
from ddl_bench.cli.commands.strict import StrictCommand, StrictGroup
from ddl_bench.cli.console import console_of
from ddl_bench.cli.messages import Warned, end_with, tell
from ddl_bench.cli.output import emit
from ddl_bench.cli.stops import STOPS, Stopped
from ddl_bench.cli.streams import open_closed_streams, steady_stderr, steady_stdout
from ddl_bench.errors import UserError
from ddl_bench.files import brief, explained, name_of

OBJECTS_BETWEEN_COLLECTIONS = 100_000  # rows by the thousand are searched for cycles, of no use
LONGEST_ERROR = 500  # characters
COMMANDS = (
    run.run,
    run.tune,
    run.cancel,
    runs.report,
    runs.time,
    runs.publish,
    runs.status,
    runs.runs,
    runs.clean,
    rows.show,
    rows.compare,
    rows.power,
    rows.predict,
    catalogue.methods,
    catalogue.datasets,
    catalogue.tracks,
    examine.new,
    examine.check,
    examine.verify,
    examine.doctor,
)

app = typer.Typer(
    cls=StrictGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="""The benchmark suite for deep dictionary learning.

Start with **`ddl-bench run`**: it compares seven methods on scikit-learn's digits in about a
minute, and writes a table, a page and figures. `methods`, `datasets` and `tracks` list what else
can be run; `ddl-bench COMMAND --help` explains each command.""",
)
for command in COMMANDS:
    app.command(cls=StrictCommand)(command)


@app.callback(invoke_without_command=True)
def version(
    context: typer.Context,
    show: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Print the version where it is asked for."""
    number = metadata.version("ddl-bench")
    if show and as_json:
        emit({"version": number, "api": API_VERSION})
    elif show:
        console_of().print(number)
    elif as_json:
        raise UserError(
            "--json before the command: give it after, as in `ddl-bench methods --json`"
        )
    if show or context.invoked_subcommand is None:
        raise typer.Exit


def main() -> None:
    """Run the command line: a user's mistake is one line and exit code 2, a stop one and 128 + N.

    N is the number of the signal, so that Ctrl-C ends with 130.
    """
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS)
    open_closed_streams()
    stdout = steady_stdout()
    steady_stderr()
    warned = Warned()
    STOPS.watch()
    threads = set(threading.enumerate())
    try:
        require_folder()
        provide_caches()
        app()
    except Stopped:
        STOPS.end()
    except UserError as error:
        if STOPS.number:  # something has made an error of the stop
            STOPS.end()
        end_with(brief(error, LONGEST_ERROR))
    except OSError as error:
        if STOPS.number:
            STOPS.end()
        if error.filename is None:
            raise
        # a path that cannot be had, whichever command came across it
        end_with(f"{name_of(str(error.filename))}: {error.strerror}")
    except Exception:
        if STOPS.number:
            STOPS.end()
        raise
    finally:
        STOPS.ignore()
        sys.stdout.flush()
        warned.summarise()
        if stdout.problem:
            tell(f"standard output: {stdout.problem}")
        end_despite(threads)


def end_despite(known: set[threading.Thread]) -> None:
    """End this process where Python would wait for a thread that a plugin has started."""
    left = [each.name for each in set(threading.enumerate()) - known if not each.daemon]
    if not left:
        return
    tell(f"threads of a plugin are still running, and are ended: {', '.join(left)}")
    sys.stderr.flush()
    problem = sys.exception()
    if problem is None:
        _exit(0)
    if isinstance(problem, SystemExit) and isinstance(problem.code, int):
        _exit(problem.code)
    traceback.print_exc()
    _exit(1)


def require_folder() -> None:
    """Raise UserError where the current folder has been deleted: libraries fail to load there."""
    with explained("the current folder", "has gone; change to another one"):
        Path.cwd()
