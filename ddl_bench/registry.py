"""Methods and data sets by name: installed ones through entry points, others from plugin files.

No name is ever replaced in silence. A plugin file that takes a known name is an error. An installed
package that does so is ignored, with a warning that names it; and a package that cannot be
imported fails alone, when one of its names is used.
"""

import contextlib
import dataclasses
import hashlib
import importlib.util
import os
import re
import sys
import typing
import warnings
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from functools import cache, lru_cache
from importlib.metadata import Distribution, EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

from ddl_bench.api import API_VERSION, Method, Metric
from ddl_bench.errors import UserError, nearest

METHODS = "ddl_bench.methods"
DATASETS = "ddl_bench.datasets"
REPORTS = "ddl_bench.reports"
PAGES = "ddl_bench.pages"  # a function from a run folder and a stamp to a page that follows it
METRICS = "ddl_bench.metrics"
WRITERS = "ddl_bench.writers"
NOTES = "ddl_bench.notes"  # functions from cells to what a dry run says of them, by ID
OURS = "ddl-bench"  # the distribution whose names no other can take
OUR_PACKAGES = ("baselines", "ddl_bench", "detrame", "reports")
USABLE = re.compile(r"[\w.+-]+")  # a name that can be given on a command line
PLUGIN_PREFIX = "ddl_bench_plugin_"

Loader: TypeAlias = Callable[..., Any]
Writer: TypeAlias = Callable[[Any, Path], object]  # of the DataFrame of a run, into a folder


class NameTaken(UserWarning):
    """An installed package offers something under a name that is taken."""


class LeftOut(UserWarning):
    """A metric of an installed package cannot be used."""


class BrokenPackage(ImportError):
    """An installed package offers something that cannot be imported."""


@dataclasses.dataclass(frozen=True)
class Installed:
    """A data set of an installed package, imported when it is first asked for."""

    entry: EntryPoint

    def load(self) -> Loader:
        """Import the function behind the name. Raises UserError where that fails."""
        try:
            return typing.cast(Loader, load_entry(self.entry))
        except ImportError as error:
            raise UserError(f"the data set {self.entry.name!r} is broken: {error}") from None

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return self.load()(*arguments, **options)


def entries(group: str) -> dict[str, EntryPoint]:
    """List the entry points of a group by name; those of this project come first.

    Warns of each name that a second package offers as well.
    """
    known: dict[str, EntryPoint] = {}
    ordered = sorted(entry_points(group=group), key=rank)
    for entry in ordered:
        holder = known.setdefault(entry.name, entry)
        if holder.value != entry.value:
            owners = f"{distribution_of(entry)} offers {entry.name!r}, a name of"
            text = f"{owners} {distribution_of(holder)}; it is ignored"
            warnings.warn(text, NameTaken, stacklevel=2)
    return known


def rank(entry: EntryPoint) -> tuple[bool, str, str]:
    """Sort this project's entry points before all others, the rest by package."""
    distribution = distribution_of(entry)
    return distribution != OURS, distribution, entry.value


def distribution_of(entry: EntryPoint) -> str:
    """The name of the package that offers an entry point."""
    return name_of(entry.dist) if entry.dist else "a package"


@lru_cache(maxsize=64)
def name_of(distribution: Distribution) -> str:
    """Read the name of a distribution, once, as its metadata is long."""
    return str(distribution.name)


def load_entry(entry: EntryPoint) -> Any:
    """Import what an entry point names; any failure is an ImportError that says which package."""
    try:
        with guarded_import():
            loaded = entry.load()
        problem = unsuited(sys.modules.get(entry.module.partition(".")[0]))
        if problem:
            raise UserError(problem)
        return loaded
    except ModuleNotFoundError:
        raise
    except (Exception, SystemExit) as error:
        reason = f"{type(error).__name__}: {error}"
        package = distribution_of(entry)
        raise BrokenPackage(f"{package}: {entry.value} cannot be imported: {reason}") from error


@cache
def plugin(path: Path) -> ModuleType:
    """Import a plugin file, once; files beside it can be imported by it.

    Raises UserError that names the file and the line of a mistake.
    """
    path = path.resolve()
    if not path.is_file():
        raise UserError(f"--plugin {path}: no such file; give the path of a Python file")
    name = module_name(path)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UserError(f"--plugin {path}: not a Python file; its name should end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    make_importable(path.parent)
    try:
        with guarded_import():
            spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        line = getattr(error, "lineno", None) or line_in(path, error)
        text = f"{type(error).__name__}: {error}"
        raise UserError(f"--plugin {path}, line {line}: {text}") from error
    problem = unsuited(module)
    if problem:
        raise UserError(f"--plugin {path}: {problem}")
    return module


def unsuited(module: ModuleType | None) -> str:
    """Say why a module is not made for this version of the interface; empty where it is."""
    version = getattr(module, "DDL_BENCH_API", API_VERSION)
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        return f"DDL_BENCH_API = {version!r:.40}: expected a number such as {API_VERSION}"
    if version > API_VERSION:
        return (
            f"made for version {version} of the interface of plugins, and this ddl-bench has"
            f" {API_VERSION}; install a newer one"
        )
    return ""


@contextlib.contextmanager
def guarded_import() -> Iterator[None]:
    """Turn an `os._exit` of an import into SystemExit, and its prints into lines on stderr.

    The umask is restored.
    """
    leave = os._exit
    mask = os.umask(0)
    os.umask(mask)

    def refuse(status: int) -> typing.NoReturn:
        raise SystemExit(f"os._exit({status})")

    os._exit = refuse
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        os._exit = leave
        os.umask(mask)


def module_name(path: Path) -> str:
    """The name of a plugin's module: files of one name in two folders are two modules."""
    digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:8]
    return f"{PLUGIN_PREFIX}{path.stem}_{digest}"


def make_importable(folder: Path) -> None:
    """Put a plugin's folder first on the path, and forget neighbours of other plugins.

    Without the latter, `import layers` of a second plugin would find the `layers.py` of the first.
    Raises UserError for a neighbour with the name of a package of ours, which it would replace.
    """
    home = Path(str(sys.modules["ddl_bench"].__file__)).resolve().parents[1]
    for name in OUR_PACKAGES:
        # A folder without __init__.py, as for one's own reports, goes behind a package of the path.
        files = [folder / f"{name}.py", folder / name / "__init__.py"]
        if folder.resolve() != home and any(file.is_file() for file in files):
            raise UserError(
                f"{folder / name}: would be imported in place of the package {name} of ddl-bench; "
                "give it another name"
            )
    others = tuple(os.path.join(path, "") for path in PLUGIN_FOLDERS if path != str(folder))
    for name, module in list(sys.modules.items()):
        file = str(getattr(module, "__file__", ""))
        is_of_another = file.startswith(others) and not name.startswith(PLUGIN_PREFIX)
        if is_of_another and beside(folder, name):
            del sys.modules[name]
    if str(folder) in sys.path:
        sys.path.remove(str(folder))
    sys.path.insert(0, str(folder))
    PLUGIN_FOLDERS.add(str(folder))


PLUGIN_FOLDERS: set[str] = set()  # of this process, in sys.path


def beside(folder: Path, module: str) -> bool:
    """Whether a folder holds a module of that name."""
    top = module.partition(".")[0]
    return (folder / f"{top}.py").is_file() or (folder / top).is_dir()


def line_in(path: Path, error: BaseException) -> int:
    """The line of a file that an exception passed through last."""
    line = 0
    trace = error.__traceback__
    while trace:
        if trace.tb_frame.f_code.co_filename == str(path):
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def is_method(thing: object) -> bool:
    """Whether something looks like the class of a method: it has a name and can be started."""
    named = isinstance(getattr(thing, "name", None), str)
    return isinstance(thing, type) and named and hasattr(thing, "start")


def methods_in(path: Path) -> dict[str, type[Method]]:
    """List the methods that a plugin file defines, by name.

    Raises UserError where two have one name, or a name cannot be given on a command line.
    """
    module = plugin(path)
    found: dict[str, type[Method]] = {}
    for thing in vars(module).values():
        if not is_method(thing) or is_imported(thing, module):
            continue
        check_name(path, thing.name)
        if found.setdefault(thing.name, thing) is not thing:
            raise UserError(f"--plugin {path}: two methods have the name {thing.name!r}")
    return found


def is_imported(thing: type, module: ModuleType) -> bool:
    """Whether a class is only imported into a module; one that a function made belongs to it."""
    home = sys.modules.get(thing.__module__)
    if home is None or home is module:
        return False
    return any(each is thing for each in vars(home).values())


def check_name(path: Path, name: str) -> None:
    """Raise UserError for a name that no command line or track could give."""
    if not USABLE.fullmatch(name):
        allowed = "letters, digits and _ . + -"
        raise UserError(f"--plugin {path}: the name {name!r} cannot be used; expected {allowed}")


def refuse_taken(path: Path, names: Iterable[str], known: Mapping[str, Any], kind: str) -> None:
    """Raise UserError where a plugin offers a name that is known already."""
    for name in names:
        if name in known:
            raise UserError(
                f"--plugin {path}: the name {name!r} is taken by another {kind}; "
                "give yours another name"
            )


def methods(plugins: Iterable[str | Path] = ()) -> dict[str, EntryPoint | type[Method]]:
    """List every known method by name; `load_method` imports an installed one."""
    known: dict[str, EntryPoint | type[Method]] = dict(entries(METHODS))
    for path in map(Path, plugins):
        offered = methods_in(path)
        refuse_taken(path, offered, known, "method")
        known |= offered
    return known


def datasets(plugins: Iterable[str | Path] = ()) -> dict[str, Loader]:
    """List every known data set by name: functions `(data_dir, download) -> ImageSet`.

    A plugin file offers its own in a dictionary `DATASETS = {"name": function}`.
    """
    installed = entries(DATASETS).items()
    known: dict[str, Loader] = {name: Installed(entry) for name, entry in installed}
    for path in map(Path, plugins):
        offered = offered_by(path, "DATASETS")
        refuse_taken(path, offered, known, "data set")
        known |= offered
    return known


def metrics(plugins: Iterable[Path] = (), columns: Container[str] = ()) -> dict[str, Metric]:
    """List every known metric by name: those of installed packages, and of plugin files.

    A plugin file offers its own in a dictionary `METRICS = {"name": Metric(function)}`. Of an
    installed package, what cannot be imported is left out, with a warning, and so is what is no
    metric or has a name of `columns`: who runs a track may be unable to mend it.
    """
    known: dict[str, Metric] = {}
    for name, entry in entries(METRICS).items():
        try:
            metric = load_entry(entry)
            problem = unusable_metric(name, metric, columns)
            if problem:
                raise BrokenPackage(f"{distribution_of(entry)}: {problem}")
        except ImportError as error:
            warnings.warn(f"the metric {name!r} is left out: {error}", LeftOut, stacklevel=2)
        else:
            known[name] = metric
    for path in plugins:
        offered = offered_by(path, "METRICS")
        for name, metric in offered.items():
            if not isinstance(metric, Metric):
                kind = type(metric).__name__
                raise UserError(f"--plugin {path}: METRICS[{name!r}] is a {kind}; expected Metric")
            if not name.isidentifier():
                raise UserError(f"--plugin {path}: the metric {name!r} is no name of a column")
        refuse_taken(path, offered, known, "metric")
        known |= offered
    return known


def unusable_metric(name: str, metric: object, columns: Container[str]) -> str:
    """Say why something of an installed package can be no column; empty where it can."""
    if not isinstance(metric, Metric):
        return f"it is a {type(metric).__name__}; expected Metric"
    if not name.isidentifier():
        return f"{name!r} is no name of a column"
    return "a column of ours has this name" if name in columns else ""


def writers(plugins: Iterable[Path]) -> dict[str, Writer]:
    """List the report writers of plugin files by name: functions of a DataFrame and a folder.

    A plugin file offers them in a dictionary `REPORTS = {"name": function}`, a package at the entry
    points `ddl_bench.writers`, which are not among these, and whose names no file can take.
    """
    installed = entries(WRITERS)
    known: dict[str, Writer] = {}
    for path in plugins:
        offered = offered_by(path, "REPORTS")
        for name, writer in offered.items():
            if not callable(writer):
                kind = type(writer).__name__
                raise UserError(f"--plugin {path}: REPORTS[{name!r}] is a {kind}, no function")
        refuse_taken(path, offered, {**installed, **known}, "report")
        known |= offered
    return known


def offered_by(path: Path, dictionary: str) -> dict[str, Any]:
    """Return what a plugin file offers in a dictionary of that name; none without one."""
    offered = getattr(plugin(path), dictionary, {})
    if not isinstance(offered, dict) or not all(isinstance(name, str) for name in offered):
        raise UserError(f"--plugin {path}: {dictionary} is no dictionary by names")
    for name in offered:
        check_name(path, name)
    return offered


def plugins_for(method: str, dataset: str, plugins: Iterable[Path]) -> list[Path]:
    """List the plugin files that offer a method or a data set: a cell imports these alone.

    What the import of a plugin changes in its process then reaches no method of another file.
    """
    return [
        path
        for path in plugins
        if method in methods_in(path) or dataset in getattr(plugin(path), "DATASETS", {})
    ]


def about_dataset(loader: Loader) -> str:
    """Return the first line of a data set's docstring, or why it cannot be imported."""
    try:
        function = loader.load() if isinstance(loader, Installed) else loader
    except UserError as error:
        return str(error)
    return (function.__doc__ or "").strip().partition("\n")[0]


def load_method(name: str, plugins: Iterable[str | Path] = ()) -> type[Method]:
    """Return the class of a method.

    Raises UserError for an unknown name, ImportError where its package is missing or broken.
    """
    known = methods(plugins)
    if name not in known:
        advice = "; for a method of your own give --plugin FILE"
        raise UserError(f"no method {name!r}: {nearest(name, known)}{advice}")
    method = known[name]
    if isinstance(method, EntryPoint):
        return typing.cast(type[Method], load_entry(method))
    return method
