"""Commands that list what can be run: methods, datasets and tracks."""

from pathlib import Path
from typing import Annotated

import typer

from ddl_bench.cli.commands import complete
from ddl_bench.cli.commands.shared import DATA_DIR_HELP, JsonFlag, Plugins
from ddl_bench.cli.console import console_of
from ddl_bench.errors import UserError


def methods(
    name: Annotated[
        str | None,
        typer.Argument(
            autocompletion=complete.methods,
            help="Show this method in full: formula, options, figures, BibTeX.",
        ),
    ] = None,
    plugin: Plugins = None,
    as_json: JsonFlag = False,
) -> None:
    """List the methods by family, or show one in full.

    Examples:

    - `ddl-bench methods`
    - `ddl-bench methods lista`
    - `ddl-bench methods my-method --plugin my_method.py`
    """
    from ddl_bench.cli.catalogue import print_methods

    print_methods(console_of(), name, tuple(plugin or ()), as_json=as_json)


def datasets(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME] | export NAME FILE",
            autocompletion=complete.datasets,
            show_default=False,
            help="Show this data set in full: a name, an .npz file, or a folder. After `export`: "
            "write the images of a data set to this .npz file.",
        ),
    ] = None,
    plugin: Plugins = None,
    data_dir: Annotated[Path | None, typer.Option(help=DATA_DIR_HELP)] = None,
    train: Annotated[
        int | None, typer.Option(min=1, help="With export: write so many first training images.")
    ] = None,
    test: Annotated[
        int | None, typer.Option(min=0, help="With export: write so many first test images.")
    ] = None,
    download: Annotated[
        bool,
        typer.Option("--download", help="With export: download the data set if it is missing."),
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """List the data sets, or show one in full, which also checks the files of your own images.

    `export` writes a data set to an .npz file with the arrays `x_train`, `y_train`, `x_test` and
    `y_test`, and prints the hash that rows have of these images, `data`.

    Examples:

    - `ddl-bench datasets`
    - `ddl-bench datasets my-images.npz`
    - `ddl-bench datasets export cifar10 cifar10.npz --test 1000 --download`
    """
    from ddl_bench.cli.catalogue import export_dataset, print_datasets

    given = words or []
    plugins = tuple(plugin or ())
    if len(given) == 3 and given[0] == "export":
        export_dataset(
            console_of(),
            given[1],
            Path(given[2]),
            plugins,
            data_dir,
            n_train=train,
            n_test=test,
            download=download,
            as_json=as_json,
        )
        return
    if len(given) > 1:
        raise UserError("datasets: expected one name, or `datasets export NAME FILE.npz`")
    if train is not None or test is not None or download:
        raise UserError("datasets: --train, --test and --download are for `datasets export`")
    name = given[0] if given else None
    print_datasets(console_of(), name, plugins, data_dir, as_json=as_json)


def tracks(as_json: JsonFlag = False) -> None:
    """List the tracks that come with the package; copy the file of one to make your own."""
    from ddl_bench.cli.catalogue import print_tracks

    print_tracks(console_of(), as_json=as_json)
