"""Keep trained classifiers in safetensors files, and predict with them on new images."""

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from ddl_bench.api import (
    About,
    AddsViews,
    Classifier,
    Keepable,
    Method,
    Restorable,
    Split,
    Task,
)
from ddl_bench.data.folder import SUFFIXES, is_image, pixels
from ddl_bench.errors import UserError
from ddl_bench.files import (
    brief,
    check_size,
    explained,
    memory_limit,
    name_of,
    open_regular,
    printable,
    read_arrays,
    warn_damaged,
    write_atomically,
)
from ddl_bench.params import make_method, options_of
from ddl_bench.plan.cell import Cell
from ddl_bench.registry import load_method, methods
from ddl_bench.results.paths import model_path
from ddl_bench.results.public import Place, paths_of, public_cell
from ddl_bench.training.network import Network

FORMAT = 1
KEY = "ddl-bench"  # of our metadata in the file
NOT_KEPT = "no model kept"  # what a note of it begins with
MOST_IMAGES = 1000  # that a classifier is given in one call, as while it is tested


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
        "params": {name: values[name] for name in options_of(type(method))},
        "class_names": task.class_names,
        "image_shape": task.image_shape,
        "mirror": task.mirror,
    }
    state = {name: value.contiguous().cpu() for name, value in classifier.state().items()}
    write_atomically(path, save(state, {KEY: json.dumps(metadata)}))


def keep_model(path: Path, classifier: Classifier, method: Method, cell: Cell, task: Task) -> str:
    """Write a classifier as `save_model` does; return why that is impossible, "" if it is not.

    No failure of it loses what was measured.
    """
    try:
        save_model(path, classifier, method, cell, task)
    except UserError as error:
        return f"{NOT_KEPT}: {brief(error, 300)}"
    except Exception as error:  # `state` of a plugin may do anything
        return f"{NOT_KEPT}: {brief(f'{type(error).__name__}: {error}', 300)}"
    return ""


def copy_public(run: Path, out: Path, cell_id: str) -> None:
    """Copy the model of a cell from RUN/models to OUT/models, without paths in its metadata.

    A damaged model is left out, with a warning.
    """
    path = model_path(run, cell_id)
    try:
        metadata, state = _read_file(path)
        cell = metadata["cell"]
        place = Place.of([*paths_of(cell), run.resolve()])
        cleaned = place.cleaned(metadata) | {"cell": public_cell(cell, cell_id, place)}
    except (UserError, AttributeError, KeyError, TypeError, ValueError) as error:
        warn_damaged(path, error)
        return
    if run != out or cleaned != metadata:
        data = save(state, {KEY: json.dumps(cleaned)})
        write_atomically(model_path(out, cell_id), data)


def load_model(path: str | Path, plugins: Iterable[Path] = ()) -> tuple[Classifier, Task]:
    """Rebuild a kept classifier.

    The task has no images; its class names and image shape are those of the model.

    Parameters
    ----------
    path
        The file of the model.
    plugins
        Python files with methods. A file that the model names is never imported on its word.

    Raises
    ------
    UserError
        For a file that is missing, damaged or holds no kept model, and where a plugin is needed.
    """
    model = _load(Path(path), tuple(plugins))
    return model.classifier, model.task


class Model(NamedTuple):
    """Hold a rebuilt classifier, its task without images, and the class of its method."""

    classifier: Classifier
    task: Task
    method: type[Method]


def _load(path: Path, plugins: tuple[Path, ...]) -> Model:
    """Rebuild a kept classifier, and explain what hinders it in one line."""
    name = name_of(path)
    metadata, state = _read_file(path)
    if metadata.get("format") != FORMAT:
        known = brief(metadata.get("format"))
        raise UserError(f"{name}: not a model kept by this version of ddl-bench (format {known})")
    try:
        return _rebuild(metadata, state, plugins)
    except UserError as error:
        raise UserError(f"{name}: {brief(error, 300)}") from None
    except (Exception, MemoryError) as error:  # whatever a damaged file makes of a method
        text = brief(f"{type(error).__name__}: {error}")
        raise UserError(f"{name}: damaged, or of another version: {text}") from None


def _rebuild(
    metadata: dict[str, Any], state: dict[str, Tensor], plugins: tuple[Path, ...]
) -> Model:
    """Make a method of a model's metadata, and its classifier of the arrays."""
    cell = Cell.model_validate(metadata["cell"])
    if cell.plugins and cell.method not in methods(plugins):
        wanted = " ".join(f"--plugin {brief(plugin)}" for plugin in cell.plugins)
        raise UserError(
            f"its method {brief(cell.method, 40)!r} is of a plugin; if you trust that file, "
            f"give it by {wanted}"
        )
    cls = load_method(cell.method, plugins)
    method = make_method(cls, metadata["params"])
    channels, height, width = metadata["image_shape"]
    names = metadata["class_names"]
    if not (isinstance(names, list) and names and all(isinstance(name, str) for name in names)):
        raise UserError("its class names are not a list of texts")
    empty = Split(
        X=torch.empty(0, channels, height, width, dtype=torch.uint8),
        y=torch.empty(0, dtype=torch.int64),
    )
    task = Task(
        name=cell.dataset,
        class_names=tuple(names),
        train=empty,
        val=empty,
        mirror=bool(metadata["mirror"]),
    )
    if not isinstance(method, Restorable):
        raise UserError(f"the method {cell.method} has no restore()")
    return Model(method.restore(state, task), task, cls)


def _read_file(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read the metadata and the arrays of a safetensors file."""
    name = name_of(path)
    try:
        with open_regular(path) as opened:
            check_size(path, os.fstat(opened.fileno()).st_size, memory_limit())
        with safe_open(str(path), "pt") as file:
            metadata = json.loads((file.metadata() or {}).get(KEY, "{}"))
            if not isinstance(metadata, dict):
                raise UserError(f"{name}: its metadata is {type(metadata).__name__}, not a table")
            names = list(file.keys())
            return metadata, {name: file.get_tensor(name) for name in names}
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(
            f"{name}: no such file; `ddl-bench run --keep-models` keeps models under RUN/models/"
        ) from None
    except (Exception, MemoryError) as error:  # its parsers raise many kinds
        raise UserError(f"{name}: not a readable safetensors file: {brief(error)}") from None


def predict(
    model: str | Path, images: str | Path, plugins: Iterable[Path] = (), *, top: int = 1
) -> list[dict[str, Any]]:
    """Classify new images with a kept model.

    Parameters
    ----------
    model
        A file that `ddl-bench run --keep-models` has written.
    images
        An image file, a folder of image files or of class folders, or an .npz file with an array
        `x` (or `x_test`): uint8, (n, height, width) or (n, height, width, channels), and perhaps
        the labels `y` (or `y_test`): names of classes, also by `class_names`, or their numbers.
    plugins
        Python files with methods, for the model of a plugin's method.
    top
        How many labels to give of each image.

    Returns
    -------
    list
        A record for each image: `image`, its name; `label`; and `score`, that of the label. Also
        `probability`, where the scores of the method have some; `truth`, where the class is known;
        and `top`, a record of each of the most likely labels, where more than one is asked for.

    Raises
    ------
    UserError
        For files that cannot be read, images of another size than the model takes, and a class
        that it does not know.
    """
    classifier, task, method = _load(Path(model), tuple(plugins))
    read = _read_images(Path(images), task)
    try:
        with torch.no_grad():
            parts = [classifier(batch) for batch in read.X.split(MOST_IMAGES)]
        scores = torch.cat(parts)
    except (Exception, MemoryError) as error:
        text = brief(f"{type(error).__name__}: {error}")
        raise UserError(f"{name_of(model)}: cannot classify the images: {text}") from None
    n_classes = len(task.class_names)
    if scores.shape[1] != n_classes:
        raise UserError(
            f"{name_of(model)}: damaged: {n_classes} class names for {scores.shape[1]} scores"
        )
    probabilities = probabilities_of(scores, classifier, method)
    highest = scores.topk(min(top, n_classes), dim=1).indices.tolist()
    records = []
    for index, (name, labels) in enumerate(zip(read.names, highest, strict=True)):
        likely = []
        for label in labels:
            each = {"label": task.class_names[label], "score": float(scores[index, label])}
            if probabilities is not None:
                each["probability"] = float(probabilities[index, label])
            likely.append(each)
        record: dict[str, Any] = {"image": name, **likely[0]}
        if read.truth:
            record["truth"] = read.truth[index]
        if top > 1:
            record["top"] = likely
        records.append(record)
    return records


def probabilities_of(scores: Tensor, classifier: Classifier, method: type[Method]) -> Tensor | None:
    """Make probabilities of scores; None where the method does not say that they are any.

    The scores of a network are logits, those of several views are summed.
    """
    kind = "logits"
    if not isinstance(classifier, Network):
        about = vars(method).get("about")
        kind = about.scores if isinstance(about, About) else ""
    if kind == "logits":
        return (scores.double() / views_in_sum(classifier)).softmax(1)
    return scores if kind == "probabilities" else None


def views_in_sum(classifier: Classifier) -> float:
    """Count the views whose scores are summed; a network adds views that are moved by half."""
    if not isinstance(classifier, AddsViews):
        return 1.0
    n_views = float(classifier.n_views)
    is_moved = isinstance(classifier, Network) and classifier.n_views % 3 == 0
    return n_views * 2 / 3 if is_moved else n_views  # 1 + 1/2 + 1/2 of three


class Images(NamedTuple):
    """Images to classify: their names, the arrays, and their classes, which may be unknown."""

    names: list[str]
    X: Tensor
    truth: list[str]


def _read_images(path: Path, task: Task) -> Images:
    """Read images of the shape of a task, the name of each, and its class where that is known."""
    shape = task.image_shape
    truth: list[str] = []
    with explained(path):
        if not path.exists():
            raise UserError(f"{name_of(path)}: no such file or folder of images")
        files = [path]
        if path.is_dir():
            files = sorted(filter(is_image, path.glob("[!.]*")))
        if not files:
            has_parts = (path / "train").is_dir() and (path / "test").is_dir()
            root = path / "test" if has_parts else path
            files = sorted(filter(is_image, root.glob("[!.]*/[!.]*")))
            truth = known_classes([file.parent.name for file in files], task, path)
        if not files:
            expected = f"expected files with {', '.join(SUFFIXES)}"
            raise UserError(f"{name_of(path)}: no image in the folder; {expected}")
    if path.suffix.lower() == ".npz":
        X, labels = _read_npz(path)
        names = [f"{name_of(path.name)}[{index}]" for index in range(len(X))]
        truth = known_classes(labels, task, path)
    else:
        X = pixels(files, mode="L" if shape[0] == 1 else "RGB")
        names = [name_of(file) for file in files]
    if X.shape[1:] != shape:
        raise UserError(
            f"{name_of(path)}: images of shape {X.shape[1:]}, the model takes {shape} "
            "(channels, height, width); resize them first"
        )
    return Images(names, torch.from_numpy(np.ascontiguousarray(X)), truth)


def known_classes(labels: Sequence[str | int], task: Task, path: Path) -> list[str]:
    """Return the class names of labels, which are names themselves, in whatever order.

    Integers that are not all names count the names from 0, all of them.
    """
    names = [printable(str(label)) for label in labels]
    unknown = sorted(set(names) - set(task.class_names))
    if not unknown:
        return names
    if all(isinstance(label, int) and 0 <= label < task.n_classes for label in labels):
        return [task.class_names[int(label)] for label in labels]
    absent = brief(", ".join(map(repr, unknown)))
    known = brief(", ".join(task.class_names))
    raise UserError(f"{name_of(path)}: the model has no class {absent}; it has {known}")


def _read_npz(path: Path) -> tuple[np.ndarray, list[str | int]]:
    """Read the images of an .npz file as (n_images, channels, height, width), and the labels."""
    stored = read_arrays(path)
    present = [key for key in ("x", "x_test") if key in stored]
    if not present:
        contents = brief(", ".join(stored)) if stored else "nothing"
        raise UserError(f"{name_of(path)}: expected an array `x` or `x_test`, found {contents}")
    X = stored[present[0]]
    if not len(X):
        raise UserError(f"{name_of(path)}: {present[0]} has no images")
    if X.dtype != np.uint8 or X.ndim not in (3, 4):
        raise UserError(
            f"{name_of(path)}: expected uint8 images (n, height, width[, channels]), "
            f"got {X.dtype} {X.shape}"
        )
    key = present[0].replace("x", "y")
    y = stored.get(key)
    if y is not None and (y.shape != X.shape[:1] or y.dtype.kind not in "iuU"):
        raise UserError(
            f"{name_of(path)}: {key} is {y.dtype} {y.shape}; expected ({len(X)},) labels"
        )
    labels: list[str | int] = [] if y is None else y.tolist()
    if y is not None and "class_names" in stored:
        labels = _named(path, y, stored["class_names"], stored.get("y_train"))
    if X.ndim == 3:
        return X[:, None], labels
    return X.transpose(0, 3, 1, 2), labels


def _named(
    path: Path, y: np.ndarray, names: np.ndarray, y_train: np.ndarray | None
) -> list[str | int]:
    """Return the names that a file gives its labels: in their order, or counted from 0.

    The model may have the same names in another order.
    """
    values = np.arange(names.size) if y_train is None else np.unique(y_train)
    if values.shape != names.shape or not np.isin(y, values).all():
        raise UserError(
            f"{name_of(path)}: class_names is {names.shape}; expected one for each label"
        )
    return [str(name) for name in names[np.searchsorted(values, y)]]
