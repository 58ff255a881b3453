"""Runners on many machines: submit or start them, write their script, cancel them."""

import shlex
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape

from ddl_bench import machine
from ddl_bench.cli.output import emit, print_line
from ddl_bench.cli.stops import STOPS, this_command
from ddl_bench.errors import UserError
from ddl_bench.harness import engine
from ddl_bench.harness.earlier import chosen_again, now, read_rows
from ddl_bench.harness.folder import make_folders, memory_path
from ddl_bench.harness.stop import read_duration, write_duration
from ddl_bench.plan.expansion import Overrides, plan
from ddl_bench.plan.memory import Memory
from ddl_bench.results import tensorboard as curves

# Options of `run` that only mean something with an engine, some of them with Slurm alone,
FOR_SLURM = {"partition", "gres", "cpus", "memory", "sbatch"}
FOR_ENGINES = {"runners", "time", "setup", *FOR_SLURM}
# those that mean something without one alone,
FOR_ONE_RUN = {"for_", "report", "columns", "wide", "open_"}
# and those that a runner does not get, or gets in another form.
NOT_FOR_RUNNERS = {"engine", *FOR_ENGINES, *FOR_ONE_RUN, "dry_run", "as_json", "download"}


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """The options of `run` about many machines, as a user gave them; see `engine.RunnerRequest`."""

    engine: str
    runners: int
    time: str
    partition: str
    gres: str
    cpus: int | None
    memory: str
    setup: Sequence[str]
    sbatch: Sequence[str]


def check_options(context: typer.Context, engine: str | None) -> None:
    """Raise UserError for options that would mean nothing with this engine, or without one."""
    meaningless = {None: FOR_ENGINES, "local": FOR_SLURM}.get(engine, set())
    flags = given_flags(context, meaningless)
    if flags:
        engines = "--engine slurm" if engine else "--engine slurm or --engine local"
        raise UserError(f"{', '.join(flags)}: only with {engines}; add it, or leave these out")
    if engine is None:
        return
    # --no-report is what happens anyway, and a dry run for this machine is that of any run.
    of_one_run = {name for name in FOR_ONE_RUN if context.params[name]}
    flags = given_flags(context, of_one_run)
    if engine == "slurm":
        flags += given_flags(context, {"calibrate"})
    if flags:
        raise UserError(
            f"{', '.join(flags)}: not with --engine {engine}, which starts runners and returns; "
            "leave these out (--time limits a runner, `ddl-bench report` writes and shows)"
        )


def given_flags(context: typer.Context, names: Collection[str]) -> list[str]:
    """List those of some options that stand on the command line, as they are written there."""
    return [
        parameter.opts[0]
        for parameter in context.command.params
        if parameter.name in names and is_given(context, parameter.name)
    ]


def is_given(context: typer.Context, name: str) -> bool:
    """Whether an option stands on the command line."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def start_runners(
    console: Console,
    context: typer.Context,
    track: str,
    run: Path,
    overrides: Overrides,
    wanted: EngineOptions,
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Start runners, or print the script that would; every mistake is found before that."""
    memory = Memory(memory_path(run))
    cells = plan(track, replace(overrides, only_lists=dry_run), memory)
    cell_of = {cell.id: cell for cell in cells}
    rerun, before = (str(context.params[name]) for name in ("rerun", "rerun_before"))
    chosen_again(rerun, cell_of, read_rows(run, cell_of), before)
    threads = max(cell.threads for cell in cells)
    seconds = read_duration("--time", wanted.time)
    if context.params.get("tensorboard"):
        curves.require()
    if not 1 <= wanted.runners <= len(cells):
        raise UserError(
            f"--runners {wanted.runners}: expected 1 to {len(cells)}, the number of cells"
        )
    cpus = threads if wanted.cpus is None else wanted.cpus
    if cpus < threads:
        raise UserError(f"--cpus {cpus}: a cell has {threads} threads, each on a core of its own")
    words = [sys.executable, "-P", "-m", "ddl_bench", *given_words(context), "--no-report"]
    is_new = rerun and not before
    STOPS.more = ("--rerun-before", now()) if is_new else ()  # the same for all runners
    words += STOPS.more
    words += ["--for", write_duration(seconds)]
    if wanted.engine == "local" and not context.params.get("jobs"):
        n_cells = machine.n_cores() // threads // wanted.runners
        words += ["--jobs", str(max(1, n_cells))]
    request = engine.RunnerRequest(
        words=words,
        n_runners=wanted.runners,
        seconds=seconds,
        cpus=cpus,
        partition=wanted.partition,
        gres=wanted.gres,
        memory=wanted.memory,
        setup=wanted.setup,
        options=pairs(wanted.sbatch),
    )
    if dry_run and wanted.engine == "slurm":
        print(engine.script(request), end="")
        return
    make_folders(run)
    memory.save()
    if wanted.engine == "slurm":
        job = engine.submit(request, run)
        started = f"Slurm job {job}: {wanted.runners} runners for {len(cells)} cells"
        values: dict[str, object] = {"engine": "slurm", "job": job}
    else:
        pids = engine.start_local(request, run)
        started = f"{wanted.runners} runners for {len(cells)} cells"
        values = {"engine": "local", "pids": pids}
    if as_json:
        emit(values | {"run": str(run), "n_runners": wanted.runners, "n_cells": len(cells)})
        return
    print_line(console, started)
    for text, command in (
        ("start more on what is left by", this_command()),
        ("cancel them by", shlex.join(["ddl-bench", "cancel", str(run)])),
        ("then write the report by", shlex.join(["ddl-bench", "report", str(run)])),
    ):
        print_line(console, f"  {text}: {escape(command)}")


def pairs(texts: Sequence[str]) -> dict[str, str]:
    """Read `KEY=VALUE` options of sbatch. Raises UserError for anything else."""
    options = {}
    for text in texts:
        key, equals, value = text.removeprefix("--").partition("=")
        if not (key and equals and value):
            raise UserError(f"--sbatch {text!r:.80}: expected KEY=VALUE, such as account=physics")
        options[key] = value
    return options


def given_words(context: typer.Context) -> list[str]:
    """Return the command and the options of `run` that the user gave, without the engine's."""
    words = [str(context.info_name)]
    for parameter in context.command.params:
        name = str(parameter.name)
        if name not in NOT_FOR_RUNNERS and is_given(context, name):
            words += words_of(parameter, context.params[name])
    return words


def words_of(parameter: Any, value: object) -> list[str]:
    """Write a parameter as on the command line."""
    if parameter.param_type_name == "argument":
        return [str(value)]
    option = parameter.opts[0]
    if isinstance(value, bool):
        return [option] if value else [parameter.secondary_opts[0]]
    if isinstance(value, list | tuple):
        return [word for each in value for word in (option, str(each))]
    return [option, str(value)]


def cancel_runners(console: Console, run: Path, *, as_json: bool) -> None:
    """Cancel the runners of a run, and say what became of each."""
    if not run.is_dir():
        raise UserError(f"{run}: no such folder")
    lines = engine.cancel(run)
    if as_json:
        emit(lines)
        return
    for line in lines or [f"{run}: no engine has started runners here, or they are cancelled"]:
        print_line(console, escape(line))
