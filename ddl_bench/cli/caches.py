"""Where libraries keep their caches if the home folder cannot be written."""

import os
import stat
import tempfile
from pathlib import Path

VARIABLES = {"NUMBA_CACHE_DIR": "numba", "MPLCONFIGDIR": "matplotlib"}
PRIVATE = 0o700  # mode of a folder


def provide_caches() -> None:
    """Let numba and matplotlib use a folder among the temporary files, here and in workers.

    Without it each worker would compile all that it calls. The libraries read these variables when
    they are imported; one that is set already stays.
    """
    if all(can_be_written(folder) for folder in usual_folders()):
        return
    private = private_folder()
    if private is None:
        return
    for variable, name in VARIABLES.items():
        os.environ.setdefault(variable, str(private / name))


def usual_folders() -> list[Path]:
    """List the folders of the user's caches and settings; one that can never be, without a home."""
    try:
        home = Path.home()
    except RuntimeError:
        home = Path(os.devnull)
    return [
        Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache"),
        Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config"),
    ]


def can_be_written(folder: Path) -> bool:
    """Whether files can be made in a folder, or in the folder that it would be made in."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)


def private_folder() -> Path | None:
    """Return a folder for temporary files that nobody else can write; None where there is none.

    Machine code that another user had left there would be run.
    """
    folder = Path(tempfile.gettempdir()) / f"ddl-bench-{os.getuid()}"
    try:
        folder.mkdir(mode=PRIVATE, exist_ok=True)
        status = folder.lstat()
    except OSError:
        return None
    is_private = stat.S_ISDIR(status.st_mode) and stat.S_IMODE(status.st_mode) == PRIVATE
    return folder if is_private and status.st_uid == os.getuid() else None
