"""A large state in files of bounded size; a kill at any moment leaves a whole one."""

import hashlib
from pathlib import Path

LIMIT = 16 * 2**20  # bytes of a file
HEADER = 32 + 4 + 4 + 8  # SHA-256 of the whole, number of the piece, of pieces, count of writings


def write(folder: Path, stem: str, data: bytes, *, limit: int = LIMIT) -> list[Path]:
    """Replace what was kept under `stem` by `data`, in pieces of at most `limit` bytes."""
    size = limit - HEADER
    digest = hashlib.sha256(data).digest()
    n_pieces = max(1, -(-len(data) // size))
    count = max((turn for turn, _ in _sets(folder, stem)), default=0) + 1
    paths = [folder / f"{stem}.{at:02d}" for at in range(n_pieces)]
    for at, path in enumerate(paths):
        head = digest + at.to_bytes(4) + n_pieces.to_bytes(4) + count.to_bytes(8)
        _new(path).write_bytes(head + data[at * size : (at + 1) * size])
    for path in paths:  # all pieces are on the disk by now, under one name or the other
        _new(path).replace(path)
    for path in folder.glob(f"{stem}.*"):
        if path not in paths:
            path.unlink()
    return paths


def read(folder: Path, stem: str) -> bytes | None:
    """The newest whole state kept under `stem`, None where there is none."""
    whole = dict(_sets(folder, stem))
    return whole[max(whole)] if whole else None


def remove(folder: Path, stem: str) -> None:
    for path in folder.glob(f"{stem}.*"):
        path.unlink()


def _new(path: Path) -> Path:
    return path.with_name(f"{path.name}.new")


def _sets(folder: Path, stem: str) -> list[tuple[int, bytes]]:
    """Whole states, and how many were written before each."""
    found: dict[tuple[bytes, int, int], dict[int, bytes]] = {}
    for path in sorted(folder.glob(f"{stem}.*")):
        piece = path.read_bytes()
        if len(piece) < HEADER:
            continue
        digest, at = piece[:32], int.from_bytes(piece[32:36])
        n_pieces, count = int.from_bytes(piece[36:40]), int.from_bytes(piece[40:48])
        found.setdefault((digest, n_pieces, count), {})[at] = piece[HEADER:]
    whole = []
    for (digest, n_pieces, count), pieces in found.items():
        if pieces.keys() != set(range(n_pieces)):
            continue
        data = b"".join(pieces[at] for at in range(n_pieces))
        if hashlib.sha256(data).digest() == digest:
            whole.append((count, data))
    return whole
