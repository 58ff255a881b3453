"""Methods and data sets by name: installed ones through entry points, others from a plugin file."""

import dataclasses
import importlib.util
import sys
import typing
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from ddl_bench.api import Method
from ddl_bench.errors import UserError, nearest

METHODS = "ddl_bench.methods"
DATASETS = "ddl_bench.datasets"
REPORTS = "ddl_bench.reports"


@cache
def plugin(path: Path) -> ModuleType:
    """Import a plugin file once."""
    if not path.is_file():
        raise UserError(f"--plugin {path}: no such file; give the path of a Python file")
    name = f"ddl_bench_plugin_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UserError(f"--plugin {path}: not a Python file; its name should end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        where = getattr(error, "lineno", None) or _line_in(path, error)
        raise UserError(
            f"--plugin {path}, line {where}: {type(error).__name__}: {error}"
        ) from error
    return module


def _line_in(path: Path, error: BaseException) -> int:
    line, trace = 0, error.__traceback__
    while trace:
        if trace.tb_frame.f_code.co_filename == str(path):
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def is_method(thing: object) -> bool:
    return (
        isinstance(thing, type)
        and isinstance(getattr(thing, "name", None), str)
        and hasattr(thing, "start")
    )


def methods(plugins: Iterable[Path] = ()) -> dict[str, EntryPoint | type[Method]]:
    """Every known method by name. Entry points are not imported yet: `load_method` does that."""
    found: dict[str, EntryPoint | type[Method]] = {
        entry.name: entry for entry in entry_points(group=METHODS)
    }
    for path in plugins:
        own = [thing for thing in vars(plugin(path)).values() if is_method(thing)]
        mine = {
            thing.name: thing for thing in own if thing.__module__.startswith("ddl_bench_plugin_")
        }
        for name in mine.keys() & found.keys():
            raise UserError(
                f"--plugin {path}: the name {name!r} is taken; give the method another name"
            )
        found |= mine
    return found


def datasets(plugins: Iterable[Path] = ()) -> dict[str, Callable[..., Any]]:
    """Every known data set by name: functions `(data_dir, download) -> ImageSet`.

    A plugin file offers its own in a dictionary `DATASETS = {"name": function}`.
    """
    found: dict[str, Callable[..., Any]] = {
        entry.name: entry.load() for entry in entry_points(group=DATASETS)
    }
    for path in plugins:
        found |= getattr(plugin(path), "DATASETS", {})
    return found


def load_method(name: str, plugins: Iterable[Path] = ()) -> type[Method]:
    """The class of a method. Raises UserError for an unknown name, ImportError where a needed package is missing."""
    known = methods(plugins)
    if name not in known:
        raise UserError(f"no method {name!r}: {nearest(name, known)}")
    found = known[name]
    if isinstance(found, type):
        return found
    try:
        return typing.cast(type[Method], found.load())
    except AttributeError as error:
        raise ImportError(f"the entry point {found.value} is wrong: {error}") from error


def fields(cls: type[Method]) -> dict[str, dataclasses.Field[Any]]:
    """The hyper-parameters of a method by name."""
    return {field.name: field for field in dataclasses.fields(typing.cast(Any, cls)) if field.init}


def make_method(cls: type[Method], params: Mapping[str, Any], where: str = "") -> Method:
    """Build a method from plain values, each checked against the type of its field.

    Raises UserError naming the key, what it got and what was expected.
    """
    at = f"{where}: " if where else ""
    hints = typing.get_type_hints(cls, include_extras=True)
    values = {}
    for key, value in params.items():
        if key not in fields(cls):
            raise UserError(f"{at}{cls.name} has no option {key!r}: {nearest(key, fields(cls))}")
        try:
            values[key] = TypeAdapter(hints[key], config=ConfigDict(strict=False)).validate_python(
                value
            )
        except ValidationError as error:
            raise UserError(
                f"{at}{cls.name}, option {key!r} = {value!r}: {error.errors()[0]['msg']}"
            ) from None
    try:
        return cls(**values)
    except (TypeError, ValueError) as error:
        raise UserError(f"{at}{cls.name}: {error}") from None


def parse_spec(text: str) -> tuple[str, dict[str, Any]]:
    """Split `name[key=value, ...]`, as given on a command line, into the name and its options."""
    if not text.endswith("]") or "[" not in text:
        return text, {}
    name, _, inner = text[:-1].partition("[")
    options = {}
    for part in filter(None, (part.strip() for part in inner.split(","))):
        key, equals, value = part.partition("=")
        if not equals:
            raise UserError(f"{text!r}: {part!r} is not key=value")
        options[key.strip()] = _plain(value.strip())
    return name, options


def _plain(value: str) -> Any:
    words = {"true": True, "false": False, "none": None}
    if value.lower() in words:
        return words[value.lower()]
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value
