"""Curves for TensorBoard, from what is kept beside the rows."""

import re
from collections.abc import Sequence
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path

from ddl_bench.errors import UserError
from ddl_bench.results.rows import Row, arrays

CURVES = {
    "accuracy/validation": ("curve", "accuracy"),
    "loss/training": ("loss", "mean"),
}  # names of arrays


def require() -> None:
    if find_spec("tensorboard") is None:
        raise UserError(
            "--tensorboard: `tensorboard` is not installed; pip install 'ddl-bench[tensorboard]'"
        )


def write(run: Path, rows: Sequence[Row]) -> Path:
    """Write RUN/tensorboard/DATASET/LABEL-SEED anew; "step" counts epochs, "relative" is seconds of training."""
    from torch.utils.tensorboard import SummaryWriter

    for row in [row for row in rows if row.status == "ok"]:
        kept, begin = arrays(run, row.cell.id), datetime.fromisoformat(row.started).timestamp()
        name = re.sub(r"[^\w.=,\[\]-]+", "_", f"{row.cell.label}-{row.cell.seed}")
        folder = run / "tensorboard" / Path(row.cell.dataset).stem / name
        for old in folder.glob("events.out.tfevents.*"):
            old.unlink()
        with SummaryWriter(str(folder)) as writer:
            for tag, (of, what) in CURVES.items():
                columns = [kept.get(f"{of}_{part}", ()) for part in (what, "step", "seconds")]
                for value, step, seconds in zip(*columns, strict=False):  # rows of old have no step
                    writer.add_scalar(tag, float(value), int(step), begin + float(seconds))
    return run / "tensorboard"
