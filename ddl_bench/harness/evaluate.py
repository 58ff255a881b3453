"""Train and measure one cell: the harness pulls the method along, and it alone scores."""

import os
import sys
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from os import getpid
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.special import bdtr
from torch import Tensor

from ddl_bench import api, registry
from ddl_bench.data import ImageSet, fingerprint
from ddl_bench.data.planted import recovered
from ddl_bench.data.sources import load
from ddl_bench.data.splits import Tests, task_of, tests_of
from ddl_bench.files import write_arrays
from ddl_bench.harness.checkpoint import Checkpoint, Mark, Point
from ddl_bench.harness.clock import (
    CellDeadline,
    Phases,
    Reported,
    Stopwatch,
    Timing,
    WorkClock,
    time_inference,
)
from ddl_bench.harness.epochs import KeptEpochs, is_asked_for
from ddl_bench.harness.folder import checkpoint_path
from ddl_bench.harness.load import (
    PAUSE_S,
    Background,
    Load,
    LoadMeter,
    background,
    clock_mhz,
    cpu_seconds,
    n_cores_beyond,
)
from ddl_bench.harness.operations import flops
from ddl_bench.harness.progress import Progress, TrainingProgress
from ddl_bench.harness.scoring import (
    BATCH_IMAGES,
    accuracy,
    depends_on_company,
    scores_alone,
    scores_of,
)
from ddl_bench.harness.sizes import checked_size, numbers_held
from ddl_bench.harness.stop import EXIT_CODE
from ddl_bench.params import make_method
from ddl_bench.plan.cell import Cell
from ddl_bench.plan.track import grid_points
from ddl_bench.results.models import keep_model
from ddl_bench.results.paths import arrays_path, model_path
from ddl_bench.results.rows import Measured, Outcome, digest
from ddl_bench.training.memory import keep_memory

TIMED_IMAGES = 256  # scored at a time where predictions are timed
SCORING_FACTOR = 2.0  # scoring that takes longer than so many times the timed one is not scoring
LEAST_AGREEMENT = 0.5  # share of images that have their class also while predictions are timed
USUAL_AGREEMENT = 0.95  # of noisy images with those without noise, at most, where none is kept
LEAST_CHANCE = 1e-3  # of so few single images that have their class, below which some were kept
READING_FACTOR = 1.2  # of the CPU time of reading the images: reading them again takes less
LEAST_FRACTION = 1e-6  # of a training, before which nothing is said about the rest of it
CURVE_SHARE = 0.1  # evaluations for the curve take at most this share of the training time
OVERRUN_FACTOR = 1.05  # a training is over its budget beyond this, and more than
OVERRUN_S = 3.0  # so many seconds


@dataclass(kw_only=True)
class Trained:
    """One finished training run."""

    method: api.Method
    classifier: api.Classifier
    mark: Mark
    load: Load
    background: Background


class Scored(NamedTuple):
    """Scores of the test images, and whether they depend on the other images in a batch."""

    scores: Tensor
    is_dependent: bool


def evaluate(
    cell: Cell,
    run: Path,
    phases: Phases,
    progress: Progress,
    before_writing: Callable[[], object] = nullcontext,
) -> Outcome:
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
        Is given a function that says how far the training has come.
    before_writing
        Is called before a checkpoint, arrays and a model are written; ends the process where
        another one has the cell.

    Raises
    ------
    Skip, Diverged, UserError
        As the method raises them; any other exception is a mistake of the method.
    """
    process = getpid()
    cores = os.sched_getaffinity(0)
    with phases("import"):
        plugins = [Path(path).resolve() for path in cell.plugins]
        data_dir = Path(cell.data_dir).resolve()  # a method may change the folder of its process
        cls = registry.load_method(cell.method, plugins)
        wants_memory = isinstance(cls, api.KeepsMemory) and cls.keeps_memory
        if cell.machine.device == "cpu" and wants_memory:
            keep_memory()
    with phases("data"):
        # No test image is in this process while a method trains.
        cpu_s = cpu_seconds()
        task = task_of(cell.dataset, read_images(cell, data_dir, plugins), cell.splits)
        reading_s = cpu_seconds() - cpu_s
        path = checkpoint_path(run, cell.id)
        checkpoint = Checkpoint(path, phases, before_writing)
        epochs = KeptEpochs(path, before_writing)
    points = list(grid_points(cell.grid))

    def train_point(mark: Mark) -> Trained:
        method = make_method(cls, cell.params | points[mark.index])
        return train(
            method, task, cell, mark, checkpoint, progress, n_points=len(points), epochs=epochs
        )

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

    with phases("data"):
        cpu_s = cpu_seconds()
        images = read_images(cell, data_dir, plugins)
        tests = tests_of(cell.dataset, images, cell.splits)
        excess_s = cpu_seconds() - cpu_s - READING_FACTOR * reading_s
        best.mark.outside_s += max(0.0, excess_s)  # a thread or a handler of the method
    with phases("evaluation"):
        scored = score_tests(best, tests, task, cell, tell=progress.tell_scored)
        values = measure(best, tests, scored, task, cell)
        values |= best_of_epochs(best, epochs, tests, task, cell)
        arrays = arrays_of(best, tests, scored.scores, task)
        share = recovered_share(arrays, images)
    measured = Measured(
        **values,
        predictions_sha256=digest(arrays["predictions"]),
        search_s=search_s,
        recovered=share,
        data_note=images.note,
        n_cores_beyond=n_cores_beyond(cores, best.mark.train_cpu_s, best.mark.train_s),
    )
    leave_if_forked(process)
    with phases("saving"):
        before_writing()
        model = model_path(run, cell.id)
        if not model.is_dir():
            model.unlink(missing_ok=True)  # of an earlier training
        write_arrays(arrays_path(run, cell.id), arrays)
        if cell.keep_model:
            note = keep_model(model, best.classifier, best.method, cell, task)
            measured = replace(measured, model_note=note)
    return Outcome(
        measured=measured,
        chosen=points[best.mark.index],
        resumed=checkpoint.resumed,
        earlier_s=checkpoint.earlier_s,
    )


def read_images(cell: Cell, data_dir: Path, plugins: Iterable[Path]) -> ImageSet:
    """Read the images of a cell. Raises UserError where they are not those that were planned."""
    known = registry.datasets(plugins)
    images = load(cell.dataset, data_dir=data_dir, mirror=cell.mirror, datasets=known)
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
    epochs: KeptEpochs | None = None,
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
        Is given a function that says how far the training has come.
    n_points
        Points of the grid, of which this training is one.
    epochs
        Keeps the weights of each epoch, where the training asks for it and there is no grid.
    """
    process = getpid()
    budget = cell.budget_for_method()
    phases = checkpoint.phases
    outside = WorkClock(cell.machine.device, seconds=mark.outside_s)
    outside.start()
    with phases("warm-up"):
        training, mark = checkpoint.begin(lambda: method.start(task, budget), mark)
    leave_if_forked(process)
    progress.is_resumable = isinstance(training, api.Resumable)
    watch = Stopwatch(cell.machine.device, seconds=mark.train_s)
    deadline = CellDeadline(watch, budget.seconds)
    earlier_s = checkpoint.spent_s

    def standing() -> TrainingProgress:
        return standing_of(mark, deadline, budget, n_points, earlier_s, watch.seconds)

    progress.standing = standing
    progress.mark = mark
    meter = LoadMeter()
    load = meter.read()
    others = Background()
    while mark.more:
        cpu_s = cpu_seconds()
        try:
            with outside.paused(), phases("training"), watch:
                mark.more = training.advance(deadline) and not deadline.expired()
        except Exception:
            if checkpoint.stop.explains_failure():
                sys.exit(EXIT_CODE)  # the last checkpoint stays
            raise
        leave_if_forked(process)
        mark.train_cpu_s += cpu_seconds() - cpu_s
        mark.n_advances += 1
        mark.train_s = watch.seconds
        if not mark.more:
            if mark.index == n_points - 1:
                checkpoint.stop.listen()  # what is left is short, and nobody else can do it
            load = meter.read()
            with phases("evaluation"):
                # Before classifier(), which may wait for them.
                others = background(progress.threads)
                outside.leave_out(PAUSE_S)
        if isinstance(training, api.CountsPasses):
            mark.passes = float(training.passes)
        if isinstance(training, api.ReportsLoss):
            mark.add_to(mark.losses, training.loss)
        is_cheap = mark.evaluation_s <= CURVE_SHARE * mark.train_s
        is_scored = len(task.val) > 0 and (is_cheap or not mark.more)
        is_first = mark.n_advances == 1
        if is_scored or is_first:
            begin = perf_counter()
            with phases("evaluation"):
                classifier = training.classifier()
                if is_first:
                    checked_size(classifier)  # a mistake is found before the rest of the training
                if is_scored:
                    with outside.paused():
                        scores = timed_scores(classifier, task.val.X, task, cell, mark)
                    mark.add_to(mark.curve, accuracy(scores, task.val.y))
            mark.evaluation_s += perf_counter() - begin
        if epochs is not None and is_asked_for(training) and not cell.grid:
            with phases("evaluation"):
                classifier = training.classifier()
            with phases("saving"):
                epochs.keep(classifier, mark.n_advances, outside.paused)
        mark.outside_s = outside.seconds
        checkpoint.save(mark, training, outside.paused)
    if cell.grid:
        mark.take_state(training)  # the checkpoints of later points hold the best so far
    with phases("evaluation"):
        classifier = training.classifier()
    outside.stop()
    mark.outside_s = outside.seconds
    return Trained(method=method, classifier=classifier, mark=mark, load=load, background=others)


def standing_of(
    mark: Mark,
    deadline: CellDeadline,
    budget: api.Budget,
    n_points: int,
    earlier_s: float,
    train_s: float,
) -> TrainingProgress:
    """Say how far the training of a cell has come, and how long the rest takes.

    Parameters
    ----------
    mark, deadline, train_s
        Of the grid point under way; its training seconds so far.
    budget
        Of each grid point.
    n_points
        Of the grid.
    earlier_s
        Training seconds of the points before.
    """
    done, done_s = deadline.fraction(), train_s
    if not mark.more:
        done = 1.0
    elif budget.epochs:
        by_epochs = Reported(mark.n_advances / budget.epochs, mark.train_s)
        furthest = max(by_epochs, deadline.reported, key=lambda each: each.share)
        done = furthest.share
        done_s = furthest.train_s
    fraction = (mark.index + min(1.0, done)) / n_points
    remaining_s = None
    if budget.seconds:
        of_this_s = max(0.0, budget.seconds - train_s) if mark.more else 0.0
        remaining_s = of_this_s + (n_points - mark.index - 1) * budget.seconds
    elif fraction >= LEAST_FRACTION:
        left_s = (earlier_s + done_s) / fraction - earlier_s - train_s
        is_known = left_s > 0 or fraction >= 1  # or else the last report took too little for all
        remaining_s = max(0.0, left_s) if is_known else None
    return TrainingProgress(
        fraction=fraction,
        train_s=earlier_s + train_s,
        remaining_s=remaining_s,
        val_accuracy=mark.curve[-1].value if mark.curve else None,
    )


def leave_if_forked(process: int) -> None:
    """End a copy of the worker that a method made and that came back: one writes the row."""
    if getpid() != process:
        os._exit(0)


def timed_scores(
    classifier: api.Classifier,
    X: Tensor,
    task: api.Task,
    cell: Cell,
    mark: Mark,
    *,
    tell: Callable[[float], object] = float,
) -> Tensor:
    """Score images, and note how long that takes; `tell` is told the share that is scored."""
    watch = WorkClock(cell.machine.device, seconds=mark.scoring_s)
    watch.start()
    scores = scores_of(classifier, X, task, cell.seed, tell=tell)
    watch.stop()
    mark.scoring_s = watch.seconds
    n_full, n_rest = divmod(len(X), BATCH_IMAGES)
    mark.n_scored += n_full * BATCH_IMAGES
    if n_rest:
        mark.n_scored += max(n_rest, TIMED_IMAGES)
    return scores


def timed_scores_alone(
    classifier: api.Classifier, X: Tensor, task: api.Task, cell: Cell, mark: Mark
) -> Tensor:
    """Score some images one by one, before a classifier sees many at once."""
    watch = WorkClock(cell.machine.device, seconds=mark.scoring_s)
    watch.start()
    scores = scores_alone(classifier, X, task, cell.seed)
    watch.stop()
    mark.scoring_s = watch.seconds
    mark.n_scored += len(scores) * TIMED_IMAGES
    return scores


def score_tests(
    trained: Trained,
    tests: Tests,
    task: api.Task,
    cell: Cell,
    *,
    tell: Callable[[float], object] = float,
) -> Scored:
    """Score the test images, some of them also alone, before and after, and in other company.

    `tell` is told the share of the images that are scored.
    """
    X = tests.test.X
    first = timed_scores_alone(trained.classifier, X, task, cell, trained.mark)
    scores = timed_scores(trained.classifier, X, task, cell, trained.mark, tell=tell)
    is_dependent = depends_on_company(
        trained.classifier,
        X,
        scores,
        task,
        first=first,
        seed=cell.seed,
        precision=cell.machine.precision,
    )
    return Scored(scores, is_dependent)


def are_stale(timing: Timing, latency: Timing) -> bool:
    """Say whether images have other classes while they are timed, in batches or one by one.

    The noise that makes each timed image a new one changes some classes, too. As few single images
    are timed, these must agree more rarely than those in batches, by more than chance.
    """
    if timing.agreement < LEAST_AGREEMENT:
        return True
    usual = min(timing.agreement, USUAL_AGREEMENT)
    n_agreed = round(latency.agreement * latency.n_runs)
    return bool(bdtr(n_agreed, latency.n_runs, usual) < LEAST_CHANCE)


def measure(
    trained: Trained, tests: Tests, scored: Scored, task: api.Task, cell: Cell
) -> dict[str, Any]:
    """Measure a trained classifier; returns fields of `Measured`.

    Parameters
    ----------
    trained
        The training run.
    tests
        The test images, and the official ones where these are apart.
    scored
        Scores of the test images.
    task
        Training and validation images.
    cell
        Knows the device and the budget.
    """
    test, official = tests
    classifier = trained.classifier
    mark = trained.mark
    device = cell.machine.device
    n_train = len(task.train)
    batch = test.X[:TIMED_IMAGES]
    meter = LoadMeter()
    timing = time_inference(classifier, batch, device)
    latency = time_inference(classifier, batch, device, n_images=1)
    load = meter.read()
    operations = flops(classifier, test.X[:1])
    scoring_s = SCORING_FACTOR * mark.n_scored * timing.median_s
    values: dict[str, Any] = {
        "n_train": n_train,
        "n_val": len(task.val),
        "n_test": len(test),
        "accuracy": accuracy(scored.scores, test.y),
        "val_accuracy": mark.curve[-1].value if mark.curve else None,
        "batch_dependent": scored.is_dependent,
        "stale_answers": are_stale(timing, latency),
        "train_s": mark.train_s,
        "train_s_per_image": mark.train_s / n_train,
        "passes": mark.passes,
        "over_budget": is_over_budget(mark.train_s, cell.budget.seconds),
        "outside_s": mark.outside_s + max(0.0, mark.scoring_s - scoring_s),
        "background_cpu_s": trained.background.cpu_s,
        "background": ", ".join(trained.background.names),
        "train_cpu_s": mark.train_cpu_s,
        "train_others": trained.load.others,
        "train_switches": trained.load.n_switches,
        "test_cpu_share": load.cpu_s / load.wall_s,
        "test_others": load.others,
        "test_switches": load.n_switches,
        "load_average": os.getloadavg()[0],
        "test_s_per_image": timing.median_s,
        "test_s_per_image_iqr": timing.iqr_s,
        "test_latency_s": latency.median_s,
        "test_latency_s_iqr": latency.iqr_s,
        "n_test_runs": timing.n_runs,
        "n_latency_runs": latency.n_runs,
        "clock_mhz": clock_mhz(os.sched_getaffinity(0)),
        "test_batch": len(batch),
        "flops_per_image": operations.n,
        "flops_left_out": operations.left_out,
    }
    if mark.passes:
        values["train_s_per_image_pass"] = mark.train_s / (n_train * mark.passes)
    if official is not None:
        scores = scores_of(classifier, official.X, task, cell.seed)
        values["official_accuracy"] = accuracy(scores, official.y)
        values["n_official"] = len(official)
    if device.startswith("cuda"):
        values["peak_device_memory"] = torch.cuda.max_memory_allocated(device)
    size = checked_size(classifier)
    values["n_params"] = size.n_params
    values["n_stored"] = size.n_stored
    values["n_buffers"] = size.n_buffers
    values["n_held"] = numbers_held(classifier)
    values["size_reason"] = size.reason
    if isinstance(classifier, api.AddsViews):
        values["n_views"] = classifier.n_views
    if isinstance(classifier, api.HasCodes):
        stats = classifier.code_stats(batch)
        values["sparsity"] = stats.n_nonzero / stats.n_entries
        values["reconstruction"] = stats.squared_error / max(stats.squared_norm, 1e-30)
    return values


def best_of_epochs(
    trained: Trained, epochs: KeptEpochs, tests: Tests, task: api.Task, cell: Cell
) -> dict[str, Any]:
    """Score the kept weights of all epochs, on the official test images; fields of `Measured`."""
    images = tests.test if tests.official is None else tests.official

    def accuracy_of(classifier: api.Classifier) -> float:
        return accuracy(scores_of(classifier, images.X, task, cell.seed), images.y)

    best = epochs.best(trained.classifier, trained.mark.n_advances, accuracy_of)
    if best is None:
        return {}
    return {
        "best_epoch_accuracy": best.accuracy,
        "best_epoch": best.epoch,
        "n_epochs_scored": best.n_epochs,
    }


def is_over_budget(train_s: float, limit_s: float | None) -> bool:
    """Whether a training took clearly longer than its budget in seconds."""
    return limit_s is not None and train_s > max(OVERRUN_FACTOR * limit_s, limit_s + OVERRUN_S)


def arrays_of(
    trained: Trained, tests: Tests, scores: Tensor, task: api.Task
) -> dict[str, np.ndarray]:
    """Collect the arrays that are kept beside a row: predictions, curves, what can be drawn."""
    mark = trained.mark
    arrays = {
        "y_test": small_integers(tests.test.y.numpy()),
        "predictions": small_integers(scores.argmax(1).cpu().numpy()),
        "class_names": np.array(task.class_names),
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


def small_integers(labels: np.ndarray) -> np.ndarray:
    """Store labels, counted from 0, in as few bytes as hold them."""
    least = -1 - int(labels.max(initial=0))  # negative, so that a signed type is chosen
    return labels.astype(np.min_scalar_type(least))


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
