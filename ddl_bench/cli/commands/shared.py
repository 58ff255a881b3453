"""Options that several commands take."""

from pathlib import Path
from typing import Annotated

import typer

LAST_RUN = Path("results/quick")  # what the commands about runs read without being told
JSON_HELP = "Print JSON for scripts instead of text for people."
PLUGIN_HELP = "Also take methods and data sets from this Python file; may be repeated."
DATA_DIR_HELP = (
    "Look for published data sets in this folder. Without it the environment variable "
    "DDL_BENCH_DATA names the folder, or else it is ~/.cache/ddl-bench."
)


def known_run(folder: Path) -> Path:
    """Return a run folder; a name stands for the one of that name in results/, if there is one."""
    named = LAST_RUN.parent / folder
    return named if not folder.exists() and named.is_dir() else folder


JsonFlag = Annotated[bool, typer.Option("--json", help=JSON_HELP)]
RunFolder = Annotated[
    Path,
    typer.Option(
        "--run",
        callback=known_run,
        help="Read the results in this run folder, the --out of `run`, or of this name in "
        "results/.",
    ),
]
RunArgument = Annotated[
    Path,
    typer.Argument(
        callback=known_run,
        help="The run folder, the --out of `run`, or its name in results/.",
    ),
]
Plugins = Annotated[list[Path] | None, typer.Option("--plugin", help=PLUGIN_HELP)]
