"""Remember what a plan asks of a method's class, so that planning again need not import torch.

A plan takes from a class how its options are spelled, that they are right, the hash of its code and
whether its models can be kept. All of it follows from the sources of this project, the installed
libraries and the question. So answers hold for one `installation`, a hash of just these, and are
thrown away with it: they cannot become stale.

Only answers about this project's own methods are kept, and none where a method rests on a source
that the hash does not cover. Methods of plugins and of other packages are always asked, and so is
every method in a process that has imported torch, where nothing would be saved.
"""

import hashlib
import importlib.util
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from ddl_bench.errors import UserError
from ddl_bench.files import read_regular, write_atomically
from ddl_bench.plan.identity import OURS
from ddl_bench.registry import METHODS, entries

LARGEST_FILE_BYTES = 4_000_000
UNREADABLE = (
    OSError, UserError, ValueError, KeyError, TypeError, AttributeError, RecursionError,
)  # fmt: skip


class Memory:
    """Answers about methods, kept in a file beside the rows of a run.

    Parameters
    ----------
    path
        The file; None to remember nothing. One that is damaged is taken as empty.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._installation = ""
        self._ours: frozenset[str] = frozenset()
        self._answers: dict[str, dict[str, Any]] = {}  # by method, and then by question
        self._new: set[str] = set()  # methods with answers that are not yet saved
        self._sources: dict[str, frozenset[Path]] = {}
        if path is not None and "torch" not in sys.modules:
            self._installation = installation()
            self._ours = our_methods()
            self._answers = read_answers(path, self._installation)

    def ask(self, name: str, question: Any, answer: Callable[[], Any]) -> Any:
        """Return the remembered answer to a question about a method, or else ask the class.

        Parameters
        ----------
        name
            The method.
        question
            Whatever the answer depends on besides the installation, as JSON can write it.
        answer
            Imports the class and gives the answer, as JSON can write it. What it raises is raised
            and not remembered.
        """
        if name not in self._ours:
            return answer()
        key = json.dumps(question, default=repr)
        answers = self._answers.setdefault(name, {})
        if key not in answers:
            answers[key] = answer()
            self._new.add(name)
        return answers[key]

    def note_sources(self, name: str, files: Iterable[Path]) -> None:
        """Note which files a method rests on; without this note its answers are not saved."""
        self._sources[name] = frozenset(files)

    def save(self) -> None:
        """Write what is new, unless an edit made it doubtful; a failure harms nobody."""
        if self._path is None or not self._new or self._installation != installation():
            return
        covered = {path for package in OURS for path in sources_of(package)}
        for name in self._new:
            if name not in self._sources or not self._sources[name] <= covered:
                del self._answers[name]
        content = {"installation": self._installation, "answers": self._answers}
        data = json.dumps(content).encode()
        if len(data) < LARGEST_FILE_BYTES:
            with suppress(UserError):
                write_atomically(self._path, data)
        self._new.clear()


def read_answers(path: Path, wanted: str) -> dict[str, dict[str, Any]]:
    """Read the answers that hold for an installation; none where the file has other ones."""
    try:
        content = json.loads(read_regular(path, LARGEST_FILE_BYTES))
        if content["installation"] != wanted:
            return {}
        return {name: dict(answers) for name, answers in content["answers"].items()}
    except UNREADABLE:
        return {}


def our_methods() -> frozenset[str]:
    """Name this project's own methods."""
    known = entries(METHODS).values()
    return frozenset(entry.name for entry in known if entry.module.partition(".")[0] in OURS)


def installation() -> str:
    """Hash whatever an answer can depend on besides the question.

    That is the version of Python, the entry points of methods, every source of this project, and
    the names of all modules and packages that can be imported. The names of installed packages
    hold their versions.
    """
    digest = hashlib.sha256(sys.version.encode())
    for entry in entries(METHODS).values():
        digest.update(f"\0{entry.name} {entry.value}".encode())
    for folder in sys.path:
        digest.update(f"\0{folder}".encode("utf-8", "surrogateescape"))
        for name in sorted(importable(Path(folder))):
            digest.update(f"\0{name}".encode("utf-8", "surrogateescape"))
    for package in sorted(OURS):
        for path in sources_of(package):
            digest.update(f"\0{path}\0".encode("utf-8", "surrogateescape"))
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def importable(folder: Path) -> Iterator[str]:
    """Yield the names in a folder of the path that an import, or a look at versions, can find."""
    with suppress(OSError):
        for path in folder.iterdir():
            name = path.name
            is_module = "." not in name or name.endswith((".py", ".so", ".pth"))
            if is_module or name.endswith(("-info", "-link")):
                yield name


def sources_of(package: str) -> Iterable[Path]:
    """List the source files of a package, without importing it."""
    spec = importlib.util.find_spec(package)
    folders = (spec and spec.submodule_search_locations) or ()
    return sorted(path for folder in folders for path in Path(folder).rglob("*.py"))
