"""Sparse LSTM (SC2Net; Zhou et al., 2018): ISTA with gates and a memory, unrolled on patches, trained end to end."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.methods.lista import LISTANet, Unrolled
from ddl_bench.api import About, Task

Memory = Literal["cell", "steps"]
OPEN = 3.0  # bias of the gates at first: the input gate lets 95 % in, the forget gate keeps 5 %


class SparseLSTMNet(LISTANet):
    """The network of LISTA with these codes of a patch x, from c = codes = 0:

        input, forget = sigmoid(W_i x + S_i codes + b_i), sigmoid(W_f x + S_f codes + b_f)
        step          = W x + S codes
        c             = input * step + forget * memory,  codes = shrink(c)

    memory: "cell", as published: the last c. As c decides codes, constant gates i and f < 1 give a fixed point with
    penalty and signal scaled by i / (1 - f), and no momentum where i + f = 1. "steps": step - last step, so that open
    input gates and constant forget gates are ISTA from the point codes + f * (codes - last codes): FISTA's momentum.

    W (3 * n_atoms, n_features), S (3 * n_atoms, n_atoms), bias (2 * n_atoms,): input gates, forget gates, step.
    """

    def __init__(self, *, memory: Memory, n_steps: int, n_atoms: int, **shape: Any) -> None:
        super().__init__(n_steps=n_steps, n_atoms=n_atoms, **shape)
        self.memory: Memory = memory
        self.W = nn.Parameter(torch.cat([torch.zeros_like(self.W).repeat(2, 1), self.W.detach()]))
        self.S = nn.Parameter(torch.cat([torch.zeros_like(self.S).repeat(2, 1), self.S.detach()]))
        self.bias = nn.Parameter(torch.tensor([OPEN, -OPEN]).repeat_interleave(n_atoms))

    @torch.no_grad()
    def start_from(self, D: Tensor, lmbd: float) -> None:
        """Become n_steps of ISTA, from 0, but for the gates: `hold` them to leave nothing of them."""
        super().start_from(D, lmbd)
        for gates in (self.W, self.S):
            gates[: 2 * self.n_atoms] = 0

    @torch.no_grad()
    def hold(self, *, input: float, forget: float) -> None:
        """Gates that see neither signal nor codes."""
        for gates in (self.W, self.S):
            gates[: 2 * self.n_atoms] = 0
        self.bias.copy_(
            torch.tensor([input, forget], dtype=torch.float64)
            .logit()
            .repeat_interleave(self.n_atoms)
        )

    def unroll(self, Wx: Tensor) -> Tensor:
        threshold, kernel = self.threshold[:, None, None], self.S[:, :, None, None]
        moved, last = Wx, Wx[:, 2 * self.n_atoms :]
        c = torch.zeros_like(last)
        for t in range(self.n_steps):
            if t:
                moved = Wx + F.conv2d(c - c.clamp(-threshold, threshold), kernel)
            enters, stays = (
                (moved[:, : 2 * self.n_atoms] + self.bias[:, None, None]).sigmoid().chunk(2, 1)
            )
            step = moved[:, 2 * self.n_atoms :]
            c, last = enters * step + stays * (c if self.memory == "cell" else step - last), step
        return c - c.clamp(-threshold, threshold)


@dataclass(frozen=True, kw_only=True)
class SparseLSTM(Unrolled):
    """Sparse LSTM (SC2Net): ISTA with gates and a memory, unrolled on patches and trained end to end.

    memory: "cell", as published, or "steps", see `SparseLSTMNet`.
    """

    name: ClassVar[str] = "sparse-lstm"
    about: ClassVar[About] = About(
        family="unrolled networks",
        formula="c_{t+1} = input * (W x + S codes_t) + forget * c_t, codes_{t+1} = shrink(c_{t+1})",
        references=("zhou2018",),
        differs="published to predict exact codes, which `distilled` does; gates that start open, and memory = steps, "
        "are ours",
    )
    memory: Memory = "cell"

    def network(self, task: Task) -> nn.Module:
        return SparseLSTMNet(**self.plan(task), memory=self.memory, normalise=not self.distilled)
