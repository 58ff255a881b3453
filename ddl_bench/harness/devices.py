"""What the devices of this machine can compute, asked before a run starts."""

from collections.abc import Iterable

from ddl_bench import machine
from ddl_bench.errors import UserError
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


def check_precision(cells: Iterable[Cell]) -> None:
    """Raise UserError where a cell is to compute in bfloat16 on a CPU that is far slower in it."""
    on_cpu = [cell.machine.precision for cell in cells if cell.machine.device == "cpu"]
    if "bfloat16" not in on_cpu:
        return
    if machine.bfloat16_of(machine.processor_flags()) == "number by number":
        raise UserError(
            "--precision bfloat16: this processor computes it number by number, many times slower "
            "than float32; say --precision float32"
        )
