"""Commands that read finished rows: show, compare, power and predict."""

from pathlib import Path
from typing import Annotated

import typer

from ddl_bench.cli.commands.shared import (
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

MethodA = Annotated[str, typer.Argument(help="The label of a method of the run.")]
MethodB = Annotated[str, typer.Argument(help="The label of the method to compare it with.")]


def show(
    row: Annotated[
        str,
        typer.Argument(
            help="The label of a method, with `@SEED` for one of several seeds, or the ID of a "
            "cell or its beginning."
        ),
    ],
    run: RunArgument = None,
    named: RunOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Show one row: every number, what it was measured on, and the command that reproduces it.

    Where several rows match, such as all seeds of a label, they are listed; with `--json` all of
    them are printed.

    Examples:

    - `ddl-bench show sdl@0`
    - `ddl-bench show sdl results/table1`
    - `ddl-bench show 3fa9 --json`
    """
    from ddl_bench.cli.show import print_row

    print_row(console_of(), one_run(run, named), row, as_json=as_json)


def compare(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="A B [RUN]",
            show_default=False,
            help="The labels of two methods of a run, and the run folder. With --against: one "
            "label or none, and the run folder.",
        ),
    ] = None,
    named: RunOption = None,
    against: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="Compare the same methods in two run folders: RUN is that of before. Without a "
            "label: all labels of it; those that are missing now are named.",
        ),
    ] = None,
    fail_below: Annotated[
        float | None,
        typer.Option(
            metavar="POINTS",
            help="With --against: end with exit code 1 where the mean accuracy now minus that of "
            "before is below so many points, as in -0.5, or a method has none any more or is "
            "missing. The limit judges the observed difference of means, not its interval.",
        ),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Compare two methods by their trainings, or methods before and after a change.

    The last line says what can be said: which of them is above, or that no difference is resolved
    and how large it would have to be. Intervals are at 95 % for new trainings (Welch's test over
    seeds, from 3 seeds on); a verdict needs 5 seeds. `--json` has every number.

    Exit codes: 0, 1 where --fail-below finds a loss or a missing method, 2 for a mistake.

    Examples:

    - `ddl-bench compare sdl spams`
    - `ddl-bench compare sdl spams results/table1 --json`
    - `ddl-bench compare my-method results/new --against results/old --fail-below -0.5`
    """
    from ddl_bench.cli import compare as comparing

    if against is None:
        if fail_below is not None:
            raise UserError("--fail-below: only with --against, which names the run of before")
        pair = comparing.two_methods(words or [])
        comparing.print_comparison(
            console_of(), one_run(pair.run, named), pair.a, pair.b, as_json=as_json
        )
        return
    wanted = comparing.one_method(words or [], names_run=named is not None)
    failed = comparing.print_changes(
        console_of(),
        one_run(wanted.run, named),
        known_run(against),
        wanted.label,
        fail_below=fail_below,
        as_json=as_json,
    )
    raise typer.Exit(1 if failed else 0)


def power(
    a: MethodA,
    b: MethodB,
    run: RunArgument = None,
    named: RunOption = None,
    difference: Annotated[
        float | None,
        typer.Option(
            min=0.0, help="Find a true difference of so many points. Without it: the one observed."
        ),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Say how many seeds and test images would separate two methods.

    The spreads of a finished run are taken as true. Seeds are counted for each method on the same
    test images, and for a conclusion about new images too; all with 80 % power at a level of 5 %.
    `--json` has every number.

    Examples:

    - `ddl-bench power sdl spams`
    - `ddl-bench power sdl spams results/table1 --difference 0.5`
    """
    from ddl_bench.cli.compare import print_power

    print_power(console_of(), one_run(run, named), a, b, difference, as_json=as_json)


def predict(
    model: Annotated[
        str,
        typer.Argument(
            help="The label of a method of the run, with `@SEED` for one of several seeds, or the "
            "ID of a cell; or a .safetensors file. `run --keep-models` keeps them."
        ),
    ],
    images: Annotated[
        Path,
        typer.Argument(
            help="An image file, a folder of image files or of class folders, or an .npz file "
            "with an array `x` and perhaps its labels `y`."
        ),
    ],
    run: RunArgument = None,
    named: RunOption = None,
    top: Annotated[
        int, typer.Option(min=1, help="Print so many labels of each image, the likeliest first.")
    ] = 1,
    plugin: Plugins = None,
    as_json: JsonFlag = False,
) -> None:
    """Classify new images with a kept model, and say how many are right where that is known.

    Class folders and labels are matched with the classes of the model by name, in any order, and
    may be some of them. Labels that are integers, not all of them names, are numbers from 0.
    Probabilities are printed where the scores of the method have some: those of networks and of
    logistic readouts. Give the plugin whose method was trained by `--plugin`: a file that the
    model names is never run on its word.

    Examples:

    - `ddl-bench predict sdl photos/`
    - `ddl-bench predict sdl@0 my-images.npz results/mine --top 3`
    - `ddl-bench predict model.safetensors photos/ --plugin my_method.py`
    """
    from ddl_bench.cli.predict import SUFFIX, model_file, print_predictions

    is_file = model.endswith(SUFFIX) or Path(model).is_file()
    if is_file:
        no_run(model, run, named)
        path = Path(model)
    else:
        path = model_file(model, one_run(run, named))
    print_predictions(console_of(), path, images, tuple(plugin or ()), top=top, as_json=as_json)
