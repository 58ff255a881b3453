"""Keep trained classifiers in safetensors files, and predict with them on new images."""

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
KEY = "ddl-bench"  # of our metadata in the file


def save_model(path: Path, classifier: Classifier, method: Method, cell: Cell, task: Task) -> None:
    """Write a classifier to a file: its arrays, and what is needed to build it again.

    Nothing is pickled, so that opening such a file is safe. Raises UserError for a method that
    cannot be kept.
    """
    if not (isinstance(classifier, Keepable) and isinstance(method, Restorable)):
        raise UserError(
            f"{cell.label}: this method cannot be kept (no state() and restore()); "
            "run without --keep-models"
        )
    values = asdict(cast(Any, method))
    metadata = {
        "format": FORMAT,
        "cell": cell.model_dump(mode="json"),
        "params": {name: values[name] for name in fields(type(method))},
        "class_names": task.class_names,
        "image_shape": task.image_shape,
        "mirror": task.mirror,
    }
    state = {name: value.contiguous().cpu() for name, value in classifier.state().items()}
    write_atomically(path, save(state, {KEY: json.dumps(metadata)}))


def load_model(path: str | Path) -> tuple[Classifier, Task]:
    """Rebuild a kept classifier.

    The task has no images; its class names and image shape are those of the model. Raises UserError
    for a file that is missing or holds no kept model.
    """
    metadata, state = _read_file(Path(path))
    if metadata.get("format") != FORMAT:
        raise UserError(
            f"{path}: not a model kept by this version of ddl-bench "
            f"(format {metadata.get('format')})"
        )
    cell = Cell.model_validate(metadata["cell"])
    plugins = [Path(plugin) for plugin in cell.plugins]
    method = make_method(load_method(cell.method, plugins), metadata["params"])
    empty = Split(
        X=torch.empty(0, *metadata["image_shape"], dtype=torch.uint8),
        y=torch.empty(0, dtype=torch.int64),
    )
    task = Task(
        name=cell.dataset,
        class_names=tuple(metadata["class_names"]),
        train=empty,
        val=empty,
        mirror=metadata["mirror"],
    )
    assert isinstance(method, Restorable), "save_model keeps restorable methods only"
    return method.restore(state, task), task


def _read_file(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read the metadata and the arrays of a safetensors file."""
    try:
        with safe_open(str(path), "pt") as file:
            metadata = json.loads((file.metadata() or {}).get(KEY, "{}"))
            names = list(file.keys())
            return metadata, {name: file.get_tensor(name) for name in names}
    except FileNotFoundError:
        raise UserError(
            f"{path}: no such file; `ddl-bench run --keep-models` keeps models under RUN/models/"
        ) from None
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: not a readable safetensors file: {error}") from None


def predict(model: str | Path, images: str | Path) -> list[dict[str, Any]]:
    """Classify new images with a kept model.

    Parameters
    ----------
    model
        A file that `ddl-bench run --keep-models` has written.
    images
        An image file, a folder of image files, or an .npz file with an array `x` (or `x_test`):
        uint8, (n, height, width) or (n, height, width, channels).

    Returns
    -------
    list
        A record for each image: `image`, its name; `label`; and `score`, that of the label.

    Raises
    ------
    UserError
        For files that cannot be read, or images of another size than the model takes.
    """
    classifier, task = load_model(model)
    names, X = _read_images(Path(images), task.image_shape)
    with torch.no_grad():
        scores, labels = classifier(X).max(1)
    return [
        {"image": name, "label": task.class_names[label], "score": score}
        for name, label, score in zip(names, labels.tolist(), scores.tolist(), strict=True)
    ]


def _read_images(path: Path, shape: tuple[int, int, int]) -> tuple[list[str], Tensor]:
    """Read images of a shape (channels, height, width), and the name of each."""
    if not path.exists():
        raise UserError(f"{path}: no such file or folder of images")
    if path.suffix == ".npz":
        X = _read_npz(path)
        names = [f"{path.name}[{index}]" for index in range(len(X))]
    else:
        files = [path]
        if path.is_dir():
            files = sorted(file for file in path.iterdir() if file.is_file())
        if not files:
            raise UserError(f"{path}: the folder is empty; expected image files")
        X = pixels(files, mode="L" if shape[0] == 1 else "RGB")
        names = [str(file) for file in files]
    if X.shape[1:] != shape:
        raise UserError(
            f"{path}: images of shape {X.shape[1:]}, the model takes {shape} "
            "(channels, height, width)"
        )
    return names, torch.from_numpy(np.ascontiguousarray(X))


def _read_npz(path: Path) -> np.ndarray:
    """Read the images of an .npz file as (n_images, channels, height, width)."""
    try:
        with np.load(path, allow_pickle=False) as file:
            present = [key for key in ("x", "x_test") if key in file.files]
            if not present:
                contents = ", ".join(file.files) or "nothing"
                raise UserError(f"{path}: expected an array `x` or `x_test`, found {contents}")
            X: np.ndarray = file[present[0]]
    except (ValueError, OSError) as error:
        raise UserError(f"{path}: not a readable .npz file: {error}") from None
    if X.dtype != np.uint8 or X.ndim not in (3, 4):
        raise UserError(
            f"{path}: expected uint8 images (n, height, width[, channels]), got {X.dtype} {X.shape}"
        )
    if X.ndim == 3:
        return X[:, None]
    return X.transpose(0, 3, 1, 2)
