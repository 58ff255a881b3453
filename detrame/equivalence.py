"""Dictionary problems as layers and back: Theorems 3.1 and 3.2 of the DeTraMe-Net paper; and the exact prox.

Theorem 3.1: with Q = D'D + alpha*I, Z = W x + c, W = Q^-1 D', c = -Q^-1 d (the paper writes Z = F x - c), the codes
argmin over u >= 0 of 1/2*||x - D u||^2 + lmbd*|u|_1 + (alpha + beta)/2*||u||^2 + d'u are the prox of Z in the metric Q.
Theorem 3.2: these are the fixed points of U <- ReLU(h * Z + W~ (U - Z) - b) with the W~, h and b of `to_layer`.

The recursion is Jacobi's: it contracts where the spectral radius of |W~|, entry by entry, is below 1, as for a
diagonally dominant Q. Where that of W~ itself is above 1, a fixed point with all codes active repels; if no entry of Q
is negative, the steps end in a cycle of two. For 8 atoms of pairwise correlation 0.9 and alpha = beta = 0, it is 6.3.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, optimize

Array = NDArray[np.float64]
Symbol = NDArray[
    np.complex128
]  # of a convolution of matrices on a torus: (grid, grid, rows, columns), by frequency

VIOLATED = 1e-6  # a relative distance above rounding, for layers that were stored in float32
FLOOR = (
    1e-6  # least eigenvalue of p^1/2 Q p^1/2, p = 1 / (diag(Q) + beta): it has a diagonal up to 1
)
SMALLEST = 1e-4  # least p to the largest: 0 would be an infinite diagonal


def check_penalties(caller: str, **penalties: float) -> None:
    if not all(0 <= penalty < np.inf for penalty in penalties.values()):
        given = ", ".join(f"{name}={penalty}" for name, penalty in penalties.items())
        raise ValueError(f"{caller}({given}): must be at least 0 and finite")


def check_array(name: str, array: Array, fits: bool, wanted: str) -> None:
    if not (fits and np.isfinite(array).all()):
        raise ValueError(f"{name} of shape {array.shape}): must be finite and of shape {wanted}")


@dataclass(frozen=True, kw_only=True, eq=False)
class Problem:
    """argmin over u >= 0 of 1/2*||x - D u||^2 + lmbd*|u|_1 + (alpha + beta)/2*||u||^2 + d'u.

    D: (n_features, n_atoms), or, convolutional, (n_atoms, channels, side, side) with an odd side: D'x is torch's
    conv2d(x, D). d: (n_atoms,), 0 where it is left out. alpha, beta, lmbd: at least 0; alpha belongs to the metric.
    """

    D: Array
    lmbd: float
    alpha: float = 0.0
    beta: float = 0.0
    d: Array | None = None

    def __post_init__(self) -> None:
        check_penalties("Problem", lmbd=self.lmbd, alpha=self.alpha, beta=self.beta)
        shape, wanted = (
            self.D.shape,
            "(n_features, n_atoms) or (n_atoms, channels, side, side) with an odd side",
        )
        fits = len(shape) == 2 or (len(shape) == 4 and shape[2] == shape[3] and shape[2] % 2 == 1)
        check_array("Problem(D", self.D, fits, wanted)
        if self.d is not None:
            n_atoms = shape[len(shape) == 2]
            check_array("Problem(d", self.d, self.d.shape == (n_atoms,), f"({n_atoms},)")


@dataclass(frozen=True, kw_only=True, eq=False)
class Layer:
    """Z = W x + c, then U <- ReLU(h * Z + W~ (U - Z) - b), in the shapes that torch has for linear or conv2d.

    W: (n_atoms, n_features), W_tilde: (n_atoms, n_atoms), or both with two more dimensions, of taps. c, h, b:
    (n_atoms,). truncation: share of the norm of the exact W that lies outside of its taps.
    """

    W: Array
    c: Array
    W_tilde: Array
    h: Array
    b: Array
    truncation: float = 0.0

    def __post_init__(self) -> None:
        for name in ("h", "c", "b"):
            vector = getattr(self, name)
            check_array(
                f"Layer({name}",
                vector,
                vector.ndim == 1 and len(vector) == len(self.h),
                "(n_atoms,) as h",
            )
        for name, columns in ("W", "n_features"), ("W_tilde", "n_atoms"):
            V = getattr(self, name)
            wanted = (
                f"(n_atoms, {columns}), or with two more dimensions, with an h of shape (n_atoms,)"
            )
            check_array(f"Layer({name}", V, V.ndim in (2, 4) and len(V) == len(self.h), wanted)


@dataclass(frozen=True, kw_only=True, eq=False)
class Recovered:
    """The problem that `from_layer` found; `gain`: the layer codes gain * x rather than x. Distances are relative.

    distance: of the layers of the two, all parameters together. assumptions: the distance from each being true,
    - "constraints": diag(W~) = 0, 0 <= h <= 1, b >= 0;
    - "binding": b = lmbd * p and 1 - h = beta * p for one vector p, which is 1 / (diag(Q) + beta);
    - "symmetry", "definiteness": W~ = -p * offdiag(Q) with a Q that is symmetric, and positive definite;
    - "rank", "transform": Q = D'D + alpha*I with n_features rows in D, and W = gain * Q^-1 D'.
    """

    problem: Problem
    gain: float
    distance: float
    assumptions: Mapping[str, float]

    @property
    def violated(self) -> tuple[str, ...]:
        return tuple(name for name, distance in self.assumptions.items() if distance > VIOLATED)


def to_layer(problem: Problem, *, kernel: int = 1, grid: int = 1) -> Layer:
    """W~ = -offdiag(Q) / (diag(Q) + beta), h = diag(Q) / (diag(Q) + beta), b = lmbd / (diag(Q) + beta); W, c as above.

    A convolutional Q has no inverse of finite support: W is found on a torus of `grid` x `grid` pixels, by frequency,
    and cut to `kernel` x `kernel` taps (odd). ValueError where Q is singular, or W~ or W does not fit on the grid.
    """
    dense, eye = problem.D.ndim == 2, np.eye(problem.D.shape[problem.D.ndim == 2])
    D = problem.D.T[:, :, None, None] if dense else problem.D
    side = 2 * D.shape[-1] - 1
    if kernel < 1 or kernel % 2 == 0 or not max(side, kernel) <= grid <= (1 if dense else grid):
        wanted = (
            "1 and 1 as D is dense" if dense else f"odd, and a grid of at least {max(side, kernel)}"
        )
        raise ValueError(f"to_layer(kernel={kernel}, grid={grid}): must be {wanted}")
    analysis = symbol(D, grid)
    metric: Symbol = analysis @ analysis.conj().swapaxes(2, 3) + problem.alpha * eye
    if np.linalg.cond(metric).max() >= 1 / (len(eye) * np.finfo(float).eps):
        raise ValueError(
            f"to_layer(alpha={problem.alpha}): D'D + alpha*I is singular, take a larger alpha"
        )
    W, truncation = taps(np.asarray(np.linalg.solve(metric, analysis), np.complex128), kernel)
    Q, _ = taps(metric, side)
    diagonal = Q[:, :, side // 2, side // 2].diagonal().copy()
    Q[:, :, side // 2, side // 2] -= np.diag(diagonal)
    scale = diagonal + problem.beta
    c = np.zeros(len(eye)) if problem.d is None else -np.linalg.solve(metric[0, 0].real, problem.d)
    W, W_tilde = (V[:, :, 0, 0] if dense else V for V in (W, -Q / scale[:, None, None, None]))
    return Layer(
        W=W, c=c, W_tilde=W_tilde, h=diagonal / scale, b=problem.lmbd / scale, truncation=truncation
    )


def symbol(kernel: Array, grid: int) -> Symbol:
    """The symbol of a `kernel` (rows, columns, side, side)."""
    half, free = kernel.shape[-1] // 2, grid - kernel.shape[-1]
    centred = np.roll(
        np.pad(kernel, [(0, 0), (0, 0), (0, free), (0, free)]), (-half, -half), axis=(2, 3)
    )
    return np.fft.ifft2(centred, norm="forward").transpose(2, 3, 0, 1)


def taps(symbol: Symbol, side: int) -> tuple[Array, float]:
    """The `side` x `side` central taps of a symbol, and the share of its norm in the others."""
    kernel = np.fft.fftshift(
        np.fft.fft2(symbol.transpose(2, 3, 0, 1), norm="forward").real, axes=(2, 3)
    )
    inner = slice(kernel.shape[-1] // 2 - side // 2, kernel.shape[-1] // 2 + side // 2 + 1)
    rest = kernel.copy()
    rest[:, :, inner, inner] = 0
    return kernel[:, :, inner, inner], relative(rest, kernel)


def relative(difference: Array, whole: Array) -> float:
    return float(
        np.linalg.norm(difference) / max(float(np.linalg.norm(whole)), np.finfo(float).tiny)
    )


def from_layer(layer: Layer, lmbd: float | None = None) -> Recovered:
    """The dictionary problem near a dense layer, and how far each assumption on the way is from holding.

    Each step is the nearest given those before it: the constraints; the best rank one in (b, 1 - h); the nearest
    symmetric Q to W~; eigenvalues clipped; D with D'D + alpha*I = Q, its rotation, alpha and gain nearest to W.
    (W~, h, b) leave the scale of (Q, beta, lmbd) free: `lmbd` fixes it; left out, the scale is that with gain 1.
    With b = 0 and h = 1 they leave it free unit by unit: one scale is taken for all. A convolutional W is read as one
    of patches; ValueError where W~ has kernels larger than 1x1, whose Q varies with frequency and need not come from
    filters of finite support, or lmbd cannot set the scale.
    """
    W, given = (V.reshape(len(layer.h), -1) for V in (layer.W, layer.W_tilde))
    if given.shape[0] != given.shape[1]:
        raise ValueError(
            f"from_layer(W_tilde of shape {layer.W_tilde.shape}): must be dense or 1x1"
        )
    W_tilde, h, b = given - np.diag(np.diag(given)), layer.h.clip(0, 1), layer.b.clip(0)
    outside = relative(
        np.vstack([given - W_tilde, layer.h - h, layer.b - b]), np.vstack([given, layer.h, layer.b])
    )
    rows = np.stack([b, 1 - h])
    weights, singular, scales = np.linalg.svd(rows, full_matrices=False)
    penalty, beta = singular[0] * np.abs(weights[:, 0])
    p = (
        np.abs(scales[0]).clip(SMALLEST * np.abs(scales[0]).max())
        if rows.any()
        else np.ones(len(h))
    )
    binding = relative(rows - np.outer([penalty, beta], p), np.stack([b, h]))
    Q, balance = (
        -(p[:, None] * W_tilde + p * W_tilde.T) / (p[:, None] ** 2 + p**2),
        np.sqrt(np.outer(p, p)),
    )
    symmetry = relative(W_tilde + p[:, None] * Q, W_tilde)
    levels, vectors = np.linalg.eigh(balanced := balance * (Q + np.diag((1 - beta * p) / p)))
    positive = (vectors * levels.clip(FLOOR)) @ vectors.T
    D, alpha, gain, rank, transform = dictionary(positive / balance, W)

    if lmbd is not None and not (0 < lmbd < np.inf and penalty > 0):
        raise ValueError(
            f"from_layer(lmbd={lmbd}): sets no scale unless it and the layer's b are positive"
        )
    scale = 1 / gain**2 if lmbd is None else lmbd / penalty
    D, gain = scale**0.5 * D, scale**0.5 * gain
    d = -(D.T @ D + scale * alpha * np.eye(len(h))) @ layer.c
    problem = Problem(
        D=D, lmbd=float(scale * penalty), alpha=scale * alpha, beta=float(scale * beta), d=d
    )
    near = to_layer(problem)
    pairs = (
        (gain * near.W, W),
        (near.c, layer.c),
        (near.W_tilde, given),
        (near.h, layer.h),
        (near.b, layer.b),
    )
    found, sought = (
        np.concatenate([np.ravel(part) for part in parts]) for parts in zip(*pairs, strict=True)
    )
    assumptions = {"constraints": outside, "binding": binding, "symmetry": symmetry}
    assumptions |= {
        "definiteness": relative(positive - balanced, balanced),
        "rank": rank,
        "transform": transform,
    }
    return Recovered(
        problem=problem,
        gain=gain,
        distance=relative(found - sought, sought),
        assumptions=assumptions,
    )


def dictionary(Q: Array, W: Array) -> tuple[Array, float, float, float, float]:
    """D, alpha, gain with D'D + alpha*I = Q up to a distance, rank, and gain * Q^-1 D' = W up to another, transform."""
    ascending, vectors = np.linalg.eigh(Q)
    e, V, n = ascending[::-1], vectors[:, ::-1], min(W.shape)

    def fit(alpha: float) -> tuple[Array, float, float]:
        root = np.sqrt((e[:n] - alpha).clip(0))
        inverse = V[:, :n] * (root / e[:n])
        left, singular, right = np.linalg.svd(inverse.T @ W, full_matrices=False)
        gain = float(singular.sum() / np.square(inverse).sum())
        return (
            (V[:, :n] * root @ left @ right).T,
            gain,
            relative(W - gain * inverse @ left @ right, W),
        )

    alpha = float(min(e[n:].mean(), (1 - FLOOR) * e[0])) if n < len(Q) else 0.0  # so D is not 0
    if n == len(Q):
        tight = 1e-13 * float(e[-1])
        found = optimize.minimize_scalar(
            lambda a: fit(a)[2], bounds=(0.0, float(e[-1])), options={"xatol": tight}
        )
        alpha = min(0.0, float(found.x), key=lambda a: fit(a)[2])
    D, gain, transform = fit(alpha)
    if gain == 0:
        raise ValueError("from_layer(W): it is 0, and so is no transform of a dictionary")
    return D, alpha, gain, relative(e[n:] - alpha, e), transform


def prox(Z: Array, Q: Array, lmbd: float, beta: float = 0.0) -> Array:
    """argmin over U >= 0 of 1/2*(U - Z)' Q (U - Z) + lmbd*|U|_1 + beta/2*||U||^2, by rows of Z (n_samples, n_atoms).

    By active-set least squares, exact to rounding. ValueError unless Q is symmetric and positive definite.
    """
    check_penalties("prox", lmbd=lmbd, beta=beta)
    check_array("prox(Q", Q, Q.ndim == 2 and Q.shape[0] == Q.shape[1], "(n_atoms, n_atoms)")
    check_array("prox(Z", Z, Z.ndim == 2 and Z.shape[1] == len(Q), f"(n_samples, {len(Q)})")
    if not np.allclose(Q, Q.T, rtol=1e-10, atol=1e-12) or np.linalg.eigvalsh(Q).min() <= 0:
        raise ValueError("prox(Q): must be symmetric and positive definite")
    if len(Z) == 0:
        return np.zeros(Z.shape)
    factor = np.linalg.cholesky(Q + beta * np.eye(len(Q)))
    targets = linalg.solve_triangular(factor, (Z @ Q - lmbd).T, lower=True)
    return np.stack([optimize.nnls(factor.T, target)[0] for target in targets.T])
