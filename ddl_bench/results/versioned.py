"""Files of a run beside its rows, which are read whole or left out."""

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from ddl_bench.errors import UserError
from ddl_bench.files import brief, explained, read_regular, unique_word, warn_damaged

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
        return content_of(path, content, version, what)
    except FileNotFoundError:
        return None
    except UserError as error:
        warn_damaged(path, error)
        return None


def set_aside(path: Path, content: type[Content], version: int, what: str) -> None:
    """Give a file that cannot be read another name, as one is to be written in its place.

    It may be whole, and of a newer version of ddl-bench. Parameters as in `read_versioned`.
    """
    try:
        content_of(path, content, version, what)
    except FileNotFoundError:
        return
    except UserError as error:
        aside = path.with_name(f"{path.name}.{unique_word()}.unread")
        with explained(path, "cannot write"):
            path.rename(aside)
        warn_damaged(path, f"{error}; kept as {aside.name}")


def content_of(path: Path, content: type[Content], version: int, what: str) -> Content:
    """Read a JSON file of a format, see `read_versioned`.

    Raises
    ------
    FileNotFoundError
        Where there is none.
    UserError
        Where it cannot be read.
    """
    try:
        found = content.model_validate_json(read_regular(path, LARGEST_FILE_BYTES))
    except FileNotFoundError:
        raise
    except ValidationError as error:
        raise UserError(f"not {what}: {brief(error.errors()[0]['msg'])}") from None
    except (UserError, OSError, ValueError) as error:
        raise UserError(brief(error)) from None
    if found.format != version:
        raise UserError(f"of another version of ddl-bench (format {found.format})")
    return found
