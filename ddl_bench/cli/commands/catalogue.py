"""Commands that list what can be run: methods, datasets and tracks."""

from pathlib import Path
from typing import Annotated

import typer

from ddl_bench.cli.commands.shared import DATA_DIR_HELP, JsonFlag, Plugins
from ddl_bench.cli.console import console_of


def methods(
    name: Annotated[
        str | None,
        typer.Argument(help="Show this method in full: formula, options, figures, BibTeX."),
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
    name: Annotated[
        str | None,
        typer.Argument(help="Show this data set in full: a name, an .npz file, or a folder."),
    ] = None,
    plugin: Plugins = None,
    data_dir: Annotated[Path | None, typer.Option(help=DATA_DIR_HELP)] = None,
    as_json: JsonFlag = False,
) -> None:
    """List the data sets, or show one in full, which also checks the files of your own images.

    Examples:

    - `ddl-bench datasets`
    - `ddl-bench datasets digits`
    - `ddl-bench datasets my-images.npz`
    """
    from ddl_bench.cli.catalogue import print_datasets

    print_datasets(console_of(), name, tuple(plugin or ()), data_dir, as_json=as_json)


def tracks(as_json: JsonFlag = False) -> None:
    """List the tracks that come with the package; copy the file of one to make your own."""
    from ddl_bench.cli.catalogue import print_tracks

    print_tracks(console_of(), as_json=as_json)
