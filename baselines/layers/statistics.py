"""Running statistics of batch norms that begin at those of the first images.

Batch norms begin with a variance of 1, and forget it slowly: after 44 steps 1 % of it is left. The
variances of codes may be far below that, so that a network after a short training would be another
one in use than in training.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


@contextmanager
def statistics_of_one_batch(module: nn.Module) -> Iterator[None]:
    """Let running statistics be those of the last batch that the batch norms of a module see."""
    norms = [part for part in module.modules() if isinstance(part, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    was_training = module.training
    module.train()
    for norm in norms:
        norm.momentum = 1.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        module.train(was_training)
