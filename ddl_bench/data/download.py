"""Download published files: by https alone, and checked by SHA-256 before anything reads them.

A file is written beside its place under a name of its own and renamed when it is complete and
right, so two processes that download the same file do not hurt each other.
"""

import hashlib
import os
import sys
import tarfile
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from io import BufferedRandom, BytesIO
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    UnknownHandler,
)

from ddl_bench.errors import UserError
from ddl_bench.files import brief, explained, read_regular, write_atomically

SCHEMES = ("https",)  # of addresses, and of what they redirect to
TIMEOUT_S = 30.0  # to connect, and between two parts of an answer
SLOW_AFTER_S = 60.0  # a transfer that is below the least rate after that is given up
LEAST_RATE = 1000.0  # bytes a second
ATTEMPTS = 3  # at each address; a transfer that broke off goes on where it was
PAUSE_S = 1.0  # between two attempts
CHUNK_BYTES = 1 << 16
ABANDONED_AFTER_S = 3600.0  # what a killed process left behind is then deleted
SHOW_AFTER_S = 2.0
SHOW_EVERY_S = 10.0  # where standard error is no terminal
REDRAW_EVERY_S = 0.2
LONGEST_FAULT = 80  # characters


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """A published file.

    Parameters
    ----------
    name
        Its path below the data folder.
    sha256
        Its SHA-256 in hex.
    n_bytes
        Its size.
    urls
        Addresses that have it, in the order in which they are tried.
    """

    name: str
    sha256: str
    n_bytes: int
    urls: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class RemoteArchive:
    """A published .tar.gz, and the SHA-256 of each file in it that is used, by name."""

    file: RemoteFile
    sha256s: Mapping[str, str]


def read_published(data_dir: Path, file: RemoteFile, *, download: bool) -> bytes:
    """Return the content of a published file once its SHA-256 is right.

    Parameters
    ----------
    data_dir
        Folder of the data sets.
    file
        Which file.
    download
        Whether it is fetched where it is missing or damaged.

    Raises
    ------
    UserError
        For a file that is missing, damaged or cannot be downloaded, with what to do.
    """
    path = data_dir / file.name
    content = read_checked(path, file.sha256)
    if content is None and download:
        fetch(path, file)
        content = read_checked(path, file.sha256)
    if content is None:
        raise UserError(f"{fault_of(path)}; {advice(file.name)}")
    return content


def read_unpacked(data_dir: Path, archive: RemoteArchive, *, download: bool) -> list[bytes]:
    """Return the contents of the files of an archive, in the order of `archive.sha256s`.

    Files that are missing or damaged are unpacked anew from the archive, which is fetched where
    `download` allows it. Raises UserError as `read_published` does.
    """
    contents = {}
    for name, sha256 in archive.sha256s.items():
        contents[name] = read_checked(data_dir / name, sha256)
    unread = [name for name, content in contents.items() if content is None]
    if unread:
        path = data_dir / archive.file.name
        packed = read_checked(path, archive.file.sha256)
        if packed is None and not download:
            fault = fault_of(data_dir / unread[0])
            raise UserError(f"{fault}; {advice(unread[0])}, or {archive.file.name}")
        if packed is None:
            packed = read_published(data_dir, archive.file, download=True)
        for name, content in unpack(packed, unread).items():
            contents[name] = content
            with suppress(UserError):  # the folder is read-only: it is unpacked again next time
                write_atomically(data_dir / name, content)
    return [contents[name] or b"" for name in archive.sha256s]


def unpack(packed: bytes, names: list[str]) -> dict[str, bytes]:
    """Read files of a .tar.gz, whose SHA-256 is right, into memory; no path in it is followed."""
    contents = {}
    with tarfile.open(fileobj=BytesIO(packed), mode="r:gz") as archive:
        for member in archive:
            stored = archive.extractfile(member) if member.name in names else None
            if stored is not None:
                contents[member.name] = stored.read()
    return contents


def read_checked(path: Path, sha256: str) -> bytes | None:
    """Read a file; None where it is missing or has another SHA-256."""
    try:
        content = read_regular(path)
    except FileNotFoundError:
        return None
    if hashlib.sha256(content).hexdigest() != sha256:
        return None
    return content


def fault_of(path: Path) -> str:
    """Say what is wrong with a file that could not be used."""
    return f"{path} is damaged: its SHA-256 is wrong" if path.exists() else f"{path} not found"


def advice(name: str) -> str:
    """Say how to get a file."""
    return f"fetch it by --download, or say by --data-dir which folder holds {name}"


def fetch(path: Path, file: RemoteFile) -> None:
    """Download a file to `path`, from the first address that has it whole.

    Raises UserError where none has, or nothing can be written.
    """
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    with explained(path, "cannot write"):
        path.parent.mkdir(parents=True, exist_ok=True)
        target = part.open("x+b")
    try:
        with target:
            sweep(path, part)
            faults = transfer(file, target)
            with explained(path, "cannot write"):
                target.flush()
                os.fsync(target.fileno())
        if len(faults) == len(file.urls):
            raise UserError(
                f"download of {file.name} failed: {'; '.join(faults)}; try again, or put a "
                f"file of {file.n_bytes:,} bytes with the SHA-256 {file.sha256} at {path}"
            )
        with explained(path, "cannot write"):
            part.replace(path)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def transfer(file: RemoteFile, target: BufferedRandom) -> list[str]:
    """Fill an open file from the first address that is good; returns the faults of those before."""
    faults = []
    for url in file.urls:
        fault = fault_at(url, target, file)
        if not fault:
            break
        faults.append(f"{urlsplit(url).netloc}: {brief(fault, LONGEST_FAULT)}")
    return faults


def sweep(path: Path, part: Path) -> None:
    """Delete what killed processes left of downloads to `path`, by the file system's clock."""
    with suppress(OSError):
        now = part.stat().st_mtime
        for other in path.parent.glob(f".{path.name}.*.part"):
            if now - other.stat().st_mtime > ABANDONED_AFTER_S:
                other.unlink()


def fault_at(url: str, target: BufferedRandom, file: RemoteFile) -> str:
    """Transfer what an address has to an open file; returns what is wrong with it, or nothing."""
    target.seek(0)
    target.truncate()
    meter = Meter(file)
    fault = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE_S)
        try:
            receive(url, target, file, meter)
            fault = ""
            break
        except HTTPError as error:  # an answer, which another attempt would not change
            error.close()
            return f"HTTP {error.code} {error.reason}"
        except (OSError, HTTPException, ValueError) as error:
            fault = brief(getattr(error, "reason", error))
        finally:
            meter.clear()
    if fault:
        return fault
    target.seek(0)
    digest = hashlib.file_digest(target, "sha256").hexdigest()
    if digest != file.sha256:
        return f"a file with the SHA-256 {digest[:16]}..."
    return ""


def receive(url: str, target: BufferedRandom, file: RemoteFile, meter: "Meter") -> None:
    """Append to an open file what it lacks, by a request for the rest of an address's file.

    Raises OSError or HTTPException where the transfer breaks off, is too slow, or too long.
    """
    start = target.seek(0, os.SEEK_END)
    request = Request(url, headers={"User-Agent": "ddl-bench"})  # noqa: S310  see `opener`
    if start:
        request.add_header("Range", f"bytes={start}-")
    with opener().open(request, timeout=TIMEOUT_S) as answer:
        goes_on = answer.status == 206 and continues_at(answer, start)
        if not goes_on:  # the server sends the file from its beginning
            start = target.seek(0)
            target.truncate()
        n_done = start
        began = time.monotonic()
        while chunk := answer.read1(CHUNK_BYTES):
            n_done += len(chunk)
            if n_done > file.n_bytes:
                raise OSError(f"more than {file.n_bytes:,} bytes")
            with explained(str(target.name), "cannot write"):
                target.write(chunk)
            seconds = time.monotonic() - began
            if seconds > SLOW_AFTER_S and n_done - start < LEAST_RATE * seconds:
                raise TimeoutError(f"slower than {LEAST_RATE / 1000:g} kB/s")
            meter.show(n_done)
    if n_done < file.n_bytes:
        raise OSError(f"ended after {n_done:,} of {file.n_bytes:,} bytes")


def continues_at(answer: HTTPResponse, start: int) -> bool:
    """Whether an answer to a request for the rest of a file begins where the rest does."""
    return answer.headers.get("Content-Range", "").startswith(f"bytes {start}-")


def opener() -> OpenerDirector:
    """Make what opens addresses: of the allowed schemes alone, redirects included."""
    handlers = {"https": HTTPSHandler, "http": HTTPHandler}
    director = OpenerDirector()
    for handler in (
        ProxyHandler,
        UnknownHandler,
        HTTPDefaultErrorHandler,
        HTTPRedirectHandler,
        HTTPErrorProcessor,
        *(handlers[scheme] for scheme in SCHEMES),
    ):
        director.add_handler(handler())
    return director


class Meter:
    """Shows on standard error how far a download has come, if it takes longer than two seconds.

    Parameters
    ----------
    file
        What is downloaded.
    """

    def __init__(self, file: RemoteFile) -> None:
        self._file = file
        self._began_s = time.monotonic()
        self._shown_s = -float("inf")
        self._first_bytes: int | None = None
        self._is_drawn = False

    def show(self, n_done: int) -> None:
        """Show the bytes that are there, and the time that the rest will take."""
        now = time.monotonic()
        if self._first_bytes is None:
            self._first_bytes = n_done
        spent_s = now - self._began_s
        is_terminal = sys.stderr is not None and sys.stderr.isatty()
        every_s = REDRAW_EVERY_S if is_terminal else SHOW_EVERY_S
        if spent_s < SHOW_AFTER_S or now - self._shown_s < every_s:
            return
        self._shown_s = now
        rate = max(1, n_done - self._first_bytes) / spent_s
        left_s = (self._file.n_bytes - n_done) / rate
        text = (
            f"ddl-bench: {Path(self._file.name).name}: {n_done / 1e6:,.1f} of "
            f"{self._file.n_bytes / 1e6:,.1f} MB, {left_s:,.0f} s left"
        )
        if is_terminal:
            self._is_drawn = True
            write_stderr(f"\r{text}\033[K")
        else:
            write_stderr(f"{text}\n")

    def clear(self) -> None:
        """Leave an empty line to what is printed next."""
        if self._is_drawn:
            write_stderr("\r\033[K")
            self._is_drawn = False


def write_stderr(text: str) -> None:
    """Write to standard error, where there is one that takes it."""
    with suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(text)
        sys.stderr.flush()
