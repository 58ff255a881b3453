"""Where the files of a cell that are kept lie in a run folder."""

from pathlib import Path


def row_path(run: Path, cell_id: str) -> Path:
    """Return the file of a row."""
    return Path(run, "cells", f"{cell_id}.json")  # in one step, as for thousands of them


def arrays_path(run: Path, cell_id: str) -> Path:
    """Return the file of the predictions and curves of a row."""
    return Path(run, "cells", f"{cell_id}.npz")


def model_path(run: Path, cell_id: str) -> Path:
    """Return the file of a model that is kept."""
    return Path(run, "models", f"{cell_id}.safetensors")
