"""A cell: one training run, with everything that a worker process needs to know."""

import dataclasses
import hashlib
import json
import re
import shlex
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ddl_bench.api import Budget
from ddl_bench.data.splits import Splits
from ddl_bench.errors import UserError


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
            raise UserError(
                f"--budget {text!r}: expected epochs or a time, such as 40e, 90s, 3m or 1.5h"
            )
        if match[2].startswith("e"):
            return cls(epochs=max(1, round(number)))
        return cls(seconds=number * {"s": 1, "m": 60, "h": 3600}[match[2]])

    def __str__(self) -> str:
        return f"{self.epochs} epochs" if self.epochs else f"{self.seconds:g} s"


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
        return self._hash(
            "method params grid data splits budget device threads precision mirror seed source"
        )

    def _hash(self, names: str) -> str:
        values = self.model_dump(mode="json", include=set(names.split()))
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]

    def command(self) -> str:
        """The command line that runs this cell again."""
        words = ["ddl-bench", "run", self.track, "--methods", self.label, "--datasets"]
        words.append(
            self.dataset
            if self.mirror is None
            else f"{self.dataset}[mirror={str(self.mirror).lower()}]"
        )
        words += [
            "--seeds",
            str(self.seed),
            "--budget",
            str(self.budget).replace(" epochs", "e").replace(" ", ""),
        ]
        words += [
            "--device",
            self.device,
            "--threads",
            str(self.threads),
            "--precision",
            self.precision,
        ]
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
