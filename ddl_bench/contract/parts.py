"""Try what a plugin file offers besides methods: data sets, metrics and report writers."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ddl_bench import registry
from ddl_bench.api import Metric, Predicted
from ddl_bench.contract import Finding
from ddl_bench.data import ImageSet
from ddl_bench.data.sources import default_data_dir
from ddl_bench.files import brief
from ddl_bench.results.columns import TAKEN, refuse_taken

N_CLASSES = 3
N_IMAGES = 60
KINDS = ("DATASETS", "METRICS", "REPORTS")


def parts_of(path: Path) -> list[str]:
    """List which of DATASETS, METRICS and REPORTS a plugin file has."""
    return [kind for kind in KINDS if registry.offered_by(path, kind)]


def examine_parts(path: Path) -> Iterator[Finding]:
    """Try each data set, metric and report writer of a plugin file on something small."""
    if registry.offered_by(path, "DATASETS"):
        registry.datasets([path])  # refuses names that are taken
    for name, loader in registry.offered_by(path, "DATASETS").items():
        yield tried(f"data set {name} can be read", try_dataset, loader)
    known = registry.metrics([path], TAKEN)
    refuse_taken(known)
    for name, metric in known.items():
        if name in registry.offered_by(path, "METRICS"):
            yield tried(f"metric {name} is a finite number", try_metric, metric)
            yield tried(f"metric {name} says what it means", try_meaning, metric)
    for name, writer in registry.writers([path]).items():
        yield tried(f"report {name} writes a file", try_writer, writer)


def tried(rule: str, attempt: Callable[[Any], str], part: Any) -> Finding:
    """Try one part; what it raises, or the attempt says, is why the rule is broken."""
    try:
        problem = attempt(part)
    except Exception as error:  # a plugin may raise anything
        problem = brief(f"raised {type(error).__name__}: {error}")
    if problem:
        return Finding(rule, "broken", problem)
    return Finding(rule, "held")


def try_dataset(loader: registry.Loader) -> str:
    """Read a data set without downloading anything; returns what is wrong."""
    images = loader(default_data_dir(), False)
    if not isinstance(images, ImageSet):
        return f"returned {type(images).__name__}, expected ddl_bench.data.ImageSet"
    return ""


def try_metric(metric: Metric) -> str:
    """Compute a metric of predictions of which half are right; returns what is wrong."""
    targets = np.arange(N_IMAGES) % N_CLASSES
    predictions = np.where(np.arange(N_IMAGES) % 2, targets, 0)
    names = tuple(map(str, range(N_CLASSES)))
    row = {"label": "toy", "seed": 0, "status": "ok", "accuracy": 50.0, "train_s": 1.0}
    predicted = Predicted(targets=targets, predictions=predictions, class_names=names, row=row)
    value = metric.function(predicted)
    if value is None or np.isfinite(float(value)):
        return ""
    return f"returned {value}, which is not finite"


def try_meaning(metric: Metric) -> str:
    """Look at the docstring of a metric; returns what is wrong."""
    if metric.meaning:
        return ""
    return "its function has no docstring; say there what the number is"


def try_writer(writer: registry.Writer) -> str:
    """Let a writer write the report of two rows; returns what is wrong."""
    from ddl_bench.data.splits import Splits
    from ddl_bench.plan.cell import BudgetSpec, Cell, Limits, Machine
    from ddl_bench.results.frame import frame
    from ddl_bench.results.rows import Measured, Row

    rows = []
    for seed in range(2):
        cell = Cell(
            label="toy",
            method="toy",
            params={},
            grid={},
            source="0",
            plugins=(),
            dataset="digits",
            data="0",
            mirror=None,
            data_dir="",
            splits=Splits(),
            budget=BudgetSpec(epochs=1, seconds=None),
            seed=seed,
            machine=Machine(threads=1),
            limits=Limits(),
            track="toy",
        )
        measured = Measured(accuracy=50.0 + seed, n_params=10, train_s=1.0, n_test=N_IMAGES)
        rows.append(Row(cell=cell, status="ok", measured=measured, started="2026-01-01T00:00:00"))
    with tempfile.TemporaryDirectory() as folder:
        writer(frame(rows), Path(folder))
        if not list(Path(folder).iterdir()):
            return "wrote no file into the folder"
    return ""
