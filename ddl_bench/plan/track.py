"""What to run: a track (a TOML file) and its cells (method x data set x seed)."""

import itertools
import re
import tomllib
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from ddl_bench.data.splits import Splits
from ddl_bench.errors import UserError, nearest
from ddl_bench.options import NotNegative
from ddl_bench.plan.cell import BudgetSpec, Strict


class MethodEntry(Strict):
    """One line of the table: a method with its options.

    `grid` lists values to choose from on validation images; `only` names the data sets it is for, where not for all;
    `paper` is the row of the paper's table to stand beside; `ms_per_image` is the expected training time an image and
    pass, for `--dry-run` (measured on two cores).
    """

    name: str
    label: str = ""
    params: dict[str, Any] = {}
    grid: dict[str, list[Any]] = {}
    budget: BudgetSpec | None = None
    only: list[str] = []
    paper: str = ""
    ms_per_image: float | None = Field(None, gt=0)


class DataEntry(Strict):
    """A data set: a registered name, a path ending in .npz or a folder of class folders."""

    source: str
    mirror: bool | None = None


class Track(Strict):
    """A track file, checked: unknown keys are errors."""

    name: str = Field(pattern=r"^[\w.-]+$")
    description: str = ""
    seeds: list[NotNegative] = Field([0], min_length=1)
    budget: BudgetSpec
    threads: int | None = Field(None, ge=1)
    device: str = Field("cpu", pattern=r"^(cpu|cuda(:\d+)?)$")
    precision: Literal["float32", "bfloat16"] = "float32"
    time_limit: float = Field(3600, gt=0, description="hard limit of a cell, seconds")
    memory_limit_gb: float = Field(16, gt=0)
    splits: Splits = Splits()
    datasets: list[DataEntry] = Field(min_length=1)
    methods: list[MethodEntry] = Field(min_length=1)


def packaged() -> dict[str, Path]:
    """The tracks that come with the package, by name."""
    folder = Path(str(resources.files("ddl_bench") / "tracks"))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def load_track(name: str) -> Track:
    """Read a packaged track by name, or a track file by path. Every mistake in it is a one-line UserError."""
    path = Path(name) if name.endswith(".toml") else packaged().get(name)
    if path is None:
        raise UserError(
            f"no track {name!r}: {nearest(name, packaged())}; or give the path of a .toml file"
        )
    try:
        return Track.model_validate(tomllib.loads(path.read_text()))
    except FileNotFoundError:
        raise UserError(f"{path}: no such track file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid TOML: {error}") from None
    except ValidationError as error:
        raise UserError(f"{path}: {_first(error)}") from None


def override(track: Track, values: dict[str, Any]) -> Track:
    """The track with other values of some keys, which are options of `run` too. UserError names the option."""
    try:
        return Track.model_validate(dict(track) | values)
    except ValidationError as error:
        mistake = error.errors()[0]
        key = str(mistake["loc"][0])
        raise UserError(f"--{key.replace('_', '-')} {values[key]}: {mistake['msg']}") from None


_PARTS: dict[str, Any] = {"methods": MethodEntry, "datasets": DataEntry, "budget": BudgetSpec}


def _first(error: ValidationError) -> str:
    """The first mistake in one line: where, what, and the nearest valid key for an unknown one."""
    mistake = error.errors()[0]
    where = re.sub(r"\.(\d+)", r"[\1]", ".".join(str(part) for part in mistake["loc"]))
    text = f"{where}: {mistake['msg'].removeprefix('Value error, ')}"
    if mistake["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        *parents, key = mistake["loc"]
        owner = next((str(part) for part in reversed(parents) if isinstance(part, str)), "")
        valid = (
            Splits.__dataclass_fields__
            if owner == "splits"
            else _PARTS.get(owner, Track).model_fields
        )
        text = f"{where}: unknown key: {nearest(str(key), valid)}"
    elif (
        "input" in mistake
        and mistake["type"] != "missing"
        and not isinstance(mistake["input"], dict)
    ):
        text += f", got {mistake['input']!r}"
    more = error.error_count() - 1
    return text + (f" (and {more} more)" if more else "")


def grid_points(grid: dict[str, list[Any]]) -> Iterator[dict[str, Any]]:
    """Every combination of a grid; one empty point where there is no grid."""
    for values in itertools.product(*grid.values()):
        yield dict(zip(grid, values, strict=True))
