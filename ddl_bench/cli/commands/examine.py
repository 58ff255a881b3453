"""Commands that examine a method, and this machine: check and doctor."""

from typing import Annotated

import typer

from ddl_bench.cli.commands.shared import JsonFlag
from ddl_bench.cli.console import console_of


def check(
    target: Annotated[
        str, typer.Argument(help="The name of a method, or a Python file with methods.")
    ],
    like: Annotated[
        str | None,
        typer.Option(help="Try images shaped like those of a data set, or as in 3x32x32."),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Check that a method keeps the contract, and say in plain words what is wrong.

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


def doctor(as_json: JsonFlag = False) -> None:
    """Look at this machine and say what it means for runs: cores, memory, BLAS, GPU, extras.

    The exit code is 1 if a run cannot work here.
    """
    from ddl_bench.cli.doctor import print_findings

    is_bad = print_findings(console_of(), as_json=as_json)
    raise typer.Exit(1 if is_bad else 0)
