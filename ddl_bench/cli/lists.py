"""Read the lists that options take: of methods and data sets, and of seeds."""

import re

from ddl_bench.errors import UserError

MOST_SEEDS = 100_000


def words(text: str | None) -> list[str] | None:
    """Split at commas outside of brackets: `a,b[x=1,y=2]` is two. None stays."""
    from ddl_bench.params import split_list

    if text is None:
        return None
    found = split_list(text)
    if not found:
        raise UserError(f"{text!r} is an empty list; leave the option out for all")
    return found


def seed_list(text: str | None) -> list[int] | None:
    """Read a list of seeds, such as `0-4` or `0,1,7`."""
    if text is None:
        return None
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,10})(?:-(\d{1,10}))?\s*", part)
        if not match or (match[2] and int(match[2]) < int(match[1])):
            given = f"--seeds {text!r:.80}"
            raise UserError(f"{given}: expected seeds below 2**32, such as 0,1,2 or 0-4")
        last = int(match[2] or match[1])
        if last - int(match[1]) >= MOST_SEEDS:
            raise UserError(f"--seeds {part}: at most {MOST_SEEDS:,} seeds in one run")
        seeds += range(int(match[1]), last + 1)
    return seeds
