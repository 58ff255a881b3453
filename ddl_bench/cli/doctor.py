"""Look at this machine and this installation, and say what each finding means for a run."""

import os
import re
from collections.abc import Collection, Sequence
from importlib.metadata import PackageNotFoundError, metadata, version
from pathlib import Path
from typing import Literal, NamedTuple

from rich.console import Console
from rich.markup import escape

from ddl_bench import machine
from ddl_bench.cli.caches import can_be_written, usual_folders
from ddl_bench.cli.output import as_size, emit, print_line, print_paragraph
from ddl_bench.data.sources import default_data_dir
from ddl_bench.errors import UserError
from ddl_bench.harness import cores
from ddl_bench.harness.launcher import THREAD_VARIABLES
from ddl_bench.plan.cell import Limits

EXTRAS = ("spams", "dictlearn", "tensorboard", "slurm")  # those for users
BUSY_SHARE = 0.25  # of the cores that others use, from which times are bent
MARKS = {"good": "[green]good[/]", "note": "[yellow]note[/]", "bad": "[red]bad [/]"}


class Fact(NamedTuple):
    """One thing about the machine, its value, and what it means for a run in one sentence."""

    name: str
    value: str
    status: Literal["good", "note", "bad"]
    meaning: str


def print_findings(console: Console, *, as_json: bool) -> bool:
    """Print what was found; returns whether anything is bad."""
    findings = examine()
    if as_json:
        emit([finding._asdict() for finding in findings])
    else:
        for finding in findings:
            text = f"[bold]{escape(finding.name)}[/]: {escape(finding.value)}"
            print_line(console, f"{MARKS[finding.status]}  {text}")
            print_paragraph(console, finding.meaning, indent=6)
    return any(finding.status == "bad" for finding in findings)


def examine() -> list[Fact]:
    """Look at processor, memory, libraries, extras and folders."""
    import psutil
    import torch

    n_cores = machine.n_cores()
    n_all = os.cpu_count() or n_cores
    memory = psutil.virtual_memory()
    limit = machine.memory_limit()
    usable = memory.available if limit is None else min(limit, memory.available)
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return [
        cores_found(n_cores, n_all),
        load_found(os.getloadavg()[0], n_all),
        memory_found(usable, memory.total, n_cores),
        blas_found(),
        numba_found(n_cores),
        variables_found(os.environ.keys()),
        *processor_found(machine.processor_flags()),
        cuda_found(names, torch.version.cuda),
        *(extra_found(extra, missing_of(extra)) for extra in EXTRAS),
        *(folder_found(name, folder) for name, folder in folders()),
        locks_found(sorted(os.sched_getaffinity(0))),
    ]


def cores_found(n_cores: int, n_all: int) -> Fact:
    """Say how many cells may run at a time."""
    value = f"{n_cores} of {n_all} for this process"
    meaning = f"At most {n_cores} cells of one thread run at a time, each on a core of its own."
    return Fact("cores", value, "good", meaning)


def load_found(load: float, n_all: int) -> Fact:
    """Say whether others compute."""
    if load <= BUSY_SHARE * n_all:
        return Fact("load", f"{load:.2f}", "good", "Little else computes, so times are honest.")
    meaning = "Other processes compute or have just done so; the table marks times that they bend."
    return Fact("load", f"{load:.2f} on {n_all} cores", "note", meaning)


def memory_found(usable: int, total: int, n_cores: int) -> Fact:
    """Say whether as many cells as there are cores have the memory that they may take."""
    value = f"{as_size(usable)} available of {as_size(total)}"
    needed_gb = Limits().memory_gb
    if usable >= needed_gb * 1e9 * n_cores:
        meaning = f"Each of {n_cores} cells can use its {needed_gb:g} GB, the usual limit."
        return Fact("memory", value, "good", meaning)
    share_gb = usable / 1e9 / n_cores
    meaning = (
        f"{n_cores} cells at a time have {share_gb:.1f} GB each, below the usual limit of "
        f"{needed_gb:g} GB: for large data give --jobs or --memory-limit-gb."
    )
    return Fact("memory", value, "note", meaning)


def blas_found() -> Fact:
    """Say which libraries compute products of matrices, for torch and for numpy."""
    import numpy as np
    import torch
    from threadpoolctl import threadpool_info

    np.ones((2, 2)) @ np.ones((2, 2))
    numpy_blas = [
        f"{pool['internal_api']} {pool['version']} ({pool['num_threads']} threads)"
        for pool in threadpool_info()
        if pool["user_api"] == "blas"
    ]
    torch_blas = "MKL" if torch.backends.mkl.is_available() else "no MKL"
    value = f"torch {torch_blas} ({torch.get_num_threads()} threads)"
    if numpy_blas:
        value += f", numpy and scipy {', '.join(dict.fromkeys(numpy_blas))}"
    meaning = (
        "A worker takes as many threads as --threads says, whatever is set here; another BLAS "
        "gives other times and other last digits."
    )
    return Fact("BLAS", value, "good", meaning)


def numba_found(n_cores: int) -> Fact:
    """Say how many threads numba may start."""
    import numba

    n_threads = int(numba.get_num_threads())
    status: Literal["good", "note"] = "good" if n_threads >= n_cores else "note"
    meaning = "Kernels of sparse coding run on the threads of their cell, at most on so many."
    return Fact("numba threads", str(n_threads), status, meaning)


def variables_found(names: Collection[str]) -> Fact:
    """Say whether variables of the environment limit threads."""
    given = [name for name in THREAD_VARIABLES if name in names]
    value = ", ".join(given) or "none"
    meaning = "Workers get variables of their own, so that these count only outside of runs."
    return Fact("variables of threads", value, "good", meaning)


def processor_found(flags: Collection[str]) -> list[Fact]:
    """Say whether the processor has wide vectors and products in bfloat16."""
    if "avx512f" in flags:
        vectors = Fact("vectors", "AVX-512", "good", "Kernels use vectors of 512 bits.")
    elif "avx2" in flags:
        meaning = "Kernels use vectors of 256 bits; processors with AVX-512 are faster."
        vectors = Fact("vectors", "AVX2", "good", meaning)
    else:
        meaning = "Kernels use short vectors and are several times slower than with AVX2."
        vectors = Fact("vectors", "neither AVX2 nor AVX-512", "note", meaning)
    return [vectors, bfloat16_found(machine.bfloat16_of(flags))]


def bfloat16_found(kind: machine.Bfloat16) -> Fact:
    """Say how the processor computes in bfloat16."""
    meanings = {
        "own instructions": "`--precision bfloat16` has instructions of its own on this processor.",
        "AVX-512": "`--precision bfloat16` is computed by other instructions; compare its time.",
        "number by number": "`--precision bfloat16` is refused: float32 is many times as fast.",
        "unknown": "The system does not say whether `--precision bfloat16` is fast here.",
    }
    status: Literal["good", "note"] = "good" if kind == "own instructions" else "note"
    return Fact("bfloat16", kind, status, meanings[kind])


def cuda_found(names: Sequence[str], cuda: str | None) -> Fact:
    """Say whether cells can run on a GPU."""
    if names:
        value = f"{', '.join(names)}; CUDA {cuda}"
        meaning = "`--device cuda` trains on a GPU, with one cell at a time on each."
        return Fact("CUDA", value, "good", meaning)
    value = f"no device; torch is built for {f'CUDA {cuda}' if cuda else 'the CPU'}"
    return Fact("CUDA", value, "note", "`--device cuda` is refused; cells run on the CPU.")


def missing_of(extra: str) -> list[str]:
    """List the packages of an extra that are not installed."""
    missing = []
    for requirement in metadata("ddl-bench").get_all("Requires-Dist") or []:
        name, _, marker = requirement.partition(";")
        if re.search(rf"extra == ['\"]{extra}['\"]", marker):
            package = re.split(r"[\s<>=!~\[(]", name.strip())[0]
            try:
                version(package)
            except PackageNotFoundError:
                missing.append(package)
    return missing


def extra_found(extra: str, missing: Sequence[str]) -> Fact:
    """Say what an extra is for, and how it is installed."""
    uses = {
        "spams": "the method spams",
        "dictlearn": "the method dpl",
        "tensorboard": "`run --tensorboard`",
        "slurm": "`run --engine slurm`",
    }
    name = f"extra {extra}"
    if not missing:
        return Fact(name, "installed", "good", f"It is there for {uses[extra]}.")
    meaning = f"For {uses[extra]}: pip install 'ddl-bench[{extra}]'."
    return Fact(name, f"without {', '.join(missing)}", "note", meaning)


def folders() -> list[tuple[str, Path]]:
    """List the folders that runs write to, with what they are for."""
    cache, settings = usual_folders()
    return [
        ("folder of caches", Path(os.environ.get("NUMBA_CACHE_DIR") or cache)),
        ("folder of settings", Path(os.environ.get("MPLCONFIGDIR") or settings)),
        ("folder of data sets", default_data_dir()),
        ("folder of results", Path("results").resolve()),
    ]


def folder_found(name: str, folder: Path) -> Fact:
    """Say what follows where a folder cannot be written."""
    needs = {
        "folder of caches": "compiled code is kept among the temporary files",
        "folder of settings": "figures are slower to start",
        "folder of data sets": "`--download` needs --data-dir",
        "folder of results": "runs need --out",
    }
    if can_be_written(folder):
        return Fact(name, str(folder), "good", "It can be written.")
    return Fact(name, str(folder), "note", f"It cannot be written: {needs[name]}.")


def locks_found(numbers: Sequence[int]) -> Fact:
    """Say whether runs can keep cores for themselves, by their files among the temporary ones."""
    name = "locks of cores"
    for number in numbers:
        try:
            descriptor = cores.open_lock(f"core-{number}")
        except UserError as error:
            return Fact(name, "closed to this user", "bad", f"No cell starts: {error}.")
        if descriptor is None:
            meaning = "Runs at a time may share a core, which bends their times: set TMPDIR."
            return Fact(name, "no folder for them can be written", "note", meaning)
        os.close(descriptor)
    folder = cores.path_of("core-0").parent
    return Fact(name, str(folder), "good", "Runs at a time keep off the cores of each other.")
