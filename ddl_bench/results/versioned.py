"""Files of a run beside its rows, which are read whole or left out."""

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from ddl_bench.errors import UserError
from ddl_bench.files import brief, read_regular, warn_damaged

LARGEST_FILE_BYTES = 64_000_000


class Versioned(BaseModel):
    """The content of a file that says of which format it is."""

    format: int


Content = TypeVar("Content", bound=Versioned)


def read_versioned(path: Path, content: type[Content], version: int, what: str) -> Content | None:
    """Read a JSON file of a format; None where there is none. Warns of a damaged file.

    Parameters
    ----------
    path
        The file.
    content
        The class of what it holds.
    version
        The format that this version of ddl-bench reads.
    what
        What the file should hold, for the warning: "the times of a run".
    """
    try:
        found = content.model_validate_json(read_regular(path, LARGEST_FILE_BYTES))
    except FileNotFoundError:
        return None
    except ValidationError as error:
        warn_damaged(path, f"not {what}: {brief(error.errors()[0]['msg'])}")
        return None
    except (UserError, OSError, ValueError) as error:
        warn_damaged(path, brief(error))
        return None
    if found.format != version:
        warn_damaged(path, f"of another version of ddl-bench (format {found.format})")
        return None
    return found
