"""Commands that read finished rows: show, compare, power and predict."""

from pathlib import Path
from typing import Annotated

import typer

from ddl_bench.cli.commands.shared import LAST_RUN, JsonFlag, Plugins, RunFolder
from ddl_bench.cli.console import console_of

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
    run: RunFolder = LAST_RUN,
    as_json: JsonFlag = False,
) -> None:
    """Show one row: every number, what it was measured on, and the command that reproduces it.

    Where several rows match, they are listed.

    Examples:

    - `ddl-bench show sdl@0`
    - `ddl-bench show 3fa9 --json`
    """
    from ddl_bench.cli.show import print_row

    print_row(console_of(), run, row, as_json=as_json)


def compare(
    a: MethodA,
    b: MethodB,
    run: RunFolder = LAST_RUN,
    as_json: JsonFlag = False,
) -> None:
    """Compare two methods by their training runs: difference, 95 % interval, verdict.

    `difference` is the accuracy of `a` minus that of `b`, in percentage points, with its 95 %
    interval from `low` to `high` for new trainings (Welch's test over seeds, from 3 seeds on) and
    its `verdict` (from 5 seeds on). `p_family` is corrected for the comparisons that `family`
    names, and `detectable` is the smallest difference that these runs show with 80 % power.
    `new_images_low` to `new_images_high` is the interval for new test images too. What stands under
    `these_networks` resamples test images, and says nothing about other trainings.

    Examples:

    - `ddl-bench compare sdl spams`
    """
    from ddl_bench.cli.compare import print_comparison

    print_comparison(console_of(), run, a, b, as_json=as_json)


def power(
    a: MethodA,
    b: MethodB,
    run: RunFolder = LAST_RUN,
    difference: Annotated[
        float | None,
        typer.Option(
            min=0.0, help="Find a true difference of so many points. Without it: the one observed."
        ),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Say how many seeds and test images would separate two methods.

    The spreads of a finished run are taken as true. `seeds` are needed for each method on the same
    test images, `seeds_new_images` for a conclusion about new images too, and `images` says how
    many test images that takes with 5, 10 and 20 seeds; all with 80 % power at a level of 5 %.

    Examples:

    - `ddl-bench power sdl spams`
    - `ddl-bench power sdl spams --difference 0.5`
    """
    from ddl_bench.cli.compare import print_power

    print_power(console_of(), run, a, b, difference, as_json=as_json)


def predict(
    model: Annotated[
        Path, typer.Argument(help="A .safetensors file that `run --keep-models` has written.")
    ],
    images: Annotated[
        Path,
        typer.Argument(
            help="An image file, a folder of image files, or an .npz file with an array `x`."
        ),
    ],
    plugin: Plugins = None,
    as_json: JsonFlag = False,
) -> None:
    """Classify new images with a kept model.

    Give the plugin whose method was trained by `--plugin`: a file that the model names is never
    run on its word.

    Examples:

    - `ddl-bench predict results/quick/models/3fa9c1d2e4b5.safetensors photos/`
    - `ddl-bench predict model.safetensors photos/ --plugin my_method.py`
    """
    from ddl_bench.cli.predict import print_predictions

    print_predictions(console_of(), model, images, tuple(plugin or ()), as_json=as_json)
