"""A trained network as a classifier."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ddl_bench.api import Size

EVALUATION_BATCH = 256  # images; a layer of 96 channels at 32x32 then holds 100 MB


def on_device(module: nn.Module, device: str) -> nn.Module:
    """Move a module, its convolutions channels-last; in place."""
    moved: nn.Module = module.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in stubs
    return moved


class Network:
    """A `Classifier` made of a module that maps uint8 images to scores; the module becomes its own.

    Entries that a module holds but that are zero by construction are told by its attribute `n_structural_zeros`.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        device: str = "cpu",
        precision: str = "float32",
        mirror: bool = False,
    ) -> None:
        self.module = on_device(module, device).eval()
        self._device, self._precision, self._mirror = torch.device(device), precision, mirror

    def size(self) -> Size:
        n_stored = sum(parameter.numel() for parameter in self.module.parameters())
        zeros = sum(
            int(getattr(module, "n_structural_zeros", 0)) for module in self.module.modules()
        )
        n_buffers = sum(buffer.numel() for buffer in self.module.buffers())
        return Size(n_params=n_stored - zeros, n_stored=n_stored, n_buffers=n_buffers)

    def state(self) -> dict[str, Tensor]:
        return {name: value.cpu().contiguous() for name, value in self.module.state_dict().items()}

    def batches(self, X: Tensor) -> Iterator[Tensor]:
        for batch in torch.split(X, EVALUATION_BATCH):
            yield batch.to(self._device).contiguous(memory_format=torch.channels_last)

    @torch.inference_mode()
    def __call__(self, X: Tensor, /) -> Tensor:
        scores = []
        with torch.autocast(
            self._device.type, torch.bfloat16, enabled=self._precision == "bfloat16"
        ):
            for batch in self.batches(X):
                views = [batch, batch.flip(3)] if self._mirror else [batch]
                scores.append(sum(self.module(view).float() for view in views).cpu())
        return torch.cat(scores)
