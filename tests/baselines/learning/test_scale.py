"""Learning does not depend on the size of samples: what is right at 1 is right at 1e-100."""

from itertools import islice, product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csc_array

from baselines.learning.ksvd import KSVD, least_squares, update_approximate, update_exact
from baselines.learning.leading import empty_workspace, leading
from baselines.learning.learner import Learned, Learner, first_atoms, learn, replace_atoms
from baselines.learning.online import Online
from baselines.learning.samples import unit_columns, unit_of
from baselines.learning.transform import Union
from baselines.pursuit.encode import encode

N_FEATURES, N_ATOMS, N_NONZERO = 8, 12, 2
KINDS = ("approximate", "exact", "mod", "online", "elastic")
FULL_RANGE = {np.float64: 500, np.float32: 100}  # exponents of 2


def samples(seed: int = 0, n_samples: int = 200) -> np.ndarray:
    """Draw samples of two atoms each, with some noise, (n_samples, N_FEATURES)."""
    rng = np.random.default_rng(seed)
    D = unit_columns(rng.standard_normal((N_FEATURES, N_ATOMS)))
    codes = np.zeros((n_samples, N_ATOMS))
    for code in codes:
        code[rng.choice(N_ATOMS, N_NONZERO, replace=False)] = rng.standard_normal(N_NONZERO)
    return codes @ D.T + 0.05 * rng.standard_normal((n_samples, N_FEATURES))


def learner_of(kind: Any, scale: float = 1.0) -> Learner:
    """Return a learner with a penalty in proportion to the samples."""
    if kind == "online":
        return Online(n_atoms=N_ATOMS, lmbd=0.1 * scale, batch_size=64)
    if kind == "elastic":
        return Online(n_atoms=N_ATOMS, lmbd=0.1 * scale, alpha=0.3, positive=True, batch_size=64)
    return KSVD(n_atoms=N_ATOMS, n_nonzero=N_NONZERO, update=kind)


def objectives(learned: Learned) -> np.ndarray:
    """Return the objectives of all iterations, of training samples and of those held out."""
    return np.append(learned.history, [look.objective for look in learned.held_out])


@settings(max_examples=40)
@given(
    kind=st.sampled_from(KINDS),
    dtype=st.sampled_from([np.float32, np.float64]),
    position=st.floats(-1, 1),
    seed=st.integers(0, 1000),
)
def test_a_power_of_two_changes_no_bit(kind: str, dtype: Any, position: float, seed: int) -> None:
    scale = 2.0 ** round(position * FULL_RANGE[dtype])
    X = samples(seed).astype(dtype)
    scaled = X * dtype(scale)
    plain = learn(learner_of(kind), X, n_iter=4, held_out=X[:20])
    learned = learn(learner_of(kind, scale), scaled, n_iter=4, held_out=scaled[:20])
    np.testing.assert_array_equal(learned.D, plain.D)
    np.testing.assert_array_equal(objectives(learned) / scale / scale, objectives(plain))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("dtype", "scale"),
    [
        *((np.float64, scale) for scale in (1e-150, 1e-100, 1e-15, 1e-13, 1e-4, 1e9, 1e15, 1e100)),
        *((np.float32, scale) for scale in (1e-30, 1e-13, 1e-6, 1e-3, 1e6, 4e10, 1e30)),
    ],
)
def test_any_other_factor_changes_rounding_alone(kind: str, dtype: Any, scale: float) -> None:
    X = samples().astype(dtype)
    plain = learn(learner_of(kind), X, n_iter=3)
    learned = learn(learner_of(kind, scale), X * dtype(scale), n_iter=3)
    accuracy = 1e-7 if dtype is np.float64 else 2e-3
    np.testing.assert_allclose(learned.D, plain.D, atol=accuracy)
    np.testing.assert_allclose(
        objectives(learned) / scale / scale, objectives(plain), rtol=accuracy
    )


@settings(max_examples=25)
@given(
    dtype=st.sampled_from([np.float32, np.float64]),
    position=st.floats(-1, 1),
    n_transforms=st.integers(1, 3),
    seed=st.integers(0, 1000),
)
def test_transforms_do_not_depend_on_the_size_of_samples(
    dtype: Any, position: float, n_transforms: int, seed: int
) -> None:
    scale = 2.0 ** round(position * FULL_RANGE[dtype])
    X = samples(seed).astype(dtype)
    scaled = X * dtype(scale)
    plain = Union(n_transforms=n_transforms, lmbd=0.1, threshold=0.3)
    large = Union(n_transforms=n_transforms, lmbd=0.1, threshold=0.3 * scale)
    pairs = zip(plain.steps(X), large.steps(scaled), strict=True)
    for step, other in islice(pairs, 5):
        np.testing.assert_array_equal(step.W, other.W)
        assert other.cost / scale / scale == step.cost
    costs = large.costs(scaled, other.W[0]) / scale / scale
    np.testing.assert_array_equal(costs, plain.costs(X, step.W[0]))
    assert costs.min() > 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", KINDS)
def test_one_huge_sample_spoils_no_other(kind: str, dtype: Any) -> None:
    """The error of the rest stays near that of a run without the outlier."""
    X = samples().astype(dtype)
    n_iter = 30
    plain = learn(learner_of(kind), X, n_iter=n_iter).D
    scale = 1e6
    X[7] *= scale
    D = learn(learner_of(kind), X, n_iter=n_iter).D
    rest = np.delete(X, 7, axis=0)
    norms = np.linalg.norm(D, axis=0)
    np.testing.assert_allclose(norms, 1, atol=8 * np.finfo(dtype).eps)
    learner = learner_of(kind)
    assert learner.objective(rest, D) < 1.5 * learner.objective(rest, plain)


@settings(max_examples=25)
@given(amplitude=st.floats(0, 7), single=st.booleans(), seed=st.integers(0, 1000))
def test_mod_is_least_squares_for_samples_of_any_sizes(
    amplitude: float, single: bool, seed: int
) -> None:
    X = samples(seed)
    X[3] *= 10**amplitude
    if single:
        X = X.astype(np.float32)
    D = first_atoms(samples(seed + 1).astype(X.dtype), N_ATOMS, np.random.default_rng(seed))
    codes = encode(X, D, n_nonzero=N_NONZERO, sparse=True).codes
    exact = X.astype(np.float64)
    dense = codes.toarray().astype(np.float64)
    best = np.linalg.lstsq(dense, exact, rcond=None)[0]
    least = np.square(exact - dense @ best).sum()
    found = least_squares(csc_array(codes), X)
    assert np.square(exact - dense @ found).sum() <= (1 + 1e-6) * least


def test_least_squares_of_dependent_codes() -> None:
    """Two atoms that are always used together, one that is not used, one that hardly is."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((50, 5))
    codes = rng.standard_normal((50, 6)) * (rng.random((50, 6)) < 0.5)
    codes[:, 1] = 3 * codes[:, 0]
    codes[:, 2] = 0
    codes[:, 3] = 0
    codes[4, 3] = 1e-9
    best = np.linalg.lstsq(codes, X, rcond=1e-14)[0]
    least = np.square(X - codes @ best).sum()
    found = least_squares(csc_array(codes), X)
    assert np.square(X - codes @ found).sum() == pytest.approx(least, rel=1e-6)
    np.testing.assert_array_equal(found[2], 0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("update", [update_approximate, update_exact])
def test_an_atom_of_tiny_samples_is_updated(update: Any, dtype: Any) -> None:
    """Of two atoms each, half of the samples are 1e-12 times the others."""
    sizes = np.repeat([1, 1e-12], 30)[:, None].astype(dtype)
    X = np.random.default_rng(0).standard_normal((60, 4)).astype(dtype) * sizes
    rows = np.eye(2, 4, dtype=dtype)
    dense = np.zeros((60, 2), dtype)
    dense[:30, 0] = X[:30, 0]
    dense[30:, 1] = X[30:, 1]
    codes = csc_array(dense)
    R = X - codes @ rows
    for _ in range(100):
        update(R, rows, codes)
    for atom, users in ((0, slice(0, 30)), (1, slice(30, 60))):
        scaled = X[users].astype(np.float64) / sizes[users]
        right = np.linalg.svd(scaled)[2][0]
        assert abs(right @ rows[atom]) == pytest.approx(1, abs=1e-5)


@settings(max_examples=40)
@given(
    position=st.floats(-1, 1),
    single=st.booleans(),
    n_equal=st.integers(1, 3),
    seed=st.integers(0, 1000),
)
def test_the_leading_singular_vector_at_any_size_and_of_equal_values(
    position: float, single: bool, n_equal: int, seed: int
) -> None:
    """Of equal singular values any vector of their span is right."""
    rng = np.random.default_rng(seed)
    dtype = np.float32 if single else np.float64
    scale = 2.0 ** round(position * (50 if single else 400))
    left = np.linalg.qr(rng.standard_normal((20, 6)))[0]
    right = np.linalg.qr(rng.standard_normal((9, 6)))[0]
    values = np.array([0.5, 0.4, 0.3, 0.2, 0.1, 0.05])
    values[:n_equal] = 1
    work = empty_workspace(20, 9, dtype)
    work.E[:20] = scale * (left * values) @ right.T
    work.basis[0] = scale * right @ rng.standard_normal(6)
    tol = 1e-4 if single else 1e-9
    assert leading(20, tol, work)
    v = work.basis[0].astype(np.float64)
    assert np.linalg.norm(v) == pytest.approx(1, abs=1e-5 if single else 1e-12)
    assert np.linalg.norm(right[:, :n_equal].T @ v) == pytest.approx(
        1, abs=1e-4 if single else 1e-8
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_atoms_of_any_size_come_to_unit_norm(dtype: Any) -> None:
    tiny = float(np.finfo(dtype).smallest_subnormal)
    huge = float(np.finfo(dtype).max)
    D = np.array([[3, 3 * tiny, huge, 0], [4, 4 * tiny, huge, 0]], dtype)
    unit = unit_columns(D)
    half = np.sqrt(0.5)
    np.testing.assert_allclose(unit, [[0.6, 0.6, half, 0], [0.8, 0.8, half, 0]], rtol=1e-6)
    assert unit.dtype == dtype


def test_atoms_in_single_precision_are_rounded_once() -> None:
    D = np.random.default_rng(0).standard_normal((20, 50)).astype(np.float32)
    exact = unit_columns(D.astype(np.float64))
    np.testing.assert_array_equal(unit_columns(D), exact.astype(np.float32))
    np.testing.assert_array_equal(unit_columns(np.asfortranarray(D)), unit_columns(D))


def test_the_unit_is_a_power_of_two_and_one_for_plain_samples() -> None:
    for peak in (1e-3, 1.0, 255.0, 1000.0):
        assert unit_of(np.array([[0.0, -peak]])) == 1
    assert unit_of(np.zeros((2, 3))) == 1
    assert unit_of(np.ones((0, 3))) == 1
    for dtype, exponents in ((np.float32, (-149, 127)), (np.float64, (-1074, 1023))):
        for exponent in (*exponents, -60, 60):
            X: Any = np.array([[-np.ldexp(1.0, exponent)]], dtype)
            unit = unit_of(X)
            assert np.frexp(unit)[0] == 0.5
            with np.errstate(all="raise", under="ignore"):
                assert 0 < np.square(X / dtype(unit)).max() <= 4


@settings(max_examples=20)
@given(exponent=st.integers(-60, 60), seed=st.integers(0, 1000))
def test_samples_far_apart_in_size_make_atoms_of_unit_norm(exponent: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    X = (samples(seed) * 2.0 ** rng.integers(-20, 20, (200, 1)) * 2.0**exponent).astype(np.float32)
    X[:20] = 0
    for kind in KINDS:
        learned = learn(learner_of(kind, 2.0**exponent), X, n_iter=3)
        np.testing.assert_allclose(np.linalg.norm(learned.D, axis=0), 1, atol=1e-6)
        assert np.isfinite(learned.history).all()


@pytest.mark.filterwarnings("ignore::baselines.pursuit.ConvergenceWarning")  # penalty is lost
def test_a_stream_may_grow_and_may_begin_with_nothing() -> None:
    X = samples(n_samples=640).astype(np.float32)
    learner = learner_of("online", 1e-12)
    blocks = np.split(X * np.float32(1e-12), 10)
    plain = learn(learner, blocks, n_iter=100)
    silent = learn(learner, [np.zeros_like(X[:64]), *blocks], n_iter=100)
    assert silent.n_iter == plain.n_iter + 1
    assert silent.history[-1] < 1.5 * plain.history[-1]
    grown = learn(learner, [*blocks, X * np.float32(1e8), *blocks], n_iter=100)
    np.testing.assert_allclose(np.linalg.norm(grown.D, axis=0), 1, atol=1e-6)
    assert np.isfinite(grown.history).all()


@pytest.mark.parametrize("update", ["approximate", "exact", "mod"])
def test_the_order_of_samples_and_features_does_not_matter(update: Any) -> None:
    rng = np.random.default_rng(0)
    X = samples()
    start = first_atoms(X, N_ATOMS, rng)
    rows = rng.permutation(len(X))
    columns = rng.permutation(N_FEATURES)
    learner = learner_of(update)
    plain = learn(learner, X, n_iter=5, start=Learned(start))
    shuffled = learn(learner, X[rows][:, columns], n_iter=5, start=Learned(start[columns]))
    np.testing.assert_allclose(shuffled.D, plain.D[columns], atol=1e-8)
    np.testing.assert_allclose(shuffled.history, plain.history, rtol=1e-8)


@pytest.mark.parametrize("update", ["approximate", "exact", "mod"])
def test_samples_given_twice_count_twice_and_change_nothing(update: Any) -> None:
    X = samples()
    start = Learned(first_atoms(X, N_ATOMS, np.random.default_rng(0)))
    once = learn(learner_of(update), X, n_iter=5, start=start)
    twice = learn(learner_of(update), np.repeat(X, 2, axis=0), n_iter=5, start=start)
    np.testing.assert_allclose(twice.D, once.D, atol=1e-8)
    np.testing.assert_allclose(twice.history, once.history, rtol=1e-8)


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e15])
@pytest.mark.parametrize("kind", ["approximate", "exact", "mod", "online"])
def test_copies_of_a_sample_become_one_atom(kind: str, scale: float) -> None:
    """Of few distinct samples most become an atom, and the atoms too many stay."""
    X = np.repeat(np.abs(samples(n_samples=6)), 30, axis=0) * scale
    D = learn(learner_of(kind, 1e-3 * scale), X, n_iter=6).D
    np.testing.assert_allclose(np.linalg.norm(D, axis=0), 1)
    cosines = unit_columns(X[::30].T).T @ D
    assert (np.abs(cosines).max(axis=1) > 0.99).sum() >= 4


@pytest.mark.parametrize("scale", [1e-150, 1.0, 1e150])
def test_new_atoms_double_neither_each_other_nor_those_that_stay(scale: float) -> None:
    X = np.eye(4)[[0, 0, 1, 1, 2]] * np.array([[9], [-8], [7], [6], [5]]) * scale
    D = np.eye(4)[:, [3, 3, 3, 0]].copy()
    new = replace_atoms(D, D.T @ D, np.array([0, 0, 4, 4]), X, X)
    assert new.tolist() == [0, 1]
    np.testing.assert_allclose(np.abs(D), np.eye(4)[:, [1, 2, 3, 0]])
    D = np.eye(4)[:, [3, 3, 3, 0]].copy()
    assert len(replace_atoms(D, D.T @ D, np.array([0, 0, 0, 4]), X[:2], X[:2])) == 0
    np.testing.assert_array_equal(D, np.eye(4)[:, [3, 3, 3, 0]])


@pytest.mark.parametrize("update", ["approximate", "exact", "mod"])
def test_more_non_zeros_than_the_rank_of_the_samples(update: Any) -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((80, 2)) @ rng.standard_normal((2, N_FEATURES))
    learner = KSVD(n_atoms=N_ATOMS, n_nonzero=N_FEATURES, update=update)
    learned = learn(learner, X, n_iter=4)
    np.testing.assert_allclose(np.linalg.norm(learned.D, axis=0), 1)
    assert learned.history[-1] < 1e-20 * np.square(X).mean()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("lmbd", [1e-300, 1e-30, 1e-15, 1e-12, 1e-8, 1e-5, 1e-3, 1e6])
def test_transforms_of_dependent_samples_stay_invertible(lmbd: float, dtype: Any) -> None:
    """However weak the penalty is: samples of rank 2 leave four directions to it alone."""
    rng = np.random.default_rng(0)
    X = (rng.standard_normal((50, 2)) @ rng.standard_normal((2, 6))).astype(dtype)
    steps = Union(n_transforms=2, lmbd=lmbd, threshold=0.5).steps(X)
    costs = [next(steps).cost for _ in range(8)]
    W = next(steps).W
    assert np.isfinite(W).all()
    assert (np.linalg.matrix_rank(W) == 6).all()
    assert costs[-1] <= costs[0] * (1 + 1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("lmbd", [1e3, 1e30, 1e300])
def test_a_penalty_above_all_samples_leaves_codes_of_zeros(lmbd: float, dtype: Any) -> None:
    X = samples().astype(dtype)
    learner = Online(n_atoms=N_ATOMS, lmbd=lmbd, batch_size=len(X))
    learned = learn(learner, X, n_iter=3, held_out=X)
    half = 0.5 * np.square(X, dtype=np.float64).sum(axis=1).mean()
    np.testing.assert_allclose(objectives(learned), half, rtol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(learned.D, axis=0), 1, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("n_samples", "n_features", "n_atoms"),
    [(1, 1, 1), (1, 5, 3), (5, 1, 4), (7, 2, 1), (3, 3, 40), (300, 1, 1)],
)
def test_problems_of_the_smallest_shapes(
    n_samples: int, n_features: int, n_atoms: int, dtype: Any
) -> None:
    X = np.random.default_rng(0).standard_normal((n_samples, n_features)).astype(dtype)
    learners: list[Learner] = [
        KSVD(n_atoms=n_atoms, n_nonzero=1, update="approximate"),
        KSVD(n_atoms=n_atoms, n_nonzero=1, update="exact"),
        KSVD(n_atoms=n_atoms, n_nonzero=1, update="mod"),
    ]
    for lmbd, alpha in product((0.0, 0.1), (0.0, 1e30)):
        learners.append(Online(n_atoms=n_atoms, lmbd=lmbd, alpha=alpha))
    for learner in learners:
        learned = learn(learner, X, n_iter=4, held_out=X)
        np.testing.assert_allclose(np.linalg.norm(learned.D, axis=0), 1, atol=1e-6)
        assert np.isfinite(objectives(learned)).all()
