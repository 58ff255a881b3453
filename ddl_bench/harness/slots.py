"""How many cells this machine can run at a time, so that none slows another down."""

from collections.abc import Iterable, Sequence

from ddl_bench import machine
from ddl_bench.errors import UserError
from ddl_bench.harness import cores
from ddl_bench.plan.cell import Cell


def check_devices(cells: Iterable[Cell]) -> None:
    """Raise UserError where a cell is to run on a GPU that this machine does not have."""
    names = {cell.machine.device for cell in cells} - {"cpu"}
    if not names:
        return
    import torch  # here, so that runs without a GPU start sooner

    n_devices = torch.cuda.device_count()
    for name in sorted(names):
        number = int(name.partition(":")[2] or 0)
        if number >= n_devices:
            raise UserError(f"--device {name}: torch sees {n_devices} CUDA devices on this machine")


def n_slots(cells: Sequence[Cell], jobs: int | None) -> int:
    """Return how many cells may run at the same time.

    Timings must not share a core, nor a GPU. Raises UserError where
    there are not enough cores.
    """
    n_cores = machine.n_cores()
    threads = max(cell.threads for cell in cells)
    if threads > n_cores:
        raise UserError(f"--threads {threads}: only {n_cores} cores are available to this process")
    possible = n_cores // threads
    devices = {cell.machine.device for cell in cells} - {"cpu"}
    if devices:
        gpus = {gpu for device in devices for gpu in cores.gpus_of(device)}
        possible = min(possible, len(gpus))
    if jobs is not None and not 1 <= jobs <= possible:
        raise UserError(
            f"--jobs {jobs}: between 1 and {possible} cells of {threads} threads "
            f"fit on {n_cores} cores"
        )
    return jobs or possible
