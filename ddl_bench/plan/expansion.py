"""From a track and the user's overrides to a list of checked cells."""

import dataclasses
import os
from pathlib import Path
from typing import Any

from ddl_bench.data import fingerprint
from ddl_bench.data.sources import default_data_dir, load
from ddl_bench.data.splits import Splits, split
from ddl_bench.errors import UserError
from ddl_bench.plan.cell import BudgetSpec, Cell
from ddl_bench.plan.identity import source_hash
from ddl_bench.plan.track import DataEntry, MethodEntry, Track, grid_points, load_track, override
from ddl_bench.registry import datasets, load_method, make_method, parse_spec

OVERHEAD = 5.0  # seconds a cell needs besides its training, on two cores


@dataclasses.dataclass(frozen=True, kw_only=True)
class Overrides:
    """What may be changed about a track without writing one; None leaves it as it is.

    `methods` are labels or names of the track, or `name[key=value, ...]` of any known method; `datasets` are names,
    .npz files or folders, optionally with `[mirror=true]`; `splits` replaces single keys of the track's splits.
    """

    methods: list[str] | None = None
    datasets: list[str] | None = None
    seeds: list[int] | None = None
    budget: BudgetSpec | None = None
    device: str | None = None
    precision: str | None = None
    threads: int | None = None
    time_limit: float | None = None
    memory_limit_gb: float | None = None
    splits: dict[str, Any] = dataclasses.field(default_factory=dict)
    plugins: tuple[Path, ...] = ()
    data_dir: Path | None = None
    download: bool = False
    keep_models: bool = False

    def of_track(self) -> dict[str, Any]:
        """The values that are keys of a track, without the budget, which methods have too."""
        names = ("seeds", "device", "precision", "threads", "time_limit", "memory_limit_gb")
        return {name: value for name in names if (value := getattr(self, name)) is not None}


def plan(track_name: str, overrides: Overrides = Overrides()) -> list[Cell]:
    """The cells of a track, method by data set by seed, each mistake found before anything runs.

    Raises UserError for unknown names, wrong options or ranges, missing data, and a grid without validation images.
    """
    track = override(load_track(track_name), overrides.of_track())
    shared = {
        "plugins": tuple(str(path.resolve()) for path in overrides.plugins),
        "data_dir": str((overrides.data_dir or default_data_dir()).resolve()),
        "device": track.device,
        "threads": track.threads or len(os.sched_getaffinity(0)),
        "precision": track.precision,
        "time_limit": track.time_limit,
        "memory_limit_gb": track.memory_limit_gb,
        "track": str(Path(track_name).resolve()) if track_name.endswith(".toml") else track_name,
        "keep_model": overrides.keep_models,
    }
    methods = [
        _method(entry, track, track_name, overrides) for entry in _entries(track, overrides.methods)
    ]
    data = [
        _dataset(entry, _splits(track, overrides), overrides)
        for entry in _sources(track, overrides.datasets)
    ]
    if any(method["grid"] for _, method in methods) and any(
        part["splits"].val_fraction == 0 for _, part in data
    ):
        raise UserError(
            f"{track_name}: a grid is chosen on validation images: set val_fraction above 0"
        )
    cells = [
        Cell(seed=seed, expected_s=_expected(method, rate, n_train), **method, **part, **shared)
        for seed in track.seeds
        for n_train, part in data
        for (only, rate), method in methods
        if not only or Path(part["dataset"]).stem in only
    ]
    if not cells:
        raise UserError(
            f"{track_name}: none of its methods is meant for the chosen data sets; see `only` in the track"
        )
    return cells


def _entries(track: Track, wanted: list[str] | None) -> list[MethodEntry]:
    if wanted is None:
        return track.methods
    chosen = []
    for text in wanted:
        named = [entry for entry in track.methods if text in (_label(entry), entry.name)]
        name, params = parse_spec(text)
        chosen += named or [MethodEntry(name=name, label=text, params=params)]
    return chosen


def _label(entry: MethodEntry) -> str:
    options = ", ".join(f"{key}={value}" for key, value in entry.params.items())
    return entry.label or (f"{entry.name}[{options}]" if options else entry.name)


def _method(
    entry: MethodEntry, track: Track, track_name: str, overrides: Overrides
) -> tuple[tuple[list[str], float | None], dict[str, Any]]:
    label, source = _label(entry), ""
    try:
        cls = load_method(entry.name, overrides.plugins)
    except ImportError:
        pass  # the worker says what is missing: a row `not_installed`
    else:
        source = source_hash(cls)
        for point in grid_points(entry.grid):
            make_method(cls, entry.params | point, where=f"{track_name}: method {label!r}")
    budget = overrides.budget or entry.budget or track.budget
    kept = {
        "method": entry.name,
        "label": label,
        "params": entry.params,
        "grid": entry.grid,
        "paper": entry.paper,
    }
    return (entry.only, entry.ms_per_image), {**kept, "source": source, "budget": budget}


def _sources(track: Track, wanted: list[str] | None) -> list[DataEntry]:
    if wanted is None:
        return track.datasets
    chosen = []
    for text in wanted:
        source, options = parse_spec(text)
        if options.keys() - {"mirror"} or not isinstance(options.get("mirror", True), bool):
            raise UserError(f"--datasets {text!r}: the only option is mirror=true or mirror=false")
        named = [entry for entry in track.datasets if entry.source == source and not options]
        chosen += named or [DataEntry(source=source, **options)]
    return chosen


def _splits(track: Track, overrides: Overrides) -> Splits:
    try:
        return dataclasses.replace(track.splits, **overrides.splits)
    except ValueError as error:
        raise UserError(str(error)) from None


def _dataset(entry: DataEntry, splits: Splits, overrides: Overrides) -> tuple[int, dict[str, Any]]:
    known = datasets(overrides.plugins)
    folder = overrides.data_dir or default_data_dir()
    images = load(
        entry.source,
        data_dir=folder,
        download=overrides.download,
        mirror=entry.mirror,
        datasets=known,
    )
    try:
        task, _, _ = split(entry.source, images, splits)
    except ValueError as error:
        raise UserError(f"{entry.source}: {error}") from None
    source = entry.source if entry.source in known else str(Path(entry.source).resolve())
    part = {
        "dataset": source,
        "mirror": entry.mirror,
        "data": fingerprint(images),
        "splits": splits,
    }
    return len(task.train), part


def _expected(method: dict[str, Any], ms_per_image: float | None, n_train: int) -> float | None:
    """Expected seconds of a cell: its budget, or the track's figure for an image and pass."""
    budget, points = method["budget"], len(list(grid_points(method["grid"])))
    if budget.seconds:
        return float(points * budget.seconds + OVERHEAD)
    if ms_per_image is None:
        return None
    return float(points * ms_per_image * 1e-3 * n_train * budget.epochs + OVERHEAD)
