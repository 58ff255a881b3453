"""Write files atomically, and read them again: both halves of each format."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ddl_bench.errors import UserError

if TYPE_CHECKING:
    import numpy as np


def write_atomically(path: Path, data: bytes) -> None:
    """Write under a temporary name, then rename: a reader sees the whole file or none.

    Raises UserError where the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        consolation = "the rows written so far are kept"
        raise UserError(f"{path}: cannot write: {error.strerror}; {consolation}") from error


def write_arrays(path: Path, arrays: dict[str, Any]) -> None:
    """Write named arrays to an .npz file, compressed."""
    import numpy as np  # here, so that commands that read no arrays start at once

    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    write_atomically(path, buffer.getvalue())


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read the named arrays of an .npz file, none where it is missing; nothing is unpickled."""
    import numpy as np

    if not path.is_file():
        return {}
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}
