"""The paper's schedule on CIFAR-10: 200 epochs of depth 9, Q-metrics and ReLUs, resumable."""

import io
import json
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch

from ddl_bench.api import Budget, CountsPasses, Resumable
from ddl_bench.harness.clock import CellDeadline, Stopwatch, synchronize
from ddl_bench.harness.scoring import accuracy, scores_of
from ddl_bench.params import make_method
from ddl_bench.registry import load_method
from tests.gpu import archives
from tests.gpu.rows import Row
from tests.gpu.setting import Job, NotFinished, Setting

METHODS = ("detrame-plainnet", "plainnet")
EPOCHS, EVALUATED_EVERY = 200, 10
SAVED_EVERY_S = 30.0
SEED = 0


def jobs(setting: Setting) -> Iterator[tuple[str, Job]]:
    for name in METHODS:
        yield f"{name}-9", partial(train, setting, name)


def train(setting: Setting, name: str) -> dict[str, Any]:
    """Train to the end, or keep the state and raise NotFinished where the time is over."""
    task, test = setting.images
    epochs = 3 if setting.tiny else EPOCHS
    options: dict[str, Any] = {"depth": 3 if setting.tiny else 9, "recipe": "wide-resnet"}
    stem = f"state-{name}"
    made: dict[str, Any] = {"method": name, "options": options, "dataset": task.name}
    made |= {"n_train": len(task.train), "n_test": len(test), "n_epochs": epochs}
    made |= {"seed": SEED, "precision": setting.precision}
    method = make_method(load_method(name), options)
    budget = Budget(epochs=epochs, seed=SEED, device=setting.device, precision=setting.precision)
    begin = time.perf_counter()
    training = method.start(task, budget)
    synchronize(setting.device)
    assert isinstance(training, Resumable)
    assert isinstance(training, CountsPasses)
    progress: dict[str, Any] = {"n_done": 0, "train_s": 0.0, "n_resumed": 0, "curve": []}
    progress |= {"warm_up_s": time.perf_counter() - begin}
    kept = load(setting, stem, made)
    if kept is not None:
        training.load(kept["training"])
        progress |= kept["progress"]
        progress["n_resumed"] += 1
        print(f"{name}: goes on after {progress['n_done']} epochs", flush=True)
    watch = Stopwatch(setting.device)
    deadline = CellDeadline(watch, None)
    earlier_s, saved = progress["train_s"], time.perf_counter()
    while progress["n_done"] < epochs:
        if setting.is_over():
            save(setting, stem, made, training, progress)
            raise NotFinished(made | told(progress))
        with watch:
            training.advance(deadline)
        progress["n_done"] += 1
        progress["train_s"] = earlier_s + watch.seconds
        if progress["n_done"] % EVALUATED_EVERY == 0 or progress["n_done"] == epochs:
            found = accuracy(scores_of(training.classifier(), test.X, task), test.y)
            progress["curve"].append((progress["n_done"], progress["train_s"], found))
        if time.perf_counter() - saved > SAVED_EVERY_S:
            save(setting, stem, made, training, progress)
            saved = time.perf_counter()
    archives.remove(setting.out, stem)
    seen = epochs * len(task.train)
    rate = {"train_images_per_s": seen / progress["train_s"]}
    return made | told(progress) | rate


def told(progress: dict[str, Any]) -> dict[str, Any]:
    curve = progress["curve"]
    return {
        "n_epochs_done": progress["n_done"],
        "train_s": progress["train_s"],
        "warm_up_s": progress["warm_up_s"],
        "n_resumed": progress["n_resumed"],
        "accuracy_percent": curve[-1][2] if curve else None,
        "curve_epochs_s_percent": curve,
    }


def save(
    setting: Setting,
    stem: str,
    made: dict[str, Any],
    training: Resumable,
    progress: dict[str, Any],
) -> None:
    kept = {"made": json.dumps(made), "training": training.state(), "progress": progress}
    buffer = io.BytesIO()
    torch.save(kept, buffer)
    archives.write(setting.out, stem, buffer.getvalue())


def load(setting: Setting, stem: str, made: dict[str, Any]) -> dict[str, Any] | None:
    """The state of an earlier run of the same training."""
    data = archives.read(setting.out, stem)
    if data is None:
        return None
    kept: dict[str, Any] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    if kept["made"] != json.dumps(made):
        print(f"{stem}: is of another training, {kept['made']}; not taken up", flush=True)
        return None
    return kept


def describe(rows: list[Row]) -> list[str]:
    return [
        f"{row.name}: {row.values['n_epochs_done']} of {row.values['n_epochs']} epochs, "
        f"{row.values['train_s']:.1f} s, {row.values['accuracy_percent'] or 0:.2f} %"
        for row in rows
    ]
