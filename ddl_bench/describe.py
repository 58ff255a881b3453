"""Describe methods: what their docstrings, options, `about` and references say, as one record each.

A docstring begins with what the method is. Further paragraphs follow, and a numpydoc section
`Parameters` that says what each option means; what a class leaves out comes from its bases.
"""

import ast
import importlib.util
import inspect
import re
import sys
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from importlib.metadata import EntryPoint, metadata
from pathlib import Path
from typing import Any, TypedDict

from ddl_bench import registry
from ddl_bench.api import About
from ddl_bench.params import options_class, options_of

# An entry as `references.bib` has it: a field a line, the closing brace on a line of its own.
ENTRY = re.compile(r"^@\w+\{([^,\s]+),\n.*?^\}", re.M | re.S)
FIELD = re.compile(r"^ *(\w+) = \{(.*)\},?$", re.M)
SECTION = re.compile(r"^(\w[\w ]*)\n-{3,}$", re.M)
BIBLIOGRAPHY = Path(__file__).with_name("references.bib")
MOST_AUTHORS = 3  # whom a citation names; of more it names the first


class Option(TypedDict):
    """One option of a method: its type, its default, and what the docstring says that it means.

    `settings` are the options within it, where it has some.
    """

    type: str
    default: Any
    meaning: str
    settings: "dict[str, Option]"


class Reference(TypedDict):
    """One publication: its BibTeX key, a citation of one line, and its BibTeX entry."""

    key: str
    citation: str
    bibtex: str


class MethodRecord(TypedDict):
    """What is known of a method: the fields of `About` and what the class itself shows.

    Parameters
    ----------
    about
        The first paragraph of the docstring.
    more
        Its other paragraphs, and those of the classes that it extends.
    options
        The options by name.
    missing
        Those packages of `needs` that cannot be imported.
    """

    name: str
    about: str
    more: list[str]
    family: str
    formula: str
    options: dict[str, Option]
    references: list[Reference]
    published: str
    differs: str
    needs: tuple[str, ...]
    missing: list[str]


@dataclass(frozen=True)
class Docstring:
    """A docstring in parts: its paragraphs, a line each, and what it says about each parameter."""

    paragraphs: tuple[str, ...]
    parameters: Mapping[str, str]


def methods(plugins: tuple[Path, ...] = ()) -> list[MethodRecord]:
    """Return a record of every method, by family and name; those without a family come last."""
    records = [method(name, plugins) for name in registry.methods(plugins)]
    return sorted(records, key=_place)


def method(name: str, plugins: tuple[Path, ...] = ()) -> MethodRecord:
    """Return the record of one method; of one that cannot be imported, it says why.

    Raises
    ------
    UserError
        Where no method has that name.
    """
    try:
        cls = registry.load_method(name, plugins)
    except ImportError as error:
        return _record(name, About(), Docstring((f"not installed: {error}",), {}))
    about = vars(cls).get("about")
    if not isinstance(about, About):
        about = About()
    docstrings = [docstring(base) for base in cls.__mro__]
    record = _record(name, about, docstrings[0])
    for base in docstrings[1:]:
        record["more"] += base.paragraphs[1:]
    hints = types_of(cls)
    for key, field in options_of(cls).items():
        record["options"][key] = _option(key, field, hints[key], docstrings)
    file = Path(str(sys.modules[cls.__module__].__file__))
    entries = bibliography(BIBLIOGRAPHY) | bibliography(file.with_name(BIBLIOGRAPHY.name))
    for key in about.references:
        entry = entries.get(key, "")
        record["references"].append({"key": key, "citation": cite(entry), "bibtex": entry})
    return record


def outlines() -> list[MethodRecord]:
    """Return records of all installed methods by family, of what their source says without import.

    They have no options and no citations: to list methods need not take the seconds in which their
    libraries are imported. A method whose source does not say it plainly is imported.
    """
    records = []
    for name, entry in registry.entries(registry.METHODS).items():
        definition = source_of(entry)
        record = None if definition is None else _outline(name, definition)
        records.append(record or method(name))
    return sorted(records, key=_place)


def source_of(entry: EntryPoint) -> ast.ClassDef | None:
    """Find the definition of the class that an entry point names; None where that is not plain.

    Only the first package of its module is located, which imports nothing.
    """
    package, *inner = entry.module.split(".")
    try:
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.origin:
            return None
        folder = Path(spec.origin).parent
        path = folder.joinpath(*inner).with_suffix(".py") if inner else Path(spec.origin)
        tree = ast.parse(path.read_bytes())
    except (OSError, ValueError, SyntaxError):
        return None
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == entry.attr:
            return node
    return None


def _outline(name: str, definition: ast.ClassDef) -> MethodRecord | None:
    """Make the record of a class of its definition; None where it takes the class itself."""
    text = ast.get_docstring(definition)
    about = About()
    for node in definition.body:
        if isinstance(node, ast.AnnAssign | ast.Assign) and "about" in _targets(node):
            facts = _literals(node.value)
            if facts is None:
                return None
            about = About(**facts)
    if text is None or about == About():
        return None
    record = _record(name, about, Docstring((_one_line(text.partition("\n\n")[0]),), {}))
    for key in about.references:
        record["references"].append({"key": key, "citation": "", "bibtex": ""})
    return record


def _targets(node: ast.AnnAssign | ast.Assign) -> list[str]:
    """The names that a statement assigns to."""
    targets = [node.target] if isinstance(node, ast.AnnAssign) else node.targets
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _literals(call: ast.expr | None) -> dict[str, Any] | None:
    """Those arguments of `About(...)` that a list of methods shows; None where one is computed."""
    if not isinstance(call, ast.Call) or call.args or ast.unparse(call.func) != About.__name__:
        return None
    facts = {}
    for keyword in call.keywords:
        if keyword.arg not in ("family", "references", "needs"):
            continue
        try:
            facts[keyword.arg] = ast.literal_eval(keyword.value)
        except ValueError:
            return None
    return facts


def docstring(cls: type) -> Docstring:
    """Read the docstring of a class, without those of its bases.

    A dataclass without a docstring has its signature for one, which says nothing.
    """
    text = inspect.cleandoc(vars(cls).get("__doc__") or "")
    if cls.__module__ in ("builtins", "typing") or text.startswith(f"{cls.__name__}("):
        return Docstring((), {})
    prose, *sections = SECTION.split(text)
    parameters: dict[str, str] = {}
    for title, body in zip(sections[::2], sections[1::2], strict=True):
        if title == "Parameters":
            parameters |= _read_parameters(body)
    paragraphs = [_one_line(block) for block in re.split(r"\n\s*\n", prose)]
    return Docstring(tuple(filter(None, paragraphs)), parameters)


def install(packages: list[str]) -> str:
    """Return the command that installs packages, as extras of ddl-bench where they are some."""
    extras = metadata("ddl-bench").get_all("Provides-Extra") or []
    words = ["pip install"]
    for package in packages:
        words.append(f"'ddl-bench[{package}]'" if package in extras else package)
    return " ".join(words)


def remedy(error: ImportError) -> str:
    """Say how a missing package is installed, to follow the error; empty where it names none."""
    is_missing = isinstance(error, ModuleNotFoundError) and error.name
    return f"; {install([str(error.name)])}" if is_missing else ""


def is_installed(package: str) -> bool:
    """Whether a package can be imported, or a part of one."""
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):  # the package that it is part of is missing, or no name
        return False


def types_of(cls: type[Any]) -> dict[str, Any]:
    """Return the types of options; of annotations that cannot be resolved as they are written."""
    try:
        return typing.get_type_hints(cls)
    except Exception:  # an annotation may be any expression
        return {name: field.type for name, field in options_of(cls).items()}


def bibliography(path: Path) -> dict[str, str]:
    """Return the entries of a BibTeX file by key; none where there is no file."""
    if not path.is_file():
        return {}
    return {entry[1]: entry[0] for entry in ENTRY.finditer(path.read_text("utf-8", "replace"))}


def cite(entry: str) -> str:
    """Return authors, title, place and year of a BibTeX entry in one line."""
    parts = {}
    for name, value in FIELD.findall(entry):
        parts[name] = re.sub(r"[{}]|\\(?=%)", "", value)
    place = parts.get("journal") or parts.get("booktitle")
    arxiv = parts.get("eprint") and f"arXiv:{parts['eprint']}"
    words = [_authors(parts.get("author", "")), parts.get("title"), place, arxiv, parts.get("year")]
    return ", ".join(word for word in words if word)


def as_text(default: Any) -> str:
    """Return the text that shows a default; numbers have three digits."""
    if isinstance(default, Mapping):
        return ", ".join(f"{key}={as_text(value)}" for key, value in default.items())
    if isinstance(default, (tuple, list)):
        return f"({', '.join(map(as_text, default))})"
    return f"{default:.3g}" if isinstance(default, float) else str(default)


def _option(key: str, field: "Field[Any]", hint: Any, docstrings: Sequence[Docstring]) -> Option:
    settings: dict[str, Option] = {}
    inner = options_class(hint)
    if inner is not None:
        hints = types_of(inner)
        for name, setting in options_of(inner).items():
            settings[name] = _option(name, setting, hints[name], [docstring(inner)])
    return {
        "type": _type_text(hint),
        "default": _default(field),
        "meaning": _meaning(key, docstrings),
        "settings": settings,
    }


def _place(record: MethodRecord) -> tuple[bool, str, str]:
    """What records are sorted by."""
    return not record["family"], record["family"].lower(), record["name"]


def _record(name: str, about: About, text: Docstring) -> MethodRecord:
    """A record without options and references."""
    missing = [package for package in about.needs if not is_installed(package)]
    return {
        "name": name,
        "about": "".join(text.paragraphs[:1]),
        "more": list(text.paragraphs[1:]),
        "family": about.family,
        "formula": about.formula,
        "options": {},
        "references": [],
        "published": about.published,
        "differs": about.differs,
        "needs": about.needs,
        "missing": missing,
    }


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _read_parameters(body: str) -> dict[str, str]:
    """What a `Parameters` section says about each name: `a, b` on a line, then indented text."""
    parameters: dict[str, str] = {}
    for entry in re.split(r"\n(?=\S)", body.strip("\n")):
        names, _, description = entry.partition("\n")
        for name in names.split(","):
            parameters[name.strip()] = _one_line(description)
    return parameters


def _meaning(option: str, docstrings: Sequence[Docstring]) -> str:
    """What the first docstring that mentions an option says about it."""
    for text in docstrings:
        if option in text.parameters:
            return text.parameters[option]
    return ""


def _default(field: "Field[Any]") -> Any:
    """The default of an option; of options within it, those that differ from their own defaults."""
    default = field.default
    if default is MISSING:
        default = "" if field.default_factory is MISSING else field.default_factory()
    if not is_dataclass(default) or isinstance(default, type):
        return default
    values = {each.name: getattr(default, each.name) for each in fields(default)}
    return {
        each.name: values[each.name]
        for each in fields(default)
        if values[each.name] != each.default
    }


def _type_text(hint: Any) -> str:
    """A type as an author writes it, without the range that comes with it."""
    parts = typing.get_args(hint)
    origin = typing.get_origin(hint)
    if origin is typing.Literal:
        return " | ".join(map(str, parts))
    if origin in (typing.Union, types.UnionType):
        return " | ".join(map(_type_text, parts))
    if hint is types.NoneType:
        return "None"
    if isinstance(hint, type) and not parts:
        return hint.__name__
    return str(hint).removeprefix("typing.")


def _authors(names: str) -> str:
    """The surnames in the `author` field of a BibTeX entry."""
    surnames = [name.partition(",")[0] for name in names.split(" and ")]
    if len(surnames) > MOST_AUTHORS:
        return f"{surnames[0]} et al."
    *others, last = surnames
    return f"{', '.join(others)} and {last}" if others else last
