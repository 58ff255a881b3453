"""What to run: a track (a TOML file) and its cells (method x data set x seed)."""

import dataclasses
import hashlib
import itertools
import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ddl_bench.api import Budget, UserError
from ddl_bench.data.splits import Splits
from ddl_bench.options import NotNegative
from ddl_bench.registry import nearest


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BudgetSpec(Strict):
    """`epochs` or `seconds`, exactly one."""

    epochs: int | None = Field(None, ge=1)
    seconds: float | None = Field(None, gt=0)

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.epochs is None) == (self.seconds is None):
            raise ValueError("give either epochs or seconds")
        return self

    @classmethod
    def parse(cls, text: str) -> Self:
        """`40e` is 40 epochs; `90s`, `3m` and `1.5h` are times."""
        match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*(e|epochs?|s|m|h)\s*", text)
        number = float(match[1]) if match else 0.0
        if not match or number <= 0:
            raise UserError(f"--budget {text!r}: expected epochs or a time, such as 40e, 90s, 3m or 1.5h")
        if match[2].startswith("e"):
            return cls(epochs=max(1, round(number)))
        return cls(seconds=number * {"s": 1, "m": 60, "h": 3600}[match[2]])

    def __str__(self) -> str:
        return f"{self.epochs} epochs" if self.epochs else f"{self.seconds:g} s"


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


class Cell(Strict):
    """One training run: everything a worker process needs."""

    label: str
    method: str
    params: dict[str, Any]
    grid: dict[str, list[Any]]
    source: str = Field(description="hash of the method's code")
    plugins: tuple[str, ...]
    dataset: str
    mirror: bool | None
    data_dir: str
    data: str = Field(description="hash of the images and labels")
    splits: Splits
    budget: BudgetSpec
    seed: int
    device: str
    threads: int
    precision: Literal["float32", "bfloat16"]
    time_limit: float
    memory_limit_gb: float
    expected_s: float | None = None
    paper: str = ""
    track: str = ""
    keep_model: bool = False

    @property
    def group(self) -> str:
        """What must be equal for two rows to be averaged over seeds."""
        return self._hash("method params grid data splits budget device threads precision mirror")

    @property
    def id(self) -> str:
        return self._hash("method params grid data splits budget device threads precision mirror seed source")

    def _hash(self, names: str) -> str:
        values = self.model_dump(mode="json", include=set(names.split()))
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]

    def command(self) -> str:
        """The command line that runs this cell again."""
        words = ["ddl-bench", "run", self.track, "--methods", self.label, "--datasets"]
        words.append(self.dataset if self.mirror is None else f"{self.dataset}[mirror={str(self.mirror).lower()}]")
        words += ["--seeds", str(self.seed), "--budget", str(self.budget).replace(" epochs", "e").replace(" ", "")]
        words += ["--device", self.device, "--threads", str(self.threads), "--precision", self.precision]
        for name, value in dataclasses.asdict(self.splits).items():
            if value is not None:
                words += [f"--{name.replace('_', '-')}", str(value)]
        for path in self.plugins:
            words += ["--plugin", path]
        return shlex.join(words)

    def budget_for_method(self) -> Budget:
        return Budget(
            epochs=self.budget.epochs,
            seconds=self.budget.seconds,
            seed=self.seed,
            device=self.device,
            threads=self.threads,
            precision=self.precision,
        )


def packaged() -> dict[str, Path]:
    """The tracks that come with the package, by name."""
    folder = Path(str(resources.files("ddl_bench") / "tracks"))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def load_track(name: str) -> Track:
    """Read a packaged track by name, or a track file by path. Every mistake in it is a one-line UserError."""
    path = Path(name) if name.endswith(".toml") else packaged().get(name)
    if path is None:
        raise UserError(f"no track {name!r}: {nearest(name, packaged())}; or give the path of a .toml file")
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
        valid = Splits.__dataclass_fields__ if owner == "splits" else _PARTS.get(owner, Track).model_fields
        text = f"{where}: unknown key: {nearest(str(key), valid)}"
    elif "input" in mistake and mistake["type"] != "missing" and not isinstance(mistake["input"], dict):
        text += f", got {mistake['input']!r}"
    more = error.error_count() - 1
    return text + (f" (and {more} more)" if more else "")


def grid_points(grid: dict[str, list[Any]]) -> Iterator[dict[str, Any]]:
    """Every combination of a grid; one empty point where there is no grid."""
    for values in itertools.product(*grid.values()):
        yield dict(zip(grid, values, strict=True))
