"""What unrolled networks share: the layer of LISTA in its forms, and how it learns exact codes."""

from typing import Literal, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.pursuit.encode import encode
from ddl_bench.api import CodeStats, Deadline
from ddl_bench.training.network import Network

Form = Literal["shared", "tied", "untied", "coupled"]
DISTILLING_RATE = 3e-3  # learning rate of Adam at the start of a distillation
DISTILLING_SAMPLES = 512  # in a batch
DISTILLED_SHARE = 0.5  # of a budget in seconds, after which a distillation stops


def soft_threshold(v: Tensor, threshold: Tensor) -> Tensor:
    """Return sign(v) * max(abs(v) - threshold, 0)."""
    return v - v.clamp(-threshold, threshold)


def identity(n: int, like: Tensor) -> Tensor:
    """Make the identity matrix (n, n) where another tensor lies, and of its type."""
    return like.new_ones(n).diag()


class LISTALayer(nn.Module):
    """Code each place of a map by learned steps of ISTA, from codes = 0.

    codes_1 = soft_threshold(W x), codes_{t+1} = soft_threshold(W x + S codes_t), t < n_steps, with
    W (n_atoms, n_features), S (n_atoms, n_atoms) and thresholds (n_atoms,).

    Parameters
    ----------
    n_features, n_atoms
        Channels of the maps and of the codes.
    n_steps
        Unrolled steps, at least 1.
    form
        "shared" uses W, S and thresholds in all steps (Gregor and LeCun, 2010). In the others each
        step has its own thresholds, and "tied" has S = I - scale * W W', as ISTA has; "untied" has
        a W and an S for each step; "coupled" has a W for each step and S = I - W D, with the D that
        it starts from (Chen et al., 2018). Those of all steps lie along rows.
    """

    def __init__(self, n_features: int, n_atoms: int, n_steps: int, form: Form = "shared") -> None:
        super().__init__()
        self.n_atoms = n_atoms
        self.n_steps = n_steps
        self.form = form
        self.n_matrices = n_steps if form in ("untied", "coupled") else 1
        self.n_recurrences = max(self.n_matrices - 1, 1)
        W = torch.randn(n_atoms, n_features).repeat(self.n_matrices, 1) / n_features
        self.W = nn.Parameter(W)
        if form == "tied":
            self.scale = nn.Parameter(torch.ones(()))
        elif form == "coupled":
            self.D = nn.Parameter(torch.zeros(n_features, n_atoms), requires_grad=False)
        else:
            self.S = nn.Parameter(torch.zeros(self.n_recurrences * n_atoms, n_atoms))
        self.n_thresholds = 1 if form == "shared" else n_steps
        self.threshold = nn.Parameter(torch.zeros(self.n_thresholds * n_atoms))

    @torch.no_grad()
    def start_from(self, D: Tensor, lmbd: float) -> None:
        """Become n_steps of ISTA on 0.5*norm(X - codes @ D.T)**2 + lmbd*norm1(codes), from 0."""
        lipschitz = torch.linalg.matrix_norm(D, 2) ** 2
        n_copies = len(self.W) // self.n_atoms
        self.W.copy_((D.T / lipschitz).repeat(n_copies, 1))
        self.threshold.copy_((lmbd / lipschitz).expand(self.threshold.shape))
        if self.form == "tied":
            self.scale.copy_(lipschitz)
        elif self.form == "coupled":
            self.D.copy_(D)
        else:
            S = identity(self.n_atoms, D) - D.T @ D / lipschitz
            self.S.copy_(S.repeat(len(self.S) // self.n_atoms, 1))

    @torch.no_grad()
    def project_(self) -> None:
        """Keep thresholds at 0 or more."""
        self.threshold.clamp_(min=0)

    def recurrences(self) -> tuple[Tensor, ...]:
        """Return the S of each step from the second on, or the one of all of them."""
        if self.form in ("shared", "untied"):
            S = self.S.split(self.n_atoms)
            return tuple(S[t] for t in range(self.n_recurrences))
        eye = identity(self.n_atoms, self.W)
        if self.form == "tied":
            return (eye - self.scale * self.W @ self.W.T,)
        W = self.W.split(self.n_atoms)
        later = range(self.n_matrices - self.n_recurrences, self.n_matrices)
        return tuple(eye - W[t] @ self.D for t in later)

    @torch.no_grad()
    def dictionary(self) -> Tensor:
        """Return the D that the last W and S stand for, pinv(W) (I - S), (n_features, n_atoms).

        After `start_from` it is the D that was given.
        """
        eye = identity(self.n_atoms, self.W)
        D: Tensor = torch.linalg.pinv(self.W[-self.n_atoms :]) @ (eye - self.recurrences()[-1])
        return D

    def unroll(self, Wx: Tensor) -> Tensor:
        """Return codes (n, n_atoms, rows, columns) for the maps W x of all W along channels."""
        inputs = Wx.split(self.n_atoms, 1)
        thresholds = self.threshold[:, None, None].split(self.n_atoms)
        kernels = [S[:, :, None, None] for S in self.recurrences()]
        codes = soft_threshold(inputs[0], thresholds[0])
        for t in range(1, self.n_steps):
            recurrence = F.conv2d(codes, kernels[(t - 1) % len(kernels)])
            codes = soft_threshold(
                inputs[t % self.n_matrices] + recurrence, thresholds[t % self.n_thresholds]
            )
        return codes

    def signal_codes(self, signals: Tensor) -> Tensor:
        """Return codes (n_samples, n_atoms) of samples (n_samples, n_features)."""
        return self.unroll((self.W @ signals.T)[None, :, :, None])[0, :, :, 0].T


def distil(
    layer: LISTALayer,
    signals: Tensor,
    codes: Tensor,
    *,
    n_iter: int,
    seed: int,
    deadline: Deadline | None = None,
) -> None:
    """Bring layer.signal_codes(signals) near exact codes in the mean square, by Adam.

    Parameters
    ----------
    signals, codes
        Samples (n_samples, n_features) and their codes (n_samples, n_atoms).
    n_iter
        Steps on batches of 512 samples; fewer where half of the time until `deadline` is used.
    """
    generator = torch.Generator().manual_seed(seed)
    scale = float(codes.square().mean())
    learned = [parameter for parameter in layer.parameters() if parameter.requires_grad]
    optimiser = torch.optim.Adam(learned)
    for step in range(n_iter):
        optimiser.param_groups[0]["lr"] = DISTILLING_RATE * (1 - step / n_iter)
        rows = torch.randint(len(signals), (DISTILLING_SAMPLES,), generator=generator)
        optimiser.zero_grad()
        errors = layer.signal_codes(signals[rows]) - codes[rows]
        torch.autograd.backward(errors.square().mean() / scale)
        optimiser.step()
        layer.project_()
        if deadline is not None and deadline.fraction() > DISTILLED_SHARE:
            break


def error_curves(
    D: Tensor,
    lmbd: float,
    train: Tensor,
    test: Tensor,
    depths: list[int],
    form: Form = "coupled",
    n_iter: int = 1000,
) -> dict[str, list[float]]:
    """Compute norm(codes - exact)**2 / norm(exact)**2 on samples `test` for each depth.

    Parameters
    ----------
    D, lmbd
        Dictionary (n_features, n_atoms) and penalty of the exact codes.
    train, test
        Samples, shapes (n_samples, n_features): to distil layers from, and to measure.
    depths
        Numbers of steps.
    form, n_iter
        Form of the layers, and steps of their distillation.

    Returns
    -------
    dict
        "ista": errors of so many steps of ISTA; "lista": of a distilled layer of so many steps.
    """
    wanted = encode(train, D, lmbd=lmbd, tol=1e-7, max_iter=10_000).codes
    exact = encode(test, D, lmbd=lmbd, tol=1e-7, max_iter=10_000).codes

    def error(layer: LISTALayer) -> float:
        difference = layer.signal_codes(test).detach() - exact
        return float(difference.square().sum() / exact.square().sum())

    curves: dict[str, list[float]] = {"ista": [], "lista": []}
    for depth in depths:
        layer = LISTALayer(len(D), D.shape[1], depth, form)
        layer.start_from(D, lmbd)
        curves["ista"].append(error(layer))
        distil(layer, train, wanted, n_iter=n_iter, seed=0)
        curves["lista"].append(error(layer))
    return curves


class Coded(NamedTuple):
    """Signals (n_samples, n_features), their codes (n_samples, n_atoms), and the dictionary."""

    signals: Tensor
    codes: Tensor
    D: Tensor


@runtime_checkable
class CodesSignals(Protocol):
    """A module that returns the codes on which it bases its scores."""

    def coded(self, X: Tensor) -> Coded:
        """Return signals, codes and dictionary for images X (n, channels, height, width)."""


class CodedNetwork(Network):
    """Classify by a `CodesSignals` module, and count its codes."""

    @torch.inference_mode()
    def code_stats(self, X: Tensor, /) -> CodeStats:
        """Count the codes of images X.

        Raises
        ------
        TypeError
            Where the module has no `coded`.
        """
        if not isinstance(self.module, CodesSignals):
            raise TypeError(f"{type(self.module).__name__}: has no coded()")
        stats = CodeStats()
        for batch in self.batches(X):
            signals, codes, D = self.module.coded(batch)
            residual = signals - codes @ D.T
            stats += CodeStats.of(signals=signals, codes=codes, residual=residual)
        return stats
