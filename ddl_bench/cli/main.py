"""The command line. Each command is a few lines around a documented function of the package."""

import re
import signal
import sys
import warnings
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.markup import escape

from ddl_bench.errors import UserError

if TYPE_CHECKING:
    from ddl_bench.plan.expansion import Overrides

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    add_completion=False,
    help="""The benchmark suite for deep dictionary learning.

Start with **`ddl-bench run`**: it compares seven methods on scikit-learn's digits in under three minutes
and writes a table, a page and figures. Then look at `methods`, `datasets` and `tracks`.""",
)
console = Console()

JsonFlag = Annotated[
    bool, typer.Option("--json", help="Print JSON for scripts instead of a table.")
]
RunFolder = Annotated[Path, typer.Option("--run", help="The run folder.")]
Precision = Literal["float32", "bfloat16"]
Plugins = Annotated[
    list[Path] | None, typer.Option("--plugin", help="A Python file with methods; may be repeated.")
]
MethodName = Annotated[
    str | None, typer.Argument(help="Show this one: formula, options, figures, BibTeX.")
]
LAST = Path("results/quick")


def words(text: str | None) -> list[str] | None:
    """Split at commas outside of brackets: `a,b[x=1,y=2]` is two."""
    return (
        [part.strip() for part in re.split(r",(?![^\[]*\])", text) if part.strip()]
        if text
        else None
    )


def seed_list(text: str | None) -> list[int] | None:
    """`0-4` and `0,1,7` are lists of seeds."""
    if not text:
        return None
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part)
        if not match or (match[2] and int(match[2]) < int(match[1])):
            raise UserError(f"--seeds {text!r}: expected seeds such as 0,1,2 or 0-4")
        seeds += range(int(match[1]), int(match[2] or match[1]) + 1)
    return seeds


@app.command()
def run(
    context: typer.Context,
    track: Annotated[
        str, typer.Argument(help="A track's name (see `tracks`) or a .toml file.")
    ] = "quick",
    methods: Annotated[
        str | None, typer.Option(help="Labels, names or `name[option=value]`, comma-separated.")
    ] = None,
    datasets: Annotated[
        str | None, typer.Option(help="Names, .npz files or folders; `x.npz[mirror=true]`.")
    ] = None,
    seeds: Annotated[str | None, typer.Option(help="Seeds, as in 0,1,2 or 0-4.")] = None,
    budget: Annotated[
        str | None, typer.Option(help="Training per cell: 40e, 90s, 3m or 1.5h.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda or cuda:1.")] = None,
    precision: Annotated[
        Precision | None, typer.Option(help="Of the products and convolutions of networks.")
    ] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads of a cell.")] = None,
    jobs: Annotated[
        int | None, typer.Option(help="Cells at a time, each on cores of its own.")
    ] = None,
    limit_train: Annotated[
        int | None, typer.Option(help="Training images to keep, classes balanced.")
    ] = None,
    limit_test: Annotated[
        int | None, typer.Option(help="Test images to keep, classes balanced.")
    ] = None,
    val_fraction: Annotated[
        float | None, typer.Option(help="Share of the training images held out.")
    ] = None,
    test_from_train: Annotated[
        int | None, typer.Option(help="Test on the last N training images.")
    ] = None,
    time_limit: Annotated[float | None, typer.Option(help="Hard limit of a cell, seconds.")] = None,
    memory_limit_gb: Annotated[
        float | None, typer.Option(help="Hard limit of a cell's memory.")
    ] = None,
    plugin: Plugins = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Where data sets lie; also DDL_BENCH_DATA.")
    ] = None,
    download: Annotated[bool, typer.Option("--download", help="Fetch missing data sets.")] = False,
    out: Annotated[Path | None, typer.Option(help="The run folder; default results/TRACK.")] = None,
    rerun: Annotated[str, typer.Option(help="`failed`, `all`, or the start of a cell ID.")] = "",
    keep_models: Annotated[
        bool, typer.Option("--keep-models", help="Keep models for `predict`.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the cells and their expected time.")
    ] = False,
    report: Annotated[
        bool, typer.Option("--report/--no-report", help="Write tables, page and figures.")
    ] = True,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write curves for TensorBoard.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Train and measure methods on data sets; show the table and write the report.

    Finished cells are kept: running again goes on where it stopped.

    - `ddl-bench run`
    - `ddl-bench run --methods sdl,"plainnet[depth=6]" --seeds 0-4`
    - `ddl-bench run --datasets my-images.npz --budget 3m`
    - `ddl-bench run table1 --dry-run`
    """
    from ddl_bench.cli import commands

    overrides = _overrides(context.params)
    if dry_run:
        commands.dry_run(console, track, out, overrides, jobs, as_json=as_json)
    else:
        output = {"report": report, "tensorboard": tensorboard, "as_json": as_json}
        failed = commands.run(console, track, out, overrides, rerun, jobs, **output)
        raise typer.Exit(1 if failed else 0)


def _overrides(given: Mapping[str, Any]) -> "Overrides":
    """The options of `run` that change the track."""
    from dataclasses import fields

    from ddl_bench.data.splits import Splits
    from ddl_bench.plan.cell import BudgetSpec
    from ddl_bench.plan.expansion import Overrides

    splits = {field.name: given[field.name] for field in fields(Splits)}
    machine = {name: given[name] for name in ("device", "threads", "precision")}
    limits = {"time_s": given["time_limit"], "memory_gb": given["memory_limit_gb"]}
    budget = given["budget"]
    return Overrides(
        methods=words(given["methods"]),
        datasets=words(given["datasets"]),
        seeds=seed_list(given["seeds"]),
        budget=BudgetSpec.parse(budget) if budget else None,
        machine=given_only(machine),
        limits=given_only(limits),
        splits=given_only(splits),
        plugins=tuple(given["plugin"] or ()),
        data_dir=given["data_dir"],
        download=given["download"],
        keep_models=given["keep_models"],
    )


def given_only(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that the user gave."""
    return {name: value for name, value in options.items() if value is not None}


@app.command()
def report(
    run: RunFolder = LAST,
    out: Annotated[Path | None, typer.Option(help="Where to write; default RUN/report.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Write the table (Markdown, CSV, LaTeX), the page and the figures of a run.

    - `ddl-bench report --run results/table1`
    """
    from ddl_bench.cli import commands

    commands.print_paths(console, commands.write_report(run, out), as_json)


@app.command()
def show(
    row: Annotated[str, typer.Argument(help="A cell ID (or its beginning), or a label.")],
    run: RunFolder = LAST,
    as_json: JsonFlag = False,
) -> None:
    """Show one row: every number, where it comes from, and the command that gets it again.

    - `ddl-bench show sdl`
    - `ddl-bench show 3fa9 --json`
    """
    from ddl_bench.cli import commands
    from ddl_bench.results.rows import find_row

    commands.show(console, find_row(run, row), as_json)


@app.command()
def compare(
    a: Annotated[str, typer.Argument(help="A label of the run.")],
    b: Annotated[str, typer.Argument(help="Another label.")],
    run: RunFolder = LAST,
    as_json: JsonFlag = False,
) -> None:
    """Compare two methods on the same test images: difference, 95 % interval, exact McNemar test.

    - `ddl-bench compare sdl spams`
    """
    from ddl_bench.cli import commands

    commands.compare(console, run, a, b, as_json=as_json)


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(help="A model kept by `run --keep-models`.")],
    images: Annotated[
        Path, typer.Argument(help="An image file, a folder of them, or an .npz with `x`.")
    ],
    as_json: JsonFlag = False,
) -> None:
    """Classify new images with a kept model.

    - `ddl-bench predict results/quick/models/3fa9c1d2e4b5.safetensors photos/`
    """
    from ddl_bench.cli import commands
    from ddl_bench.results.models import predict as classify

    records = classify(model, images)
    commands.print_records(console, f"{len(records)} images", records, as_json)


@app.command()
def methods(name: MethodName = None, plugin: Plugins = None, as_json: JsonFlag = False) -> None:
    """List the methods by family, or show one in full: `ddl-bench methods lista`."""
    from ddl_bench.cli import commands

    commands.methods(console, name, tuple(plugin or ()), as_json=as_json)


@app.command()
def datasets(plugin: Plugins = None, as_json: JsonFlag = False) -> None:
    """List the data sets. A path to an .npz or to a folder of class folders is one, too."""
    from ddl_bench.cli import commands

    commands.print_records(
        console,
        "Data sets; also FILE.npz and FOLDER/",
        commands.describe_datasets(tuple(plugin or ())),
        as_json,
    )


@app.command()
def tracks(as_json: JsonFlag = False) -> None:
    """List the tracks that come with the package. Copy one's file and change it to make your own."""
    from ddl_bench.cli import commands

    commands.print_records(console, "Tracks", commands.describe_tracks(), as_json)


@app.command()
def check(
    target: Annotated[str, typer.Argument(help="A method's name, or a plugin file.")],
    as_json: JsonFlag = False,
) -> None:
    """Run the contract on a method and say in plain words what is wrong.

    - `ddl-bench check my_method.py`
    """
    from ddl_bench.cli import commands

    raise typer.Exit(1 if commands.check(console, target, as_json=as_json) else 0)


@app.callback(invoke_without_command=True)
def version(
    show: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if show:
        console.print(metadata.version("ddl-bench"))
        raise typer.Exit


def one_line(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    line: str | None = None,
) -> str:
    """Write a warning as a line for users, without the place in the code that it comes from."""
    return f"ddl-bench: {message}\n"


def main() -> None:
    """Entry point: a user's mistake is one line and exit code 2; a stop by signal keeps what is finished."""
    warnings.formatwarning = one_line
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        app()
    except UserError as error:
        Console(stderr=True, soft_wrap=True).print(
            f"[red]ddl-bench:[/] {escape(' '.join(str(error).split()))}"
        )
        sys.exit(2)
    except KeyboardInterrupt:
        Console(stderr=True).print(
            "stopped; finished cells are kept, and the same command goes on from there"
        )
        sys.exit(130)
