"""The command line. Each command is a few lines around a documented function of the package."""

import re
import sys
from importlib import metadata
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from ddl_bench.cli.caches import provide_caches
from ddl_bench.cli.output import (
    Warned,
    console_of,
    open_closed_streams,
    steady_stderr,
    steady_stdout,
    tell,
)
from ddl_bench.cli.stops import STOPS, Stopped
from ddl_bench.errors import UserError
from ddl_bench.files import brief, explained, name_of

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    add_completion=False,
    help="""The benchmark suite for deep dictionary learning.

Start with **`ddl-bench run`**: it compares seven methods on scikit-learn's digits in about a
minute, and writes a table, a page and figures. `methods`, `datasets` and `tracks` list what else
can be run; `ddl-bench COMMAND --help` explains each command.""",
)
console = console_of()

LONGEST_ERROR = 500  # characters
MOST_SEEDS = 100_000
MOST_RETRIES = 100
LAST_RUN = Path("results/quick")

WHAT = "What to run"
TRAINING = "How to train"
IMAGES = "Which images"
LIMITS = "Hard limits"
OUTPUT = "What to keep and show"
MACHINES = "On many machines"

JSON_HELP = "Print JSON for scripts instead of text for people."
PLUGIN_HELP = "Also take methods and data sets from this Python file; may be repeated."
DATA_DIR_HELP = (
    "Look for published data sets in this folder. Without it the environment variable "
    "DDL_BENCH_DATA names the folder, or else it is ~/.cache/ddl-bench."
)

JsonFlag = Annotated[bool, typer.Option("--json", help=JSON_HELP)]
RunFolder = Annotated[
    Path, typer.Option("--run", help="Read the results in this run folder, the --out of `run`.")
]
Plugins = Annotated[list[Path] | None, typer.Option("--plugin", help=PLUGIN_HELP)]
Precision = Literal["float32", "bfloat16"]


def words(text: str | None) -> list[str] | None:
    """Split at commas outside of brackets: `a,b[x=1,y=2]` is two. None stays."""
    from ddl_bench.registry import split_list

    return split_list(text) if text else None


def seed_list(text: str | None) -> list[int] | None:
    """Read a list of seeds, such as `0-4` or `0,1,7`."""
    if not text:
        return None
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,10})(?:-(\d{1,10}))?\s*", part)
        if not match or (match[2] and int(match[2]) < int(match[1])):
            given = f"--seeds {text!r:.80}"
            raise UserError(f"{given}: expected seeds below 2**32, such as 0,1,2 or 0-4")
        last = int(match[2] or match[1])
        if last - int(match[1]) >= MOST_SEEDS:
            raise UserError(f"--seeds {part}: at most {MOST_SEEDS:,} seeds in one run")
        seeds += range(int(match[1]), last + 1)
    return seeds


@app.command()
def run(
    context: typer.Context,
    track: Annotated[
        str,
        typer.Argument(help="The name of a track (`ddl-bench tracks` lists them) or a .toml file."),
    ] = "quick",
    methods: Annotated[
        str | None,
        typer.Option(
            help="Run these methods, separated by commas: names (`ddl-bench methods` lists them), "
            'labels of the track, or names with options as in "plainnet[depth=6]".',
            rich_help_panel=WHAT,
        ),
    ] = None,
    datasets: Annotated[
        str | None,
        typer.Option(
            help="Run on these data sets, separated by commas: names (`ddl-bench datasets` lists "
            "them), .npz files, or folders of class folders. `x.npz[mirror=true]` says that an "
            "image and its mirror image have the same class.",
            rich_help_panel=WHAT,
        ),
    ] = None,
    seeds: Annotated[
        str | None,
        typer.Option(
            help="Train once with each of these seeds, as in 0,1,2 or 0-4.", rich_help_panel=WHAT
        ),
    ] = None,
    plugin: Annotated[
        list[Path] | None, typer.Option(help=PLUGIN_HELP, rich_help_panel=WHAT)
    ] = None,
    rerun: Annotated[
        str,
        typer.Option(
            help="Run finished cells again: `failed` for those that are not ok, `all`, or the "
            "beginning of one cell's ID.",
            rich_help_panel=WHAT,
        ),
    ] = "",
    retries: Annotated[
        int,
        typer.Option(
            min=0,
            max=MOST_RETRIES,
            help="Try a cell that crashed or ran out of memory so many times again, after all "
            "other cells, from its checkpoint where it has one.",
            rich_help_panel=WHAT,
        ),
    ] = 0,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Run nothing; list the cells with the time that each is expected to take.",
            rich_help_panel=WHAT,
        ),
    ] = False,
    calibrate: Annotated[
        bool,
        typer.Option(
            "--calibrate",
            help="With --dry-run: train each method for a few passes on a few images, and expect "
            "the times that follow for this machine. It takes some seconds a method.",
            rich_help_panel=WHAT,
        ),
    ] = False,
    budget: Annotated[
        str | None,
        typer.Option(
            help="Train each cell for so many epochs (40e) or so long (90s, 3m, 1.5h).",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(help="Train and test on cpu, cuda or cuda:1.", rich_help_panel=TRAINING),
    ] = None,
    precision: Annotated[
        Precision | None,
        typer.Option(
            help="Compute the products and convolutions of networks in this precision.",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            help="Give each cell so many CPU threads, on as many cores of its own.",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            help="Run so many cells at a time. Without it: as many as have cores of their own, "
            "so that no cell slows another down.",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    fresh_process: Annotated[
        bool,
        typer.Option(
            "--fresh-process",
            help="Start an interpreter for each cell, instead of forking a prepared process.",
            rich_help_panel=TRAINING,
        ),
    ] = False,
    limit_train: Annotated[
        int | None,
        typer.Option(
            help="Keep at most so many training images, with the shares of the classes as they "
            "are.",
            rich_help_panel=IMAGES,
        ),
    ] = None,
    limit_test: Annotated[
        int | None,
        typer.Option(
            help="Keep at most so many test images, with the shares of the classes as they are.",
            rich_help_panel=IMAGES,
        ),
    ] = None,
    val_fraction: Annotated[
        float | None,
        typer.Option(
            help="Hold this share of the training images, 0 to 1, out for validation.",
            rich_help_panel=IMAGES,
        ),
    ] = None,
    test_from_train: Annotated[
        int | None,
        typer.Option(
            help="Test on so many of the last training images; the data set's own test images "
            "are then scored apart.",
            rich_help_panel=IMAGES,
        ),
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help=DATA_DIR_HELP, rich_help_panel=IMAGES)
    ] = None,
    download: Annotated[
        bool,
        typer.Option(
            "--download",
            help="Download published data sets that are missing by https, and check their SHA-256.",
            rich_help_panel=IMAGES,
        ),
    ] = False,
    for_: Annotated[
        str | None,
        typer.Option(
            "--for",
            help="Work for so long (3h50m, 90s), then have cells save a checkpoint and end; "
            "the same command goes on from there. In a Slurm job: until shortly before its end.",
            rich_help_panel=LIMITS,
        ),
    ] = None,
    time_limit: Annotated[
        float | None,
        typer.Option(
            help="Stop a cell that takes more seconds than this, from its start to its row.",
            rich_help_panel=LIMITS,
        ),
    ] = None,
    memory_limit_gb: Annotated[
        float | None,
        typer.Option(
            help="Stop a cell that uses more gigabytes of memory than this.",
            rich_help_panel=LIMITS,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Write the results to this run folder. Without it: results/TRACK, or "
            "results/TRACK-CHANGES where the options change the data, the budget or the machine.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="Write the results to results/NAME.", rich_help_panel=OUTPUT),
    ] = None,
    report: Annotated[
        bool,
        typer.Option(
            "--report/--no-report",
            help="Write tables (Markdown, CSV, LaTeX), a page and figures to OUT/report.",
            rich_help_panel=OUTPUT,
        ),
    ] = True,
    keep_models: Annotated[
        bool,
        typer.Option(
            "--keep-models",
            help="Keep each trained model in OUT/models, for `ddl-bench predict`.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    tensorboard: Annotated[
        bool,
        typer.Option(
            "--tensorboard",
            help="Write the curves of accuracy and loss for TensorBoard to OUT/tensorboard.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    public: Annotated[
        bool,
        typer.Option(
            "--public",
            help="Keep the names of the host and the user, and absolute paths, out of rows, "
            "models and logs.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help=JSON_HELP, rich_help_panel=OUTPUT)
    ] = False,
    engine: Annotated[
        Literal["slurm", "local"] | None,
        typer.Option(
            help="Start runners that share the run folder and take cells from it, as an array of "
            "Slurm jobs or as processes of this machine, and return. With --dry-run: print the "
            "script for sbatch.",
            rich_help_panel=MACHINES,
        ),
    ] = None,
    runners: Annotated[
        int, typer.Option(help="Start so many runners.", rich_help_panel=MACHINES)
    ] = 1,
    time: Annotated[
        str,
        typer.Option(
            help="Give each runner so long (4h, 90m); cells that are not done by then are "
            "continued by later runners.",
            rich_help_panel=MACHINES,
        ),
    ] = "1h",
    cpus: Annotated[
        int | None,
        typer.Option(
            help="Give each runner so many cores. Without it: those of one cell.",
            rich_help_panel=MACHINES,
        ),
    ] = None,
    memory: Annotated[
        str,
        typer.Option(help="The --mem of each Slurm job, as in 16G.", rich_help_panel=MACHINES),
    ] = "",
    partition: Annotated[
        str, typer.Option(help="The Slurm partition.", rich_help_panel=MACHINES)
    ] = "",
    gres: Annotated[
        str,
        typer.Option(help="The --gres of each Slurm job, as in gpu:1.", rich_help_panel=MACHINES),
    ] = "",
    setup: Annotated[
        list[str] | None,
        typer.Option(
            help="A line of shell to run before each runner, as in 'module load python'; may be "
            "repeated.",
            rich_help_panel=MACHINES,
        ),
    ] = None,
    sbatch: Annotated[
        list[str] | None,
        typer.Option(
            help="Another option of sbatch, as in account=physics; may be repeated.",
            rich_help_panel=MACHINES,
        ),
    ] = None,
) -> None:
    """Train and measure methods on data sets; print the table and write the report.

    A track names methods, data sets and seeds. One training, of one method on one data set with
    one seed, is a *cell*: it runs in a process of its own and leaves a row of numbers. Finished
    rows are kept, so the same command resumes a run that was stopped. The options below replace
    what the track says.

    Examples:

    - `ddl-bench run`: seven methods on digits
    - `ddl-bench run --methods sdl,"plainnet[depth=6]" --seeds 0-4`: other methods and seeds
    - `ddl-bench run --datasets my-images.npz --budget 3m`: your images, three minutes a training
    - `ddl-bench run table1 --engine slurm --runners 8 --time 4h`: as an array of Slurm jobs
    - `ddl-bench run table1 --download --dry-run`: what Table 1 of the paper would take
    """
    from ddl_bench.cli import commands
    from ddl_bench.harness.folder import run_folder
    from ddl_bench.plan.expansion import Overrides

    overrides = Overrides.of(
        methods=words(methods),
        datasets=words(datasets),
        seeds=seed_list(seeds),
        budget=budget or None,
        device=device,
        threads=threads,
        precision=precision,
        time_limit=time_limit,
        memory_limit_gb=memory_limit_gb,
        limit_train=limit_train,
        limit_test=limit_test,
        val_fraction=val_fraction,
        test_from_train=test_from_train,
        plugins=plugin or (),
        data_dir=data_dir,
        download=download,
        keep_models=keep_models,
    )
    if calibrate and not dry_run:
        raise UserError("--calibrate is for --dry-run; give both")
    folder = run_folder(track, out, overrides, name)
    if engine:
        from ddl_bench.cli import machines

        wanted = machines.Wanted(
            engine=engine,
            runners=runners,
            time=time,
            partition=partition,
            gres=gres,
            cpus=cpus,
            memory=memory,
            setup=setup or (),
            sbatch=sbatch or (),
        )
        machines.start(
            console, context, track, folder, overrides, wanted, dry_run=dry_run, as_json=as_json
        )
        return
    if dry_run:
        commands.dry_run(
            console, track, folder, overrides, jobs, calibrate=calibrate, as_json=as_json
        )
        return
    failed = commands.run(
        console,
        track,
        folder,
        overrides,
        rerun=rerun,
        jobs=jobs,
        fresh_process=fresh_process,
        shift=commands.shift_of(for_),
        retries=retries,
        report=report,
        tensorboard=tensorboard,
        public=public,
        as_json=as_json,
    )
    raise typer.Exit(1 if failed else 0)


@app.command()
def cancel(
    run: Annotated[Path, typer.Argument(help="The run folder.")] = LAST_RUN,
    as_json: JsonFlag = False,
) -> None:
    """End the runners that `run --engine` has started; cells keep their checkpoints.

    Example:

    - `ddl-bench cancel results/table1`
    """
    from ddl_bench.cli import machines

    machines.cancel(console, run, as_json=as_json)


@app.command()
def report(
    run: RunFolder = LAST_RUN,
    out: Annotated[
        Path | None, typer.Option(help="Write the report to this folder. Without it: RUN/report.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Write the tables (Markdown, CSV, LaTeX), the page and the figures of a run.

    Example:

    - `ddl-bench report --run results/table1`
    """
    from ddl_bench.cli import commands, output

    output.print_paths(console, commands.write_report(run, out), as_json=as_json)


@app.command()
def publish(
    out: Annotated[
        Path, typer.Argument(help="Write the public copies to this folder; it may be RUN itself.")
    ],
    run: RunFolder = LAST_RUN,
    as_json: JsonFlag = False,
) -> None:
    """Copy a run without the names of its host and user, and without absolute paths.

    Rows, arrays, models and the report are copied, logs and checkpoints are not. IDs and numbers
    stay as they are, and every command reads the copy as it reads the run. `ddl-bench run
    --public` makes a run public as it goes.

    Example:

    - `ddl-bench publish public/table1 --run results/table1`
    """
    from ddl_bench.cli import commands, output
    from ddl_bench.results.publish import publish as copy

    paths = copy(run, out) | commands.write_report(out, None)
    output.print_paths(console, paths, as_json=as_json)


@app.command()
def status(
    folder: Annotated[Path, typer.Argument(help="The run folder, the --out of `run`.")] = LAST_RUN,
    watch: Annotated[
        bool,
        typer.Option("--watch", help="Look again every two seconds, until nothing runs or waits."),
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Show which cells of a run are waiting, running, stale, done and failed.

    It reads the run folder alone, so that it works from any machine that sees the folder, while
    the run goes on. A running cell is shown with its phase, the share of its training that is
    done, its last accuracy on validation images and the time that is left; a failed one with the
    reason. A cell is *stale* if its runner is gone: the next runner takes it.

    Examples:

    - `ddl-bench status`
    - `ddl-bench status results/table1 --watch`
    """
    from ddl_bench.cli import status as view

    view.status(console, folder, watch=watch, as_json=as_json)


@app.command()
def runs(
    folder: Annotated[Path, typer.Argument(help="The folder that holds the run folders.")] = (
        LAST_RUN.parent
    ),
    as_json: JsonFlag = False,
) -> None:
    """List the run folders: track, cells that are done, failed and waiting, data sets, size.

    Examples:

    - `ddl-bench runs`
    - `ddl-bench runs /shared/results --json`
    """
    from ddl_bench.cli import runs as listing

    listing.runs(console, folder, as_json=as_json)


@app.command()
def clean(
    folder: Annotated[Path, typer.Argument(help="The run folder, the --out of `run`.")],
    failed: Annotated[
        bool,
        typer.Option("--failed", help="Remove every cell whose row is not ok; `run` repeats it."),
    ] = False,
    label: Annotated[
        str | None, typer.Option(help="Remove every cell of the method of this label.")
    ] = None,
    work: Annotated[
        bool,
        typer.Option(
            "--work",
            help="Remove logs, checkpoints and claims in FOLDER/work that no living runner holds. "
            "A cell that was stopped then begins anew.",
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before removing.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Remove nothing; say what would be removed.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Remove cells of a run: rows with their arrays, models, logs and checkpoints.

    It says what it will remove and asks. A cell that a living runner holds is never touched.

    Examples:

    - `ddl-bench clean results/quick --failed`
    - `ddl-bench clean results/quick --label sdl --dry-run`
    """
    from ddl_bench.cli import clean as cleaning

    cleaning.clean(
        console,
        folder,
        failed=failed,
        label=label,
        work=work,
        yes=yes,
        dry_run=dry_run,
        as_json=as_json,
    )


@app.command()
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
    from ddl_bench.cli import commands

    commands.show(console, run, row, as_json=as_json)


@app.command()
def compare(
    a: Annotated[str, typer.Argument(help="The label of a method of the run.")],
    b: Annotated[str, typer.Argument(help="The label of the method to compare it with.")],
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
    from ddl_bench.cli import commands

    commands.compare(console, run, a, b, as_json=as_json)


@app.command()
def power(
    a: Annotated[str, typer.Argument(help="The label of a method of the run.")],
    b: Annotated[str, typer.Argument(help="The label of the method to compare it with.")],
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
    from ddl_bench.cli import commands

    commands.power(console, run, a, b, difference, as_json=as_json)


@app.command()
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
    from ddl_bench.cli import commands

    commands.predict(console, model, images, tuple(plugin or ()), as_json=as_json)


@app.command()
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
    from ddl_bench.cli import catalogue

    catalogue.methods(console, name, tuple(plugin or ()), as_json=as_json)


@app.command()
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
    from ddl_bench.cli import catalogue

    catalogue.datasets(console, name, tuple(plugin or ()), data_dir, as_json=as_json)


@app.command()
def tracks(as_json: JsonFlag = False) -> None:
    """List the tracks that come with the package; copy the file of one to make your own."""
    from ddl_bench.cli import catalogue

    catalogue.tracks(console, as_json=as_json)


@app.command()
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
    from ddl_bench.cli import commands

    broken = commands.check(console, target, like, as_json=as_json)
    raise typer.Exit(1 if broken else 0)


@app.command()
def doctor(as_json: JsonFlag = False) -> None:
    """Look at this machine and say what it means for runs: cores, memory, BLAS, GPU, extras.

    The exit code is 1 if a run cannot work here.
    """
    from ddl_bench.cli import doctor as medicine

    is_bad = medicine.doctor(console, as_json=as_json)
    raise typer.Exit(1 if is_bad else 0)


@app.callback(invoke_without_command=True)
def version(
    show: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Print the version where it is asked for."""
    if show:
        console.print(metadata.version("ddl-bench"))
        raise typer.Exit


def end_with(message: str) -> NoReturn:
    """Print the line of a user's mistake, and end with exit code 2."""
    Console(stderr=True, soft_wrap=True).print(f"[red]ddl-bench:[/] {escape(message)}")
    sys.exit(2)


def main() -> None:
    """Run the command line: a user's mistake is one line and exit code 2, a stop one and 128 + N.

    N is the number of the signal, so that Ctrl-C ends with 130.
    """
    open_closed_streams()
    stdout = steady_stdout()
    steady_stderr()
    warned = Warned()
    STOPS.watch()
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


def require_folder() -> None:
    """Raise UserError where the current folder has been deleted: libraries fail to load there."""
    with explained("the current folder", "has gone; change to another one"):
        Path.cwd()
