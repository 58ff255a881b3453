"""Sparse codes as a differentiable function: gradients by implicit differentiation.

With the Gram matrix G = D'D and correlations b = D'x - linear, the code of a sample x is

    c = argmin 0.5 c'G c - b'c + sum(lmbd*abs(c)) + 0.5*alpha*norm(c)**2

over c >= 0 or all c, which is 0.5*norm(x - D c)**2 + sum(lmbd*abs(c)) + 0.5*alpha*norm(c)**2 +
linear'c up to a constant. On the support S of c it solves

    (G_S + alpha I) c_S = b_S - sign(c_S) * lmbd_S.

Let g be the gradient of a loss in c, and v_S = (G_S + alpha I)^-1 g_S, v = 0 elsewhere. Then the
gradients are v in b, -c v' in G (its symmetric part), -sign(c) * v in lmbd and -v'c in alpha; by
the chain rule, D v in x, (x - D c) v' - (D v) c' in D and -v in the linear term. So the steps of
the solver need not be kept. They are formulas in c and v, and v solves a linear system, so that
they have derivatives again.

At a change of the support, where c has no derivative, they are those of the side on which the
support is S. An atom of S that the atoms before it in S span is held at its value: its entry of v
is 0, the others are solved for.
"""

import math
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from baselines.layers.derivatives import LoopedFunction, solver_type, without_autocast
from baselines.pursuit.compiled import Array, compiled
from baselines.pursuit.encode import encode
from baselines.pursuit.threads import over_blocks
from ddl_bench.training.backbones import ConvolutionPlan

TOL = 1e-4  # KKT residual; beyond it, rounding in float32 decides on the supports
LEAST_ALPHA = 1e-3  # of a layer: the model asks for alpha > 0, which makes codes unique
PADDED_NUMBERS = 2**25  # in a batch of padded systems, on other devices than the CPU


def sparse_code(
    X: Tensor,
    D: Tensor,
    lmbd: Tensor,
    *,
    alpha: Tensor | float = 0.0,
    linear: Tensor | float = 0.0,
    positive: bool = True,
    tol: float = TOL,
    n_threads: int | None = None,
) -> Tensor:
    """Minimise 0.5*norm(X - codes @ D.T)**2 + sum(lmbd*abs(codes)) + ... over codes.

    The rest is + 0.5*alpha*norm(codes)**2 + sum(linear*codes).

    Parameters
    ----------
    X
        Samples, shape (n_samples, n_features).
    D
        Dictionary, shape (n_features, n_atoms).
    lmbd
        Penalty >= 0, a number or of shape (n_atoms,).
    alpha
        A number >= 0. Where it is 0 and abs(linear) exceeds lmbd, there may be no minimum.
    linear
        A number, or of shape (n_atoms,) or (n_samples, n_atoms).
    positive
        Whether only codes >= 0 are allowed.
    tol
        KKT residual to stop at, relative to the largest abs(D'x - linear) of a sample. On its
        support a code is exact.
    n_threads
        Threads on the CPU; None for all cores that this process may use.

    Returns
    -------
    Tensor
        Codes, shape (n_samples, n_atoms), of the type of D; where that is half a float32, computed
        in float32. They can be differentiated in all tensors, any number of times.

    Examples
    --------
    >>> X, D = torch.randn(8, 5), torch.randn(5, 9, requires_grad=True)
    >>> codes = sparse_code(X, D, torch.tensor(0.1), alpha=0.5)
    >>> codes.shape
    torch.Size([8, 9])
    >>> codes.sum().backward()
    >>> D.grad.shape
    torch.Size([5, 9])
    """
    with without_autocast(X.device):
        work_type = solver_type(D)
        atoms = D.to(work_type)
        codes = _codes(
            X.to(work_type) @ atoms - linear, atoms, lmbd, alpha, positive, tol, n_threads
        )
        return codes.to(D.dtype)


def _codes(
    b: Tensor,
    D: Tensor,
    lmbd: Tensor,
    alpha: Tensor | float,
    positive: bool,
    tol: float,
    n_threads: int | None,
) -> Tensor:
    """Codes of samples with the correlations b (n_samples, n_atoms)."""
    penalty = lmbd.to(b).expand(b.shape[1])
    if not isinstance(alpha, Tensor):
        alpha = torch.tensor(alpha, dtype=b.dtype, device=b.device)
    ridge = alpha.to(b)
    codes: Tensor = SparseCode.apply(b, D.T @ D, penalty, ridge, positive, tol, n_threads)
    return codes


class SparseCode(LoopedFunction):
    """Differentiate the codes of the module's docstring in b, G, lmbd and alpha.

    Shapes are (n_samples, n_atoms), (n_atoms, n_atoms), (n_atoms,) and (); G is symmetric. Kept are
    the codes, whose supports say the rest, and nothing of the solver. Where something is not
    finite, the codes are not either.
    """

    @staticmethod
    def forward(
        b: Tensor,
        gram: Tensor,
        lmbd: Tensor,
        alpha: Tensor,
        positive: bool,
        tol: float,
        n_threads: int | None,
    ) -> Tensor:
        """Return the codes."""
        return cast(Tensor, solve_codes(b, gram, lmbd, alpha, positive, tol, n_threads))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keep what the derivatives need."""
        _, gram, _, alpha, *_, n_threads = inputs
        ctx.save_for_backward(output, gram, alpha)
        ctx.save_for_forward(output, gram, alpha)
        ctx.n_threads = n_threads

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients in b, G, lmbd and alpha."""
        codes, gram, alpha = ctx.saved_tensors
        _, wants_gram, wants_lmbd, wants_alpha, *_ = ctx.needs_input_grad
        with without_autocast(grad.device):
            v = SupportSolution.apply(grad, codes, gram, alpha, ctx.n_threads)
            in_gram = -(codes.T @ v) if wants_gram else None
            in_lmbd = -(codes.sign() * v).sum(0) if wants_lmbd else None
            in_alpha = -(codes * v).sum() if wants_alpha else None
        return v, in_gram, in_lmbd, in_alpha, None, None, None

    @staticmethod
    def jvp(ctx: Any, b: Tensor, gram: Tensor, lmbd: Tensor, alpha: Tensor, *_: None) -> Tensor:
        """Return the change of the codes for changes of b, G, lmbd and alpha."""
        codes, G, ridge = ctx.saved_tensors
        change = b - codes @ gram - codes.sign() * lmbd - alpha * codes
        return cast(Tensor, SupportSolution.apply(change, codes, G, ridge, ctx.n_threads))


class SupportSolution(LoopedFunction):
    """Differentiate the v of the module's docstring in g, G and alpha; the support is held.

    (G_S + alpha I) dv_S = dg_S - dG_S v_S - dalpha * v_S, and the matrix is symmetric.
    """

    @staticmethod
    def forward(
        g: Tensor, codes: Tensor, gram: Tensor, alpha: Tensor, n_threads: int | None
    ) -> Tensor:
        """Return v, 0 off the support of codes."""
        return cast(Tensor, solve_on_support(g, codes, gram, alpha, n_threads))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keep what the derivatives need."""
        *_, codes, gram, alpha, n_threads = inputs
        ctx.save_for_backward(output, codes, gram, alpha)
        ctx.save_for_forward(output, codes, gram, alpha)
        ctx.n_threads = n_threads

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients in g, G and alpha."""
        v, codes, gram, alpha = ctx.saved_tensors
        with without_autocast(grad.device):
            u = SupportSolution.apply(grad, codes, gram, alpha, ctx.n_threads)
            return u, None, -(u.T @ v), -(u * v).sum(), None

    @staticmethod
    def jvp(ctx: Any, g: Tensor, codes: None, gram: Tensor, alpha: Tensor, _: None) -> Tensor:
        """Return the change of v for changes of g, G and alpha."""
        v, held, G, ridge = ctx.saved_tensors
        change = g - v @ gram - alpha * v
        return cast(Tensor, SupportSolution.apply(change, held, G, ridge, ctx.n_threads))


@torch.library.custom_op("baselines::solve_codes", mutates_args=())
def solve_codes(
    b: Tensor,
    gram: Tensor,
    lmbd: Tensor,
    alpha: Tensor,
    positive: bool,
    tol: float,
    n_threads: int | None,
) -> Tensor:
    """Compute the codes of `SparseCode`; torch.export and torch.compile do not look inside."""
    if not bool((b.sum() + gram.sum() + lmbd.sum() + alpha).isfinite()):
        return torch.full_like(b, torch.nan)  # a solver could go on for long
    options: dict[str, Any] = {
        "lmbd": lmbd,
        "alpha": float(alpha),
        "positive": positive,
        "linear": -b,
        "tol": tol,
        "n_threads": n_threads,
    }
    if b.device.type == "cpu":  # the pursuit looks at b and G alone: x and D may be 0
        options["gram"] = gram.numpy()
        D = b.new_zeros(1, b.shape[1])
    else:  # any D with D'D = G
        values, vectors = torch.linalg.eigh(gram)
        D = values.clamp(min=0).sqrt()[:, None] * vectors.T
    return cast(Tensor, encode(b.new_zeros(len(b), len(D)), D, **options).codes)


@torch.library.custom_op("baselines::solve_on_support", mutates_args=())
def solve_on_support(
    g: Tensor, codes: Tensor, gram: Tensor, alpha: Tensor, n_threads: int | None
) -> Tensor:
    """Compute the v of `SupportSolution`; not a number where a code is not."""
    if not bool(codes.sum().isfinite()):
        return torch.full_like(g, torch.nan)
    if g.device.type == "cpu":
        return solve(codes, g, gram, float(alpha), n_threads)
    return solve_padded(codes, g, gram, float(alpha))


@solve_codes.register_fake
def _(b: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(b)


@solve_on_support.register_fake
def _(g: Tensor, codes: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(codes)


def solve(
    codes: Tensor, grad: Tensor, gram: Tensor, alpha: float, n_threads: int | None = None
) -> Tensor:
    """Solve (G_S + alpha I) v_S = grad_S on the support S of each code; on the CPU.

    Returns v, shape (n_samples, n_atoms) as codes and grad have, 0 off the support. None of
    `n_threads` takes all cores that this process may use.
    """
    c = codes.contiguous().numpy()
    g = grad.contiguous().numpy()
    G = gram.contiguous().numpy()
    v = np.empty_like(c)
    least = c.dtype.type(64 * np.finfo(c.dtype).eps)
    ridge = c.dtype.type(alpha)

    def work(rows: slice) -> None:
        n = int(np.count_nonzero(c[rows], axis=1).max(initial=0))
        L = np.empty((n, n), c.dtype)
        vectors = np.empty((2, n), c.dtype)
        active = np.empty(n, np.int64)
        _solve(c[rows], g[rows], G, ridge, least, L, vectors, active, v[rows])

    over_blocks(work, len(c), n_threads)
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
    """Solve the system of each code by the Cholesky factor L of its support, row by row.

    The forward substitution L y = grad runs along with the factorisation: row p of L is complete
    before y[p] is needed. The back substitution L' v = y then goes column by column, so that all
    loops read rows of L in order. A pivot below `least` of its diagonal belongs to an atom that
    those before it span: it counts as infinite, which holds the atom's entry at 0.
    """
    inverse = work[0]  # of the pivots
    y = work[1]
    for i in range(len(codes)):
        k = 0
        for j in range(codes.shape[1]):
            out[i, j] = 0
            if codes[i, j] != 0:
                active[k] = j
                k += 1
        for p in range(k):
            row = gram[active[p]]
            line = L[p]
            diagonal = row[active[p]] + alpha
            pivot = diagonal
            value = grads[i, active[p]]
            for q in range(p):
                other = L[q]
                s = row[active[q]]
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
    """Solve what `solve` does, on any device, in batches padded with rows of the identity.

    A ridge of 64 machine epsilons of the mean diagonal stands in for holding dependent atoms.
    """
    v = torch.zeros_like(codes)
    ridge = alpha + 64 * torch.finfo(codes.dtype).eps * gram.diagonal().mean()
    n = int((codes != 0).sum(1).max()) if len(codes) else 0  # size of the largest support
    size = PADDED_NUMBERS // max(n, 1) ** 2 + 1
    for c, g, out in zip(codes.split(size), grad.split(size), v.split(size), strict=True):
        used, order = torch.sort((c != 0).to(torch.uint8), dim=1, descending=True, stable=True)
        used = used[:, :n].bool()
        atoms = order[:, :n]
        both = used[:, :, None] & used[:, None, :]
        systems = torch.where(both, gram[atoms[:, :, None], atoms[:, None, :]], 0)
        systems.diagonal(dim1=1, dim2=2).add_(torch.where(used, ridge, 1))
        wanted = torch.where(used, g.gather(1, atoms), 0)[:, :, None]
        solved = torch.cholesky_solve(wanted, torch.linalg.cholesky_ex(systems).L)
        out.scatter_(1, atoms, solved[:, :, 0])
    return v


def code_maps(
    signals: Tensor,
    D: Tensor,
    lmbd: Tensor,
    *,
    alpha: Tensor,
    linear: Tensor | None,
    stride: int,
    n_threads: int | None,
) -> Tensor:
    """Return the codes (n, n_atoms, rows, columns) of the patches of maps; see `ImplicitCoding`.

    For torch.fx a call of it is one node.
    """
    n_features, n_atoms = D.shape
    channels = signals.shape[1]
    kernel = math.isqrt(n_features // channels)
    with without_autocast(signals.device):
        # D'x is a convolution: patches are not made.
        atoms = D.to(solver_type(D))
        filters = atoms.T.reshape(n_atoms, channels, kernel, kernel)
        signals = signals.to(atoms.dtype)
        b = F.conv2d(signals, filters, stride=stride, padding=kernel // 2).permute(0, 2, 3, 1)
        if linear is not None:
            b = b - linear
        codes = _codes(b.flatten(0, 2), atoms, lmbd, alpha, True, TOL, n_threads)
        return codes.view(b.shape).permute(0, 3, 1, 2).to(D.dtype)


fx.wrap("code_maps")


class ImplicitCoding(nn.Module):
    """Code each patch of maps (n, inputs, height, width): (n, outputs, rows, columns).

    A code minimises 0.5*norm(x - D c)**2 + sum(lmbd*c) + 0.5*alpha*norm(c)**2 + linear'c over
    c >= 0, where x is the patch / sqrt(n_features) and lmbd a number.

    Parameters
    ----------
    layer
        Channels of maps and codes, side and distance of the patches.
    lmbd, alpha
        Penalty and ridge at the start; the ridge is at least LEAST_ALPHA.
    learned
        Whether lmbd and alpha are learned; otherwise they stay as they are.
    per_atom
        Whether lmbd has a number for each atom. It then does what the linear term does: there is
        none, and alpha is not learned.
    batch_norm
        Whether maps are batch-normalised first.
    """

    def __init__(
        self,
        layer: ConvolutionPlan,
        *,
        lmbd: float,
        alpha: float,
        per_atom: bool,
        batch_norm: bool,
        learned: bool = True,
    ) -> None:
        super().__init__()
        n_features = layer.inputs * layer.kernel**2
        self.layer = layer
        self.norm = nn.BatchNorm2d(layer.inputs, affine=False) if batch_norm else nn.Identity()
        self.D = nn.Parameter(F.normalize(torch.randn(n_features, layer.outputs), dim=0))
        penalties = torch.full((layer.outputs,) if per_atom else (), float(lmbd))
        self.lmbd = nn.Parameter(penalties, requires_grad=learned)
        self.linear = None if per_atom else nn.Parameter(torch.zeros(layer.outputs))
        learns_alpha = learned and not per_atom
        ridge = torch.tensor(max(float(alpha), LEAST_ALPHA))
        self.alpha = nn.Parameter(ridge, requires_grad=learns_alpha)
        fixed = [each for each in (self.lmbd, self.alpha) if not each.requires_grad]
        self.n_constants = sum(each.numel() for each in fixed)
        self.n_threads: int | None = None

    def use_threads(self, n_threads: int) -> None:
        """Solve on so many threads of the CPU; at first on all cores that the process may use."""
        self.n_threads = n_threads

    @torch.no_grad()
    def project_(self) -> None:
        """Scale atoms to norm 1, and keep the penalties in their ranges."""
        self.D.copy_(F.normalize(self.D, dim=0))
        self.lmbd.clamp_(min=0)
        self.alpha.clamp_(min=LEAST_ALPHA)

    def signals(self, maps: Tensor) -> Tensor:
        """Return maps as patches are cut from: normalised and scaled."""
        return cast(Tensor, self.norm(maps) / self.D.shape[0] ** 0.5)

    def patches(self, signals: Tensor) -> Tensor:
        """Return the patches that are coded, (n, n_features, rows * columns).

        Zeros stand around the maps.
        """
        kernel = self.layer.kernel
        return F.unfold(signals, kernel, padding=kernel // 2, stride=self.layer.stride)

    def codes(self, signals: Tensor) -> Tensor:
        """Return the codes (n, outputs, rows, columns) of what `signals` returned."""
        return code_maps(
            signals,
            self.D,
            self.lmbd,
            alpha=self.alpha,
            linear=self.linear,
            stride=self.layer.stride,
            n_threads=self.n_threads,
        )

    def forward(self, maps: Tensor) -> Tensor:
        """Return the codes of maps."""
        return self.codes(self.signals(maps))
