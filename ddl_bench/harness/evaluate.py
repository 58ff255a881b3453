"""Train and measure one cell: the harness pulls the method along, and it alone scores."""

import time
from collections.abc import Callable
from dataclasses import dataclass
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
from ddl_bench.data.splits import split
from ddl_bench.files import write_arrays
from ddl_bench.harness.checkpoint import Checkpoint, Mark
from ddl_bench.harness.clock import CellDeadline, Phases, Stopwatch, time_inference
from ddl_bench.plan.cell import Cell
from ddl_bench.plan.track import grid_points
from ddl_bench.results.models import save_model
from ddl_bench.results.rows import Measured, Outcome
from ddl_bench.training.memory import keep_memory
from ddl_bench.training.method import NetworkMethod

BATCH = 256  # images scored at a time in the timing of predictions
CURVE_SHARE = 0.1  # evaluations for the curve take at most this share of the training time


@dataclass(kw_only=True)
class Trained:
    """One finished training run."""

    method: api.Method
    classifier: api.Classifier
    mark: Mark


def evaluate(cell: Cell, run: Path, phases: Phases, beat: Callable[[float], None]) -> Outcome:
    """Run a cell and return what its row holds; writes its arrays, and its model if it is kept."""
    with phases("import"):
        plugins = [Path(path) for path in cell.plugins]
        cls = registry.load_method(cell.method, plugins)
        if cell.machine.device == "cpu" and issubclass(cls, NetworkMethod):
            keep_memory()
    with phases("data"):
        images, task, test, official = _data(cell, plugins)
        checkpoint = Checkpoint(run / "work" / f"{cell.id}.checkpoint", phases)
    points = list(grid_points(cell.grid))

    def finish(mark: Mark) -> Trained:
        method = registry.make_method(cls, cell.params | points[mark.index])
        return train(
            method,
            task,
            cell,
            mark,
            checkpoint,
            lambda done: beat((mark.index + done) / len(points)),
        )

    best = finish(checkpoint.best) if checkpoint.best else None
    for index in range(checkpoint.mark.index, len(points)):
        trained = finish(checkpoint.mark if index == checkpoint.mark.index else Mark(index=index))
        checkpoint.spent += trained.mark.train_s
        if best is None or trained.mark.curve[-1][1] > best.mark.curve[-1][1]:
            best, checkpoint.best = trained, trained.mark
    assert best is not None, "a grid has at least one point"
    with phases("evaluation"):
        values, arrays = _measure(best, task, test, official, cell)
        atoms = arrays.get("artefact_dictionary")
        if (
            images.dictionary is not None
            and atoms is not None
            and atoms.shape[1:] == images.dictionary.shape[1:]
        ):
            values["recovered"] = recovered(atoms, images.dictionary)
    if cell.grid:
        values["search_s"] = checkpoint.spent - best.mark.train_s
    values["data_note"] = images.note
    with phases("saving"):
        write_arrays(run / "cells" / f"{cell.id}.npz", arrays)
        if cell.keep_model:
            save_model(
                run / "models" / f"{cell.id}.safetensors", best.classifier, best.method, cell, task
            )
    return Outcome(
        measured=Measured(**values),
        chosen=points[best.mark.index],
        resumed=checkpoint.resumed,
        earlier_s=checkpoint.earlier_s,
    )


def _data(
    cell: Cell, plugins: list[Path]
) -> tuple[ImageSet, api.Task, api.Split, api.Split | None]:
    known = registry.datasets(plugins)
    images = load(cell.dataset, data_dir=Path(cell.data_dir), mirror=cell.mirror, datasets=known)
    if fingerprint(images) != cell.data:
        raise api.UserError(
            f"{cell.dataset}: the images changed since the run was planned; start the run again"
        )
    return images, *split(cell.dataset, images, cell.splits)


def train(
    method: api.Method,
    task: api.Task,
    cell: Cell,
    mark: Mark,
    checkpoint: Checkpoint,
    beat: Callable[[float], None],
) -> Trained:
    """Pull one training run from `mark` to its end or its deadline, evaluating on validation images off the clock."""
    budget, phases = cell.budget_for_method(), checkpoint.phases
    with phases("warm-up"):
        training, mark = checkpoint.begin(lambda: method.start(task, budget), mark)
    watch = Stopwatch(cell.machine.device, seconds=mark.train_s)

    def progress(used: float) -> None:
        beat(used if budget.seconds else min(1.0, mark.n_advances / (budget.epochs or 1)))

    deadline = CellDeadline(watch, budget.seconds, progress)
    while mark.more:
        with phases("training"), watch:
            mark.more = training.advance(deadline) and not deadline.expired()
        mark.n_advances, mark.train_s = mark.n_advances + 1, watch.seconds
        mark.passes = float(training.passes) if isinstance(training, api.CountsPasses) else None
        if isinstance(training, api.ReportsLoss):
            mark.losses.append((mark.train_s, training.loss, mark.n_advances))
        if len(task.val) and (not mark.more or mark.evaluating <= CURVE_SHARE * mark.train_s):
            begin = time.perf_counter()
            with phases("evaluation"):
                value = accuracy(scores_of(training.classifier(), task.val.X, task), task.val.y)
                mark.curve.append((mark.train_s, value, mark.n_advances))
            mark.evaluating += time.perf_counter() - begin
        checkpoint.save(mark, training)
    if cell.grid:
        mark.take(training)  # the checkpoints of later points hold the best so far
    return Trained(method=method, classifier=training.classifier(), mark=mark)


def scores_of(classifier: api.Classifier, X: Tensor, task: api.Task) -> Tensor:
    """Scores of a classifier, checked; the images it was given must come back unchanged."""
    before = X.sum(dtype=torch.int64)
    with torch.no_grad():
        scores = classifier(X)
    if scores.shape != (len(X), task.n_classes):
        wanted = (len(X), task.n_classes)
        raise ValueError(
            f"the classifier returned scores of shape {tuple(scores.shape)}, expected {wanted}"
        )
    if not torch.isfinite(scores).all():
        raise api.Diverged("the classifier returned scores that are not finite")
    if X.sum(dtype=torch.int64) != before:
        raise ValueError("the classifier changed the images it was given")
    return scores


def accuracy(scores: Tensor, y: Tensor) -> float:
    """Top-1 accuracy in percent."""
    return 100 * float((scores.argmax(1).cpu() == y).double().mean())


def _measure(
    trained: Trained, task: api.Task, test: api.Split, official: api.Split | None, cell: Cell
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    classifier, mark, n_train = trained.classifier, trained.mark, len(task.train)
    scores = scores_of(classifier, test.X, task)
    batch = test.X[:BATCH]
    median, iqr = time_inference(classifier, batch, cell.machine.device)
    limit = cell.budget.seconds
    values: dict[str, Any] = {
        "n_train": n_train,
        "n_val": len(task.val),
        "n_test": len(test),
        "accuracy": accuracy(scores, test.y),
        "val_accuracy": mark.curve[-1][1] if mark.curve else None,
        "train_s": mark.train_s,
        "train_s_per_image": mark.train_s / n_train,
        "passes": mark.passes,
        "over_budget": limit is not None and mark.train_s > max(1.05 * limit, limit + 3),
        "test_s_per_image": median,
        "test_s_per_image_iqr": iqr,
        "test_latency_s": time_inference(classifier, test.X[:1], cell.machine.device)[0],
        "test_batch": len(batch),
        "flops_per_image": flops(classifier, test.X[:1]),
    }
    if mark.passes:
        values["train_s_per_image_pass"] = mark.train_s / (n_train * mark.passes)
    if official is not None:
        values["official_accuracy"] = accuracy(scores_of(classifier, official.X, task), official.y)
        values["n_official"] = len(official)
    if cell.machine.device.startswith("cuda"):
        values["peak_device_memory"] = torch.cuda.max_memory_allocated(cell.machine.device)
    values |= _size(classifier) | _codes(classifier, batch)
    arrays = {
        "y_test": test.y.numpy().astype(np.int32),
        "predictions": scores.argmax(1).cpu().numpy().astype(np.int32),
        "class_names": np.array(task.class_names),
        "curve_split": np.array("validation"),
        **dict(
            zip(
                ("curve_seconds", "curve_accuracy", "curve_step"),
                np.reshape(mark.curve, (-1, 3)).T,
                strict=True,
            )
        ),
        **dict(
            zip(
                ("loss_seconds", "loss_mean", "loss_step"),
                np.reshape(mark.losses, (-1, 3)).T,
                strict=True,
            )
        ),
    }
    if isinstance(classifier, api.HasAtoms):
        arrays["artefact_atoms"] = classifier.atoms()
    if isinstance(classifier, api.HasDictionary):
        dictionary = classifier.dictionary()
        if dictionary is not None:
            arrays["artefact_dictionary"] = dictionary
    return values, arrays


def _size(classifier: api.Classifier) -> dict[str, Any]:
    size = api.size_of(classifier)
    sizes = {"n_params": size.n_params, "n_stored": size.n_stored, "n_buffers": size.n_buffers}
    return {**sizes, "size_reason": size.reason}


def _codes(classifier: api.Classifier, X: Tensor) -> dict[str, Any]:
    """Share of non-zero codes and relative squared error, over at most one batch of test images."""
    if not isinstance(classifier, api.HasCodes):
        return {}
    stats = classifier.code_stats(X)
    return {
        "sparsity": stats.n_nonzero / stats.n_entries,
        "reconstruction": stats.squared_error / max(stats.squared_norm, 1e-30),
    }


def flops(classifier: api.Classifier, X: Tensor) -> int | None:
    """Operations for one image: as declared, else the products and convolutions that torch counts; None for neither."""
    if isinstance(classifier, api.CountsFlops):
        return classifier.flops()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        classifier(X)
    return counter.get_total_flops() or None
