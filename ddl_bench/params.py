"""Options of a method: read from a command line or a track, checked against its fields.

A text such as `sdl[n_atoms=400,recipe.lr=0.1]` becomes a name and plain values (`parse_spec`), and
these become a method whose every option has the type that its field asks for (`make_method`).
"""

import dataclasses
import re
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError

from ddl_bench.api import Method
from ddl_bench.errors import UserError, nearest


def options_of(cls: type[Any]) -> dict[str, dataclasses.Field[Any]]:
    """List the options of a method, or the settings of such an option, by name."""
    if not dataclasses.is_dataclass(cls):
        return {}
    every = dataclasses.fields(cls)
    return {field.name: field for field in every if field.init}


def make_method(cls: type[Method], params: Mapping[str, Any], where: str = "") -> Method:
    """Build a method from plain values, each checked against the type of its field.

    Raises UserError that names the option, its value and what was expected.
    """
    place = f"{where}: " if where else ""
    hints = hints_of(cls, place)
    values = {}
    for key, value in nested(params).items():
        if key not in options_of(cls):
            choice = nearest_option(key, cls)
            raise UserError(f"{place}{cls.name} has no option {key!r}: {choice}")
        adapter = adapter_of(cls, key, hints[key], place)
        try:
            values[key] = adapter.validate_python(value)
        except ValidationError as error:
            mistake = mistake_in(key, value, error, hints[key])
            raise UserError(f"{place}{cls.name}, {mistake}") from None
        for name in converted_booleans(key, value, values[key]):
            text = "expected a number, not true or false"
            raise UserError(f"{place}{cls.name}, option {name!r}: {text}")
    try:
        return cls(**values)
    except Exception as error:  # a plugin's own checks may raise anything
        raise UserError(f"{place}{cls.name}: {error}") from None


def hints_of(cls: type[Any], place: str = "") -> dict[str, Any]:
    """Return the types of a method's options. Raises UserError where one cannot be resolved."""
    try:
        return typing.get_type_hints(cls, include_extras=True)
    except Exception as error:  # an annotation may be any expression
        text = f"the type of an option cannot be resolved: {error}"
        raise UserError(f"{place}{cls.name}: {text}") from None


def adapter_of(cls: type[Any], key: str, hint: Any, place: str = "") -> TypeAdapter[Any]:
    """Return what checks an option. Raises UserError for a type that cannot be checked."""
    try:
        return TypeAdapter(hint, config=leniency(hint))
    except PydanticUserError:
        text = f"values of {key!r} cannot be checked against {hint}"
        raise UserError(f"{place}{cls.name}: {text}; use int, float, str or bool") from None


def leniency(hint: Any) -> ConfigDict | None:
    """Lenient conversion; a dataclass alone takes no configuration from outside."""
    return None if dataclasses.is_dataclass(hint) else ConfigDict(strict=False)


def mistake_in(key: str, value: Any, error: ValidationError, hint: Any) -> str:
    """Name the option, or the setting within it, what it got and what was expected."""
    mistake = max(error.errors(), key=lambda each: len(each["loc"]))
    inner = [str(part) for part in mistake["loc"][1:]] if isinstance(value, Mapping) else []
    name = ".".join([key, *inner])
    if mistake["type"] == "unexpected_keyword_argument":
        valid = [f"{key}.{setting}" for setting in options_within(hint)]
        return f"no option {name!r}: {nearest(name, valid)}"
    got = mistake["input"] if inner else value
    return f"option {name!r} = {got!r}: {mistake['msg']}"


def converted_booleans(key: str, value: Any, made: Any) -> Iterator[str]:
    """Yield the options, also within an option, that were given a bool and became a number."""
    if isinstance(value, bool):
        if not isinstance(made, bool):
            yield key
    elif isinstance(value, Mapping):
        for name, each in value.items():
            yield from converted_booleans(f"{key}.{name}", each, getattr(made, name, each))
    elif isinstance(value, (list, tuple)) and isinstance(made, (list, tuple)):
        for each, one in zip(value, made, strict=True):
            yield from converted_booleans(key, each, one)


def options_class(hint: Any) -> type[Any] | None:
    """Return the frozen dataclass that is, or is in, the type of an option; None without one."""
    for kind in (hint, *typing.get_args(hint)):
        if isinstance(kind, type) and dataclasses.is_dataclass(kind):
            return kind
    return None


def options_within(hint: Any) -> dict[str, dataclasses.Field[Any]]:
    """Return the settings of an option that is a frozen dataclass, or a union with one, by name."""
    inner = options_class(hint)
    return options_of(inner) if inner else {}


def nearest_option(key: str, cls: type[Method]) -> str:
    """The end of an error message about an unknown option: the nearest one and all."""
    for name, hint in typing.get_type_hints(cls, include_extras=True).items():
        if name in options_of(cls) and key in options_within(hint):
            return f"did you mean '{name}.{key}'? valid: {', '.join(sorted(options_of(cls)))}"
    return nearest(key, options_of(cls))


def nested(params: Mapping[str, Any]) -> dict[str, Any]:
    """Gather options `a.b` under their option `a`; a plain `a` beside them is its `base`.

    Raises UserError where both ways give the same option.

    Examples
    --------
    >>> nested({"depth": 6, "recipe": "paper", "recipe.lr": 0.1})
    {'depth': 6, 'recipe': {'base': 'paper', 'lr': 0.1}}
    """
    options = {key: value for key, value in params.items() if "." not in key}
    for key, value in params.items():
        name, dot, inner = key.partition(".")
        if not dot:
            continue
        outer = options.get(name, {})
        settings = dict(outer) if isinstance(outer, Mapping) else {"base": outer}
        if inner in settings:
            raise UserError(f"option {key!r} is given twice, also within {name!r}; give it once")
        options[name] = settings | {inner: value}
    return options


def flat(params: Mapping[str, Any]) -> dict[str, Any]:
    """Write options within options as `a.b`: what `nested` gathers."""
    options: dict[str, Any] = {}
    for key, value in params.items():
        if isinstance(value, Mapping):
            options |= {f"{key}.{inner}": each for inner, each in value.items()}
        else:
            options[key] = value
    return options


def split_list(text: str) -> list[str]:
    r"""Split a list of a command line at its commas, but not within brackets or after a backslash.

    Examples
    --------
    >>> split_list(r"a, b[x=1,y=2], one\,two.npz")
    ['a', 'b[x=1,y=2]', 'one,two.npz']
    """
    parts = re.split(r"(?<!\\),(?![^\[]*\])", text)
    return [part.strip().replace("\\,", ",") for part in parts if part.strip()]


def list_item(text: str) -> str:
    """Write one item so that `split_list` finds it again."""
    if split_list(text) == [text]:
        return text
    return text.replace(",", "\\,")


def parse_spec(text: str, read: Callable[[str], Any] | None = None) -> tuple[str, dict[str, Any]]:
    """Split `name[key=value, ...]`, as given on a command line, into the name and its options.

    A key `a.b` sets `b` within option `a`, see `nested`. `read` makes values of texts; None: as
    `plain` does.
    """
    read = read or plain
    if not text.endswith("]") or "[" not in text:
        return text, {}
    name, _, inner = text[:-1].partition("[")
    options = {}
    for part in filter(None, (part.strip() for part in inner.split(","))):
        key, equals, value = part.partition("=")
        if not equals:
            advice = "; a list is given in a track file" if "(" in text else ""
            raise UserError(f"{text!r}: {part!r} is not key=value{advice}")
        key = key.strip()
        if key in options:
            raise UserError(f"{text!r}: {key!r} is given twice; give it once")
        options[key] = read(value.strip())
    return name.strip(), nested(options)


def plain(value: str) -> Any:
    """Read a value of a command line: true, false, none, a number, or else text."""
    words = {"true": True, "false": False, "none": None}
    if value.lower() in words:
        return words[value.lower()]
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value


def spelled(cls: type[Method], text: str) -> dict[str, Any]:
    """Return the options of `name[key=value, ...]`, as texts where an option takes nothing else.

    So `none`, `nan`, `1` and `true` can be given to an option that is a text.
    """
    _, values = parse_spec(text)
    _, texts = parse_spec(text, read=str)
    hints = hints_of(cls)
    return {key: _spelled(hints.get(key, Any), value, texts[key]) for key, value in values.items()}


def _spelled(hint: Any, value: Any, text: Any) -> Any:
    if isinstance(value, Mapping):
        inner = options_class(hint)
        hints = hints_of(inner) if inner else {}
        return {key: _spelled(hints.get(key, Any), each, text[key]) for key, each in value.items()}
    return text if not _takes(hint, value) and _takes(hint, text) else value


def _takes(hint: Any, value: Any) -> bool:
    """Whether an option of a type can have a value."""
    try:
        made = TypeAdapter(hint, config=leniency(hint)).validate_python(value)
    except (ValidationError, PydanticUserError):
        return False
    return not list(converted_booleans("", value, made))
