"""Read published files, each checked by its SHA-256 before anything else sees it."""

import hashlib
import io
import tarfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ddl_bench.data.download import RemoteFile, fetch
from ddl_bench.errors import UserError
from ddl_bench.files import read_regular, write_atomically


@dataclass(frozen=True, kw_only=True)
class RemoteArchive:
    """A published .tar.gz, and the SHA-256 of each file in it that is used, by name."""

    file: RemoteFile
    sha256s: Mapping[str, str]


def read_published(data_dir: Path, file: RemoteFile, *, download: bool) -> bytes:
    """Return the content of a published file, whose SHA-256 is right.

    With `download` it is fetched where it is missing or damaged. Raises UserError, with what to do,
    where it still is, or cannot be downloaded.
    """
    path = data_dir / file.name
    content = read_checked(path, file.sha256)
    if content is None and download:
        fetch(path, file)
        content = read_checked(path, file.sha256)
    if content is None:
        raise UserError(advice(path, file.name))
    return content


def read_unpacked(data_dir: Path, archive: RemoteArchive, *, download: bool) -> list[bytes]:
    """Return the contents of the files of an archive, in the order of `archive.sha256s`.

    Files that are missing or damaged are unpacked anew from the archive, which is fetched where
    `download` allows it. Raises UserError as `read_published` does.
    """
    sums = archive.sha256s
    contents = {name: read_checked(data_dir / name, sums[name]) for name in sums}
    unread = [name for name, content in contents.items() if content is None]
    if unread:
        packed = read_checked(data_dir / archive.file.name, archive.file.sha256)
        if packed is None and not download:
            raise UserError(advice(data_dir / unread[0], f"{unread[0]}, or {archive.file.name}"))
        if packed is None:
            packed = read_published(data_dir, archive.file, download=True)
        for name, content in unpack(packed, unread).items():
            contents[name] = content
            with suppress(UserError):  # the folder is read-only: it is unpacked again next time
                write_atomically(data_dir / name, content)
    return [contents[name] or b"" for name in sums]


def unpack(packed: bytes, names: list[str]) -> dict[str, bytes]:
    """Read files of a .tar.gz, whose SHA-256 is right, into memory; no path in it is followed."""
    contents = {}
    with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as archive:
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


def advice(path: Path, names: str) -> str:
    """Say what is wrong with a file that could not be used, and how to get it."""
    fault = "is damaged: its SHA-256 is wrong" if path.exists() else "not found"
    mend = f"fetch it by --download, or say by --data-dir which folder holds {names}"
    return f"{path} {fault}; {mend}"
