"""A track: a TOML file that says what to run."""

import itertools
import math
import re
import tomllib
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from ddl_bench.data.splits import Splits
from ddl_bench.errors import UserError, nearest
from ddl_bench.files import read_regular
from ddl_bench.options import Seed
from ddl_bench.params import flat
from ddl_bench.plan.cell import BudgetSpec, Limits, Machine, Strict, label_meant

MOST_BYTES = 1_000_000  # of a track file


class MethodEntry(Strict):
    """One line of the table: a method with its options.

    Parameters
    ----------
    name
        A registered name, or that of a method in a plugin file.
    label
        Its name in tables; by default the name with its options.
    params
        Options of the method.
    grid
        Lists of values to choose from on validation images.
    budget
        Instead of the track's.
    only
        Names of the data sets that it is for; by default all.
    paper
        The row of the paper's table that it stands beside.
    ms_per_image
        Expected training time for an image and a pass, for `--dry-run` (measured on two cores).
    """

    name: str
    label: str = ""
    params: dict[str, Any] = Field(default_factory=dict)
    grid: dict[str, Annotated[list[Any], Field(min_length=1)]] = Field(default_factory=dict)
    budget: BudgetSpec | None = None
    only: list[str] = Field(default_factory=list)
    paper: str = ""
    ms_per_image: float | None = Field(None, gt=0)

    @property
    def title(self) -> str:
        """The label, or the name with its options as a command line takes them."""
        options = ", ".join(f"{key}={value}" for key, value in flat(self.params).items())
        return self.label or (f"{self.name}[{options}]" if options else self.name)


class DataEntry(Strict):
    """A data set: a registered name, a path ending in .npz or a folder of class folders."""

    source: str
    mirror: bool | None = None


class Track(Strict):
    """A track file, checked: unknown keys are errors.

    Parameters
    ----------
    reference
        Label of the method that all others are compared with; chosen before any result is known.
    pairs
        Labels of methods that are compared, two by two. Without them and a reference each method
        is compared with the best.
    """

    name: str = Field(pattern=r"^[\w.-]+$")
    description: str = ""
    seeds: list[Seed] = Field([0], min_length=1)
    budget: BudgetSpec
    machine: Machine = Machine()
    limits: Limits = Limits()
    splits: Splits = Splits()
    datasets: list[DataEntry] = Field(min_length=1)
    methods: list[MethodEntry] = Field(min_length=1)
    reference: str = ""
    pairs: list[tuple[str, str]] = Field(default_factory=list)

    def entries_named(self, text: str) -> list[MethodEntry]:
        """Return the methods that a text names: by their label, or else by their name.

        Spaces in a label may be left out.
        """
        labelled = [entry for entry in self.methods if entry.title == text]
        named = labelled or [entry for entry in self.methods if entry.name == text]
        label = label_meant(text, (entry.title for entry in self.methods))
        return named or [entry for entry in self.methods if entry.title == label]


def packaged() -> dict[str, Path]:
    """List the tracks that come with the package, by name."""
    folder = Path(str(resources.files("ddl_bench") / "tracks"))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def load_track(name: str) -> Track:
    """Read a packaged track by name, or a track file by path.

    Raises UserError, one line, for every mistake in it.
    """
    path = Path(name) if name.endswith(".toml") else packaged().get(name)
    if path is None:
        valid = nearest(name, packaged())
        raise UserError(f"no track {name!r}: {valid}; or give the path of a .toml file")
    try:
        text = read_regular(path, MOST_BYTES).decode()
        values = tomllib.loads(text)
        refuse_long_numbers(values)
        track = Track.model_validate(values)
    except FileNotFoundError:
        raise UserError(f"{path}: no such track file") from None
    except ValidationError as error:
        raise UserError(f"{path}: {first_mistake(error)}") from None
    except RecursionError:
        raise UserError(f"{path}: not valid TOML: nested too deeply") from None
    except ValueError as error:  # no UTF-8, no TOML, or a number of thousands of digits
        raise UserError(f"{path}: not valid TOML: {error}") from None
    check_comparisons(track, path)
    return track


def refuse_long_numbers(value: Any) -> None:
    """Raise ValueError for a whole number beyond the 64 bits that TOML has for one."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            refuse_long_numbers(each)
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError("a whole number of more than 64 bits")


def check_comparisons(track: Track, path: Path) -> None:
    """Raise UserError for comparisons of labels that the track does not have."""
    labels = {entry.title for entry in track.methods}
    compared = {"reference": [track.reference] if track.reference else []}
    for index, pair in enumerate(track.pairs):
        compared[f"pairs[{index}]"] = list(pair)
        if pair[0] == pair[1]:
            raise UserError(f"{path}: pairs[{index}]: {pair[0]!r} is compared with itself")
    for key, named in compared.items():
        for label in named:
            if label not in labels:
                raise UserError(f"{path}: {key}: no method {label!r}: {nearest(label, labels)}")
    if track.reference and track.pairs:
        raise UserError(f"{path}: give either reference or pairs, not both")


EXPECTED = {"device": "expected cpu, cuda or cuda:NUMBER"}  # where pydantic would name a pattern
OPTIONS = {"time_s": "time-limit", "memory_gb": "memory-limit-gb"}  # of `run`, by key of a track


def override(track: Track, values: Mapping[str, Any]) -> Track:
    """Return the track with other values of some keys, which are options of `run` too.

    A dictionary replaces single keys of a nested part. Raises UserError that names the option.
    """
    changed = dict(track)
    for key, value in values.items():
        nested = isinstance(value, Mapping)
        changed[key] = {**changed[key].model_dump(), **value} if nested else value
    try:
        return Track.model_validate(changed)
    except ValidationError as error:
        mistake = error.errors()[0]
        keys = [part for part in mistake["loc"] if isinstance(part, str)]
        option = OPTIONS.get(keys[-1], keys[-1])
        text = expected_of(mistake)
        value = values[keys[0]]
        if len(keys) > 1 and isinstance(value, Mapping):
            value = value.get(keys[1])
        raise UserError(f"--{option.replace('_', '-')} {value}: {text}") from None


def expected_of(mistake: Mapping[str, Any]) -> str:
    """Say what a value should have been, of a mistake that pydantic found."""
    key = mistake["loc"][-1]
    is_pattern = mistake["type"] == "string_pattern_mismatch"
    return str(EXPECTED.get(key, mistake["msg"]) if is_pattern else mistake["msg"])


def first_mistake(error: ValidationError) -> str:
    """Say the first mistake of a track in one line: where, what, and the nearest valid key."""
    mistake = error.errors()[0]
    dotted = ".".join(str(part) for part in mistake["loc"])
    place = re.sub(r"\.(\d+)", r"[\1]", dotted)
    if mistake["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        *parents, key = mistake["loc"]
        text = f"{place}: unknown key: {nearest(str(key), valid_keys(parents))}"
    else:
        text = f"{place}: {expected_of(mistake).removeprefix('Value error, ')}"
        value = mistake.get("input")
        if mistake["type"] != "missing" and not isinstance(value, dict):
            text += f", got {value!r}"
    others = error.error_count() - 1
    return f"{text} (and {others} more)" if others else text


def valid_keys(parents: list[int | str]) -> list[str]:
    """List the keys that a part of a track may have."""
    parts: dict[str, Any] = {
        "methods": MethodEntry,
        "datasets": DataEntry,
        "budget": BudgetSpec,
        "machine": Machine,
        "limits": Limits,
    }
    names = [part for part in parents if isinstance(part, str)]
    if names[-1:] == ["splits"]:
        return list(Splits.__dataclass_fields__)
    model = parts[names[-1]] if names else Track
    return list(model.model_fields)


def n_points(grid: Mapping[str, list[Any]]) -> int:
    """Count the combinations of a grid without making them."""
    return math.prod(len(values) for values in grid.values())


def grid_points(grid: Mapping[str, list[Any]]) -> Iterator[dict[str, Any]]:
    """Yield every combination of a grid; one empty point where there is no grid.

    The first of equally good points is chosen, so that the order in which a track names its options
    changes nothing.
    """
    names = sorted(grid)
    for values in itertools.product(*(grid[name] for name in names)):
        yield dict(zip(names, values, strict=True))
