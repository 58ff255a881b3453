"""Print what there is to choose from: methods, data sets and tracks."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape
from rich.table import Table as Grid
from rich.text import Text

from ddl_bench import describe, registry
from ddl_bench.cli.output import emit, print_facts, print_line, print_records
from ddl_bench.cli.table import NAME_WIDTH, TEXT_WIDTH, Column, Table, print_table
from ddl_bench.data import ImageSet, fingerprint, npz
from ddl_bench.data.sources import load
from ddl_bench.describe import MethodRecord, Option
from ddl_bench.errors import UserError
from ddl_bench.files import explained, name_of
from ddl_bench.params import list_item
from ddl_bench.plan import track

TYPE_WIDTH = 16  # characters to which types and defaults may be folded
ABOUT = (Column("name", folds_to=NAME_WIDTH), Column("about", folds_to=TEXT_WIDTH))
OPTIONS = (
    Column("option", folds_to=NAME_WIDTH),
    Column("type", rank=2, folds_to=TYPE_WIDTH),
    Column("default", rank=1, folds_to=TYPE_WIDTH),
    Column("meaning", folds_to=TEXT_WIDTH),
)


def print_methods(
    console: Console, name: str | None, plugins: tuple[Path, ...], *, as_json: bool
) -> None:
    """Print one method in full, or without a name one line for each, by family."""
    if as_json:
        emit(describe.method(name, plugins) if name else describe.methods(plugins))
    elif name:
        _print_in_full(console, describe.method(name, plugins))
    else:
        records = describe.methods(plugins) if plugins else describe.outlines()
        _print_families(console, records)


def _print_families(console: Console, records: Sequence[MethodRecord]) -> None:
    width = max(len(record["name"]) for record in records)
    for family, members in groupby(records, key=lambda record: record["family"]):
        console.print(f"[bold]{escape(family or 'others')}[/]", highlight=False)
        for record in members:
            keys = "".join(f" [{reference['key']}]" for reference in record["references"])
            line = Text.assemble(record["about"], (keys, "cyan"), (_needs(record), "yellow"))
            console.print(_hanging(record["name"], line, width))
    console.print(
        "\n`ddl-bench methods NAME` shows one: formula, options, figures, BibTeX", highlight=False
    )


def _print_in_full(console: Console, record: MethodRecord) -> None:
    console.print(f"[bold]{escape(record['name'])}[/]: {escape(record['about'])}", highlight=False)
    citations = [f"{entry['citation']} [{entry['key']}]" for entry in record["references"]]
    facts = {
        "family": record["family"],
        "formula": record["formula"],
        "references": "\n".join(citations),
        "published": record["published"] or "none known",
        "differs": record["differs"],
        "needs": _needs(record).removeprefix(" needs ") or "nothing more",
    }
    width = max(map(len, facts))
    for key, fact in facts.items():
        if fact:
            console.print(_hanging(key, Text(fact), width))
    for paragraph in record["more"]:
        console.print(f"\n{escape(paragraph)}", highlight=False)
    if record["options"]:
        title = f'\nOptions, as in `--methods "{record["name"]}\\[option=value]"`'
        console.print(title, highlight=False)
        print_table(console, _options(record["options"]))
    for name, option in record["options"].items():
        if option["settings"]:
            example = next(iter(option["settings"]))
            title = f"\nSettings of {name}, as in `{record['name']}\\[{name}.{example}=value]`"
            console.print(title, highlight=False)
            print_table(console, _options(option["settings"]))
    for reference in record["references"]:
        console.print(f"\n{escape(reference['bibtex'])}", soft_wrap=True, highlight=False)


def _options(options: Mapping[str, Option]) -> Table:
    lines = []
    for name, option in options.items():
        default = describe.as_text(option["default"])
        lines.append([name, option["type"], default, option["meaning"]])
    return Table(columns=OPTIONS, lines=lines)


def _needs(record: MethodRecord) -> str:
    """Say which packages a method needs, and how to install what is missing."""
    if not record["needs"]:
        return ""
    text = f" needs {', '.join(record['needs'])}"
    if record["missing"]:
        text += f" (not installed: {describe.install(record['missing'])})"
    return text


def _hanging(name: str, text: Text, width: int) -> Grid:
    """A name with a text beside it, whose lines all begin at the same place."""
    grid = Grid.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True, width=width + 2)
    grid.add_row(Text(f"  {name}"), text)
    return grid


def print_datasets(
    console: Console,
    name: str | None,
    plugins: tuple[Path, ...],
    data_dir: Path | None,
    *,
    as_json: bool,
) -> None:
    """Print one data set in full, or without a name one line for each."""
    if name is None:
        title = "Data sets; FILE.npz and FOLDER/ are data sets, too"
        print_records(console, title, list_datasets(plugins), ABOUT, as_json=as_json)
        return
    facts = describe_dataset(name, plugins, data_dir)
    if as_json:
        emit(facts)
    else:
        print_facts(console, facts)


def list_datasets(plugins: tuple[Path, ...] = ()) -> list[dict[str, str]]:
    """Name and first line of the docstring of every data set, by name."""
    known = sorted(registry.datasets(plugins).items())
    return [{"name": name, "about": registry.about_dataset(loader)} for name, loader in known]


def describe_dataset(
    name: str, plugins: tuple[Path, ...] = (), data_dir: Path | None = None
) -> dict[str, Any]:
    """Read a data set, which checks its files, and say what is in it.

    Raises UserError where it is unknown, damaged, or not downloaded yet.
    """
    known = registry.datasets(plugins)
    images = load(name, datasets=known, data_dir=data_dir)
    facts: dict[str, Any] = {
        "name": name,
        "n_train": len(images.y_train),
        "n_test": len(images.y_test),
        "image_shape": images.x_train.shape[1:],
        "class_names": images.class_names,
        "mirror": images.mirror,
    }
    if name in known:
        facts["about"] = registry.about_dataset(known[name])
    if images.note:
        facts["note"] = images.note
    return facts


def export_dataset(
    console: Console,
    name: str,
    path: Path,
    plugins: tuple[Path, ...],
    data_dir: Path | None,
    *,
    n_train: int | None,
    n_test: int | None,
    download: bool,
    as_json: bool,
) -> None:
    """Write the images of a data set to an .npz file, and print the hash that rows have of it.

    Raises UserError where the data set cannot be had, has fewer images, or the file exists.
    """
    if path.suffix != ".npz":
        raise UserError(f"{name_of(path)}: expected the name of an .npz file to write")
    with explained(path, "cannot write there"):
        if path.exists():
            raise UserError(f"{name_of(path)}: exists already; remove it, or give another name")
    known = registry.datasets(plugins)
    images = load(name, datasets=known, data_dir=data_dir, download=download)
    part = replace(
        images,
        x_train=first(images.x_train, "--train", n_train),
        y_train=images.y_train[:n_train],
        x_test=first(images.x_test, "--test", n_test),
        y_test=images.y_test[:n_test],
    )
    use = options_of(path, part)
    try:
        npz.write(path, part)
    except UserError as error:
        raise UserError(f"{name_of(name)}: {error}") from None
    written = replace(npz.read(path), mirror=images.mirror)
    facts = {
        "file": str(path),
        "n_train": len(part.y_train),
        "n_test": len(part.y_test),
        "data": fingerprint(written),
        "use": use,
    }
    if as_json:
        emit(facts)
    else:
        print_facts(console, facts)


def options_of(path: Path, images: ImageSet) -> str:
    """Write the options by which `run` takes a file of images; a fifth to test on if it has none.

    The last training images are taken, but not those before which a class would have no image.
    """
    source = f"{path}[mirror=true]" if images.mirror else str(path)
    words = ["--datasets", list_item(source)]
    if not len(images.y_test):
        _, first_of_class = np.unique(images.y_train, return_index=True)
        n_spare = len(images.y_train) - 1 - first_of_class.max()
        if not n_spare:
            raise UserError(
                f"{name_of(path)}: no image would be left to test on; give more of them"
            )
        words += ["--test-from-train", str(min(n_spare, -(-len(images.y_train) // 5)))]
    return shlex.join(words)


def first(x: NDArray[np.uint8], option: str, n: int | None) -> NDArray[np.uint8]:
    """Return the first n images; None for all. Raises UserError where there are fewer."""
    if n is not None and n > len(x):
        raise UserError(f"{option} {n}: there are {len(x):,} images")
    return x[:n]


def print_tracks(console: Console, *, as_json: bool) -> None:
    """Print the tracks that come with the package, and where their files are."""
    records = list_tracks()
    if as_json:
        emit(records)
        return
    about = [{"name": record["name"], "about": record["about"]} for record in records]
    print_records(console, "Tracks", about, ABOUT, as_json=False)
    folder = Path(records[0]["file"]).parent
    print_line(console, f"Their files: {escape(str(folder / 'NAME.toml'))}")


def list_tracks() -> list[dict[str, str]]:
    """Name, description and file of every track that comes with the package."""
    records = []
    for name, path in track.packaged().items():
        about = track.load_track(name).description
        records.append({"name": name, "about": about, "file": str(path)})
    return records
