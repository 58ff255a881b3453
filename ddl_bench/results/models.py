"""Kept models: a trained classifier in a safetensors file, and predictions with it on new images."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ddl_bench.api import Classifier, Keepable, Method, Restorable, Split, Task
from ddl_bench.data.folder import pixels
from ddl_bench.errors import UserError
from ddl_bench.files import write_atomically
from ddl_bench.plan.cell import Cell
from ddl_bench.registry import fields, load_method, make_method

FORMAT = 1


def save_model(path: Path, classifier: Classifier, method: Method, cell: Cell, task: Task) -> None:
    """Keep a classifier: its arrays, and what is needed to build it again. No pickle, so that opening it is safe."""
    if not (isinstance(classifier, Keepable) and isinstance(method, Restorable)):
        raise UserError(
            f"{cell.label}: this method cannot be kept (no state() and restore()); run without --keep-models"
        )
    values = asdict(cast(Any, method))
    about = {
        "format": FORMAT,
        "cell": cell.model_dump(mode="json"),
        "params": {name: values[name] for name in fields(type(method))},
        "class_names": task.class_names,
        "image_shape": task.image_shape,
        "mirror": task.mirror,
    }
    state = {name: value.contiguous().cpu() for name, value in classifier.state().items()}
    write_atomically(path, save(state, {"ddl-bench": json.dumps(about)}))


def load_model(path: str | Path) -> tuple[Classifier, Task]:
    """Rebuild a kept classifier. The task's splits are empty; its class names and image shape are the model's."""
    try:
        with safe_open(str(path), "pt") as file:
            about: dict[str, Any] = json.loads((file.metadata() or {}).get("ddl-bench", "{}"))
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a mapping
    except FileNotFoundError:
        raise UserError(
            f"{path}: no such file; `ddl-bench run --keep-models` keeps models under RUN/models/"
        ) from None
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: not a readable safetensors file: {error}") from None
    if about.get("format") != FORMAT:
        raise UserError(
            f"{path}: not a model kept by this version of ddl-bench (format {about.get('format')})"
        )
    cell = Cell.model_validate(about["cell"])
    method = make_method(
        load_method(cell.method, [Path(path) for path in cell.plugins]), about["params"]
    )
    empty = Split(
        X=torch.empty(0, *about["image_shape"], dtype=torch.uint8),
        y=torch.empty(0, dtype=torch.int64),
    )
    task = Task(
        name=cell.dataset,
        class_names=tuple(about["class_names"]),
        train=empty,
        val=empty,
        mirror=about["mirror"],
    )
    assert isinstance(method, Restorable), "save_model keeps restorable methods only"
    return method.restore(state, task), task


def predict(model: str | Path, images: str | Path) -> list[dict[str, Any]]:
    """Classify new images with a kept model.

    `images` is an image file, a folder of image files, or an .npz with an array `x` (or `x_test`): uint8, (n, height,
    width) or (n, height, width, channels). Returns one record an image: name, label, and the score of that label.
    """
    classifier, task = load_model(model)
    names, X = _read(Path(images), task.image_shape)
    with torch.no_grad():
        scores = classifier(X)
    best = scores.max(1)
    labels = [task.class_names[index] for index in best.indices.tolist()]
    return [
        {"image": name, "label": label, "score": score}
        for name, label, score in zip(names, labels, best.values.tolist(), strict=True)
    ]


def _read(path: Path, shape: tuple[int, int, int]) -> tuple[list[str], Tensor]:
    if not path.exists():
        raise UserError(f"{path}: no such file or folder of images")
    if path.suffix == ".npz":
        X = _from_npz(path)
        names = [f"{path.name}[{index}]" for index in range(len(X))]
    else:
        files = (
            sorted(file for file in path.iterdir() if file.is_file()) if path.is_dir() else [path]
        )
        if not files:
            raise UserError(f"{path}: the folder is empty; expected image files")
        names, X = [str(file) for file in files], pixels(files, "L" if shape[0] == 1 else "RGB")
    if X.shape[1:] != shape:
        raise UserError(
            f"{path}: images of shape {X.shape[1:]}, the model takes {shape} (channels, height, width)"
        )
    return names, torch.from_numpy(np.ascontiguousarray(X))


def _from_npz(path: Path) -> np.ndarray:
    try:
        with np.load(path, allow_pickle=False) as file:
            key = next((key for key in ("x", "x_test") if key in file.files), None)
            if key is None:
                raise UserError(
                    f"{path}: expected an array `x` or `x_test`, found {', '.join(file.files) or 'nothing'}"
                )
            X = file[key]
    except (ValueError, OSError) as error:
        raise UserError(f"{path}: not a readable .npz file: {error}") from None
    if X.dtype != np.uint8 or X.ndim not in (3, 4):
        raise UserError(
            f"{path}: expected uint8 images (n, height, width[, channels]), got {X.dtype} {X.shape}"
        )
    images: np.ndarray = X[:, None] if X.ndim == 3 else X.transpose(0, 3, 1, 2)
    return images
