"""Curves for TensorBoard, from what is kept beside the rows."""

import re
from collections.abc import Sequence
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path

from ddl_bench.errors import UserError
from ddl_bench.results.rows import Row, arrays

# Title of a curve in TensorBoard, the prefix of its arrays, and which of these has the values.
CURVES = {
    "accuracy/validation": ("curve", "accuracy"),
    "loss/training": ("loss", "mean"),
}


def require() -> None:
    """Raise UserError where TensorBoard is not installed."""
    if find_spec("tensorboard") is None:
        raise UserError(
            "--tensorboard: `tensorboard` is not installed; pip install 'ddl-bench[tensorboard]'"
        )


def write(run: Path, rows: Sequence[Row]) -> Path:
    """Write the curves of the rows that ended well to RUN/tensorboard/DATASET/LABEL-SEED.

    Older curves of these rows are replaced. A "step" is an epoch, "relative" is seconds of
    training. Returns RUN/tensorboard.
    """
    from torch.utils.tensorboard import SummaryWriter

    for row in rows:
        if row.status != "ok":
            continue
        stored = arrays(run, row.cell.id)
        start = datetime.fromisoformat(row.started).timestamp()
        name = re.sub(r"[^\w.=,\[\]-]+", "_", f"{row.cell.label}-{row.cell.seed}")
        folder = run / "tensorboard" / Path(row.cell.dataset).stem / name
        for old in folder.glob("events.out.tfevents.*"):
            old.unlink()
        with SummaryWriter(str(folder)) as writer:
            for tag, (prefix, values) in CURVES.items():
                columns = [
                    stored.get(f"{prefix}_{part}", ()) for part in (values, "step", "seconds")
                ]
                # Rows of early versions have no steps.
                for value, step, seconds in zip(*columns, strict=False):
                    writer.add_scalar(tag, float(value), int(step), start + float(seconds))
        for made in folder.glob("events.out.tfevents.*"):  # its name has host and process in it
            made.rename(folder / "events.out.tfevents.0")
    return run / "tensorboard"
