"""Dictionary problems as layers and back, and the exact prox: Theorems 3.1 and 3.2 of the paper.

The paper is that of DeTraMe-Net; it writes Z = F x - c where this module writes Z = W x + c.

Theorem 3.1: let Q = D'D + alpha*I, W = Q^-1 D', c = -Q^-1 d and Z = W x + c. Then the codes

    argmin over u >= 0 of 0.5*norm(x - D u)**2 + lmbd*norm1(u) + 0.5*(alpha + beta)*norm(u)**2 + d'u

are the prox of Z in the metric Q. Theorem 3.2: they are the fixed points of

    U <- ReLU(h * Z + W~ (U - Z) - b)

with the W~, h and b of `to_layer`.

The recursion is Jacobi's. It contracts where the spectral radius of abs(W~), entry by entry, is
below 1, as for a diagonally dominant Q. Where the spectral radius of W~ itself is above 1, a fixed
point with all codes active repels; if no entry of Q is negative, the steps end in a cycle of two.
For 8 atoms of pairwise correlation 0.9 and alpha = beta = 0, that spectral radius is 6.3.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, optimize

Array = NDArray[np.float64]
Symbol = NDArray[np.complex128]
"""A convolution of matrices on a torus, by frequency: (grid, grid, rows, columns)."""

VIOLATED = 1e-6
"""A relative distance above rounding, for layers that were stored in float32."""
LEAST_EIGENVALUE = 1e-6
"""Of p^1/2 Q p^1/2 with p = 1 / (diag(Q) + beta), whose diagonal is at most 1."""
LEAST_SCALE = 1e-4
"""Smallest p relative to the largest: with p = 0, diag(Q) would be infinite."""
ALPHA_TOLERANCE = 1e-13
"""Tolerance of the search for alpha, relative to the largest eigenvalue of Q."""


def check_penalties(caller: str, **penalties: float) -> None:
    """Raise ValueError unless all penalties are finite and at least 0."""
    for penalty in penalties.values():
        if not 0 <= penalty < np.inf:
            given = ", ".join(f"{name}={value}" for name, value in penalties.items())
            raise ValueError(f"{caller}({given}): must be at least 0 and finite")


def check_array(caller: str, name: str, array: Array, has_shape: bool, shape: str) -> None:
    """Raise ValueError unless an array is finite and has the expected shape."""
    if not has_shape or not np.isfinite(array).all():
        raise ValueError(
            f"{caller}({name} of shape {array.shape}): must be finite and of shape {shape}"
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class DictionaryProblem:
    """State the problem of coding a signal x in a dictionary.

    argmin over u >= 0 of
    0.5*norm(x - D u)**2 + lmbd*norm1(u) + 0.5*(alpha + beta)*norm(u)**2 + d'u.

    Parameters
    ----------
    D
        Dictionary, shape (n_features, n_atoms); of a convolutional problem, shape
        (n_atoms, channels, side, side) with an odd side, and D'x is torch's conv2d(x, D).
    lmbd
        Weight of the sparse penalty, at least 0.
    alpha
        Part of the ridge that belongs to the metric Q = D'D + alpha*I, at least 0.
    beta
        Part of the ridge that does not, at least 0.
    d
        Linear term, shape (n_atoms,); None for zeros.

    Raises
    ------
    ValueError
        For a penalty or a shape out of range, and for numbers that are not finite.
    """

    D: Array
    lmbd: float
    alpha: float = 0.0
    beta: float = 0.0
    d: Array | None = None

    def __post_init__(self) -> None:
        caller = "DictionaryProblem"
        check_penalties(caller, lmbd=self.lmbd, alpha=self.alpha, beta=self.beta)
        shape = self.D.shape
        is_convolution = len(shape) == 4 and shape[2] == shape[3] and shape[2] % 2 == 1
        expected = "(n_features, n_atoms) or (n_atoms, channels, side, side) with an odd side"
        check_array(caller, "D", self.D, self.is_dense or is_convolution, expected)
        if self.d is not None:
            has_shape = self.d.shape == (self.n_atoms,)
            check_array(caller, "d", self.d, has_shape, f"({self.n_atoms},)")

    @property
    def is_dense(self) -> bool:
        """Say whether D is a matrix, not convolutional."""
        return self.D.ndim == 2

    @property
    def n_atoms(self) -> int:
        """Return the number of atoms, and of codes."""
        axis = 1 if self.is_dense else 0
        return int(self.D.shape[axis])


@dataclass(frozen=True, kw_only=True, eq=False)
class QMetricLayer:
    """Hold the parameters of Z = W x + c followed by U <- ReLU(h * Z + W~ (U - Z) - b).

    Shapes are those of torch for linear or conv2d: a convolution has two more dimensions, of taps.

    Parameters
    ----------
    W
        Analysis transform, shape (n_atoms, n_features).
    c
        Its bias, shape (n_atoms,).
    W_tilde
        W~ of the Q-metric ReLU, shape (n_atoms, n_atoms).
    h, b
        Weight of Z and threshold of the Q-metric ReLU, shape (n_atoms,).
    truncation
        Share of the norm of the exact W that lies outside of its taps.

    Raises
    ------
    ValueError
        For shapes that do not fit, and for numbers that are not finite.
    """

    W: Array
    c: Array
    W_tilde: Array
    h: Array
    b: Array
    truncation: float = 0.0

    def __post_init__(self) -> None:
        n_atoms = len(self.h)
        for name in ("h", "c", "b"):
            vector = getattr(self, name)
            has_shape = vector.ndim == 1 and len(vector) == n_atoms
            check_array("QMetricLayer", name, vector, has_shape, "(n_atoms,) as h")
        for name, columns in (("W", "n_features"), ("W_tilde", "n_atoms")):
            kernel = getattr(self, name)
            has_shape = kernel.ndim in (2, 4) and len(kernel) == n_atoms
            expected = (
                f"(n_atoms, {columns}), or with two more dimensions, with an h of shape (n_atoms,)"
            )
            check_array("QMetricLayer", name, kernel, has_shape, expected)


@dataclass(frozen=True, kw_only=True, eq=False)
class RecoveredProblem:
    """Hold the dictionary problem that `from_layer` finds. All distances are relative.

    Parameters
    ----------
    problem
        The problem.
    gain
        The layer codes gain * x rather than x.
    distance
        Distance of the given layer from that of the problem, all parameters together.
    assumptions
        Distance of each assumption from being true:

        - "constraints": diag(W~) = 0, 0 <= h <= 1, b >= 0;
        - "binding": b = lmbd * p and 1 - h = beta * p for one vector p, 1 / (diag(Q) + beta);
        - "symmetry", "definiteness": W~ = -p * offdiag(Q) with a Q that is symmetric, and positive
          definite;
        - "rank", "transform": Q = D'D + alpha*I with n_features rows in D, and W = gain * Q^-1 D'.
    """

    problem: DictionaryProblem
    gain: float
    distance: float
    assumptions: Mapping[str, float]

    @property
    def violated(self) -> tuple[str, ...]:
        """Return the names of the assumptions that do not hold, up to rounding."""
        return tuple(name for name, distance in self.assumptions.items() if distance > VIOLATED)


def to_layer(problem: DictionaryProblem, *, kernel: int = 1, grid: int = 1) -> QMetricLayer:
    """Return the layer of a dictionary problem, whose fixed points are the codes of the problem.

    W~ = -offdiag(Q) / (diag(Q) + beta), h = diag(Q) / (diag(Q) + beta),
    b = lmbd / (diag(Q) + beta), W = Q^-1 D', c = -Q^-1 d, with Q = D'D + alpha*I.

    A convolutional Q has no inverse of finite support. W is found on a torus of `grid` x `grid`
    pixels, by frequency, and cut to `kernel` x `kernel` taps.

    Parameters
    ----------
    problem
        A dense or convolutional problem.
    kernel
        Side of W in pixels, odd; 1 for a dense problem.
    grid
        Side of the torus in pixels, at least the sides of W and W~; 1 for a dense problem.

    Raises
    ------
    ValueError
        Where Q is singular, or W~ or W does not fit on the grid.

    Examples
    --------
    >>> layer = to_layer(DictionaryProblem(D=np.array([[1.0, 0.5]]), lmbd=0.1, alpha=1.0))
    >>> layer.W_tilde[[0, 1], [1, 0]].round(3).tolist(), layer.b.round(3).tolist()
    ([-0.25, -0.4], [0.05, 0.08])
    """
    D = problem.D.T[:, :, None, None] if problem.is_dense else problem.D
    side = 2 * D.shape[-1] - 1  # of Q and of W~
    check_grid(problem, side, kernel, grid)
    identity = np.eye(problem.n_atoms)
    analysis = symbol(D, grid)
    metric: Symbol = analysis @ analysis.conj().swapaxes(2, 3) + problem.alpha * identity
    if np.linalg.cond(metric).max() >= 1 / (problem.n_atoms * np.finfo(float).eps):
        raise ValueError(
            f"to_layer(alpha={problem.alpha}): D'D + alpha*I is singular, take a larger alpha"
        )
    transform = np.asarray(np.linalg.solve(metric, analysis), np.complex128)
    W, truncation = central_taps(transform, kernel)
    Q, _ = central_taps(metric, side)
    centre = Q[:, :, side // 2, side // 2]
    diagonal = centre.diagonal().copy()
    centre -= np.diag(diagonal)
    scale = diagonal + problem.beta
    W_tilde = -Q / scale[:, None, None, None]
    if problem.is_dense:
        W = W[:, :, 0, 0]
        W_tilde = W_tilde[:, :, 0, 0]
    c = np.zeros(problem.n_atoms)
    if problem.d is not None:
        c = -np.linalg.solve(metric[0, 0].real, problem.d)
    return QMetricLayer(
        W=W, c=c, W_tilde=W_tilde, h=diagonal / scale, b=problem.lmbd / scale, truncation=truncation
    )


def check_grid(problem: DictionaryProblem, side: int, kernel: int, grid: int) -> None:
    """Raise ValueError unless W, of `kernel` pixels, and W~, of `side`, fit on the grid."""
    if problem.is_dense:
        fits = kernel == 1 and grid == 1
        expected = "1 and 1 as D is dense"
    else:
        least = max(side, kernel)
        fits = kernel >= 1 and kernel % 2 == 1 and grid >= least
        expected = f"odd, and a grid of at least {least}"
    if not fits:
        raise ValueError(f"to_layer(kernel={kernel}, grid={grid}): must be {expected}")


def symbol(kernel: Array, grid: int) -> Symbol:
    """Return the symbol of a convolution kernel (rows, columns, side, side) on a torus."""
    half = kernel.shape[-1] // 2
    free = grid - kernel.shape[-1]
    padded = np.pad(kernel, [(0, 0), (0, 0), (0, free), (0, free)])
    centred = np.roll(padded, (-half, -half), axis=(2, 3))
    return np.fft.ifft2(centred, norm="forward").transpose(2, 3, 0, 1)


class CentralTaps(NamedTuple):
    """Hold a cut kernel (rows, columns, side, side), and the share of its norm that was cut off."""

    kernel: Array
    truncation: float


def central_taps(symbol: Symbol, side: int) -> CentralTaps:
    """Return the `side` x `side` central taps of a symbol."""
    whole = np.fft.fft2(symbol.transpose(2, 3, 0, 1), norm="forward").real
    whole = np.fft.fftshift(whole, axes=(2, 3))
    centre = whole.shape[-1] // 2
    inner = slice(centre - side // 2, centre + side // 2 + 1)
    outer = whole.copy()
    outer[:, :, inner, inner] = 0
    return CentralTaps(whole[:, :, inner, inner], relative(outer, whole))


def relative(difference: Array, whole: Array) -> float:
    """Return norm(difference) / norm(whole), finite for a `whole` of zeros."""
    norm = max(float(np.linalg.norm(whole)), np.finfo(float).tiny)
    return float(np.linalg.norm(difference) / norm)


def from_layer(layer: QMetricLayer, lmbd: float | None = None) -> RecoveredProblem:
    """Find the dictionary problem near a dense layer, and measure each assumption on the way.

    Each step is the nearest given those before it: the constraints; the best rank one in
    (b, 1 - h); the nearest symmetric Q to W~; eigenvalues clipped; D with D'D + alpha*I = Q, its
    rotation, alpha and gain nearest to W.

    Parameters
    ----------
    layer
        A dense layer. A convolutional W is read as one of patches.
    lmbd
        Penalty of the problem, positive. (W~, h, b) leave the scale of (Q, beta, lmbd) free, and
        `lmbd` fixes it; None takes the scale with gain 1. With b = 0 and h = 1 they leave it free
        unit by unit: one scale is taken for all.

    Raises
    ------
    ValueError
        Where W~ has kernels larger than 1x1, whose Q varies with frequency and need not come from
        filters of finite support; where W is 0; where `lmbd` cannot set the scale.
    """
    n_atoms = len(layer.h)
    W = layer.W.reshape(n_atoms, -1)
    given = layer.W_tilde.reshape(n_atoms, -1)
    if given.shape[0] != given.shape[1]:
        raise ValueError(
            f"from_layer(W_tilde of shape {layer.W_tilde.shape}): must be dense or 1x1"
        )
    W_tilde = given - np.diag(np.diag(given))
    h = layer.h.clip(0, 1)
    b = layer.b.clip(0)
    moved = np.vstack([given - W_tilde, layer.h - h, layer.b - b])
    constraints = relative(moved, np.vstack([given, layer.h, layer.b]))
    binding = nearest_binding(b, h)
    metric = nearest_metric(W_tilde, binding)
    dictionary = nearest_dictionary(metric.Q, W)
    if lmbd is not None and not (0 < lmbd < np.inf and binding.lmbd > 0):
        raise ValueError(
            f"from_layer(lmbd={lmbd}): sets no scale unless it and the layer's b are positive"
        )
    scale = 1 / dictionary.gain**2 if lmbd is None else lmbd / binding.lmbd
    D = scale**0.5 * dictionary.D
    gain = scale**0.5 * dictionary.gain
    alpha = scale * dictionary.alpha
    problem = DictionaryProblem(
        D=D,
        lmbd=float(scale * binding.lmbd),
        alpha=alpha,
        beta=float(scale * binding.beta),
        d=-(D.T @ D + alpha * np.eye(n_atoms)) @ layer.c,
    )
    near = to_layer(problem)
    reached = np.concatenate(
        [(gain * near.W).ravel(), near.c, near.W_tilde.ravel(), near.h, near.b]
    )
    wanted = np.concatenate([W.ravel(), layer.c, given.ravel(), layer.h, layer.b])
    return RecoveredProblem(
        problem=problem,
        gain=gain,
        distance=relative(reached - wanted, wanted),
        assumptions={
            "constraints": constraints,
            "binding": binding.distance,
            "symmetry": metric.symmetry,
            "definiteness": metric.definiteness,
            "rank": dictionary.rank,
            "transform": dictionary.transform,
        },
    )


class Binding(NamedTuple):
    """Hold p, lmbd and beta of b = lmbd * p, 1 - h = beta * p, and the distance from that."""

    p: Array
    lmbd: np.float64
    beta: np.float64
    distance: float


def nearest_binding(b: Array, h: Array) -> Binding:
    """Find the best approximation of rank one to (b, 1 - h); p is all ones where both are zero."""
    rows = np.stack([b, 1 - h])
    weights, singular, scales = np.linalg.svd(rows, full_matrices=False)
    lmbd, beta = singular[0] * np.abs(weights[:, 0])
    p = np.ones(len(h))
    if rows.any():
        p = np.abs(scales[0])
        p = p.clip(LEAST_SCALE * p.max())
    distance = relative(rows - np.outer([lmbd, beta], p), np.stack([b, h]))
    return Binding(p, lmbd, beta, distance)


class NearestMetric(NamedTuple):
    """Hold a positive definite Q, and how far W~ is from -p * offdiag(Q) with such a Q."""

    Q: Array
    symmetry: float
    definiteness: float


def nearest_metric(W_tilde: Array, binding: Binding) -> NearestMetric:
    """Find the nearest symmetric Q with W~ = -p * offdiag(Q), and clip its eigenvalues.

    The eigenvalues are those of p^1/2 Q p^1/2, where all atoms count the same.
    """
    p = binding.p
    off_diagonal = -(p[:, None] * W_tilde + p * W_tilde.T) / (p[:, None] ** 2 + p**2)
    symmetry = relative(W_tilde + p[:, None] * off_diagonal, W_tilde)
    balance = np.sqrt(np.outer(p, p))
    balanced = balance * (off_diagonal + np.diag((1 - binding.beta * p) / p))
    eigenvalues, vectors = np.linalg.eigh(balanced)
    positive = (vectors * eigenvalues.clip(LEAST_EIGENVALUE)) @ vectors.T
    definiteness = relative(positive - balanced, balanced)
    return NearestMetric(positive / balance, symmetry, definiteness)


class NearestDictionary(NamedTuple):
    """Hold D, alpha and gain, and the distances of D'D + alpha*I from Q, gain * Q^-1 D' from W."""

    D: Array
    alpha: float
    gain: float
    rank: float
    transform: float


class Fit(NamedTuple):
    """Hold the best D and gain for one alpha, and the distance of gain * Q^-1 D' from W."""

    D: Array
    gain: float
    transform: float


def nearest_dictionary(Q: Array, W: Array) -> NearestDictionary:
    """Find D, alpha and gain with D'D + alpha*I near Q and gain * Q^-1 D' near W."""
    ascending, vectors = np.linalg.eigh(Q)
    eigenvalues = ascending[::-1]
    n = min(W.shape)
    V = vectors[:, ::-1][:, :n]

    def fit(alpha: float) -> Fit:
        root = np.sqrt((eigenvalues[:n] - alpha).clip(0))
        inverse = V * (root / eigenvalues[:n])
        left, singular, right = np.linalg.svd(inverse.T @ W, full_matrices=False)
        gain = float(singular.sum() / np.square(inverse).sum())
        D = (V * root @ left @ right).T
        return Fit(D, gain, relative(W - gain * inverse @ left @ right, W))

    if n < len(Q):
        below_all = (1 - LEAST_EIGENVALUE) * eigenvalues[0]  # so that D is not 0
        alpha = float(min(eigenvalues[n:].mean(), below_all))
    else:
        least = float(eigenvalues[-1])
        best = optimize.minimize_scalar(
            lambda alpha: fit(alpha).transform,
            bounds=(0.0, least),
            options={"xatol": ALPHA_TOLERANCE * least},
        )
        alpha = min(0.0, float(best.x), key=lambda alpha: fit(alpha).transform)
    D, gain, transform = fit(alpha)
    if gain == 0:
        raise ValueError("from_layer(W): it is 0, and so is no transform of a dictionary")
    rank = relative(eigenvalues[n:] - alpha, eigenvalues)
    return NearestDictionary(D, alpha, gain, rank, transform)


def prox(Z: Array, Q: Array, lmbd: float, beta: float = 0.0) -> Array:
    """Compute argmin over U >= 0 of 0.5*(U - Z)' Q (U - Z) + lmbd*norm1(U) + 0.5*beta*norm(U)**2.

    By active-set least squares for each row, exact to rounding.

    Parameters
    ----------
    Z
        Points, shape (n_samples, n_atoms).
    Q
        Metric, shape (n_atoms, n_atoms), symmetric and positive definite.
    lmbd, beta
        Weights of the penalties, at least 0.

    Returns
    -------
    Array
        Codes, shape (n_samples, n_atoms).

    Raises
    ------
    ValueError
        For arguments out of these ranges.

    Examples
    --------
    >>> prox(np.array([[1.0, -1.0]]), np.eye(2), lmbd=0.25)
    array([[0.75, 0.  ]])
    """
    check_penalties("prox", lmbd=lmbd, beta=beta)
    is_square = Q.ndim == 2 and Q.shape[0] == Q.shape[1]
    check_array("prox", "Q", Q, is_square, "(n_atoms, n_atoms)")
    fits_metric = Z.ndim == 2 and Z.shape[1] == len(Q)
    check_array("prox", "Z", Z, fits_metric, f"(n_samples, {len(Q)})")
    if not np.allclose(Q, Q.T, rtol=1e-10, atol=1e-12) or np.linalg.eigvalsh(Q).min() <= 0:
        raise ValueError("prox(Q): must be symmetric and positive definite")
    if len(Z) == 0:
        return np.zeros(Z.shape)
    # With Q + beta*I = L L' the objective is 0.5*norm(L'U - L^-1 (Q Z - lmbd))**2 up to a constant.
    L = np.linalg.cholesky(Q + beta * np.eye(len(Q)))
    targets = linalg.solve_triangular(L, (Z @ Q - lmbd).T, lower=True)
    return np.stack([optimize.nnls(L.T, target)[0] for target in targets.T])
