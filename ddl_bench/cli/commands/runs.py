"""Commands about run folders: report, time, publish, status, runs and clean."""

from pathlib import Path
from typing import Annotated

import typer

from ddl_bench.cli.commands.shared import (
    DATA_DIR_HELP,
    LAST_RUN,
    Columns,
    JsonFlag,
    Open,
    Plugins,
    RunArgument,
    RunArguments,
    RunOption,
    RunOptions,
    Wide,
    known_run,
    one_run,
    runs_of,
)
from ddl_bench.cli.console import console_of
from ddl_bench.cli.messages import tell
from ddl_bench.errors import UserError


def report(
    runs: RunArguments = None,
    named: RunOptions = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Write the report to this folder. Without it: RUN/report; several runs need it."
        ),
    ] = None,
    columns: Columns = None,
    wide: Wide = False,
    plugin: Plugins = None,
    open_: Open = False,
    serve: Annotated[
        bool,
        typer.Option(
            "--serve", help="Follow a run on a page for this machine alone; write nothing."
        ),
    ] = False,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of --serve. Without it: a free one.")
    ] = 0,
    as_json: JsonFlag = False,
) -> None:
    """Write the tables (Markdown, CSV, LaTeX, BibTeX), the page and the figures of runs.

    Several run folders, as of other machines or of colleagues, have one report. A cell that two of
    them have with different results is a conflict, which is named; the first folder counts.

    It prints the table, too. A plugin may add columns, which are computed from the predictions that
    the run has kept, and files of its own. With --serve nothing is written: a page at an address of
    this machine follows the run, which may still be going on in another terminal.

    Examples:

    - `ddl-bench report results/table1`
    - `ddl-bench report --columns accuracy,train_s,n_params --open`
    - `ddl-bench report results/quick results/quick-of-anna --out results/both`
    - `ddl-bench report --plugin my_metric.py`
    - `ddl-bench report results/table1 --serve`
    """
    from ddl_bench.cli.report import print_report, show_page
    from ddl_bench.cli.results import Choice
    from ddl_bench.registry import metrics
    from ddl_bench.results.collect import folders_of, report_folder
    from ddl_bench.results.columns import TAKEN
    from ddl_bench.results.metrics import read_columns

    if serve and (out or columns or wide or plugin):
        raise UserError("--serve: writes nothing; leave --out, --columns, --wide, --plugin out")
    if port and not serve:
        raise UserError("--port: only with --serve")
    folders = runs_of(runs, named)
    if len(folders_of(folders)) > 1 and not (serve or out):
        report_folder(folders)  # raises, before anything is computed
    if serve:
        from ddl_bench.cli.serve import serve_page

        if len(folders) > 1:
            raise UserError(f"--serve follows one run, and these are {len(folders)}; give one")
        serve_page(console_of(), folders[0], port, open_page=open_, as_json=as_json)
        return
    plugins = tuple(plugin or ())
    known = {name for folder in folders for name in read_columns(folder).columns} - TAKEN
    choice = Choice.of(columns, wide, [*metrics(plugins, TAKEN), *sorted(known)])
    paths = print_report(console_of(), folders, out, plugins, choice, as_json=as_json)
    if open_:
        show_page(paths)


def time(
    run: RunArgument = None,
    named: RunOption = None,
    rounds: Annotated[
        int, typer.Option(min=3, max=1000, help="Go over all models so many times.")
    ] = 7,
    train: Annotated[
        bool, typer.Option("--train", help="Time training again too: some steps of each line.")
    ] = False,
    plugin: Plugins = None,
    data_dir: Annotated[Path | None, typer.Option(help=DATA_DIR_HELP)] = None,
    as_json: JsonFlag = False,
) -> None:
    """Measure times again, alone and interleaved: of kept models, and of training.

    All models that `run --keep-models` has kept are loaded into one process on cores of its own.
    They are timed in rounds, each over all models in another order: full batches, and one image
    at a time. The times go to RUN/times.json, and tables and reports show them in place of
    those of the run, which the rows keep. Rows without a model keep the run's time, and are marked.

    With --train each line is also trained for about a second in each round, from its beginning;
    the time of its training is that of a pass times its passes. Methods that do not train in
    passes keep the run's time. No model has to be kept for it.

    Examples:

    - `ddl-bench time results/quick`
    - `ddl-bench time results/quick --train`
    - `ddl-bench time results/quick --rounds 21 --json`
    """
    from ddl_bench.cli.retime import retime_run

    retime_run(
        console_of(),
        one_run(run, named),
        n_rounds=rounds,
        train=train,
        plugins=tuple(plugin or ()),
        data_dir=data_dir,
        as_json=as_json,
    )


def publish(
    out: Annotated[
        Path,
        typer.Argument(
            help="Write the public copies to this folder; RUN itself, where that is named too, is"
            " made public in place."
        ),
    ],
    run: RunArgument = None,
    named: RunOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Copy a run without the names of its host and user, and without absolute paths.

    Rows, predictions, curves, models and the report are copied; logs, checkpoints and large
    dictionaries are not. IDs and numbers stay as they are, and every command reads the copy as it
    reads the run. An earlier copy is brought up to date; rows that it has and the run lacks stay
    and are counted, those of another run are refused. `ddl-bench run --public` makes a run public
    as it goes.

    Example:

    - `ddl-bench publish public/table1 results/table1`
    """
    from ddl_bench.cli.output import print_paths
    from ddl_bench.cli.report import write_report
    from ddl_bench.results.publish import publish as copy
    from ddl_bench.results.publish import rows_beside

    folder = one_run(run, named)
    if not (run or named) and out.resolve() == folder.resolve():
        raise UserError(
            f"publish {out}: give the folder of the copy first, then the run; to make the run"
            f" public in place, name it twice: publish {out} {out}"
        )
    paths = copy(folder, out)
    n_beside = len(rows_beside(folder, out))
    if n_beside:
        tell(f"rows that {folder} lacks stay in {out}, and in its report: {n_beside}")
    paths |= write_report(out, None)
    print_paths(console_of(), paths, as_json=as_json)


def status(
    run: RunArgument = None,
    named: RunOption = None,
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
    from ddl_bench.cli.status import print_status

    print_status(console_of(), one_run(run, named), watch=watch, as_json=as_json)


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
    from ddl_bench.cli.runs import print_runs

    print_runs(console_of(), folder, as_json=as_json)


def clean(
    run: Annotated[
        Path,
        typer.Argument(help="The run folder, the --out of `run`, or its name in results/."),
    ],
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
            help="Remove logs, checkpoints and claims in RUN/work that no living runner holds. "
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
    from ddl_bench.cli.clean import clean_run

    clean_run(
        console_of(),
        known_run(run),
        failed=failed,
        label=label,
        work=work,
        yes=yes,
        dry_run=dry_run,
        as_json=as_json,
    )
