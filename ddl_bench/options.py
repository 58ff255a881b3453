"""Types of options with a range, and the checks that a method makes when it is created.

`ddl-bench methods` shows these types as int and float.
"""

import dataclasses
import typing
from functools import cache
from typing import Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

Positive = Annotated[int, Field(ge=1)]
NotNegative = Annotated[int, Field(ge=0)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # what numpy and torch both take
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]

STRICT = ConfigDict(strict=True, arbitrary_types_allowed=True)


def check_options(method: Any) -> None:
    """Check every field of a dataclass against its annotation; call it in `__post_init__`.

    Values are checked, not converted: an int may stand for a float, and nothing else.

    Raises
    ------
    ValueError
        Naming the class, the option, its value and what was expected.

    Examples
    --------
    >>> @dataclasses.dataclass(frozen=True)
    ... class Method:
    ...     depth: Positive = 3
    ...     def __post_init__(self) -> None:
    ...         check_options(self)
    >>> Method(depth=0)
    Traceback (most recent call last):
    ValueError: Method(depth=0): must be greater than or equal to 1
    """
    cls: Any = type(method)
    for name, adapter in _adapters(cls).items():
        value = getattr(method, name)
        try:
            adapter.validate_python(value)
        except ValidationError as error:
            expected = error.errors()[0]["msg"].replace("Input should be", "must be")
            if _accepts_none(adapter):
                expected += ", or None"
            raise ValueError(f"{cls.__name__}({name}={value!r}): {expected}") from None


def refuse_without_effect(method: Any, names: tuple[str, ...], reason: str) -> None:
    """Refuse options that would do nothing: those of `names` that differ from their default.

    Parameters
    ----------
    names
        The options that have no effect on this method.
    reason
        When that is so and what to do, to follow "has no effect ...".

    Raises
    ------
    ValueError
        Naming the class, the first such option, its value and the reason.
    """
    for field in dataclasses.fields(method):
        value = getattr(method, field.name)
        if field.name in names and value != field.default:
            call = f"{type(method).__name__}({field.name}={value!r})"
            raise ValueError(f"{call}: has no effect {reason}")


@cache
def _adapters(cls: type) -> dict[str, TypeAdapter[Any]]:
    """What checks each field of a dataclass; made once, which takes longer than to use it."""
    hints = typing.get_type_hints(cls, include_extras=True)
    names = [field.name for field in dataclasses.fields(cls)]
    return {name: TypeAdapter(hints[name], config=STRICT) for name in names}


def _accepts_none(adapter: TypeAdapter[Any]) -> bool:
    try:
        adapter.validate_python(None)
    except ValidationError:
        return False
    return True
