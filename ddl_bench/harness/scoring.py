"""Score images so that neither their place nor their company can help a classifier.

Images are scored in a random order of a fixed seed, in batches of bounded size, and the scores are
put back in the order of the data set.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ddl_bench import api

BATCH_IMAGES = 1000  # scored in one call, so that memory is bounded
ORDER_STREAM = 2  # of random numbers: the order of images is drawn apart from splits
ALONE_IMAGES = 6  # scored one by one
AGAIN_IMAGES = 64  # scored again in other company
MOST_DIFFERENCE = 0.01  # of the range of an image's scores, which rounding stays below
MOST_DIFFERENCE_BF16 = 0.1


@dataclass(frozen=True)
class Order:
    """A random order of images, the same for the same seed and number."""

    indices: Tensor

    @classmethod
    def drawn(cls, n_images: int, seed: int) -> "Order":
        """Draw an order."""
        rng = np.random.default_rng([ORDER_STREAM, seed, n_images])
        return cls(torch.from_numpy(rng.permutation(n_images)))

    def batches(self) -> Iterator[Tensor]:
        """Yield the indices of each batch."""
        yield from self.indices.split(BATCH_IMAGES)


def scores_of(
    classifier: api.Classifier,
    X: Tensor,
    task: api.Task,
    seed: int = 0,
    *,
    tell: Callable[[float], object] = float,
) -> Tensor:
    """Score images in a random order and in batches, and check the scores.

    Parameters
    ----------
    classifier
        Scores the images; it is given copies of them.
    X
        The images, shape (n_images, channels, height, width), uint8.
    task
        Knows the number of classes.
    seed
        Of the order.
    tell
        Is called after each batch with the share of the images that are scored, 0 to 1.

    Returns
    -------
    Tensor
        Scores in the order of `X`, shape (n_images, n_classes), in host memory.

    Raises
    ------
    UserError
        For scores of another kind or shape and for images that were changed.
    Diverged
        For scores that are no numbers.
    """
    order = Order.drawn(len(X), seed)
    parts = []
    n_scored = 0
    for batch in order.batches():
        parts.append(scores_of_batch(classifier, X[batch], task))
        n_scored += len(batch)
        tell(n_scored / len(X))
    scores = torch.cat(parts)
    restored = torch.empty_like(scores)
    restored[order.indices] = scores
    return restored


def scores_of_batch(classifier: api.Classifier, X: Tensor, task: api.Task) -> Tensor:
    """Score images in one call and check the scores, see `scores_of`."""
    before = X.sum(dtype=torch.int64)
    with torch.no_grad():
        scores = as_scores(classifier(X), (len(X), task.n_classes))
    if X.sum(dtype=torch.int64) != before:
        raise api.UserError("the classifier changed the images it was given")
    return scores


def as_scores(scores: Any, expected: tuple[int, int]) -> Tensor:
    """Return scores as a tensor in host memory: of a tensor or an array of real numbers.

    A score of -inf excludes a class, as long as one class of the image has a finite score.
    """
    if isinstance(scores, np.ndarray) and scores.dtype.kind in "iuf":
        scores = torch.from_numpy(np.ascontiguousarray(scores))
    n_images, n_classes = expected
    wanted = f"expected a tensor of real numbers, one for each image and class {expected}"
    if not isinstance(scores, Tensor):
        raise api.UserError(f"the classifier returned {described(scores)}, {wanted}")
    if scores.shape != expected:
        shape = tuple(scores.shape)
        raise api.UserError(
            f"the classifier returned scores of shape {shape}, expected {expected}: "
            f"{n_images} images, {n_classes} classes"
        )
    is_plain = scores.layout == torch.strided
    if not is_plain or scores.dtype == torch.bool or scores.is_complex():
        kind = scores.dtype if is_plain else scores.layout
        raise api.UserError(f"the classifier returned a tensor of {kind}, {wanted}")
    plain = without_class(scores)
    if plain.is_floating_point() and not torch.isfinite(plain.amax(1)).all():
        raise api.Diverged("the classifier returned scores that are not finite")
    return plain


def without_class(scores: Tensor) -> Tensor:
    """Copy a tensor of any class to a plain one in host memory.

    A subclass has its own functions, which would be given whatever the scores are compared with.
    """
    values = scores.detach().cpu()
    if type(values) is Tensor:
        return values
    if values.dtype == torch.bfloat16:  # which numpy lacks
        values = values.float()
    return torch.from_numpy(np.array(values.numpy()))


def described(value: Any) -> str:
    """Say what a classifier returned in place of a tensor."""
    if value is None:
        return "None"
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype}"
    if isinstance(value, tuple | list):
        kinds = ", ".join(sorted({type(part).__name__ for part in value}))
        return f"a {type(value).__name__} of {len(value)} parts ({kinds})"
    return f"a {type(value).__name__}"


def accuracy(scores: Tensor, y: Tensor) -> float:
    """Compute the top-1 accuracy in percent."""
    return 100 * float((scores.argmax(1).cpu() == y).double().mean())


def depends_on_company(
    classifier: api.Classifier,
    X: Tensor,
    scores: Tensor,
    task: api.Task,
    *,
    first: Tensor | None = None,
    seed: int = 0,
    precision: str = "float32",
) -> bool:
    """Whether images have other scores alone, or among other images, by more than rounding.

    Parameters
    ----------
    classifier, X, scores, task
        The images, and the scores that the classifier gave them in `scores_of`.
    first
        What `scores_alone` returned before: a classifier that adapts itself to the images that it
        sees, and stays so, scores them otherwise afterwards.
    seed
        Chooses the images.
    precision
        Of the classifier's products.
    """
    alone = chosen(len(X), ALONE_IMAGES, seed)
    again = chosen(len(X), AGAIN_IMAGES, seed).flip(0)
    limit = MOST_DIFFERENCE_BF16 if precision == "bfloat16" else MOST_DIFFERENCE
    if first is not None and greatest_difference(scores[alone], first) > limit:
        return True
    for indices in [*alone.split(1), again]:
        other = scores_of_batch(classifier, X[indices], task)
        if greatest_difference(scores[indices], other) > limit:
            return True
    return False


def scores_alone(classifier: api.Classifier, X: Tensor, task: api.Task, seed: int = 0) -> Tensor:
    """Score those images one by one that `depends_on_company` scores alone."""
    indices = chosen(len(X), ALONE_IMAGES, seed)
    return torch.cat([scores_of_batch(classifier, X[index], task) for index in indices.split(1)])


def chosen(n_images: int, n_chosen: int, seed: int) -> Tensor:
    """Choose images at random, of a seed apart from that of the order; returns their indices."""
    return Order.drawn(n_images, seed + 1).indices[:n_chosen]


def greatest_difference(scores: Tensor, other: Tensor) -> float:
    """Compute the greatest difference of scores, in units of the range of an image's scores."""
    if scores.shape[1] == 1:  # a single class has no range, and cannot be missed
        return 0.0
    first = scores.double()
    second = other.double()
    low = torch.where(first.isneginf(), torch.inf, first).amin(1)
    spread = (first.amax(1) - low).clamp(min=1e-30)
    masked = first.isneginf() & second.isneginf()
    difference = torch.where(masked, 0.0, (first - second).abs())
    return float((difference.amax(1) / spread).max())
