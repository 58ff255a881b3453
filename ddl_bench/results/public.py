"""Take out of rows, models and logs what tells whose machine they come from.

Absolute paths become the names of their files, also inside of messages and commands; the name of
the host, the user and the home folder go. Everything else stays as it was, the IDs of cells too.
"""

import getpass
import platform
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ddl_bench.plan.cell import Cell

# A path of at least two parts from the root, or one from a home folder; no address of the web.
_START = r"(?:file:(?=/)|(?<![\w.~/:])|(?<=:)(?!//))"
_PART = r"[^\s/'\"`,;:()\[\]<>|]+"
PATH = re.compile(rf"{_START}(?:/+{_PART}(?:/+{_PART})+|~[\w.-]*(?:/+{_PART})+)/*")
QUOTED = re.compile(r"(?<=['\"])(?:/|~[\w.-]*/)[^'\"\n]*/[^'\"\n/]+/*(?=['\"])")  # may have spaces
PROCESS = re.compile(r"\b(process|pid)[ =]\d+\b", re.IGNORECASE)
MESSAGES = (
    "reason",
    "size_reason",
    "flops_left_out",
    "data_note",
    "model_note",
    "not_retimed",
    "not_retrained",
    "background",
    "failed_attempts",
)
PATHS = ("dataset", "data_dir", "track")  # of a cell
ANYBODY = ("root", "localhost", "")  # names that many share


@dataclass(frozen=True)
class Place:
    """What is known of where something was made.

    Parameters
    ----------
    paths
        Paths, which may have spaces; each becomes the name of its file or folder.
    words
        Names of hosts and users, which messages may repeat.
    home
        The home folder; empty where the user has none.
    """

    paths: tuple[str, ...]
    words: tuple[str, ...]
    home: str

    @classmethod
    def of(cls, paths: Iterable[object], hosts: Iterable[object] = ()) -> "Place":
        """Describe this machine and its user, with further paths and hosts."""
        words = [*map(str, hosts), platform.node()]
        words += [word.partition(".")[0] for word in words]
        with suppress(KeyError, OSError):  # a user without a name
            words.append(getpass.getuser())
        home = ""
        with suppress(RuntimeError):
            home = str(Path.home()).rstrip("/")
        known = [str(path) for path in paths if str(path).startswith(("/", "~/"))]
        known = [path for path in known if Path(path).name]
        unique = {word for word in words if word not in ANYBODY}
        return cls(
            paths=tuple(sorted(set(known), key=len, reverse=True)),
            words=tuple(sorted(unique, key=len, reverse=True)),
            home=home,
        )

    def without_paths(self, text: str) -> str:
        """Replace each path in a text by the name of its file."""
        for path in self.paths:
            text = text.replace(path, Path(path).name)
        if self.home:
            text = re.sub(rf"{re.escape(self.home)}(?![\w.-])", "~", text)
        return PATH.sub(bare_name, QUOTED.sub(bare_name, text))

    def without_names(self, text: str) -> str:
        """Replace paths, and names of hosts, users and processes, in a message."""
        text = PROCESS.sub(r"\1", self.without_paths(text))
        for word in self.words:
            text = re.sub(rf"(?<![\w-]){re.escape(word)}(?![\w-])", "...", text)
        return text

    def cleaned(self, value: Any, key: str = "") -> Any:
        """Replace paths in all texts of a JSON value, keys included, and names in messages."""
        if isinstance(value, str):
            return self.without_names(value) if key in MESSAGES else self.without_paths(value)
        if isinstance(value, list):
            return [self.cleaned(item, key) for item in value]
        if isinstance(value, dict):
            return {
                self.without_paths(name): self.cleaned(item, name) for name, item in value.items()
            }
        return value


def bare_name(match: re.Match[str]) -> str:
    """Return the last part of a path that was found in a text."""
    return match[0].rstrip("/").rpartition("/")[2]


def paths_of(cell: dict[str, Any]) -> list[Any]:
    """List the paths that the JSON of a cell gives."""
    return [*(cell.get(name, "") for name in PATHS), *cell.get("plugins", ())]


def public_row(values: dict[str, Any], cell_id: str, run: Path) -> dict[str, Any]:
    """Return the JSON of a row without names and paths; of rows of older versions too.

    Parameters
    ----------
    values
        What the file of the row holds.
    cell_id
        The ID of its cell, which stays.
    run
        The run folder.
    """
    cell = values["cell"]
    provenance = values.get("provenance", {})
    host = provenance.get("host") or ""
    place = Place.of([*paths_of(cell), *provenance.get("plugins", {}), run.resolve()], [host])
    new: dict[str, Any] = place.cleaned(values)
    new["cell"] = public_cell(cell, cell_id, place)
    if host:
        new["provenance"]["host"] = None
    return new


def public_cell(values: dict[str, Any], cell_id: str, place: Place) -> dict[str, Any]:
    """Return the JSON of a cell without paths; it keeps its ID also where an option had one."""
    new: dict[str, Any] = place.cleaned(values)
    if "machine" in new:  # rows of the first version have the IDs of their files
        known = {key: value for key, value in new.items() if key in Cell.model_fields}
        if Cell.model_validate(known).id != cell_id:
            new["older_id"] = cell_id
    return new
