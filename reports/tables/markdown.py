"""Tables as Markdown."""

import re

import pandas as pd


def plain_markdown(text: str) -> str:
    """Escape what Markdown would make a cell, a link, an image or HTML of."""
    return re.sub(r"[|\[\]\\]", r"\\\g<0>", text).replace("<", "&lt;")


def markdown(table: pd.DataFrame) -> str:
    """Return a table of texts as Markdown."""
    safe = table.map(plain_markdown)
    return str(safe.to_markdown(index=False, disable_numparse=True))
