"""Train and measure one cell: the harness pulls the method along, and it alone scores."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from ddl_bench import api, registry
from ddl_bench.data import ImageSet, fingerprint
from ddl_bench.data.planted import recovered
from ddl_bench.data.sources import load
from ddl_bench.data.splits import Parts, split
from ddl_bench.files import write_arrays
from ddl_bench.harness.checkpoint import Checkpoint, Mark, Point
from ddl_bench.harness.clock import CellDeadline, Phases, Stopwatch, time_inference
from ddl_bench.harness.progress import Progress
from ddl_bench.plan.cell import Cell
from ddl_bench.plan.track import grid_points
from ddl_bench.results.models import keep_model
from ddl_bench.results.rows import Measured, Outcome
from ddl_bench.training.memory import keep_memory

BATCH_IMAGES = 256  # scored at a time where predictions are timed
CURVE_SHARE = 0.1  # evaluations for the curve take at most this share of the training time
OVERRUN_FACTOR = 1.05  # a training is over its budget beyond this, and more than
OVERRUN_S = 3.0  # so many seconds


@dataclass(kw_only=True)
class Trained:
    """One finished training run."""

    method: api.Method
    classifier: api.Classifier
    mark: Mark


def evaluate(cell: Cell, run: Path, phases: Phases, progress: Progress) -> Outcome:
    """Run a cell and return what its row holds; writes its arrays, and its model if it is kept.

    Parameters
    ----------
    cell
        What to train and measure.
    run
        The run folder.
    phases
        Takes the seconds of each phase.
    progress
        Is given a function that says how much of the training is done.

    Raises
    ------
    Skip, Diverged, UserError
        As the method raises them; any other exception is a mistake of the method.
    """
    with phases("import"):
        plugins = [Path(path) for path in cell.plugins]
        cls = registry.load_method(cell.method, plugins)
        wants_memory = isinstance(cls, api.KeepsMemory) and cls.keeps_memory
        if cell.machine.device == "cpu" and wants_memory:
            keep_memory()
    with phases("data"):
        images = read_images(cell, plugins)
        parts = split(cell.dataset, images, cell.splits)
        checkpoint = Checkpoint(run / "work" / f"{cell.id}.checkpoint", phases)
    points = list(grid_points(cell.grid))

    def train_point(mark: Mark) -> Trained:
        method = registry.make_method(cls, cell.params | points[mark.index])
        return train(method, parts.task, cell, mark, checkpoint, progress, n_points=len(points))

    best = train_point(checkpoint.best) if checkpoint.best else None
    first = checkpoint.mark.index
    for index in range(first, len(points)):
        mark = checkpoint.mark if index == first else Mark(index=index)
        trained = train_point(mark)
        checkpoint.spent_s += trained.mark.train_s
        if best is None or trained.mark.curve[-1].value > best.mark.curve[-1].value:
            best = trained
            checkpoint.best = trained.mark
    if best is None:
        raise ValueError("a grid has at least one point")
    search_s = checkpoint.spent_s - best.mark.train_s if cell.grid else None

    with phases("evaluation"):
        scores = scores_of(best.classifier, parts.test.X, parts.task)
        values = measure(best, parts, scores, cell)
        arrays = arrays_of(best, parts, scores)
        share = recovered_share(arrays, images)
    measured = Measured(**values, search_s=search_s, recovered=share, data_note=images.note)
    with phases("saving"):
        write_arrays(run / "cells" / f"{cell.id}.npz", arrays)
        if cell.keep_model:
            path = run / "models" / f"{cell.id}.safetensors"
            note = keep_model(path, best.classifier, best.method, cell, parts.task)
            measured = replace(measured, model_note=note)
    return Outcome(
        measured=measured,
        chosen=points[best.mark.index],
        resumed=checkpoint.resumed,
        earlier_s=checkpoint.earlier_s,
    )


def read_images(cell: Cell, plugins: Iterable[Path]) -> ImageSet:
    """Read the images of a cell. Raises UserError where they are not those that were planned."""
    known = registry.datasets(plugins)
    images = load(cell.dataset, data_dir=Path(cell.data_dir), mirror=cell.mirror, datasets=known)
    if fingerprint(images) != cell.data:
        raise api.UserError(
            f"{cell.dataset}: the images changed since the run was planned; start the run again"
        )
    return images


def train(
    method: api.Method,
    task: api.Task,
    cell: Cell,
    mark: Mark,
    checkpoint: Checkpoint,
    progress: Progress,
    *,
    n_points: int = 1,
) -> Trained:
    """Pull one training run from `mark` to its end or its deadline.

    Validation images are scored off the clock, as often as `CURVE_SHARE` allows, and at the end.

    Parameters
    ----------
    method, task, cell
        What to train, on what, and with which budget.
    mark
        Where an earlier worker came to, or a new one.
    checkpoint
        Is written between epochs.
    progress
        Is given a function that says how much of the training is done.
    n_points
        Points of the grid, of which this training is one.
    """
    budget = cell.budget_for_method()
    phases = checkpoint.phases
    with phases("warm-up"):
        training, mark = checkpoint.begin(lambda: method.start(task, budget), mark)
    watch = Stopwatch(cell.machine.device, seconds=mark.train_s)
    deadline = CellDeadline(watch, budget.seconds)

    def fraction() -> float:
        done = mark.n_advances / budget.epochs if budget.epochs else deadline.fraction()
        return (mark.index + min(1.0, done)) / n_points

    progress.fraction = fraction
    while mark.more:
        with phases("training"), watch:
            mark.more = training.advance(deadline) and not deadline.expired()
        mark.n_advances += 1
        mark.train_s = watch.seconds
        if isinstance(training, api.CountsPasses):
            mark.passes = float(training.passes)
        if isinstance(training, api.ReportsLoss):
            mark.add_to(mark.losses, training.loss)
        is_cheap = mark.evaluation_s <= CURVE_SHARE * mark.train_s
        if len(task.val) and (is_cheap or not mark.more):
            begin = time.perf_counter()
            with phases("evaluation"):
                scores = scores_of(training.classifier(), task.val.X, task)
                mark.add_to(mark.curve, accuracy(scores, task.val.y))
            mark.evaluation_s += time.perf_counter() - begin
        checkpoint.save(mark, training)
    if cell.grid:
        mark.take_state(training)  # the checkpoints of later points hold the best so far
    return Trained(method=method, classifier=training.classifier(), mark=mark)


def scores_of(classifier: api.Classifier, X: Tensor, task: api.Task) -> Tensor:
    """Score images and check the scores.

    Raises ValueError for scores of another shape and for images that were changed, Diverged for
    scores that are not finite.
    """
    before = X.sum(dtype=torch.int64)
    with torch.no_grad():
        scores = classifier(X)
    expected = (len(X), task.n_classes)
    if scores.shape != expected:
        shape = tuple(scores.shape)
        raise ValueError(f"the classifier returned scores of shape {shape}, expected {expected}")
    if not torch.isfinite(scores).all():
        raise api.Diverged("the classifier returned scores that are not finite")
    if X.sum(dtype=torch.int64) != before:
        raise ValueError("the classifier changed the images it was given")
    return scores


def accuracy(scores: Tensor, y: Tensor) -> float:
    """Compute the top-1 accuracy in percent."""
    return 100 * float((scores.argmax(1).cpu() == y).double().mean())


def measure(trained: Trained, parts: Parts, scores: Tensor, cell: Cell) -> dict[str, Any]:
    """Measure a trained classifier; returns fields of `Measured`.

    Parameters
    ----------
    trained
        The training run.
    parts
        The task, the test images, and the official ones where these are apart.
    scores
        Of the test images.
    cell
        Knows the device and the budget.
    """
    task, test, official = parts
    classifier = trained.classifier
    mark = trained.mark
    device = cell.machine.device
    n_train = len(task.train)
    batch = test.X[:BATCH_IMAGES]
    timing = time_inference(classifier, batch, device)
    values: dict[str, Any] = {
        "n_train": n_train,
        "n_val": len(task.val),
        "n_test": len(test),
        "accuracy": accuracy(scores, test.y),
        "val_accuracy": mark.curve[-1].value if mark.curve else None,
        "train_s": mark.train_s,
        "train_s_per_image": mark.train_s / n_train,
        "passes": mark.passes,
        "over_budget": is_over_budget(mark.train_s, cell.budget.seconds),
        "test_s_per_image": timing.median_s,
        "test_s_per_image_iqr": timing.iqr_s,
        "test_latency_s": time_inference(classifier, test.X[:1], device).median_s,
        "test_batch": len(batch),
        "flops_per_image": flops(classifier, test.X[:1]),
    }
    if mark.passes:
        values["train_s_per_image_pass"] = mark.train_s / (n_train * mark.passes)
    if official is not None:
        values["official_accuracy"] = accuracy(scores_of(classifier, official.X, task), official.y)
        values["n_official"] = len(official)
    if device.startswith("cuda"):
        values["peak_device_memory"] = torch.cuda.max_memory_allocated(device)
    size = api.size_of(classifier)
    values["n_params"] = size.n_params
    values["n_stored"] = size.n_stored
    values["n_buffers"] = size.n_buffers
    values["size_reason"] = size.reason
    if isinstance(classifier, api.HasCodes):
        stats = classifier.code_stats(batch)
        values["sparsity"] = stats.n_nonzero / stats.n_entries
        values["reconstruction"] = stats.squared_error / max(stats.squared_norm, 1e-30)
    return values


def is_over_budget(train_s: float, limit_s: float | None) -> bool:
    """Whether a training took clearly longer than its budget in seconds."""
    return limit_s is not None and train_s > max(OVERRUN_FACTOR * limit_s, limit_s + OVERRUN_S)


def flops(classifier: api.Classifier, X: Tensor) -> int | None:
    """Count the operations for one image, as declared, or else as torch counts them.

    Torch counts products and convolutions; None where there are neither.
    """
    if isinstance(classifier, api.CountsFlops):
        return classifier.flops()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        classifier(X)
    return counter.get_total_flops() or None


def arrays_of(trained: Trained, parts: Parts, scores: Tensor) -> dict[str, np.ndarray]:
    """Collect the arrays that are kept beside a row: predictions, curves, what can be drawn."""
    mark = trained.mark
    arrays = {
        "y_test": parts.test.y.numpy().astype(np.int32),
        "predictions": scores.argmax(1).cpu().numpy().astype(np.int32),
        "class_names": np.array(parts.task.class_names),
        "curve_split": np.array("validation"),
        **columns("curve", "accuracy", mark.curve),
        **columns("loss", "mean", mark.losses),
    }
    if isinstance(trained.classifier, api.HasAtoms):
        arrays["artefact_atoms"] = trained.classifier.atoms()
    if isinstance(trained.classifier, api.HasDictionary):
        dictionary = trained.classifier.dictionary()
        if dictionary is not None:
            arrays["artefact_dictionary"] = dictionary
    return arrays


def columns(prefix: str, value: str, curve: list[Point]) -> dict[str, np.ndarray]:
    """Turn a curve into one array for seconds, one for values and one for epochs."""
    seconds, values, steps = np.reshape(curve, (-1, 3)).T
    return {f"{prefix}_seconds": seconds, f"{prefix}_{value}": values, f"{prefix}_step": steps}


def recovered_share(arrays: dict[str, np.ndarray], images: ImageSet) -> float | None:
    """Percentage of the planted atoms that a learned dictionary has; None where none is planted."""
    atoms = arrays.get("artefact_dictionary")
    truth = images.dictionary
    if truth is None or atoms is None or atoms.shape[1:] != truth.shape[1:]:
        return None
    return recovered(atoms, truth)
