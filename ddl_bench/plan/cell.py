"""A cell: one training, with everything that a worker process needs to know."""

import dataclasses
import hashlib
import json
import re
import shlex
from collections.abc import Iterable, Mapping
from decimal import Decimal
from functools import cached_property
from typing import Any, Literal, NamedTuple, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from ddl_bench.api import Budget
from ddl_bench.data.splits import Splits
from ddl_bench.errors import UserError
from ddl_bench.params import list_item
from ddl_bench.plan.identity import IDENTITY_VERSION

# What determines a result besides its seed and the method's code: rows that agree in it are seeds
# of one line of the table. The only place where this list stands.
SETTINGS = frozenset({"method", "params", "grid", "data", "splits", "budget", "machine", "mirror"})
Precision = Literal["float32", "bfloat16"]
as_json = json.JSONEncoder(sort_keys=True).encode  # made once, which takes as long as to use it
SECONDS = {"s": 1, "m": 60, "h": 3600}
MOST = 10**9  # epochs or seconds
# Fields of the models below that hold numbers.
NUMBERS = (
    "seed",
    "seeds",
    "expected_s",
    "identity",
    "epochs",
    "seconds",
    "threads",
    "time_s",
    "memory_gb",
    "ms_per_image",
)


SHARED: dict[object, "SharedSettings"] = {}  # that were met, by what tells them apart


class Strict(BaseModel):
    """A frozen model in which an unknown key is an error, and so is a bool in place of a number."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator(*NUMBERS, mode="before", check_fields=False)
    @classmethod
    def _no_bool_as_number(cls, value: Any) -> Any:
        values = value if isinstance(value, list) else [value]
        if any(isinstance(each, bool) for each in values):
            raise ValueError("expected a number, not true or false")
        return value


class BudgetSpec(Strict):
    """How much a cell may train: `epochs` or `seconds`, exactly one of them."""

    epochs: int | None = Field(None, ge=1, lt=MOST)
    seconds: float | None = Field(None, gt=0, lt=MOST)

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.epochs is None) == (self.seconds is None):
            raise ValueError("give either epochs or seconds")
        return self

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a budget from a command line: `40e` is 40 epochs; `90s`, `3m`, `1.5h` are times."""
        match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*(e|epochs?|s|m|h)\s*", text)
        unit = match[2] if match else "s"
        amount = float(match[1]) * SECONDS.get(unit, 1) if match else 0.0
        if not 0 < amount < MOST:
            examples = "such as 40e, 90s, 3m or 1.5h"
            raise UserError(f"--budget {text!r:.80}: expected epochs or a time, {examples}")
        if unit.startswith("e"):
            if not amount.is_integer():
                raise UserError(f"--budget {text!r:.80}: expected a whole number of epochs")
            return cls(epochs=round(amount))
        return cls(seconds=amount)

    def __str__(self) -> str:
        return f"{self.epochs} epochs" if self.epochs else f"{self.seconds:g} s"

    def as_option(self) -> str:
        """Write the budget as the command line takes it: `40e` or `90s`."""
        if self.epochs:
            return f"{self.epochs}e"
        exact = Decimal(repr(self.seconds)).normalize()  # all digits, and no exponent
        return f"{exact:f}s"


class Machine(Strict):
    """What a cell runs on; part of its identity. `threads` None: all cores of this process."""

    device: str = Field("cpu", pattern=r"^(cpu|cuda(:\d+)?)$")
    threads: int | None = Field(None, ge=1)
    precision: Precision = "float32"


class Limits(Strict):
    """Hard limits of a cell, beyond which its worker is ended: seconds and 10^9 bytes."""

    time_s: float = Field(3600, gt=0)
    memory_gb: float = Field(16, gt=0)


def label_meant(text: str, labels: Iterable[str]) -> str:
    """Return the label that a text means: itself, or else the first that differs in spaces alone.

    Where none is meant it is the text.
    """
    known = list(labels)
    if text in known:
        return text
    tight = text.replace(" ", "")
    return next((label for label in known if label.replace(" ", "") == tight), text)


class Cell(Strict):
    """One training: a method on a data set with a seed."""

    label: str
    method: str
    params: dict[str, Any]
    grid: dict[str, list[Any]]
    source: str = Field(description="hash of what the method computes with")
    plugins: tuple[str, ...]
    dataset: str
    mirror: bool | None
    data_dir: str
    data: str = Field(description="hash of the images and labels")
    splits: Splits
    budget: BudgetSpec
    seed: int
    machine: Machine
    limits: Limits = Limits()
    expected_s: float | None = None
    paper: str = ""
    track: str = ""
    reference: str = Field("", description="the label that its track compares all others with")
    pairs: tuple[tuple[str, str], ...] = Field((), description="labels that its track compares")
    keep_model: bool = False
    identity: int = IDENTITY_VERSION
    older_id: str = Field(
        "", description="of a row by an older rule, or one that is public without paths in options"
    )

    @cached_property
    def shared(self) -> "SharedSettings":
        """What the cell shares with all that have the same settings.

        Equal numbers of different types are told apart by `repr`.
        """
        machine = self.machine
        budget = self.budget
        key = (
            self.method, self.data, self.mirror, machine.device, machine.threads, machine.precision,
            budget.epochs, budget.seconds, repr(self.splits), repr(self.params), repr(self.grid),
        )  # fmt: skip
        if key not in SHARED:
            SHARED[key] = SharedSettings(self)
        return SHARED[key]

    @property
    def settings(self) -> str:
        """A hash of what was asked for, whatever the seed and the code were."""
        return self.shared.settings

    @property
    def group(self) -> str:
        """What must be equal for two rows to be seeds of one line of a table, code included.

        A row that does not know its code is grouped by its settings.
        """
        if not self.source:
            return self.settings
        return self.shared.coded(self.source, self.identity).group

    @cached_property
    def id(self) -> str:
        """The name of the cell's files: a hash of what determines its result."""
        if self.older_id:
            return self.older_id
        coded = self.shared.coded(self.source, self.identity)
        return digest_of(f"{coded.before_seed}{self.seed}{coded.after_seed}")

    @property
    def threads(self) -> int:
        """Threads of the cell; a plan always fixes their number."""
        if self.machine.threads is None:
            raise ValueError("a plan fixes the number of threads")
        return self.machine.threads

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Copy the cell with other values of some fields, and hash it anew when it is asked."""
        copy = super().model_copy(update=dict(update or {}), deep=deep)
        for name in copy.__dict__.keys() - type(self).model_fields.keys():
            del copy.__dict__[name]
        return copy

    def with_seed(self, seed: int) -> Self:
        """Copy the cell with another seed, in the same line."""
        copy = self.model_copy(update={"seed": seed})
        copy.__dict__["shared"] = self.shared
        return copy

    def command(self, *, fresh_process: bool = False) -> str:
        """Return the command line that runs this cell again."""
        dataset = self.dataset
        if self.mirror is not None:
            dataset += f"[mirror={str(self.mirror).lower()}]"
        options: dict[str, Any] = {
            "methods": list_item(self.label),
            "datasets": list_item(dataset),
            "seeds": self.seed,
            "budget": self.budget.as_option(),
            "device": self.machine.device,
            "threads": self.machine.threads,
            "precision": self.machine.precision,
            "time_limit": self.limits.time_s,
            "memory_limit_gb": self.limits.memory_gb,
            "data_dir": self.data_dir or None,
        }
        options |= dataclasses.asdict(self.splits)
        words = ["ddl-bench", "run", self.track]
        for name, value in options.items():
            if value is not None:
                words += [f"--{name.replace('_', '-')}", str(value)]
        for path in self.plugins:
            words += ["--plugin", path]
        if self.keep_model:
            words.append("--keep-models")
        if fresh_process:
            words.append("--fresh-process")
        return shlex.join(words)

    def budget_for_method(self) -> Budget:
        """Return the budget as the method sees it."""
        return Budget(
            epochs=self.budget.epochs,
            seconds=self.budget.seconds,
            seed=self.seed,
            device=self.machine.device,
            threads=self.threads,
            precision=self.machine.precision,
        )


class Coded(NamedTuple):
    """What cells of one line share that were trained with the same code.

    `before_seed` and `after_seed` are the text whose hash is the ID of a cell.
    """

    group: str
    before_seed: str
    after_seed: str


class SharedSettings:
    """The settings that cells share, as JSON writes them: every hash of a cell is made of these.

    Parameters
    ----------
    cell
        Any cell of the line.
    """

    def __init__(self, cell: Cell) -> None:
        values = cell.model_dump(mode="json", include=set(SETTINGS))
        self._texts = {name: as_json(value) for name, value in values.items()}
        self._coded: dict[tuple[str, int], Coded] = {}
        self.settings = digest_of(json_object(self._texts))

    def coded(self, source: str, identity: int) -> Coded:
        """Return what cells with this code share."""
        code = (source, identity)
        if code not in self._coded:
            texts = {**self._texts, "source": as_json(source), "identity": as_json(identity)}
            before = {name: text for name, text in texts.items() if name < "seed"}
            after = {name: text for name, text in texts.items() if name > "seed"}
            self._coded[code] = Coded(
                digest_of(json_object(texts)),
                json_object(before).removesuffix("}") + ', "seed": ',
                ", " + json_object(after).removeprefix("{"),
            )
        return self._coded[code]


def json_object(texts: Mapping[str, str]) -> str:
    """Write an object whose values are JSON already, its keys in order."""
    pairs = [f'"{name}": {texts[name]}' for name in sorted(texts)]
    return f"{{{', '.join(pairs)}}}"


def hash_of(values: Mapping[str, Any]) -> str:
    """Return 12 hexadecimal digits of the SHA-256 of values that JSON can write."""
    return digest_of(as_json(values))


def digest_of(text: str) -> str:
    """Return 12 hexadecimal digits of the SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def settings_of(values: Mapping[str, Any]) -> str:
    """Return the `settings` of a cell whose fields a row holds in today's form."""
    return hash_of({name: values[name] for name in SETTINGS if name in values})


def renewed(values: Mapping[str, Any], cell_id: str) -> dict[str, Any]:
    """Bring the cell of a row that an older version wrote into today's form; its ID stays.

    Identity 1 had the keys of `Machine` and `Limits` side by side with the others, and hashed
    whole modules.
    """
    new = dict(values)
    machine = {key: new.pop(key) for key in ("device", "threads", "precision") if key in new}
    limits = {"time_s": new.pop("time_limit", 3600), "memory_gb": new.pop("memory_limit_gb", 16)}
    return new | {"machine": machine, "limits": limits, "identity": 1, "older_id": cell_id}
