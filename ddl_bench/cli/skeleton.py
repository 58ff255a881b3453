"""Write the beginning of a plugin: a file that passes `ddl-bench check`, to be changed."""

import builtins
import keyword
import re
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from string import Template
from typing import Literal

from rich.console import Console
from rich.markup import escape

from ddl_bench import registry
from ddl_bench.api import API_VERSION
from ddl_bench.cli.output import emit, print_line
from ddl_bench.errors import UserError
from ddl_bench.files import explained, name_of, write_atomically
from ddl_bench.results.columns import TAKEN

Kind = Literal["method", "dataset", "metric", "report"]
LONGEST_NAME = 40  # characters
FILES_OF_REPORT = ("table", "cells", "columns", "references", "index")  # a report writes these
NEXT = {
    "method": "ddl-bench run --plugin {file} --methods {name},nearest-mean",
    "dataset": "ddl-bench run --plugin {file} --datasets {name} --methods nearest-mean,logistic",
    "metric": "ddl-bench report --plugin {file}",
    "report": "ddl-bench report --plugin {file}",
}


def write_skeleton(console: Console, kind: Kind, name: str, folder: Path, *, as_json: bool) -> Path:
    """Write a plugin of a kind to a file of its name; returns the file.

    Raises UserError for a name that is taken or cannot be used, and for a file that exists.
    """
    if not re.fullmatch(rf"[A-Za-z][\w-]{{0,{LONGEST_NAME}}}", name):
        raise UserError(
            f"new {kind} {name!r:.80}: expected a letter, then letters, digits, - and _"
        )
    refuse_known(kind, name)
    stem = re.sub(r"\W", "_", name).lower()
    cls = "".join(part.capitalize() for part in stem.split("_"))
    path = folder / f"{stem}.py"
    with explained(folder, "cannot write there"):
        if path.exists():
            raise UserError(f"{name_of(path)}: exists already; give another name or folder")
    refuse_taken(kind, name, stem, cls)
    template = resources.files("ddl_bench").joinpath("cli", "skeletons", f"{kind}.txt")
    text = Template(template.read_text(encoding="utf-8")).substitute(
        name=name,
        file=path.name,
        file_stem=stem,
        identifier=stem,
        title=name.replace("-", " ").replace("_", " "),
        cls=cls,
        api=API_VERSION,
    )
    write_atomically(path, text.encode())
    if as_json:
        emit({"file": path})
    else:
        command = NEXT[kind].format(file=path, name=name)
        print_line(console, f"wrote {escape(name_of(path))}; next:")
        print_line(console, f"  ddl-bench check {escape(str(path))}")
        print_line(console, f"  {escape(command)}")
    return path


def refuse_known(kind: Kind, name: str) -> None:
    """Raise UserError for a name of the kind that there is, or whose file or column there is."""
    known = {
        "method": set(registry.entries(registry.METHODS)),
        "dataset": set(registry.entries(registry.DATASETS)),
        "metric": {*registry.entries(registry.METRICS), *TAKEN},
        "report": {
            *registry.entries(registry.REPORTS),
            *registry.entries(registry.WRITERS),
            *FILES_OF_REPORT,
        },
    }
    if name.lower() in known[kind]:
        raise UserError(f"new {kind} {name}: the name is taken; give another one")


def refuse_taken(kind: Kind, name: str, stem: str, cls: str) -> None:
    """Raise UserError for a name that Python would take for something else in or as a file."""
    another = f"give another name, as in my-{name}"
    is_word = keyword.iskeyword(stem) or keyword.iskeyword(cls) or hasattr(builtins, cls)
    if is_word or not stem.isidentifier():
        raise UserError(f"new {kind} {name}: not a name of one's own in Python; {another}")
    if find_spec(stem):
        raise UserError(
            f"new {kind} {name}: a file {stem}.py would be imported in place of the module {stem}; "
            f"{another}"
        )
