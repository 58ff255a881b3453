"""Expand a track and the user's overrides to a list of checked cells."""

import dataclasses
import json
import math
import os
import re
import signal
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Self

from pydantic import ValidationError

from ddl_bench import machine
from ddl_bench.data import fingerprint
from ddl_bench.data.declared import DECLARED, UNREAD
from ddl_bench.data.sources import default_data_dir, load
from ddl_bench.data.splits import Splits, check_tests, training_places
from ddl_bench.errors import UserError
from ddl_bench.files import name_of, user_path, with_own_name
from ddl_bench.params import flat, make_method, parse_spec, spelled
from ddl_bench.plan.cell import BudgetSpec, Cell, Limits, Precision
from ddl_bench.plan.identity import identify
from ddl_bench.plan.memory import Memory
from ddl_bench.plan.track import (
    DataEntry,
    MethodEntry,
    Track,
    grid_points,
    load_track,
    n_points,
    override,
)
from ddl_bench.registry import datasets, load_method, plugin, plugins_for

OVERHEAD_S = 5.0  # what a cell needs besides its training, on two cores
LIMIT_FACTOR = 1.5  # a hard limit that follows a budget in seconds is so many times the budget
LIMIT_MARGIN_S = 60.0  # and so many seconds, for data, evaluation and slow last steps
MOST_CELLS = 1_000_000
MOST_POINTS = 10_000  # of a grid, each of which is checked
NEEDS_NO_FILES = re.compile(r"digits|planted-.*")  # data sets that are made or installed


@dataclasses.dataclass(frozen=True, kw_only=True)
class Overrides:
    """What may be changed about a track without writing one; None leaves it as it is.

    One method, data set, seed or plugin may stand for a list of one, and a budget may be a text.

    Parameters
    ----------
    methods
        Labels or names of the track, or `name[key=value, ...]` of any known method.
    datasets
        Names, .npz files or folders, optionally with `[mirror=true]`.
    budget
        A text such as "40e" or "3m", {"epochs": 40} or {"seconds": 180}, or one that is made.
    machine, limits, splits
        Single keys of these parts of the track, such as `{"threads": 1}`.
    plugins
        Python files that offer methods and data sets.
    data_dir
        The folder of published data sets; by default `default_data_dir()`.
    download
        Whether missing data sets are fetched.
    keep_models
        Whether trained models are kept for `predict`.
    only_lists
        Whether the cells are only listed: published data sets that are missing then count by the
        sizes that are known of them, and their cells have no ID.
    """

    methods: list[str] | None = None
    datasets: list[str] | None = None
    seeds: list[int] | None = None
    budget: BudgetSpec | None = None
    machine: dict[str, Any] = dataclasses.field(default_factory=dict)
    limits: dict[str, Any] = dataclasses.field(default_factory=dict)
    splits: dict[str, Any] = dataclasses.field(default_factory=dict)
    plugins: tuple[Path, ...] = ()
    data_dir: Path | None = None
    download: bool = False
    keep_models: bool = False
    only_lists: bool = False

    def __post_init__(self) -> None:
        sources = several(self.datasets)
        named("methods", several(self.methods))
        named("datasets", sources)
        named("plugins", several(self.plugins))
        plain = {
            "methods": several(self.methods),
            "datasets": None if sources is None else [str(source) for source in sources],
            "seeds": bounded(self.seeds),
            "budget": None if self.budget is None else budget_of(self.budget),
            "plugins": tuple(map(Path, several(self.plugins) or ())),
            "data_dir": None if self.data_dir is None else Path(self.data_dir),
        }
        for name, value in plain.items():
            object.__setattr__(self, name, value)

    @classmethod
    def of(
        cls,
        *,
        methods: str | Iterable[str] | None = None,
        datasets: str | Path | Iterable[str | Path] | None = None,
        seeds: int | Iterable[int] | None = None,
        budget: str | Mapping[str, float] | BudgetSpec | None = None,
        device: str | None = None,
        threads: int | None = None,
        precision: Precision | None = None,
        time_limit: float | None = None,
        memory_limit_gb: float | None = None,
        limit_train: int | None = None,
        limit_test: int | None = None,
        val_fraction: float | None = None,
        test_from_train: int | None = None,
        plugins: str | Path | Iterable[str | Path] = (),
        data_dir: str | Path | None = None,
        download: bool = False,
        keep_models: bool = False,
    ) -> Self:
        """Take the options of `ddl-bench run` as plain values.

        Parameters
        ----------
        methods, datasets, seeds, plugins
            One, or several.
        budget
            A text such as "40e" or "3m", or {"epochs": 40} or {"seconds": 180}.

        Raises
        ------
        UserError
            For a budget that is neither.

        Examples
        --------
        >>> Overrides.of(methods="sdl", seeds=[0, 1], budget="3m", threads=1).budget
        BudgetSpec(epochs=None, seconds=180.0)
        """
        machine = {"device": device, "threads": threads, "precision": precision}
        splits = {
            "limit_train": limit_train,
            "limit_test": limit_test,
            "val_fraction": val_fraction,
            "test_from_train": test_from_train,
        }
        return cls(
            methods=several(methods),
            datasets=several(datasets),
            seeds=bounded(seeds),
            budget=None if budget is None else budget_of(budget),
            machine=given(machine),
            limits=given({"time_s": time_limit, "memory_gb": memory_limit_gb}),
            splits=given(splits),
            plugins=tuple(several(plugins) or ()),
            data_dir=None if data_dir is None else Path(data_dir),
            download=download,
            keep_models=keep_models,
        )


def several(values: Any) -> list[Any] | None:
    """Return one value, or several, as a list; None stays."""
    if values is None:
        return None
    if isinstance(values, Iterable) and not isinstance(values, str):
        return list(values)
    return [values]


def named(option: str, values: Iterable[Any] | None) -> None:
    """Raise UserError for a value that is no text or path."""
    for value in values or ():
        if not isinstance(value, str | os.PathLike):
            raise UserError(f"{option}: {value!r} is a {type(value).__name__}; expected a text")


def bounded(seeds: int | Iterable[int] | None) -> list[int] | None:
    """Return seeds as a list. Raises UserError for too many, without making them all."""
    if not isinstance(seeds, Iterable):
        return several(seeds)
    first = list(islice(seeds, MOST_CELLS + 1))
    if len(first) > MOST_CELLS:
        raise UserError(f"--seeds: more than {MOST_CELLS:,}; choose fewer")
    return first


def given(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that are not None."""
    return {name: value for name, value in options.items() if value is not None}


def budget_of(value: str | Mapping[str, float] | BudgetSpec) -> BudgetSpec:
    """Read a budget. Raises UserError for anything but a text, a mapping, or one that is made."""
    if isinstance(value, BudgetSpec):
        return value
    if isinstance(value, str):
        return BudgetSpec.parse(value)
    try:
        return BudgetSpec.model_validate(value)
    except ValidationError:
        raise UserError(
            f"budget={value!r}: expected a text such as '40e' or '3m', {{'epochs': 40}} or"
            " {'seconds': 180}"
        ) from None


@dataclasses.dataclass(frozen=True)
class Data:
    """A data set of a plan: its part of each cell, and how many images it trains on and keeps."""

    fields: dict[str, Any]
    n_train: int
    n_val: int

    @property
    def stem(self) -> str:
        """The name that `only` of a track's method goes by."""
        return Path(self.fields["dataset"]).stem


def plan(
    track_name: str, overrides: Overrides | None = None, memory: Memory | None = None
) -> list[Cell]:
    """List the cells of a track, method by data set by seed.

    Parameters
    ----------
    track_name
        Name of a packaged track, or the path of a .toml file.
    overrides
        What to change about the track.
    memory
        What earlier plans learnt of methods; None to ask every class anew.

    Raises
    ------
    UserError
        Before anything runs, for unknown names, wrong options or ranges, missing data, and a grid
        without validation images.
    """
    overrides = overrides or Overrides()
    if memory is None or overrides.plugins:  # the import of a plugin may change any class
        memory = Memory()
    plugins = tuple(path.resolve() for path in overrides.plugins)
    with unchanged_process():
        for path in plugins:
            plugin(path)
    with unchanged_process():  # names of files count from the folder that plugins found
        return _plan(track_name, dataclasses.replace(overrides, plugins=plugins), memory)


@contextmanager
def unchanged_process() -> Iterator[None]:
    """Undo what imports of plugins change of this process and its workers would inherit."""
    environment = dict(os.environ)
    folder = os.open(".", os.O_PATH)
    cores = os.sched_getaffinity(0)
    handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
    try:
        with warnings.catch_warnings():
            yield
    finally:
        for number, handler in handlers.items():
            if signal.getsignal(number) is not handler and handler is not None:
                signal.signal(number, handler)
        if os.sched_getaffinity(0) != cores:
            os.sched_setaffinity(0, cores)
        os.fchdir(folder)
        os.close(folder)
        if dict(os.environ) != environment:
            os.environ.clear()
            os.environ.update(environment)


def _plan(track_name: str, overrides: Overrides, memory: Memory) -> list[Cell]:
    track = override(load_track(track_name), changes(overrides))
    threads = track.machine.threads or machine.n_cores()
    is_file = track_name.endswith(".toml")
    shared: dict[str, Any] = {
        "machine": track.machine.model_copy(update={"threads": threads}),
        "track": str(Path(track_name).resolve()) if is_file else track_name,
        "keep_model": overrides.keep_models,
        "reference": track.reference,  # also of a part of the methods, whose rows join the others
        "pairs": tuple(track.pairs),
    }
    entries = chosen_methods(track, overrides, memory)
    planned = [plan_method(entry, track, track_name, overrides, memory) for entry in entries]
    if overrides.keep_models and not any(method.can_restore for method in planned):
        raise UserError(
            f"--keep-models: {entries[0].title} cannot be kept, as it has no restore(); "
            "run it without --keep-models"
        )
    methods = [method.fields for method in planned]
    splits = chosen_splits(track, overrides)
    sources = chosen_datasets(track, overrides.datasets)
    data = [read_data(source, splits, overrides) for source in sources]
    for fields in (shared, *methods, *(images.fields for images in data)):
        check_texts(fields)
    if any(entry.grid for entry in entries):
        for images in data:
            if images.n_val == 0:
                raise UserError(
                    f"{track_name}: a grid is chosen on validation images, and of {images.stem} "
                    f"none is held out (val_fraction={splits.val_fraction:g}): raise val_fraction, "
                    "or the number of training images"
                )
    n_cells = len(track.seeds) * len(data) * len(entries)
    if n_cells > MOST_CELLS:
        raise UserError(
            f"{track_name}: {n_cells:,} cells; a run takes at most {MOST_CELLS:,}: "
            "choose fewer seeds, methods or data sets"
        )
    lines: dict[tuple[str, str, str], Cell] = {}  # cells that differ in more than the seed
    for images in data:
        for entry, fields in zip(entries, methods, strict=True):
            if entry.only and images.stem not in entry.only:
                continue
            needed = plugins_for(entry.name, images.fields["dataset"], overrides.plugins)
            cell = Cell(
                seed=track.seeds[0],
                expected_s=expected_s(fields["budget"], entry, images.n_train),
                plugins=tuple(str(path.resolve()) for path in needed),
                **fields,
                **images.fields,
                **shared,
            )
            lines[cell.id, cell.label, cell.dataset] = cell  # a method or a seed may be given twice
    refuse_twins(track_name, lines.values())
    seeds = dict.fromkeys(track.seeds)
    cells = [line.with_seed(seed) for seed in seeds for line in lines.values()]
    refuse_left_out(track, overrides, cells)
    if not cells:
        raise UserError(
            f"{track_name}: none of its methods is meant for the chosen data sets; "
            "see `only` in the track"
        )
    return cells


def refuse_twins(track_name: str, lines: Iterable[Cell]) -> None:
    """Raise UserError for one training under two names, whose rows would be one file."""
    first: dict[str, Cell] = {}
    for cell in lines:
        if cell.data == UNREAD:  # nothing tells such data sets apart
            continue
        other = first.setdefault(cell.id, cell)
        if other.label != cell.label:
            names = f"{other.label!r} and {cell.label!r} are the same training"
        elif other.dataset != cell.dataset:
            names = f"{name_of(other.dataset)} and {name_of(cell.dataset)} are the same images"
        else:
            continue
        raise UserError(f"{track_name}: {names}; leave one of them out")


def changes(overrides: Overrides) -> dict[str, Any]:
    """The overrides of keys of a track; those of methods, data and budget need more than that."""
    values: dict[str, Any] = {"machine": overrides.machine, "limits": overrides.limits}
    if overrides.seeds is not None:
        values["seeds"] = overrides.seeds
    return values


def chosen_methods(track: Track, overrides: Overrides, memory: Memory) -> list[MethodEntry]:
    """Return the entries of a track that a user asked for, and new ones for other methods."""
    if overrides.methods is None:
        return track.methods
    chosen: list[MethodEntry] = []
    for text in overrides.methods:
        named = track.entries_named(text)
        chosen += named or [new_method(text, overrides.plugins, memory)]
    if not chosen:
        raise UserError("--methods: names no method; expected names, such as sdl,lista")
    return chosen


def refuse_left_out(track: Track, overrides: Overrides, cells: Iterable[Cell]) -> None:
    """Raise UserError where a method that a user named is not for any of the data sets."""
    planned = {cell.label for cell in cells}
    for text in overrides.methods or ():
        entries = track.entries_named(text)
        if entries and planned.isdisjoint(entry.title for entry in entries):
            meant = ", ".join(dict.fromkeys(name for entry in entries for name in entry.only))
            raise UserError(
                f"--methods {text}: in the track it is for {meant} alone; choose such a data set,"
                f" or a file of that name"
            )


def new_method(text: str, plugins: Iterable[Path], memory: Memory) -> MethodEntry:
    """Make the entry of a method that is no part of the track, of `name[key=value, ...]`."""
    name, params = parse_spec(text)
    if text.count("[") != text.count("]") or "[" in name or "]" in name:
        raise UserError(
            f"--methods {text!r:.80}: brackets do not match; expected name[option=value]"
        )
    if params:
        with suppress(ImportError):  # the worker says what is missing: a row `not_installed`
            params = memory.ask(name, text, lambda: spelled(load_method(name, plugins), text))
    label = ", ".join(part.strip() for part in text.split(","))
    return MethodEntry(name=name, label=label, params=params)


class Facts(NamedTuple):
    """Hold what a plan takes from the class of a method.

    Parameters
    ----------
    source
        The hash of its code.
    can_restore
        Whether models of it can be kept.
    """

    source: str
    can_restore: bool


class PlannedMethod(NamedTuple):
    """The fields of a cell that come from its method, and whether its models can be kept."""

    fields: dict[str, Any]
    can_restore: bool


def plan_method(
    entry: MethodEntry, track: Track, track_name: str, overrides: Overrides, memory: Memory
) -> PlannedMethod:
    """Return the fields of a cell that come from its method, whose options are checked."""
    source = ""
    can_restore = True  # as far as is known
    place = f"{track_name}: method {entry.title!r}"
    check_finite(entry.params, place)
    check_finite(entry.grid, place)
    check_grid(entry, place)

    def examined() -> Facts:
        return examine(entry, overrides.plugins, place, memory)

    try:
        facts = Facts(*memory.ask(entry.name, [entry.params, entry.grid], examined))
    except ImportError:
        pass  # the worker says what is missing: a row `not_installed`
    else:
        source = facts.source
        can_restore = facts.can_restore
    budget = overrides.budget or entry.budget or track.budget
    fields = {
        "method": entry.name,
        "label": entry.title,
        "params": entry.params,
        "grid": entry.grid,
        "paper": entry.paper,
        "source": source,
        "budget": budget,
        "limits": limits_for(budget, entry, track, overrides),
    }
    return PlannedMethod(fields, can_restore)


def examine(entry: MethodEntry, plugins: Iterable[Path], place: str, memory: Memory) -> Facts:
    """Import the class of a method and check its options at each point of its grid."""
    cls = load_method(entry.name, plugins)
    identity = identify(cls)
    memory.note_sources(entry.name, identity.files)
    for point in grid_points(entry.grid):
        make_method(cls, entry.params | point, where=place)
    return Facts(identity.digest, hasattr(cls, "restore"))


def check_grid(entry: MethodEntry, place: str) -> None:
    """Raise UserError for a grid of too many points, before any of them is made."""
    count = n_points(entry.grid)
    if count > MOST_POINTS:
        raise UserError(f"{place}: its grid has {count:,} points; at most {MOST_POINTS:,}")


def check_finite(params: Mapping[str, Any], place: str) -> None:
    """Raise UserError for an option that is or holds inf or nan, which no row could hold."""
    for key, value in flat(params).items():
        for number in numbers_in(value):
            if not math.isfinite(number):
                raise UserError(f"{place}: option {key!r} = {value}: expected a finite number")


def numbers_in(value: Any) -> Iterator[float]:
    """Yield the fractions that a value is or holds, at any depth."""
    if isinstance(value, float):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from numbers_in(each)
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from numbers_in(each)


def limits_for(
    budget: BudgetSpec, entry: MethodEntry, track: Track, overrides: Overrides
) -> Limits:
    """Return the hard limits of a cell; the limit of time follows the budget of a user.

    A time limit that a user gives is taken as it is. Raises UserError where it is below the budget.
    """
    limits = track.limits
    usual = entry.budget or track.budget
    if budget.seconds:
        training_s = n_points(entry.grid) * budget.seconds
        if "time_s" not in overrides.limits:
            least_s = LIMIT_FACTOR * training_s + LIMIT_MARGIN_S
            return limits.model_copy(update={"time_s": max(limits.time_s, least_s)})
        if limits.time_s < training_s:
            raise UserError(
                f"--time-limit {limits.time_s:g}: {entry.title} is to train for {training_s:g} s, "
                "its budget; give a higher limit or a smaller budget"
            )
    elif "time_s" not in overrides.limits and budget.epochs and budget != usual:
        if usual.epochs:
            time_s = limits.time_s * max(1.0, budget.epochs / usual.epochs)
        else:
            time_s = max(limits.time_s, Limits().time_s)
        return limits.model_copy(update={"time_s": time_s})
    return limits


def chosen_datasets(track: Track, wanted: Sequence[str] | None) -> list[DataEntry]:
    """Return the data sets of a track that a user asked for, and new ones for other sources."""
    if wanted is None:
        return track.datasets
    chosen = []
    for text in wanted:
        source, options = parse_source(text)
        if options.keys() - {"mirror"} or not isinstance(options.get("mirror", True), bool):
            raise UserError(f"--datasets {text!r}: the only option is mirror=true or mirror=false")
        named = [entry for entry in track.datasets if entry.source == source and not options]
        chosen += named or [DataEntry(source=source, **options)]
    return chosen


def parse_source(text: str) -> tuple[str, dict[str, Any]]:
    """Split `source[mirror=true]`; the name of a file or folder may have brackets of its own."""
    head, bracket, _ = text.rpartition("[")
    if not (bracket and text.endswith("]")) or os.path.exists(user_path(text)):
        return text, {}
    _, options = parse_spec(text[len(head) :])
    return head, options


def chosen_splits(track: Track, overrides: Overrides) -> Splits:
    """Return the splits of a track with the user's changes."""
    try:
        return dataclasses.replace(track.splits, **overrides.splits)
    except ValueError as error:
        raise UserError(str(error)) from None


def check_texts(fields: Mapping[str, Any]) -> None:
    """Raise UserError for a name that is not UTF-8, which no row could hold."""
    for value in fields.values():
        try:
            json.dumps(value, ensure_ascii=False, default=str).encode()
        except UnicodeEncodeError:
            raise UserError(
                f"{name_of(str(value))}: its name is not UTF-8, which no row could hold; rename it"
            ) from None


def read_data(entry: DataEntry, splits: Splits, overrides: Overrides) -> Data:
    """Read a data set and cut it, so that every mistake in it is found before anything runs."""
    known = datasets(overrides.plugins)
    folder = overrides.data_dir or default_data_dir()
    is_read = True
    try:
        images = load(
            entry.source,
            data_dir=folder,
            download=overrides.download and not overrides.only_lists,
            mirror=entry.mirror,
            datasets=known,
        )
    except UserError:
        if not overrides.only_lists or entry.source not in DECLARED:
            raise
        images = DECLARED[entry.source].stand_in()
        is_read = False
    try:
        places = training_places(entry.source, images, splits)
        check_tests(entry.source, images, splits)
    except ValueError as error:
        raise UserError(f"{entry.source}: {error}") from None
    source = entry.source
    data_dir = ""
    if source not in known:
        source = str(with_own_name(user_path(source)))
    elif not NEEDS_NO_FILES.fullmatch(source):
        data_dir = str(folder.resolve())
    fields = {
        "dataset": source,
        "data_dir": data_dir,
        "mirror": entry.mirror,
        "data": fingerprint(images) if is_read else UNREAD,
        "splits": splits,
    }
    return Data(fields, len(places.train), len(places.val))


def expected_s(budget: BudgetSpec, entry: MethodEntry, n_train: int) -> float | None:
    """Expected seconds of a cell: its budget, or the track's figure for an image and a pass."""
    count = n_points(entry.grid)
    if budget.seconds:
        return count * budget.seconds + OVERHEAD_S
    if entry.ms_per_image is None or budget.epochs is None:
        return None
    return count * entry.ms_per_image * 1e-3 * n_train * budget.epochs + OVERHEAD_S
