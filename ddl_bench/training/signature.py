"""Methods made of a function: its parameters become options, some are filled in from the task."""

import copy
import inspect
import sys
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, make_dataclass
from functools import partial
from typing import Any

from pydantic import PydanticSchemaGenerationError, PydanticUserError, TypeAdapter

PLAIN = (bool, int, float, str, type(None))


@dataclass(frozen=True)
class Option:
    """A parameter of a function that is an option of the method: its name, type and default."""

    name: str
    type: Any
    default: Any


def parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Return the named parameters of a function or a class."""
    collects = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    known = inspect.signature(function).parameters
    return {name: each for name, each in known.items() if each.kind not in collects}


def require_factory(maker: str, function: Any, attribute: str, expected: str) -> None:
    """Raise ValueError for an instance, which has a certain attribute, in place of its class."""
    if not callable(function) or (hasattr(function, attribute) and not isinstance(function, type)):
        name = type(function).__name__
        raise ValueError(f"{maker}: expected {expected}, got an instance of {name}")


def docstring(function: Callable[..., Any]) -> str:
    """Return the docstring that a function or a class itself has, or an empty text."""
    has_its_own = isinstance(function, type) or inspect.isfunction(function)
    return inspect.cleandoc(function.__doc__ or "") if has_its_own else ""


def options_of(
    maker: str,
    function: Callable[..., Any],
    defaults: Mapping[str, Any],
    filled: Iterable[str],
) -> list[Option]:
    """Return the options of a method that calls `function`: its parameters that are not `filled`.

    A parameter with a plain default is an option: a number, a string, a boolean, None, or a tuple
    or list of them. Another default stays as it is, no option.

    Parameters
    ----------
    maker
        The call that this is for, to begin an error with.
    function
        What the method calls.
    defaults
        Defaults that replace those of the function.
    filled
        Names of parameters that come from the task or the budget.

    Raises
    ------
    ValueError
        For a default that no parameter has, and for a parameter without a value.
    """
    known = parameters(function)
    free = {name: each for name, each in known.items() if name not in set(filled)}
    for name in defaults:
        if name not in free:
            raise ValueError(
                f"{maker}: no parameter {name!r} to give a value to; it has"
                f" {', '.join(free) or 'none'}"
            )
    hints = annotations(function)
    options = []
    for name, parameter in free.items():
        value = defaults.get(name, parameter.default)
        if value is inspect.Parameter.empty:
            raise ValueError(
                f"{maker}: give a value to each of its parameters, as in {name}=...; of itself it"
                f" fills in {', '.join(sorted(filled))}"
            )
        if name in defaults or _is_plain(value):
            options.append(Option(name, value_type(hints.get(name), value), value))
    return options


def call(function: Callable[..., Any], values: Mapping[str, Any], *leading: Any) -> Any:
    """Call a function with `leading` arguments and others, by name where it allows that."""
    named = dict(values)
    following = []
    for name, parameter in parameters(function).items():
        if parameter.kind is parameter.POSITIONAL_ONLY and name in named:
            following.append(named.pop(name))
    return function(*leading, *following, **named)


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return all(map(_is_plain, value))
    return isinstance(value, PLAIN)


def annotations(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the annotations of a function or of a class's parameters; none if one is unknown."""
    annotated: Any = function
    if isinstance(function, type):
        annotated = annotated.__init__
    try:
        return typing.get_type_hints(annotated, include_extras=True)
    except (NameError, TypeError):
        return {}


def value_type(hint: Any, default: Any) -> Any:
    """Return the annotation where values can be checked against it, else the default's type."""
    if hint is None:
        return type(default) if isinstance(default, bool | int | float | str) else Any
    try:
        TypeAdapter(hint)
    except (PydanticSchemaGenerationError, PydanticUserError):
        return Any
    return hint


def make_method(
    name: str,
    options: Iterable[Option],
    namespace: Mapping[str, Any],
    *,
    bases: tuple[type, ...] = (),
    depth: int = 2,
) -> type[Any]:
    """Make the frozen dataclass of a method.

    Parameters
    ----------
    name
        Of the method.
    options
        Its fields, besides those of the bases.
    namespace
        Its methods and class variables.
    bases
        Classes that it extends.
    depth
        How many calls above this one the module is that the class shall belong to.
    """
    fields = []
    for option in options:
        default = field(default_factory=partial(copy.copy, option.default))
        fields.append((option.name, option.type, default))
    home = sys._getframe(depth).f_globals["__name__"]
    namespace = {"name": name, "__module__": home, **namespace}
    title = "".join(part.capitalize() for part in name.replace("_", "-").split("-"))
    cls = make_dataclass(
        title or name, fields, bases=bases, namespace=namespace, frozen=True, kw_only=True
    )
    cls.__module__ = home  # afterwards, as of Python 3.12 on this is overwritten with ours
    return cls
