"""Download published files, by https alone.

Pooch writes a file under a temporary name in the same folder and renames it when it is complete and
right, so two processes that download the same file do not hurt each other.
"""

import io
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from rich.console import Console
from rich.progress import DownloadColumn, Progress, TimeRemainingColumn

from ddl_bench.errors import UserError
from ddl_bench.files import brief, explained

SCHEME = "https"  # of addresses, and of what they redirect to
TIMEOUT_S = 30.0  # to connect, and between two parts of an answer
ROUNDS = 2  # through the addresses of a file
CHUNK_BYTES = 1 << 18
MODE = 0o644  # of a file: others may read it
SHOW_AFTER_S = 2.0
SHOW_EVERY_S = 10.0  # where standard error is no terminal
LONGEST_FAULT = 80  # characters


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """A published file.

    Parameters
    ----------
    name, sha256, n_bytes
        Its path below the data folder, its SHA-256 in hex, and its size.
    urls
        Addresses that have it, in the order in which they are tried.
    """

    name: str
    sha256: str
    n_bytes: int
    urls: tuple[str, ...]


def fetch(path: Path, file: RemoteFile) -> None:
    """Download a file to `path`, from the first address that has it whole.

    Raises UserError where none has, or nothing can be written.
    """
    import pooch  # here, so that commands that download nothing do not wait for it
    import requests

    def transfer(url: str, temporary: str, _: object) -> None:
        check_scheme(url)
        get = pooch.HTTPDownloader(
            chunk_size=CHUNK_BYTES,
            timeout=TIMEOUT_S,
            headers={"User-Agent": "ddl-bench", "Accept-Encoding": "identity"},
            hooks={"response": check_answer},
        )
        with Target(temporary, file) as target:
            get(url, target, None)
        Path(temporary).chmod(MODE)

    pooch.get_logger().setLevel("WARNING")
    faults = {}
    with explained(path, "cannot write"):
        for url in file.urls * ROUNDS:
            try:
                pooch.retrieve(url, file.sha256, path.name, path.parent, downloader=transfer)
                return
            except (requests.RequestException, ValueError) as error:
                faults[url] = f"{urlsplit(url).netloc}: {brief(cause_of(error), LONGEST_FAULT)}"
    raise UserError(
        f"download of {file.name} failed: {'; '.join(faults.values())}; try again, or put a "
        f"file of {file.n_bytes:,} bytes with the SHA-256 {file.sha256} at {path}"
    )


def check_scheme(url: str) -> None:
    """Raise ValueError for an address that is not of https."""
    if urlsplit(url).scheme != SCHEME:
        raise ValueError(f"expected {SCHEME}, not {url}")


def check_answer(answer: Any, *_: object, **__: object) -> None:
    """Raise ValueError for an answer that came from elsewhere than https, or redirects there."""
    check_scheme(urljoin(answer.url, answer.headers.get("Location", "")))


def cause_of(error: BaseException) -> BaseException:
    """Return where a chain of errors began: what the system said of a connection, for example."""
    while error.__context__ is not None:
        error = error.__context__
    return error


class Target(io.BufferedWriter):
    """The file that a download is written to: of bounded size, and it shows how full it is.

    What takes longer than two seconds is shown on standard error, with the time that is left.
    """

    def __init__(self, path: str, file: RemoteFile) -> None:
        self._n_bytes = file.n_bytes
        self._show_at_s = time.monotonic() + SHOW_AFTER_S
        columns = ("ddl-bench: {task.description}", DownloadColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=Console(stderr=True), auto_refresh=False)
        self._task = self._bar.add_task(Path(file.name).name, total=file.n_bytes)
        super().__init__(io.FileIO(path, "w"))

    def write(self, chunk: Any) -> int:
        """Write a part of the file. Raises ValueError where that is more than there should be."""
        self._bar.advance(self._task, len(chunk))
        if self._bar.tasks[0].completed > self._n_bytes:
            raise ValueError(f"more than {self._n_bytes:,} bytes")
        if time.monotonic() >= self._show_at_s:
            with suppress(OSError, ValueError):  # standard error may be closed or full
                self._show()
        return super().write(chunk)

    def _show(self) -> None:
        if self._bar.console.is_terminal:
            self._bar.start()
            self._bar.refresh()
        else:
            self._show_at_s += SHOW_EVERY_S
            self._bar.console.print(self._bar)

    def close(self) -> None:
        """Close the file, and end the line that shows it."""
        if self._bar.live.is_started:
            with suppress(OSError, ValueError):
                self._bar.stop()
        super().close()
