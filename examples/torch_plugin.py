"""A torch network: ddl-bench run --plugin examples/torch_plugin.py --methods tiny-cnn"""

import torch
from torch import Tensor, nn

from ddl_bench import from_module


class TinyCNN(nn.Module):
    """Two convolutions and the mean over space; the codes between them are kept sparse."""

    def __init__(self, channels: int, n_classes: int, width: int = 16, lmbd: float = 1e-3) -> None:
        super().__init__()
        self.lmbd = lmbd
        self.first = nn.Conv2d(channels, width, 3, padding=1)
        self.second = nn.Conv2d(width, n_classes, 3, padding=1)

    def forward(self, X: Tensor) -> tuple[Tensor, Tensor]:
        """Return scores, and a penalty that is added to the loss in training."""
        codes = torch.relu(self.first(X))
        return self.second(codes).mean((2, 3)), self.lmbd * codes.abs().mean()


Tiny = from_module("tiny-cnn", TinyCNN, recipe={"optimiser": "adamw", "lr": 5e-3})
