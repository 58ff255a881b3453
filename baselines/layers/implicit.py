"""Sparse codes as a differentiable function: gradients by implicit differentiation, without the solver's steps.

With the Gram matrix G = D'D and correlations b = D'x - linear, the codes are

    c = argmin 0.5 c'G c - b'c + sum(lmbd * |c|) + 0.5 * alpha * |c|^2, over c >= 0 or all c,

which is 0.5 * |x - D c|^2 + sum(lmbd * |c|) + 0.5 * alpha * |c|^2 + linear'c up to a constant. On the support S of c
they solve (G_S + alpha I) c_S = b_S - sign(c_S) * lmbd_S. Let g be the gradient of a loss in c, and
v_S = (G_S + alpha I)^-1 g_S, v = 0 elsewhere. Then the gradients are v in b, -c v' in G (its symmetric part),
-sign(c) * v in lmbd and -v'c in alpha; by the chain rule, D v in x, (x - D c) v' - (D v) c' in D and -v in the linear
term. At a change of the support, where c has no derivative, they are those of the side on which the support is S.
An atom of S that the atoms before it in S span is held at its value: its entry of v is 0, the others are solved for.
"""

from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from baselines.pursuit.compiled import Array, compiled
from baselines.pursuit.encode import encode
from baselines.pursuit.threads import over_blocks
from ddl_bench.training.backbones import ConvolutionPlan

TOL = 1e-4  # beyond it, rounding in float32 decides on the supports
LEAST_ALPHA = 1e-3  # of a layer: the model asks for alpha > 0, which makes codes unique
BATCH = 2**25  # numbers in a batch of padded systems on other devices than the CPU


def sparse_code(
    X: Tensor,
    D: Tensor,
    lmbd: Tensor,
    *,
    alpha: Tensor | float = 0.0,
    linear: Tensor | float = 0.0,
    positive: bool = True,
    tol: float = TOL,
) -> Tensor:
    """argmin over c of 0.5*|x - D c|^2 + sum(lmbd*|c|) + 0.5*alpha*|c|^2 + linear'c, for each row x of `X`.

    X: (n_samples, n_features). D: (n_features, n_atoms). lmbd: penalty >= 0, a number or (n_atoms,). alpha: a number
    >= 0; where it is 0 and |linear| exceeds lmbd, there may be no minimum. linear: a number, (n_atoms,) or (n_samples,
    n_atoms). positive: only c >= 0. tol: KKT residual to stop at / largest |D'x - linear| of a sample; on its support
    a code is exact. Returns (n_samples, n_atoms), differentiable in all tensors.
    """
    with torch.autocast(X.device.type, enabled=False):
        return _codes(X.to(D.dtype) @ D - linear, D, lmbd, alpha, positive, tol)


def _codes(
    b: Tensor, D: Tensor, lmbd: Tensor, alpha: Tensor | float, positive: bool, tol: float
) -> Tensor:
    lmbd, alpha = lmbd.to(b).expand(b.shape[1]), torch.as_tensor(alpha).to(b)
    codes: Tensor = SparseCode.apply(b, D.T @ D, lmbd, alpha, positive, tol)
    return codes


class SparseCode(torch.autograd.Function):
    """The codes of the module's docstring as a function of b (n_samples, n_atoms), G, lmbd (n_atoms,) and alpha ().

    Keeps the codes, nothing of the solver; the supports are theirs. Where something is not finite, nor are the codes.
    """

    @staticmethod
    def forward(
        ctx: Any, b: Tensor, gram: Tensor, lmbd: Tensor, alpha: Tensor, positive: bool, tol: float
    ) -> Tensor:
        ctx.finite = bool((b.sum() + gram.sum() + lmbd.sum() + alpha).isfinite())
        if not ctx.finite:  # a solver could go on for long
            return torch.full_like(b, torch.nan)
        how: dict[str, Any] = {
            "lmbd": lmbd,
            "alpha": float(alpha),
            "positive": positive,
            "linear": -b,
            "tol": tol,
        }
        if b.device.type == "cpu":  # the pursuit looks at b and G alone: x and D may be 0
            how |= {"gram": gram.numpy(), "n_threads": torch.get_num_threads()}
            D = b.new_zeros(1, b.shape[1])
        else:  # any D with D'D = G
            values, vectors = torch.linalg.eigh(gram)
            D = values.clamp(min=0).sqrt()[:, None] * vectors.T
        ctx.save_for_backward(
            codes := encode(b.new_zeros(len(b), len(D)), D, **how).codes, gram, alpha
        )
        return cast(Tensor, codes)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        if not ctx.finite:
            return grad * torch.nan, None, None, None, None, None
        codes, gram, alpha = ctx.saved_tensors
        v = (solve if grad.device.type == "cpu" else solve_padded)(codes, grad, gram, float(alpha))
        _, in_gram, in_lmbd, in_alpha, *_ = ctx.needs_input_grad
        d_gram = -(codes.T @ v) if in_gram else None
        d_lmbd = -(codes.sign() * v).sum(0) if in_lmbd else None
        return v, d_gram, d_lmbd, -(codes * v).sum() if in_alpha else None, None, None


def solve(codes: Tensor, grad: Tensor, gram: Tensor, alpha: float) -> Tensor:
    """v (n_samples, n_atoms): (G_S + alpha I)^-1 grad_S on the support S of each code, 0 elsewhere; on the CPU."""
    c, g, G = codes.numpy(), grad.contiguous().numpy(), gram.numpy()
    v, least = np.empty_like(c), c.dtype.type(64 * np.finfo(c.dtype).eps)

    def work(rows: slice) -> None:
        n = int(np.count_nonzero(c[rows], axis=1).max(initial=0))
        scratch = np.empty((n, n), c.dtype), np.empty((2, n), c.dtype), np.empty(n, np.int64)
        _solve(c[rows], g[rows], G, c.dtype.type(alpha), least, *scratch, v[rows])

    over_blocks(work, len(c), torch.get_num_threads())
    return torch.from_numpy(v)


@compiled
def _solve(
    codes: Array,
    grads: Array,
    gram: Array,
    alpha: Any,
    least: Any,
    L: Array,
    work: Array,
    active: Array,
    out: Array,
) -> None:
    """Cholesky row by row, L y = grad on the way, and back; a pivot below `least` of its diagonal is infinite."""
    inverse, y = work[0], work[1]  # of the pivots
    for i in range(len(codes)):
        k = 0
        for j in range(codes.shape[1]):
            out[i, j] = 0
            if codes[i, j] != 0:
                active[k] = j
                k += 1
        for p in range(k):
            row, line = gram[active[p]], L[p]
            diagonal = row[active[p]] + alpha
            pivot, value = diagonal, grads[i, active[p]]
            for q in range(p):
                other, s = L[q], row[active[q]]
                for r in range(q):
                    s -= line[r] * other[r]
                s *= inverse[q]
                line[q] = s
                pivot -= s * s
                value -= s * y[q]
            inverse[p] = 1 / np.sqrt(pivot) if pivot > least * diagonal else 0
            y[p] = value * inverse[p]
        for p in range(k - 1, -1, -1):
            value = y[p] * inverse[p]
            out[i, active[p]] = value
            for q in range(p):
                y[q] -= L[p, q] * value


def solve_padded(codes: Tensor, grad: Tensor, gram: Tensor, alpha: float) -> Tensor:
    """What `solve` finds, on any device, in batches padded with rows of the identity.

    A ridge of 64 machine epsilons of the mean diagonal stands in for holding dependent atoms.
    """
    v, ridge = (
        torch.zeros_like(codes),
        alpha + 64 * torch.finfo(codes.dtype).eps * gram.diagonal().mean(),
    )
    n = int((codes != 0).sum(1).max()) if len(codes) else 0
    for c, g, out in zip(
        *(part.split(BATCH // max(n, 1) ** 2 + 1) for part in (codes, grad, v)), strict=True
    ):
        used, at = torch.sort((c != 0).to(torch.uint8), dim=1, descending=True, stable=True)
        used, at = used[:, :n].bool(), at[:, :n]
        systems = torch.where(
            used[:, :, None] & used[:, None, :], gram[at[:, :, None], at[:, None, :]], 0
        )
        systems.diagonal(dim1=1, dim2=2).add_(torch.where(used, ridge, 1))
        wanted = torch.where(used, g.gather(1, at), 0)[:, :, None]
        found = torch.cholesky_solve(wanted, torch.linalg.cholesky_ex(systems).L)
        out.scatter_(1, at, found[:, :, 0])
    return v


class Coding(nn.Module):
    """Maps (n, inputs, height, width) -> codes of their patches (n, outputs, rows, columns), each patch by itself.

    A code is argmin over c >= 0 of 0.5*|x - D c|^2 + sum(lmbd*c) + 0.5*alpha*|c|^2 + linear'c, where x is the patch, on
    request batch-normalised, / sqrt(n_features), and lmbd a number. With `per_atom`, lmbd is (outputs,) and does what
    the linear term does: then there is none, and alpha is not learned.
    """

    def __init__(
        self, layer: ConvolutionPlan, *, lmbd: float, alpha: float, per_atom: bool, batch_norm: bool
    ) -> None:
        super().__init__()
        self.layer, n_features = layer, layer.inputs * layer.kernel**2
        self.norm = nn.BatchNorm2d(layer.inputs, affine=False) if batch_norm else nn.Identity()
        self.D = nn.Parameter(F.normalize(torch.randn(n_features, layer.outputs), dim=0))
        self.lmbd = nn.Parameter(torch.full((layer.outputs,) if per_atom else (), float(lmbd)))
        self.linear = None if per_atom else nn.Parameter(torch.zeros(layer.outputs))
        self.alpha = nn.Parameter(torch.tensor(float(alpha)), requires_grad=not per_atom)

    @torch.no_grad()
    def project_(self) -> None:
        self.D.copy_(F.normalize(self.D, dim=0))
        self.lmbd.clamp_(min=0)
        self.alpha.clamp_(min=LEAST_ALPHA)

    def signals(self, maps: Tensor) -> Tensor:
        return cast(Tensor, self.norm(maps) / len(self.D) ** 0.5)

    def patches(self, signals: Tensor) -> Tensor:
        """Those that are coded, (n, n_features, rows * columns): zeros stand around the maps."""
        _, _, kernel, stride = self.layer
        return F.unfold(signals, kernel, padding=kernel // 2, stride=stride)

    def codes(self, signals: Tensor) -> Tensor:
        _, outputs, kernel, stride = self.layer
        with torch.autocast(
            signals.device.type, enabled=False
        ):  # D'x is a convolution: patches are not made
            filters = self.D.T.reshape(outputs, -1, kernel, kernel)
            b = F.conv2d(
                signals.to(self.D.dtype), filters, stride=stride, padding=kernel // 2
            ).permute(0, 2, 3, 1)
            b = b if self.linear is None else b - self.linear
            codes = _codes(b.flatten(0, 2), self.D, self.lmbd, self.alpha, True, TOL)
        return codes.view(b.shape).permute(0, 3, 1, 2)

    def forward(self, maps: Tensor) -> Tensor:
        return self.codes(self.signals(maps))
