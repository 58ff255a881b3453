"""Commands that begin a plugin, and examine one, rows, and this machine."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from ddl_bench.cli.commands.shared import (
    DATA_DIR_HELP,
    JsonFlag,
    Plugins,
    RunArgument,
    RunOption,
    known_run,
    no_run,
    one_run,
)
from ddl_bench.cli.console import console_of
from ddl_bench.errors import UserError


def new(
    kind: Annotated[
        Literal["method", "dataset", "metric", "report"], typer.Argument(help="What to begin.")
    ],
    name: Annotated[
        str, typer.Argument(help="Its name, as on the command line; the file is named after it.")
    ],
    out: Annotated[Path, typer.Option(help="Write the file to this folder.")] = Path(),
    as_json: JsonFlag = False,
) -> None:
    """Write the beginning of a plugin: a file that passes `ddl-bench check`, to be changed.

    A *metric* is a column of the table, computed from kept predictions; a *report* writes files of
    its own from the rows.

    Examples:

    - `ddl-bench new method my-method`
    - `ddl-bench new metric worst-class`
    """
    from ddl_bench.cli.skeleton import write_skeleton

    write_skeleton(console_of(), kind, name, out, as_json=as_json)


def check(
    target: Annotated[
        str, typer.Argument(help="The name of a method, or a Python file: a plugin.")
    ],
    like: Annotated[
        str | None,
        typer.Option(help="Try images shaped like those of a data set, or as in 3x32x32."),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Check that a plugin keeps the contract, and say in plain words what is wrong.

    The contract is the list of rules that every method must follow: the same scores for the same
    seed, images left unchanged, a budget in seconds kept, and so on. Each rule is printed with
    `ok`, `broken` or `skipped`; a broken one says what to change. The exit code is 1 if a rule is
    broken.

    Examples:

    - `ddl-bench check my_method.py`
    - `ddl-bench check my_method.py --like cifar10`
    """
    from ddl_bench.cli.check import print_check

    broken = print_check(console_of(), target, like, as_json=as_json)
    raise typer.Exit(1 if broken else 0)


def verify(
    what: Annotated[
        str,
        typer.Argument(
            help="A run folder or its name in results/, the file of a row, or a row of RUN: a "
            "label, `sdl@0`, or the beginning of a cell ID."
        ),
    ],
    run: RunArgument = None,
    named: RunOption = None,
    jobs: Annotated[int | None, typer.Option(help="Run so many cells at a time.")] = None,
    plugin: Plugins = None,
    data_dir: Annotated[Path | None, typer.Option(help=DATA_DIR_HELP)] = None,
    as_json: JsonFlag = False,
) -> None:
    """Run finished rows again and say whether the predictions are the same.

    Each row is a *match*, a *drift* (other predictions on the same kind of machine with the same
    versions), of an *other machine* (which or versions differ, as named), *not repeatable* (its
    budget is in seconds) or *failed*. The rows stay as they are. The exit code is 1 unless all
    match.

    Examples:

    - `ddl-bench verify results/quick`
    - `ddl-bench verify sdl@0 docs/results/quick`
    """
    from ddl_bench.cli.verify import run_of, verify_rows

    path = known_run(Path(what))
    is_label = "/" not in what and (run or named) is not None
    folder = None if is_label else run_of(path)
    wanted = None
    if folder is None:
        if "/" in what and run is None and named is None:
            raise UserError(f"{what}: no run folder, as it has no cells/, and no file of a row")
        folder = one_run(run, named)
        wanted = what
    else:
        no_run(what, run, named)
        if folder != path:
            wanted = path.stem
    all_match = verify_rows(
        console_of(),
        folder,
        wanted,
        plugins=tuple(plugin or ()),
        data_dir=data_dir,
        jobs=jobs,
        as_json=as_json,
    )
    raise typer.Exit(0 if all_match else 1)


def doctor(as_json: JsonFlag = False) -> None:
    """Look at this machine and say what it means for runs: cores, memory, BLAS, GPU, extras.

    The exit code is 1 if a run cannot work here.
    """
    from ddl_bench.cli.doctor import print_findings

    is_bad = print_findings(console_of(), as_json=as_json)
    raise typer.Exit(1 if is_bad else 0)
