"""Commands that train and measure, and that end what `run` has started elsewhere."""

from pathlib import Path
from typing import Annotated

import typer

from ddl_bench.cli.commands import run_options as options
from ddl_bench.cli.commands.shared import JsonFlag, RunArgument, RunOption, one_run
from ddl_bench.cli.console import console_of
from ddl_bench.cli.lists import seed_list, words
from ddl_bench.errors import UserError


def run(
    context: typer.Context,
    track: options.Track = "quick",
    methods: options.Methods = None,
    datasets: options.Datasets = None,
    seeds: options.Seeds = None,
    plugin: options.Plugin = None,
    rerun: options.Rerun = "",
    rerun_before: options.RerunBefore = "",
    retries: options.Retries = 0,
    dry_run: options.DryRun = False,
    calibrate: options.Calibrate = False,
    budget: options.Budget = None,
    device: options.Device = None,
    precision: options.Precision = None,
    threads: options.Threads = None,
    jobs: options.Jobs = None,
    fresh_process: options.FreshProcess = False,
    limit_train: options.LimitTrain = None,
    limit_test: options.LimitTest = None,
    val_fraction: options.ValFraction = None,
    test_from_train: options.TestFromTrain = None,
    data_dir: options.DataDir = None,
    download: options.Download = False,
    for_: options.For = None,
    time_limit: options.TimeLimit = None,
    memory_limit_gb: options.MemoryLimitGb = None,
    out: options.Out = None,
    name: options.Name = None,
    report: options.Report = True,
    keep_models: options.KeepModels = False,
    tensorboard: options.Tensorboard = False,
    public: options.Public = False,
    columns: options.Columns = None,
    wide: options.Wide = False,
    open_: options.Open = False,
    as_json: options.AsJson = False,
    engine: options.Engine = None,
    runners: options.Runners = 1,
    time: options.Time = "1h",
    cpus: options.Cpus = None,
    memory: options.Memory = "",
    partition: options.Partition = "",
    gres: options.Gres = "",
    setup: options.Setup = None,
    sbatch: options.Sbatch = None,
) -> None:
    """Train and measure methods on data sets; print the table and write the report.

    A track names methods, data sets and seeds. One training, of one method on one data set with
    one seed, is a *cell*: it runs in a process of its own and leaves a row of numbers. Finished
    rows are kept, so the same command resumes a run that was stopped. The options below replace
    what the track says.

    Exit codes: 0 if all rows are ok, skipped or not installed (the line below the table counts
    them), 1 if any is not, 2 for a mistake in the command, 130 for Ctrl-C.

    Examples:

    - `ddl-bench run`: seven methods on digits
    - `ddl-bench run --methods sdl,"plainnet[depth=6]" --seeds 0-4`: other methods and seeds
    - `ddl-bench run --datasets my-images.npz --budget 3m`: your images, three minutes a training
    - `ddl-bench run table1 --engine slurm --runners 8 --time 4h`: as an array of Slurm jobs
    - `ddl-bench run table1 --download --dry-run`: what Table 1 of the paper would take
    """
    from ddl_bench.cli import hints, machines
    from ddl_bench.cli.results import Choice
    from ddl_bench.harness.folder import run_folder
    from ddl_bench.harness.stop import read_duration
    from ddl_bench.plan.expansion import Overrides
    from ddl_bench.registry import metrics as metrics_of
    from ddl_bench.results.columns import TAKEN

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
    choice = Choice.of(columns, wide, list(metrics_of(overrides.plugins, TAKEN)))
    folder = run_folder(track, out, overrides, name)
    console = console_of()
    machines.check_options(context, engine)
    if for_:
        read_duration("--for", for_)
    prints_script = dry_run and engine == "slurm"
    watcher = console_of(is_error=as_json or prints_script)  # what is printed is for programs
    hints.unused_plugins(watcher, track, overrides)
    hints.unsaid_mirrors(watcher, track, overrides)
    if engine and not (dry_run and engine == "local"):  # whose plan is that of any run
        wanted = machines.EngineOptions(
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
        machines.start_runners(
            console, context, track, folder, overrides, wanted, dry_run=dry_run, as_json=as_json
        )
    elif dry_run:
        from ddl_bench.cli.dry_run import print_dry_run

        print_dry_run(
            console,
            track,
            folder,
            overrides,
            jobs,
            rerun=rerun,
            rerun_before=rerun_before,
            calibrate=calibrate,
            as_json=as_json,
        )
    else:
        from ddl_bench.cli import running

        failed = running.run_with_view(
            console,
            track,
            folder,
            overrides,
            rerun=rerun,
            rerun_before=rerun_before,
            jobs=jobs,
            fresh_process=fresh_process,
            shift=running.shift_of(for_),
            retries=retries,
            report=report,
            tensorboard=tensorboard,
            public=public,
            choice=choice,
            open_page=open_,
            as_json=as_json,
        )
        raise typer.Exit(1 if failed else 0)


def tune(
    methods: Annotated[
        list[str],
        typer.Argument(
            help='Methods with the values to try, as in "ddl[lmbd=0.01|0.03|0.1, width=32]".'
        ),
    ],
    search: Annotated[
        str, typer.Option(help="Train so long in the search of each method (10m, 90s).")
    ] = "5m",
    datasets: options.Datasets = "digits",
    seeds: options.Seeds = "0",
    plugin: options.Plugin = None,
    limit_train: options.LimitTrain = None,
    val_fraction: options.ValFraction = None,
    data_dir: options.DataDir = None,
    download: options.Download = False,
    device: options.Device = None,
    threads: options.Threads = 1,
    jobs: options.Jobs = None,
    out: Annotated[Path, typer.Option(help="Write the results to this folder.")] = Path(
        "results/tune"
    ),
    as_json: JsonFlag = False,
) -> None:
    """Choose options of methods on validation images, with the same time for each method.

    Every combination of the values is a point. The time of a search is divided by the points of
    its method, so that nobody gains by having more options. Validation images, a fifth of the
    training images, choose the best point; test images choose nothing and are not shown.

    Examples:

    - `ddl-bench tune "sdl[n_atoms=64|128]" "lista[n_steps=2|4, recipe.lr=0.1|0.3]" --search 1m`
    - `ddl-bench tune "ddl[lmbd=0.01|0.03|0.1]" --datasets cifar10 --limit-train 5000 --search 1h`
    """
    from ddl_bench.cli import tune as searching
    from ddl_bench.harness.stop import read_duration
    from ddl_bench.plan.expansion import Overrides
    from ddl_bench.plan.search import read_search

    if val_fraction == 0:
        raise UserError("--val-fraction 0: validation images choose; give a share above 0")
    seconds = read_duration("--search", search)
    searches = [read_search(text) for text in methods]
    overrides = Overrides.of(
        seeds=seed_list(seeds),
        device=device,
        threads=threads,
        limit_train=limit_train,
        val_fraction=val_fraction,
        plugins=plugin or (),
        data_dir=data_dir,
        download=download,
        datasets=words(datasets),
    )
    failed = searching.tune(
        console_of(),
        searches,
        seconds,
        out,
        overrides=overrides,
        jobs=jobs,
        as_json=as_json,
    )
    raise typer.Exit(1 if failed else 0)


def cancel(
    run: RunArgument = None,
    named: RunOption = None,
    as_json: JsonFlag = False,
) -> None:
    """End the runners that `run --engine` has started; cells keep their checkpoints.

    Example:

    - `ddl-bench cancel results/table1`
    """
    from ddl_bench.cli.machines import cancel_runners

    cancel_runners(console_of(), one_run(run, named), as_json=as_json)
