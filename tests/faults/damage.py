"""Damage bytes, JSON values and lines of TOML, each by a seeded generator."""

import copy
import random
from typing import Any

ODD_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**70, -0.5, 1e-320, 1e300, float("inf"),
    float("nan"), "", " ", "x", "\u0000", "nan", "[/b]", "=1+1", "../../x", "\u202e", "é" * 300,
    "y" * 20_000, [], [[]], [None], {}, {"": {}}, {"a": [1, {"b": None}]}, list(range(2_000)),
)  # fmt: skip
ODD_TOML = (
    "nan", "inf", "-inf", "1e400", "-1", "0", "1", "true", "false", '""', '"x"', '"[/b]"', "[]",
    "[[]]", "{}", "{ a = 1 }", "1979-05-27", "07:32:00", "9" * 30, "9" * 5_000, "0x10", '"""',
    '"' + "z" * 5_000 + '"', "[" * 3_000, "[" * 60 + "]" * 60, '["digits", 3]', "{ epochs = 1e9 }",
    "[-1]", "[4294967296]", "[1e3]", "\u00e9", '"\\u0000"', "'\\'", "[0, 0]", "{ seconds = inf }",
)  # fmt: skip


def damaged_bytes(good: bytes, rng: random.Random) -> bytes:
    """Truncate, flip, cut, insert into or replace the bytes of a file."""
    data = bytearray(good)
    place = rng.randrange(max(1, len(data)))
    match rng.randrange(8):
        case 0:
            return bytes(data[:place])
        case 1:
            for _ in range(rng.choice((1, 5, 50))):
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        case 2:
            del data[place : place + rng.randrange(1, 200)]
        case 3:
            data[place:place] = rng.randbytes(rng.randrange(1, 200))
        case 4:
            end = min(len(data), place + 400)
            data[place:end] = bytes(end - place)
        case 5:
            head = min(len(data), 300)  # where most formats say what they are
            for _ in range(8):
                data[rng.randrange(head)] = rng.randrange(256)
        case 6:
            return rng.choice((b"", b"\x00" * 64, b"junk", rng.randbytes(1_000), good + good))
        case _:
            tail = max(0, len(data) - 100)
            for _ in range(8):
                data[rng.randrange(tail, len(data))] = rng.randrange(256)
    return bytes(data)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """List the paths to all values inside a JSON value."""
    paths = [path] if path else []
    if isinstance(value, dict):
        for key, inner in value.items():
            paths += places(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value[:3]):
            paths += places(inner, (*path, index))
    return paths


def damaged_json(good: Any, rng: random.Random) -> Any:
    """Replace, delete or add one to three values of a JSON value."""
    value = copy.deepcopy(good)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        paths = places(value)
        if not paths or rng.random() < 0.02:
            return rng.choice(ODD_VALUES)
        *parents, last = rng.choice(paths)
        holder = value
        for key in parents:
            holder = holder[key]
        chance = rng.random()
        if chance < 0.2:
            del holder[last]
        elif chance < 0.3 and isinstance(holder, dict):
            holder[rng.choice(("extra", "", "x" * 300))] = rng.choice(ODD_VALUES)
        else:
            holder[last] = rng.choice(ODD_VALUES)
    return value


def damaged_toml(good: str, rng: random.Random) -> str:
    """Replace a value, or double, drop or misspell a line."""
    lines = good.splitlines()
    index = rng.randrange(len(lines))
    key, equals, _ = lines[index].partition("=")
    chance = rng.random()
    if equals and chance < 0.7:
        lines[index] = f"{key}= {rng.choice(ODD_TOML)}"
    elif chance < 0.8:
        lines.insert(index, lines[index])
    elif chance < 0.9:
        del lines[index]
    else:
        lines[index] = "x" + lines[index]
    return "\n".join(lines)
