"""What is known of a method: its docstrings, its options, what it tells `about` itself, its references."""

import importlib.util
import inspect
import re
import sys
import typing
from collections.abc import Mapping
from dataclasses import MISSING, Field, asdict
from importlib.metadata import metadata
from pathlib import Path
from typing import Any

from ddl_bench import registry
from ddl_bench.api import About

ENTRY = re.compile(
    r"^@\w+\{([^,\s]+),\n.*?^\}", re.M | re.S
)  # as in references.bib: a field a line, "}" on its own
OPTION = re.compile(r"(?<![\w`])((?:\w+, )*\w+): ")  # "patch, stride: ..." of a docstring
KNOWN = Path(__file__).with_name("references.bib")


def methods(plugins: tuple[Path, ...] = ()) -> list[dict[str, Any]]:
    """A record of every method, by family and name; those without a family are the last."""
    found = [method(name, plugins) for name in registry.methods(plugins)]
    return sorted(found, key=lambda it: (not it["family"], it["family"].lower(), it["name"]))


def method(name: str, plugins: tuple[Path, ...] = ()) -> dict[str, Any]:
    """What `About` lists, and

    about: what the docstring begins with. more: its other paragraphs, and those of the classes that it extends.
    options: name -> type, default, meaning, which is what a docstring says after the name and a colon.
    references: key, citation and BibTeX entry. missing: those of its `needs` that cannot be imported.

    Raises UserError for an unknown name; a method that cannot be imported says why.
    """
    try:
        cls = registry.load_method(name, plugins)
    except ImportError as error:
        known = {"about": f"not installed: {error}", "more": [], "options": {}, "missing": []}
        return {"name": name, **known, **asdict(About())}
    own = vars(cls).get("about")
    own = own if isinstance(own, About) else About()
    options = {key: _option(field, cls) for key, field in registry.fields(cls).items()}
    said = [[split(text, set(options)) for text in _paragraphs(base)] for base in cls.__mro__]
    for key, option in options.items():
        option["meaning"] = next(
            (known[key] for part in said for _, known in part if key in known), ""
        )
    more = [text for part in said for text, _ in part[1:] if text]
    missing = [it for it in own.needs if importlib.util.find_spec(it) is None]
    entries = bibliography(KNOWN) | bibliography(_file(cls).with_name(KNOWN.name))
    references = [
        {"key": key, "citation": cite(it := entries.get(key, "")), "bibtex": it}
        for key in own.references
    ]
    known = {
        "about": "".join(_paragraphs(cls)[:1]),
        "more": more,
        "options": options,
        "missing": missing,
    }
    return {"name": name, **known, **asdict(own), "references": references}


def split(text: str, names: set[str]) -> tuple[str, dict[str, str]]:
    """What a paragraph of a docstring says before "a, b: meaning. c: meaning", and the meaning of each option."""
    marks = [it for it in OPTION.finditer(text) if set(it[1].split(", ")) <= names]
    ends = [*(it.start() for it in marks[1:]), len(text)]
    found: dict[str, str] = {}
    for mark, end in zip(marks, ends, strict=True) if marks else ():
        found |= dict.fromkeys(mark[1].split(", "), text[mark.end() : end].strip().rstrip(".;"))
    return text[: marks[0].start() if marks else None].strip(), found


def install(packages: list[str]) -> str:
    """The command that installs packages, as extras where they are."""
    extras = metadata("ddl-bench").get_all("Provides-Extra") or []
    return " ".join(
        ["pip install", *(f"'ddl-bench[{it}]'" if it in extras else it for it in packages)]
    )


def bibliography(path: Path) -> dict[str, str]:
    """The entries of a BibTeX file by key; none without a file."""
    return {it[1]: it[0] for it in ENTRY.finditer(path.read_text())} if path.is_file() else {}


def cite(entry: str) -> str:
    """Authors, title, place, year of a BibTeX entry: one line."""
    parts = {
        key: re.sub(r"[{}]|\\(?=%)", "", value)
        for key, value in re.findall(r"^ *(\w+) = \{(.*)\},?$", entry, re.M)
    }
    authors = [it.partition(",")[0] for it in parts.get("author", "").split(" and ")]
    who = (
        f"{authors[0]} et al."
        if len(authors) > 3
        else " and ".join(filter(None, [", ".join(authors[:-1]), authors[-1]]))
    )
    arxiv = f"arXiv:{parts['eprint']}" if "eprint" in parts else ""
    where = parts.get("journal") or parts.get("booktitle") or ""
    return ", ".join(filter(None, [who, parts.get("title"), where, arxiv, parts.get("year")]))


def _paragraphs(cls: type) -> list[str]:
    """Those of a class's own docstring, each on a line; none of the signature that a dataclass has for want of one."""
    text = inspect.cleandoc(vars(cls).get("__doc__") or "")
    if cls.__module__ in ("builtins", "typing") or text.startswith(f"{cls.__name__}("):
        return []
    return [" ".join(part.split()) for part in re.split(r"\n\s*\n", text) if part]


def _option(field: "Field[Any]", cls: type) -> dict[str, Any]:
    default = field.default
    if default is MISSING:
        default = "" if field.default_factory is MISSING else field.default_factory()
    return {"type": _type(typing.get_type_hints(cls)[field.name]), "default": default}


def _type(hint: Any) -> str:
    if typing.get_origin(hint) is typing.Literal:
        return " | ".join(map(str, typing.get_args(hint)))
    return (
        hint.__name__
        if isinstance(hint, type) and not typing.get_args(hint)
        else str(hint).removeprefix("typing.")
    )


def _file(cls: type) -> Path:
    return Path(str(sys.modules[cls.__module__].__file__))


def as_text(default: Any) -> str:
    """A default as it is shown: numbers with three digits."""
    if isinstance(default, Mapping):
        return ", ".join(f"{key}={as_text(it)}" for key, it in default.items())
    if isinstance(default, (tuple, list)):
        return f"({', '.join(map(as_text, default))})"
    return f"{default:.3g}" if isinstance(default, float) else str(default)
