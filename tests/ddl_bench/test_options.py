"""Options are checked where a method is made, from Python too."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from ddl_bench.options import (
    NotNegative,
    NotNegativeFloat,
    Positive,
    PositiveFloat,
    check_options,
    refuse_without_effect,
)

Rates = Annotated[tuple[PositiveFloat, ...], Field(min_length=1)]


@dataclass(frozen=True)
class Made:
    depth: Positive | None = None
    kind: Literal["small", "large"] = "small"
    skip: NotNegative = 0
    lmbd: NotNegativeFloat = 0.1
    whiten: bool = True
    rates: Rates = (1.0,)

    def __post_init__(self) -> None:
        check_options(self)
        if not self.whiten:
            refuse_without_effect(self, ("lmbd", "skip"), "with whiten=False; leave it out")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"depth": 1, "lmbd": 0, "skip": 3, "kind": "large", "rates": (0.1, 2)},
        {"whiten": False},
        {"whiten": False, "lmbd": 0.1},
    ],
)
def test_what_is_in_range_is_taken_as_it_is(options: dict[str, Any]) -> None:
    made = Made(**options)
    for name, value in options.items():
        assert getattr(made, name) is value


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 0}, r"Made\(depth=0\): must be greater than or equal to 1, or None"),
        ({"depth": "3"}, r"Made\(depth='3'\): must be a valid integer, or None"),
        ({"depth": True}, r"Made\(depth=True\): must be a valid integer, or None"),
        ({"skip": None}, r"Made\(skip=None\): must be a valid integer$"),
        ({"kind": "huge"}, r"Made\(kind='huge'\): must be 'small' or 'large'"),
        ({"lmbd": -1.0}, r"Made\(lmbd=-1.0\): must be greater than or equal to 0"),
        ({"lmbd": float("nan")}, r"Made\(lmbd=nan\): must be a finite number"),
        ({"whiten": 0}, r"Made\(whiten=0\): must be a valid boolean"),
        ({"rates": ()}, r"Made\(rates=\(\)\): Tuple should have at least 1 item"),
        ({"rates": (1.0, 0.0)}, r"Made\(rates=\(1.0, 0.0\)\): must be greater than 0"),
        (
            {"whiten": False, "skip": 2},
            r"Made\(skip=2\): has no effect with whiten=False; leave it out",
        ),
    ],
)
def test_anything_else_is_refused_by_name(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Made(**options)
