"""A search: which values options may have, and the track that tries all of them.

Every method has the same seconds for its search, divided by the points of its grid. A method with
more options to choose has less time for each choice.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ddl_bench.errors import UserError
from ddl_bench.params import flat, parse_spec, plain
from ddl_bench.plan.track import n_points

OR = "|"  # between the values of an option
VAL_FRACTION = 0.2  # of the training images choose; more than the usual tenth, as much hangs on it
LEAST_S = 0.01  # of training for a point


class Searched(NamedTuple):
    """A method, its options that are fixed, and the values of those that are searched."""

    name: str
    params: dict[str, Any]
    grid: dict[str, list[Any]]


def read_search(text: str) -> Searched:
    """Read `name[fixed=1, searched=0.1|0.2]`. Raises UserError for values that cannot be."""
    if ("[" in text) != text.endswith("]"):
        raise UserError(f"{text!r}: brackets do not match; expected name[option=value{OR}value]")
    name, options = parse_spec(text, read=alternatives)
    params: dict[str, Any] = {}
    grid: dict[str, list[Any]] = {}
    for key, values in flat(options).items():
        if None in values:
            raise UserError(f"{text!r}: {key}: none cannot stand in a track; leave the option out")
        if len(values) != len({repr(value) for value in values}):
            raise UserError(f"{text!r}: {key}: a value is given twice; give it once")
        if len(values) > 1:
            grid[key] = values
        else:
            params[key] = values[0]
    return Searched(name, params, grid)


def alternatives(text: str) -> list[Any]:
    """Read the values of an option. Raises UserError for one that is empty."""
    parts = [part.strip() for part in text.split(OR)]
    if not all(parts):
        raise UserError(f"{text!r}: expected values with {OR!r} between them, such as 0.1{OR}0.2")
    return [plain(part) for part in parts]


def track_of(searches: Sequence[Searched], seconds: float) -> str:
    """Write the track of a search as TOML.

    Parameters
    ----------
    searches
        The methods.
    seconds
        Of training that the search of each method takes, on each data set and with each seed.

    Raises
    ------
    UserError
        Where too little time is left for each point.
    """
    lines = [
        'name = "tune"',
        "description = "
        + as_toml(f"The same {seconds:g} s of training for the search of every method"),
        f"budget = {{ seconds = {seconds:g} }}",
        f"splits = {{ val_fraction = {VAL_FRACTION} }}",
        'datasets = [{ source = "digits" }]',
    ]
    for search in searches:
        count = n_points(search.grid)
        each_s = seconds / count
        if each_s < LEAST_S:
            raise UserError(f"{search.name}: {count:,} points in {seconds:g} s; give it longer")
        lines += [
            "",
            "[[methods]]",
            f"name = {as_toml(search.name)}",
            f"params = {as_toml(search.params)}",
            f"grid = {as_toml(search.grid)}",
            f"budget = {{ seconds = {each_s!r} }}",
        ]
    return "\n".join(lines) + "\n"


def as_toml(value: Any) -> str:
    """Write a value as TOML, on one line; keys are quoted, so that a dot in them stays one."""
    if isinstance(value, Mapping):
        pairs = [f"{as_toml(key)} = {as_toml(each)}" for key, each in value.items()]
        return f"{{{', '.join(pairs)}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(as_toml, value))}]"
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)  # inf and nan, which JSON lacks
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
