"""Coordinate descent over the atoms that violate their optimality condition.

Each round finds the violations of all atoms in one pass and lets the worst ones enter the active
set, whose atoms follow exactly (see `active_set`). Rounds end at a duality gap, which the largest
violation bounds. There are two ways to the correlations g of the atoms with the residual:

1. From the Gram matrix, g = D'x - gram c. A code has few active atoms, so a round costs little more
   than a pass over as many rows of the matrix. But rounding errors are those of D'x, much larger
   than a small penalty.
2. From the residual itself, g = D'(x - D c), as one matrix product for a block of samples. It is
   exact to a share of the residual, which is about as small as the penalty, and needs no Gram
   matrix.

Samples go the first way until rounding hides the rest, and then the second; dictionaries whose Gram
matrix is too large for a cache go the second from the start. What single precision cannot finish,
as where active atoms are nearly dependent, is finished in double precision.

Samples and atoms are scaled by powers of two to norms about 1: results do not depend on their
scale, and no square overflows.
"""

from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_array, vstack

from baselines.pursuit.active_set import Atoms, padded_size
from baselines.pursuit.compiled import Array
from baselines.pursuit.csr import SparseRows, join_rows
from baselines.pursuit.objective import Problem, Solution
from baselines.pursuit.rounds import (
    ALLOWED,
    CROWDED,
    DONE,
    FAILED,
    RUNNING,
    SPOILT,
    WAITING,
    Limits,
    Out,
    States,
    descend_on_gram,
    descend_on_residuals,
    empty_scratch,
    find_residuals,
    write_failed,
)
from baselines.pursuit.scale import measure, nearest_powers, norms_of, require_finite
from baselines.pursuit.threads import gram_of, over_blocks

BLOCK_BYTES = 2**19  # of correlations, which stay in a second-level cache
ACTIVE_BYTES = 2**25  # of the inverses of a block; only those of samples that wait are touched
LEAST_BLOCK_SAMPLES = 64
GRAM_ATOMS = 3072  # above, the Gram matrix no longer fits a cache, and products are faster
FIRST_ATOMS = 128  # room for active atoms to begin with; doubled where a code needs more
MOST_EXACT_ROUNDS = 50  # by the residual, in single precision; most samples need fewer than 10
MOST_RENEWALS = 20  # of the inverse of a sample
SAMPLES_PER_ATOM = 1 / 8  # with fewer samples the Gram matrix takes longer than it saves
SPARE_ATOMS = 4  # room for more active atoms than features, which rounding may allow
SMALL_PENALTY = 0.003  # times the norm of a sample: with less, single precision may fail for most
PROBED_SAMPLES = 64  # then, before all samples are tried in single precision
LEAST_CURVATURE = {np.float32: 2e-5, np.float64: 1e-11}  # of an atom beside the active ones


class Part(NamedTuple):
    """Codes of consecutive samples.

    Parameters
    ----------
    converged, failed
        Whether each sample reached the gap, and whether rounding kept it from it; (n_rows,).
    n_entries
        Entries tried, in all.
    """

    rows: SparseRows
    converged: Array
    failed: Array
    n_entries: int


class Setting(NamedTuple):
    """What all blocks share: a problem whose atoms have norms about 1.

    Parameters
    ----------
    problem
        In the units of the caller.
    D
        Its dictionary with scaled atoms, (n_features, n_atoms).
    atoms
        The same, as the kernels read it.
    atom_powers
        What the atoms are divided by, (n_atoms,).
    penalty
        Of the scaled atoms, in double precision.
    limits
        Where the descent ends.
    most_active
        Atoms that may be active at a time.
    gram_only
        Whether `linear` and the Gram matrix alone state the problem.
    """

    problem: Problem
    D: Array
    atoms: Atoms
    atom_powers: Array
    penalty: Array
    limits: Limits
    most_active: int
    gram_only: bool


def coordinate_descent(problem: Problem) -> Solution:
    """Minimise the objective of `Problem`, for arrays; the codes are a CSR array.

    What single precision cannot finish is finished in double precision. `n_iter` counts the entries
    of atoms that were tried.
    """
    n_samples = len(problem.X)
    first = _descend(problem)
    codes = first.codes
    converged = first.converged
    n_entries = first.n_entries
    again = np.flatnonzero(first.failed)
    if len(again) and problem.X.dtype == np.float32:
        rest = problem.in_double(again, codes[again])
        second = _descend(rest)
        rounded = second.codes.astype(np.float32)
        codes = _replace_rows(codes, again, rounded)
        converged[again] = second.converged & _survives_rounding(rest, second.codes, rounded)
        n_entries += second.n_entries
    return Solution(codes, converged, n_entries / max(n_samples, 1))


def _survives_rounding(problem: Problem, codes: csr_array, rounded: csr_array) -> Array:
    """Tell for each sample whether its rounded code is still within the gap asked for.

    At the minimum the objective grows with the square of the change of D c.
    """
    if not problem.has_gap:
        return np.ones(len(problem.X), bool)
    change = (codes - rounded) @ problem.D.T
    R = problem.X - codes @ problem.D.T
    value = 0.5 * np.square(R).sum(1) + abs(codes) @ problem.penalty
    survives: Array = 0.5 * np.square(change).sum(1) <= ALLOWED * problem.tol * value
    return survives


def _replace_rows(codes: csr_array, which: Array, rows: csr_array) -> csr_array:
    """Return the codes with other rows in some places."""
    others = np.setdiff1d(np.arange(codes.shape[0]), which, assume_unique=True)
    order = np.argsort(np.concatenate([others, which]))
    return csr_array(vstack([codes[others], rows], format="csr")[order])


class Descended(NamedTuple):
    """As `Solution`, with what `Part` says of each sample."""

    codes: csr_array
    converged: Array
    failed: Array
    n_entries: int


def _descend(problem: Problem) -> Descended:
    """Solve in the precision of the problem."""
    setting = _prepare(problem)
    n_samples = len(problem.X)
    if _is_hopeless(setting):
        all_samples = np.ones(n_samples, bool)
        none = csr_array((n_samples, problem.D.shape[1]), dtype=np.float32)
        return Descended(none, ~all_samples, all_samples, 0)

    def encode(rows: slice) -> list[Part]:
        blocks = Blocks(setting)
        parts = []
        start = rows.start
        while start < rows.stop:
            stop = min(start + blocks.n_samples, rows.stop)
            parts.append(blocks.solve(slice(start, stop)))
            start = stop
        return parts

    parts = list(chain.from_iterable(over_blocks(encode, n_samples, problem.n_threads)))
    shape = (n_samples, problem.D.shape[1])
    codes = join_rows([part.rows for part in parts], shape, problem.X.dtype)
    none = np.zeros(0, bool)
    return Descended(
        codes,
        np.concatenate([none, *(part.converged for part in parts)]),
        np.concatenate([none, *(part.failed for part in parts)]),
        sum(part.n_entries for part in parts),
    )


def _is_hopeless(setting: Setting) -> bool:
    """Tell whether single precision fails for most of the first samples, with a small penalty."""
    X = setting.problem.X[:PROBED_SAMPLES]
    if X.dtype != np.float32 or len(X) < PROBED_SAMPLES or not setting.problem.has_gap:
        return False
    if setting.limits.least_penalty > SMALL_PENALTY * np.median(norms_of(X)):
        return False
    blocks = Blocks(setting)
    part = blocks.solve(slice(0, min(PROBED_SAMPLES, blocks.n_samples)))
    return bool(part.failed.mean() > 0.5)


def _prepare(problem: Problem) -> Setting:
    """Scale the atoms, and compute their Gram matrix where it pays."""
    kind = problem.X.dtype.type
    n_features, n_atoms = problem.D.shape
    D = problem.D
    gram: Any = problem.gram
    gram_only = problem.is_gram_only
    lengths = np.sqrt(gram.diagonal()) if gram_only else norms_of(np.ascontiguousarray(D.T))
    atom_powers = nearest_powers(lengths)
    if (atom_powers != 1).any():
        shrink = 1 / atom_powers
        D = (D * shrink).astype(kind)
        gram = None if gram is None else (gram * shrink * shrink[:, None]).astype(kind)
    ridge = (problem.alpha / atom_powers / atom_powers).astype(kind)
    few_samples = gram is None and SAMPLES_PER_ATOM * n_atoms > len(problem.X)
    if (n_atoms > GRAM_ATOMS and not gram_only) or few_samples:
        gram = np.empty((0, n_atoms), kind)
    elif gram is None:
        gram = gram_of(D, problem.n_threads)
        gram[np.diag_indices(n_atoms)] += ridge
    elif problem.alpha > 0:
        gram = gram + np.diag(ridge)
    with np.errstate(over="ignore"):  # an infinite penalty is as good
        penalty = problem.penalty / atom_powers
    rank = n_atoms if gram_only else min(n_atoms, n_features)
    most_active = n_atoms if problem.alpha > 0 else min(n_atoms, rank + SPARE_ATOMS)
    return Setting(
        problem=problem,
        D=D,
        atoms=Atoms(gram, np.ascontiguousarray(D.T), ridge, problem.positive, rank),
        atom_powers=atom_powers,
        penalty=penalty,
        limits=_limits(problem, penalty, ridge),
        most_active=padded_size(most_active),
        gram_only=gram_only,
    )


def _limits(problem: Problem, penalty: Array, ridge: Array) -> Limits:
    """Return where the descent ends."""
    kind = problem.X.dtype.type
    return Limits(
        least_penalty=float(penalty.min()),
        least_ridge=float(ridge.min()),
        tol=problem.tol if problem.has_gap else 0.0,
        flatness=0.0 if problem.has_gap else problem.tol,
        accuracy=float(4 * np.finfo(kind).eps),
        rounding=float(np.finfo(kind).eps / 2) if kind is np.float32 else 0.0,
        least_curvature=kind(LEAST_CURVATURE[kind]),
        max_rounds=problem.max_iter,
        most_exact_rounds=MOST_EXACT_ROUNDS if kind is np.float32 else problem.max_iter,
    )


class Blocks:
    """Solves one block of samples after the other, in the same memory."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.kind = setting.D.dtype.type
        n_features, n_atoms = setting.D.shape
        room = min(setting.most_active, padded_size(FIRST_ATOMS))
        n = BLOCK_BYTES // (n_atoms * setting.D.itemsize)
        most = ACTIVE_BYTES // (room**2 * setting.D.itemsize)
        n = max(min(n, most), LEAST_BLOCK_SAMPLES)
        self.n_samples = n
        self.B = np.empty((n, n_atoms), self.kind)  # fresh pages would take as long as the product
        counts = np.zeros((7, n), np.int64)
        self.states = States(
            inverse=np.empty((n, room, room), self.kind),
            atoms=np.zeros((n, room), np.int64),
            c=np.empty((n, room)),
            counts=counts,
            k=counts[0],
            slot=counts[1],
            status=counts[2],
            n_rounds=counts[3],
            n_vain=counts[4],
            n_entries=counts[5],
            n_renewals=counts[6],
            residual=np.zeros(n),
            converged=np.zeros(n, np.bool_),
        )
        self.out = Out(
            np.empty(n * room, self.kind),
            np.empty(n * room, np.int32),
            np.zeros(n, np.int64),
            np.zeros(n, np.int64),
            np.zeros(1, np.int64),
        )
        self.work = empty_scratch(n_features, n_atoms, room, self.kind)
        self.scales, self.norms, self.squares, self.zeros = np.zeros((4, n))
        self.no_seeds = (np.zeros(n + 1, np.int64), np.zeros(0, np.int64))

    def solve(self, rows: slice) -> Part:
        """Solve for some samples, at most `n_samples`."""
        setting = self.setting
        X = setting.problem.X[rows]
        n = len(X)
        scales = self.scales[:n]
        norms = self.norms[:n]
        squares = self.squares[:n]
        n_changed = measure(X, scales, norms, squares)
        if n_changed < 0 or not np.isfinite(squares).all():
            sizes = norms_of(X)
            require_finite(sizes)
            scales[:] = 1 / nearest_powers(sizes)
            norms[:] = sizes * scales
            squares[:] = np.square(norms)
        if n_changed != 0:
            X = (X * scales[:, None]).astype(self.kind)
        B = np.matmul(X, setting.D, out=self.B[:n])
        linear = None
        linear_sizes = self.zeros[:n]
        sizes = norms
        if setting.problem.linear is not None:
            linear = setting.problem.linear_of(rows) / setting.atom_powers * scales[:, None]
            linear_sizes = np.abs(linear).max(1)
            sizes = np.maximum(norms, linear_sizes)
            B -= linear
        samples = Samples(
            X=X,
            B=B,
            squares=squares,
            sizes=sizes,
            scales=scales,
            seeds=self.seeds(rows),
            linear=linear,
            linear_sizes=linear_sizes,
        )
        states = self.states
        states.counts[:] = 0
        states.residual[:] = np.inf
        states.converged[:] = False
        self.out.used[0] = 0
        if len(setting.atoms.gram) > 0:
            states.slot[:] = -1
            self.descend_on_gram(samples)
        else:
            states.slot[:] = np.arange(self.n_samples)
            states.status[:] = WAITING
        self.descend_on_residuals(samples)
        return self.collect(n)

    def seeds(self, rows: slice) -> tuple[Array, Array]:
        """Return the non-zeros of the codes to start some samples from."""
        warm = self.setting.problem.warm
        if warm is None:
            return self.no_seeds
        codes = csr_array(warm[rows])
        codes.sum_duplicates()
        return codes.indptr.astype(np.int64), codes.indices.astype(np.int64)

    def descend_on_gram(self, samples: "Samples") -> None:
        """Descend by the Gram matrix as far as rounding allows."""
        setting = self.setting
        status = self.states.status[: len(samples.X)]
        n_slots = 0
        while True:
            n_slots = descend_on_gram(
                samples.B,
                samples.squares,
                samples.sizes,
                samples.scales,
                setting.penalty,
                samples.seeds,
                n_slots,
                setting.atom_powers,
                setting.atoms,
                setting.limits,
                self.states,
                self.work,
                self.out,
            )
            crowded = status == CROWDED
            if not crowded.any():
                return
            status[crowded] = RUNNING if self.grow() else WAITING

    def descend_on_residuals(self, samples: "Samples") -> None:
        """Descend by the residuals until all samples are done or have failed."""
        setting = self.setting
        status = self.states.status[: len(samples.X)]
        while True:
            which = np.flatnonzero((status != DONE) & (status != FAILED))
            if len(which) == 0:
                write_failed(samples.scales, setting.atom_powers, self.states, self.work, self.out)
                return
            squares = np.zeros(len(which))
            if setting.gram_only:
                G = self.correlations_by_gram(samples, which)
            else:
                R = np.empty((len(which), samples.X.shape[1]), self.kind)
                find_residuals(samples.X, which, setting.atoms, self.states, R, squares, self.work)
                G = R @ setting.D
                if samples.linear is not None:
                    G -= samples.linear[which]
            descend_on_residuals(
                G,
                which,
                squares,
                samples.squares,
                samples.sizes,
                samples.linear_sizes,
                samples.scales,
                setting.penalty,
                samples.seeds,
                setting.atom_powers,
                setting.atoms,
                setting.limits,
                self.states,
                self.work,
                self.out,
            )
            self.renew_inverses(np.flatnonzero(status == SPOILT))
            crowded = status == CROWDED
            if crowded.any() and not self.grow():
                status[crowded] = FAILED

    def correlations_by_gram(self, samples: "Samples", which: Array) -> Array:
        """Compute the correlations of some samples in double precision, without the ridge."""
        states = self.states
        setting = self.setting
        codes = np.zeros((len(which), setting.D.shape[1]))
        for row, i in zip(codes, which, strict=True):
            k = states.k[i]
            row[states.atoms[states.slot[i], :k]] = states.c[states.slot[i], :k]
        gram = setting.atoms.gram.astype(np.float64)
        G = samples.B[which] - codes @ gram + codes * setting.atoms.ridge
        return np.asarray(G, self.kind)

    def renew_inverses(self, which: Array) -> None:
        """Compute the inverse of some samples anew, where double precision has hope left."""
        states = self.states
        for i in which:
            states.n_renewals[i] += 1
            if self.kind is np.float32 or states.n_renewals[i] > MOST_RENEWALS:
                states.status[i] = FAILED
                continue
            slot = states.slot[i]
            k = states.k[i]
            active = states.atoms[slot, :k]
            # with a QR decomposition the condition number of the atoms counts, not its square
            atoms = self.setting.atoms
            if self.setting.gram_only:
                block = atoms.gram[np.ix_(active, active)]
                states.inverse[slot, :k, :k] = np.linalg.pinv(block, hermitian=True)
                states.status[i] = WAITING
                continue
            columns = np.vstack([atoms.rows[active].T, np.diag(np.sqrt(atoms.ridge[active]))])
            factor = np.linalg.pinv(np.linalg.qr(columns, mode="r"))
            states.inverse[slot, :k, :k] = factor @ factor.T
            states.status[i] = WAITING

    def grow(self) -> bool:
        """Double the room for active atoms; False if there is no more to gain."""
        states = self.states
        old = states.c.shape[1]
        room = min(2 * old, self.setting.most_active)
        if room == old:
            return False
        inverse = np.empty((self.n_samples, room, room), self.kind)
        inverse[:, :old, :old] = states.inverse
        atoms = np.zeros((self.n_samples, room), np.int64)
        atoms[:, :old] = states.atoms
        c = np.empty((self.n_samples, room))
        c[:, :old] = states.c
        self.states = states._replace(inverse=inverse, atoms=atoms, c=c)
        data = np.empty(self.n_samples * room, self.kind)
        indices = np.empty(len(data), np.int32)
        used = self.out.used[0]
        data[:used] = self.out.data[:used]
        indices[:used] = self.out.indices[:used]
        self.out = self.out._replace(data=data, indices=indices)
        n_features, n_atoms = self.setting.D.shape
        self.work = empty_scratch(n_features, n_atoms, room, self.kind)
        return True

    def collect(self, n: int) -> Part:
        """Return the codes of the block's n samples in their order."""
        counts = self.out.counts[:n].copy()
        starts = self.out.starts[:n]
        n_used = int(self.out.used[0])
        first = np.cumsum(counts) - counts
        order: Any = slice(n_used)
        if (starts != first).any():
            order = np.arange(n_used) + np.repeat(starts - first, counts)
        return Part(
            SparseRows(self.out.data[order].copy(), self.out.indices[order].copy(), counts),
            self.states.converged[:n].copy(),
            self.states.status[:n] == FAILED,
            int(self.states.n_entries[:n].sum()),
        )


class Samples(NamedTuple):
    """The samples of a block, of norms about 1.

    Parameters
    ----------
    X, B
        The samples, and X D - linear.
    squares
        Their squared norms, (n_rows,).
    sizes
        The larger of the norm and of the largest linear term of each, (n_rows,).
    scales
        What they were multiplied by, (n_rows,).
    seeds
        Atoms to start from: those of sample i are seeds[1][seeds[0][i] : seeds[0][i + 1]].
    linear, linear_sizes
        The linear term in their units, (n_rows, n_atoms), or None; and its largest entry for each
        sample, (n_rows,).
    """

    X: Array
    B: Array
    squares: Array
    sizes: Array
    scales: Array
    seeds: tuple[Array, Array]
    linear: Array | None
    linear_sizes: Array
