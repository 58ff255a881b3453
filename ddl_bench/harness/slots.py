"""How many cells this machine can run at a time, so that none slows another down."""

from collections.abc import Sequence

from ddl_bench import machine
from ddl_bench.errors import UserError
from ddl_bench.harness import cores
from ddl_bench.plan.cell import Cell


def n_slots(cells: Sequence[Cell], jobs: int | None) -> int:
    """Return how many cells may run at the same time.

    Timings must not share a core, nor a GPU. Raises UserError where there are not enough of them.
    """
    n_cores = machine.n_cores()
    threads = max(cell.threads for cell in cells)
    if threads > n_cores:
        raise UserError(f"--threads {threads}: only {n_cores} cores are available to this process")
    possible = n_cores // threads
    bound = f"cells of {threads} threads fit on {n_cores} cores"
    devices = {cell.machine.device for cell in cells} - {"cpu"}
    if devices:
        gpus = {gpu for device in devices for gpu in cores.gpus_of(device)}
        n_gpus = max(1, len(gpus))  # without any, this is the dry run of another machine
        if n_gpus < possible:
            possible = n_gpus
            bound = "cells can each have a GPU alone"
    if jobs is not None and not 1 <= jobs <= possible:
        raise UserError(f"--jobs {jobs}: expected 1 to {possible}: so many {bound}")
    return jobs or possible
