"""The options of `ddl-bench run`, by the panel of its help in which they stand."""

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from ddl_bench.cli.commands import complete
from ddl_bench.cli.commands.shared import (
    COLUMNS_HELP,
    DATA_DIR_HELP,
    JSON_HELP,
    OPEN_HELP,
    PLUGIN_HELP,
    WIDE_HELP,
)

MOST_RETRIES = 100

what = partial(typer.Option, rich_help_panel="What to run")
training = partial(typer.Option, rich_help_panel="How to train")
images = partial(typer.Option, rich_help_panel="Which images")
limits = partial(typer.Option, rich_help_panel="Hard limits")
output = partial(typer.Option, rich_help_panel="What to keep and show")
machines = partial(typer.Option, rich_help_panel="On many machines")

Track = Annotated[
    str,
    typer.Argument(
        autocompletion=complete.tracks,
        help="The name of a track (`ddl-bench tracks` lists them) or a .toml file.",
    ),
]

Methods = Annotated[
    str | None,
    what(
        autocompletion=complete.several,
        help="Run these methods, separated by commas: names (`ddl-bench methods` lists them), "
        'labels of the track, or names with options as in "plainnet[depth=6]".',
    ),
]
Datasets = Annotated[
    str | None,
    what(
        help="Run on these data sets, separated by commas: names (`ddl-bench datasets` lists "
        "them), .npz files, or folders of class folders. `x.npz[mirror=true]` says that an "
        "image and its mirror image have the same class.",
    ),
]
Seeds = Annotated[
    str | None,
    what(help="Train once with each of these seeds, as in 0,1,2 or 0-4."),
]
Plugin = Annotated[
    list[Path] | None,
    what(help=PLUGIN_HELP),
]
Rerun = Annotated[
    str,
    what(
        help="Run finished cells again: `failed` for those that are not ok, `all`, or the "
        "beginning of one cell's ID.",
    ),
]
RerunBefore = Annotated[
    str,
    what(
        help="Of the cells that --rerun names, only those whose training began before this time, "
        "such as 2026-11-30T12:00, in UTC. A rerun that was stopped prints it in the command that "
        "goes on with the rest.",
    ),
]
Retries = Annotated[
    int,
    what(
        min=0,
        max=MOST_RETRIES,
        help="Try a cell that crashed or ran out of memory so many times again, after all "
        "other cells, from its checkpoint where it has one.",
    ),
]
DryRun = Annotated[
    bool,
    what(
        "--dry-run",
        help="Run nothing; list the cells with the time that each is expected to take.",
    ),
]
Calibrate = Annotated[
    bool,
    what(
        "--calibrate",
        help="With --dry-run: train each method for a few passes on a few images, and expect "
        "the times that follow for this machine. It takes some seconds a method.",
    ),
]

Budget = Annotated[
    str | None,
    training(help="Train each cell for so many epochs (40e) or so long (90s, 3m, 1.5h)."),
]
Device = Annotated[
    str | None,
    training(help="Train and test on cpu, cuda or cuda:1."),
]
Precision = Annotated[
    Literal["float32", "bfloat16"] | None,
    training(help="Compute the products and convolutions of networks in this precision."),
]
Threads = Annotated[
    int | None,
    training(help="Give each cell so many CPU threads, on as many cores of its own."),
]
Jobs = Annotated[
    int | None,
    training(
        help="Run so many cells at a time. Without it: as many as have cores of their own, "
        "so that no cell slows another down.",
    ),
]
FreshProcess = Annotated[
    bool,
    training(
        "--fresh-process",
        help="Start an interpreter for each cell, instead of forking a prepared process.",
    ),
]

LimitTrain = Annotated[
    int | None,
    images(
        help="Keep at most so many training images, with the shares of the classes as they are."
    ),
]
LimitTest = Annotated[
    int | None,
    images(help="Keep at most so many test images, with the shares of the classes as they are."),
]
ValFraction = Annotated[
    float | None,
    images(help="Hold this share of the training images, 0 to 1, out for validation."),
]
TestFromTrain = Annotated[
    int | None,
    images(
        help="Test on so many of the last training images; the data set's own test images "
        "are then scored apart.",
    ),
]
DataDir = Annotated[
    Path | None,
    images(help=DATA_DIR_HELP),
]
Download = Annotated[
    bool,
    images(
        "--download",
        help="Download published data sets that are missing by https, and check their SHA-256.",
    ),
]

For = Annotated[
    str | None,
    limits(
        "--for",
        help="Work for so long (3h50m, 90s), then have cells save a checkpoint and end; "
        "the same command goes on from there. In a Slurm job: until shortly before its end.",
    ),
]
TimeLimit = Annotated[
    float | None,
    limits(help="Stop a cell that takes more seconds than this, from its start to its row."),
]
MemoryLimitGb = Annotated[
    float | None,
    limits(help="Stop a cell that uses more gigabytes of memory than this."),
]

Out = Annotated[
    Path | None,
    output(
        help="Write the results to this run folder. Without it: results/TRACK, or "
        "results/TRACK-CHANGES where the options change the data, the budget or the machine.",
    ),
]
Name = Annotated[
    str | None,
    output(help="Write the results to results/NAME."),
]
Report = Annotated[
    bool,
    output(
        "--report/--no-report",
        help="Write tables (Markdown, CSV, LaTeX), a page and figures to OUT/report.",
    ),
]
KeepModels = Annotated[
    bool,
    output(
        "--keep-models",
        help="Keep each trained model in OUT/models, for `ddl-bench predict`.",
    ),
]
Tensorboard = Annotated[
    bool,
    output(
        "--tensorboard",
        help="Write curves of accuracy and loss to OUT/tensorboard while cells train.",
    ),
]
Public = Annotated[
    bool,
    output(
        "--public",
        help="Keep the names of the host and the user, and absolute paths, out of rows, "
        "models and logs.",
    ),
]
Columns = Annotated[
    str | None,
    output(help=COLUMNS_HELP, autocompletion=complete.columns),
]
Wide = Annotated[
    bool,
    output("--wide", help=WIDE_HELP),
]
Open = Annotated[
    bool,
    output("--open", help=OPEN_HELP),
]
AsJson = Annotated[
    bool,
    output(
        "--json",
        help=JSON_HELP,
    ),
]

Engine = Annotated[
    Literal["slurm", "local"] | None,
    machines(
        help="Start runners that share the run folder and take cells from it, as an array of "
        "Slurm jobs or as processes of this machine, and return. With --dry-run: print the "
        "script for sbatch.",
    ),
]
Runners = Annotated[
    int,
    machines(help="Start so many runners."),
]
Time = Annotated[
    str,
    machines(
        help="Give each runner so long (4h, 90m); cells that are not done by then are "
        "continued by later runners.",
    ),
]
Cpus = Annotated[
    int | None,
    machines(help="Give each runner so many cores. Without it: those of one cell."),
]
Memory = Annotated[
    str,
    machines(help="The --mem of each Slurm job, as in 16G."),
]
Partition = Annotated[
    str,
    machines(help="The Slurm partition."),
]
Gres = Annotated[
    str,
    machines(help="The --gres of each Slurm job, as in gpu:1."),
]
Setup = Annotated[
    list[str] | None,
    machines(
        help="A line of shell to run before each runner, as in 'module load python'; may be "
        "repeated.",
    ),
]
Sbatch = Annotated[
    list[str] | None,
    machines(help="Another option of sbatch, as in account=physics; may be repeated."),
]
