"""Write files atomically, and read them again: of any kind, damaged or not, within bounds.

What cannot be read is a UserError of one line, whatever the reason: a folder, a pipe or a device in
place of a file, a loop of links, a missing permission, a name that no file can have, damage.
"""

from __future__ import annotations

import errno
import io
import math
import os
import stat
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from ddl_bench.errors import UserError

if TYPE_CHECKING:
    import numpy as np

MEMORY_SHARE = 0.5  # of the memory that is available, which what is read may take
ALWAYS_READ = 100_000  # bytes that are read whatever memory is available
LONGEST_PROBLEM = 160  # characters of a library's message that are repeated
ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # those that numpy writes
HEADER_LENGTH_BYTES = {(1, 0): 2, (2, 0): 4}  # by the version of numpy's format
ZIP_END = b"PK\x05\x06"  # begins the last record of a zip file
ZIP_END_BYTES = 22  # of that record, where no comment follows it
ENCRYPTED = 0x1  # flag of a member of a zip file


class DamagedFile(UserWarning):
    """A file of a run cannot be read; it is left out, or made anew."""


def warn_damaged(path: Path, problem: object) -> None:
    """Warn that a file is left out. The command line prints one line for all of them."""
    warnings.warn(f"{path}: {brief(problem)}", DamagedFile, stacklevel=3)


def brief(problem: object, longest: int = LONGEST_PROBLEM) -> str:
    """Write what went wrong on one line of bounded length; the type where there is no message."""
    head = str(problem)[: 4 * longest]
    text = " ".join(head.split()) or type(problem).__name__
    return text if len(text) <= longest else f"{text[: longest - 4]} ..."


@contextmanager
def explained(path: str | Path, action: str = "cannot read") -> Iterator[None]:
    """Turn a failure of the file system into a UserError that names the path."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{name_of(path)}: {action}: {error.strerror or brief(error)}") from None
    except ValueError as error:  # a name with a zero byte, or that the locale cannot write
        raise UserError(f"{name_of(path)}: {action}: {brief(error)}") from None


def name_of(path: str | Path) -> str:
    """Write a path so that any terminal can show it, on one line, however long it is."""
    text = str(path)
    if len(text) > LONGEST_PROBLEM:
        text = f"{text[: LONGEST_PROBLEM // 2]}...{text[-LONGEST_PROBLEM // 2 :]}"
    return printable(text)


def printable(text: str) -> str:
    r"""Write bytes of a name that are not UTF-8 as `\udcf6`, so that every file can hold it."""
    return text.encode("utf-8", "backslashreplace").decode()


def user_path(text: str | Path) -> Path:
    """Return the path that a user gave, `~` replaced by the home folder.

    Raises UserError for the home of a user who does not exist.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise UserError(f"{name_of(text)}: {brief(error)}") from None


def with_own_name(path: Path) -> Path:
    """Return an absolute path to what has this name, also where it is a link to another name.

    Caches of data keep a file under the hash of its content, and link to it by its own name.
    """
    if path.name in ("", ".."):
        return path.resolve()
    return path.parent.resolve() / path.name


def open_regular(path: Path) -> IO[bytes]:
    """Open a regular file; a pipe or a device, which might never end, is refused.

    Raises FileNotFoundError where there is none, and UserError for anything else.
    """
    return os.fdopen(_open(path).descriptor, "rb")


class Opened(NamedTuple):
    """An open file: its descriptor, which must be closed, and its size in bytes."""

    descriptor: int
    n_bytes: int


def _open(path: str | Path) -> Opened:
    """Open a regular file as a descriptor, which takes half of the time of a file object."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or brief(error)
        raise UserError(f"{name_of(path)}: cannot read: {reason}") from None
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise UserError(f"{name_of(path)}: not a regular file; expected no folder, pipe or device")
    return Opened(descriptor, status.st_size)


def names_in(folder: Path) -> list[str]:
    """List the names in a folder; none where there is no such folder."""
    try:
        return os.listdir(folder)
    except OSError:
        return []


def read_regular(path: Path, most_bytes: int | None = None) -> bytes:
    """Read a regular file of bounded size.

    Parameters
    ----------
    path
        The file.
    most_bytes
        The largest size; None for what memory allows.

    Raises
    ------
    FileNotFoundError
        Where there is none.
    UserError
        For anything else than a regular file, and for a larger one.
    """
    limit = memory_limit() if most_bytes is None else most_bytes
    opened = _open(path)
    try:
        check_size(path, opened.n_bytes, limit)
        with explained(path):
            return _read(opened)
    finally:
        os.close(opened.descriptor)


def _read(opened: Opened) -> bytes:
    """Read a whole file; one call reads 2 GB at most, and less where the file is cut meanwhile."""
    content = os.read(opened.descriptor, opened.n_bytes)
    while len(content) < opened.n_bytes:
        more = os.read(opened.descriptor, opened.n_bytes - len(content))
        if not more:
            break
        content += more
    return content


def memory_limit() -> int:
    """Return how many bytes may be read at once: a share of the memory that is available.

    A container or a job may have less than the machine.
    """
    import psutil  # here, so that a worker reads its cell before it

    from ddl_bench import machine

    available = int(psutil.virtual_memory().available)
    allowed = machine.memory_limit()
    usable = available if allowed is None else min(available, allowed)
    return int(MEMORY_SHARE * usable)


def check_size(what: object, n_bytes: int, limit: int) -> None:
    """Raise UserError where something is larger than the limit."""
    if n_bytes > limit:
        size = f"{n_bytes / 1e6:,.0f} MB, the limit is {limit / 1e6:,.0f} MB"
        raise UserError(f"{name_of(str(what))}: {size}")


def unique_word() -> str:
    """Return a word for the name of a file that no other process makes up.

    The number of the process would not do: containers that share a folder each have a process 1.
    """
    return os.urandom(8).hex()


def write_atomically(path: Path, data: bytes) -> None:
    """Write under a temporary name, then rename: a reader sees the whole file or none.

    A folder of that name is set aside. Raises UserError where the file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if path.is_dir() and not path.is_symlink():
            path.rename(path.with_name(f"{path.name}.{os.getpid()}.damaged"))
        temporary.replace(path)
    except (OSError, ValueError) as error:
        with suppress(OSError, ValueError):
            temporary.unlink(missing_ok=True)
        reason = getattr(error, "strerror", None) or brief(error)
        consolation = "the rows written so far are kept"
        raise UserError(f"{name_of(path)}: cannot write: {reason}; {consolation}") from error


def write_shared(path: Path, data: bytes) -> None:
    """Write a file as `write_atomically` does, also while other containers write the same one.

    Their processes may have the number of this one.
    """
    word = unique_word()
    temporary = path.with_name(f".{path.name}.{word}.tmp")
    write_atomically(temporary, data)
    try:
        with explained(path, "cannot write"):
            if path.is_dir() and not path.is_symlink():
                path.rename(path.with_name(f"{path.name}.{word}.damaged"))
            temporary.replace(path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def append_at(path: Path, size: int, data: bytes) -> int:
    """Append to a file of which the first `size` bytes count; returns its new size.

    What a full disk has torn lies behind them, and is written anew by the next call.
    """
    with path.open("r+b") as file:
        if file.seek(0, os.SEEK_END) < size:
            raise OSError(errno.ESTALE, "shortened by another process", str(path))
        file.truncate(size)
        file.seek(size)
        file.write(data)
    return size + len(data)


def write_arrays(path: Path, arrays: dict[str, Any]) -> None:
    """Write named arrays to an .npz file, compressed."""
    import numpy as np  # here, so that commands that read no arrays start at once

    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    write_atomically(path, buffer.getvalue())


def is_torn(path: str | Path) -> bool:
    """Whether a file is there that does not end as an .npz file does; its content is not read."""
    try:
        opened = _open(path)
    except FileNotFoundError:
        return False
    except UserError:
        return True
    try:
        end = os.pread(opened.descriptor, ZIP_END_BYTES, max(0, opened.n_bytes - ZIP_END_BYTES))
    finally:
        os.close(opened.descriptor)
    return not end.startswith(ZIP_END) and not zipfile.is_zipfile(path)


def read_arrays(path: Path, wanted: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """Read named arrays of an .npz file; nothing is unpickled.

    The sizes that the file claims are checked before anything is read.

    Parameters
    ----------
    path
        The file.
    wanted
        Names of the arrays, of which some may be missing; None for all.

    Raises
    ------
    FileNotFoundError
        Where there is no file.
    UserError
        For a file that is damaged, not an .npz of plain arrays, or too large for the memory.
    """
    with open_regular(path) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                return _read_members(archive, wanted)
        except UserError as error:
            raise UserError(f"{name_of(path)}: {error}") from None
        except (Exception, MemoryError) as error:  # damage makes these libraries raise anything
            text = f"cannot be read as an .npz file of plain arrays: {brief(error)}"
            raise UserError(f"{name_of(path)}: {text}") from None


def _read_members(archive: zipfile.ZipFile, wanted: Sequence[str] | None) -> dict[str, np.ndarray]:
    """Read arrays out of an open .npz file, after a look at the sizes of all of them."""
    members = {}
    for member in archive.infolist():
        name = member.filename.removesuffix(".npy")
        if wanted is None or name in wanted:
            members[name] = member
    total = sum(member.file_size for member in members.values())
    if total > ALWAYS_READ:  # to ask for the memory takes longer than to read a small file
        check_size("arrays", total, memory_limit())
    return {name: _read_member(archive, member) for name, member in members.items()}


@lru_cache(maxsize=1000)  # thousands of files have the same few
def _header(
    version: tuple[int, int], content: bytes
) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read the header of an array: shape, whether columns come first, and type."""
    import numpy as np

    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(io.BytesIO(content))
    return np.lib.format.read_array_header_2_0(io.BytesIO(content))


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    """Read one array, whose header must claim exactly the bytes that the file holds of it."""
    import numpy as np

    name = name_of(member.filename.removesuffix(".npy"))
    if member.compress_type not in ZIP_METHODS or member.flag_bits & ENCRYPTED:
        raise UserError(f"{name} is encrypted or compressed in a way that numpy does not write")
    with archive.open(member) as stored:
        version = np.lib.format.read_magic(stored)
        if version not in HEADER_LENGTH_BYTES:
            raise UserError(f"{name} has the unknown version {version} of numpy's format")
        length = stored.read(HEADER_LENGTH_BYTES[version])
        text = stored.read(int.from_bytes(length, "little"))
        shape, fortran_order, dtype = _header(version, length + text)
        if dtype.hasobject:
            raise UserError(f"{name} holds Python objects; expected plain numbers or text")
        claimed = math.prod(shape) * dtype.itemsize
        present = member.file_size - stored.tell()
        if claimed != present or min(shape, default=0) < 0:
            raise UserError(f"{name} claims an array {shape} of {dtype}, and has {present:,} bytes")
        content = bytearray(stored.read())
    return np.ndarray(shape, dtype, content, order="F" if fortran_order else "C")
