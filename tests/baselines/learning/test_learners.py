"""Dictionary learning: updates against definitions, planted dictionaries, how a run is driven."""

import doctest
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csc_array

from baselines.learning import learner as learner_module
from baselines.learning.ksvd import KSVD, update_approximate, update_exact, update_mod
from baselines.learning.leading import empty_workspace, leading
from baselines.learning.learner import Learned, Learner, first_atoms, learn, replace_atoms
from baselines.learning.online import Online, update_atoms
from baselines.learning.transform import Union
from baselines.pursuit.encode import encode

N_FEATURES, N_ATOMS = 20, 30


def planted(
    n_nonzero: int = 3, snr: float = np.inf, n_samples: int = 3000
) -> tuple[np.ndarray, np.ndarray]:
    """Draw samples of a random dictionary, with a signal-to-noise ratio `snr` in decibel.

    Returns
    -------
    Samples (n_samples, N_FEATURES), and the dictionary (N_FEATURES, N_ATOMS).
    """
    rng = np.random.default_rng(3)
    D = rng.standard_normal((N_FEATURES, N_ATOMS))
    D /= np.linalg.norm(D, axis=0)
    codes = np.zeros((n_samples, N_ATOMS))
    for code in codes:
        code[rng.choice(N_ATOMS, n_nonzero, replace=False)] = rng.standard_normal(n_nonzero)
    X = codes @ D.T
    noise = rng.standard_normal(X.shape)
    return X + noise * np.linalg.norm(X) / np.linalg.norm(noise) * 10 ** (-snr / 20), D


def first_rows(X: np.ndarray) -> np.ndarray:
    """Return atoms to start from, as rows (N_ATOMS, N_FEATURES)."""
    return first_atoms(X, N_ATOMS, np.random.default_rng(0)).T.copy()


def by_atom(X: np.ndarray, rows: np.ndarray) -> csc_array:
    """Return codes of three non-zeros, as the updates take them."""
    return csc_array(encode(X, rows.T, n_nonzero=3, sparse=True).codes)


def recovered(learned: np.ndarray, D: np.ndarray) -> float:
    """Return the percentage of planted atoms with an inner product of 0.99 with a learned one."""
    return 100 * float((np.abs(learned.T @ D).max(0) >= 0.99).mean())


@pytest.mark.parametrize(
    ("n_nonzero", "snr"), [(2, np.inf), (3, np.inf), (4, np.inf), (2, 20.0), (3, 20.0)]
)
@pytest.mark.parametrize("kind", ["approximate", "exact", "mod", "online"])
def test_a_planted_dictionary_is_recovered(
    kind: Any, n_nonzero: int, snr: float, record_property: Callable[[str, object], None]
) -> None:
    X, D = planted(n_nonzero, snr)
    learner: Learner = Online(n_atoms=N_ATOMS, lmbd=0.1, batch_size=256)
    n_iter = 300
    if kind != "online":
        learner = KSVD(n_atoms=N_ATOMS, n_nonzero=n_nonzero, update=kind)
        n_iter = 50
    share = recovered(learn(learner, X, n_iter=n_iter).D, D)
    record_property("recovered", share)
    is_hard = kind in ("mod", "online") or n_nonzero == 4
    assert share >= (75 if is_hard else 85)


def test_an_exact_update_is_the_singular_value_decomposition() -> None:
    X, _ = planted(n_samples=60)
    rows = first_rows(X)
    codes = by_atom(X, rows)
    R = X - codes @ rows
    others = rows[1:].copy()
    users = codes.indices[: codes.indptr[1]]
    E = R[users] + np.outer(codes.data[: codes.indptr[1]], rows[0])
    update_exact(R, rows[:1], codes)
    left, values, right = np.linalg.svd(E, full_matrices=False)
    assert len(users) > 2
    np.testing.assert_allclose(
        np.outer(codes.data[: len(users)], rows[0]), values[0] * np.outer(left[:, 0], right[0])
    )
    np.testing.assert_allclose(R[users], E - values[0] * np.outer(left[:, 0], right[0]), atol=1e-12)
    np.testing.assert_array_equal(others, rows[1:])


def test_an_exact_update_leaves_a_lesser_singular_vector() -> None:
    """Started from the second singular triplet, where an alternation would stay."""
    E = np.random.default_rng(0).standard_normal((12, N_FEATURES))
    left, values, right = np.linalg.svd(E, full_matrices=False)
    rows, codes = right[1:2].copy(), csc_array(values[1] * left[:, 1:2])
    R = E - codes @ rows
    update_exact(R, rows, codes)
    np.testing.assert_allclose(np.abs(rows[0]), np.abs(right[0]), atol=1e-8)
    assert np.square(R).sum() == pytest.approx(np.square(values[1:]).sum())


@settings(max_examples=60)
@given(
    shape=st.tuples(st.integers(0, 40), st.integers(1, 80)),
    decay=st.floats(0, 3),
    single=st.booleans(),
    seed=st.integers(0, 10**6),
)
def test_the_leading_singular_vector_is_that_of_lapack(
    shape: tuple[int, int], decay: float, single: bool, seed: int
) -> None:
    """Also where singular values lie close (decay 0) or the basis is full before convergence."""
    rng = np.random.default_rng(seed)
    dtype = np.float32 if single else np.float64
    tol, accuracy = (1e-4, 1e-5) if single else (1e-9, 1e-12)
    E: Any = (rng.standard_normal(shape) * np.arange(1, shape[1] + 1) ** -decay).astype(dtype)
    work = empty_workspace(*shape, dtype)
    v = work.basis[0]
    work.E[: len(E)] = E
    v[:] = E.T @ rng.standard_normal(len(E))
    assert leading(len(E), tol, work) == (len(E) > 0)
    if len(E):
        assert np.linalg.norm(v) == pytest.approx(1, abs=accuracy)
        square = np.linalg.norm(E.astype(float), 2) ** 2
        image = E.astype(float).T @ (E.astype(float) @ v)
        assert np.linalg.norm(image - square * v) <= (2 * tol + accuracy) * square


@pytest.mark.parametrize("kind", ["approximate", "exact"])
def test_each_iteration_lowers_the_error_and_keeps_the_residual_right(kind: Any) -> None:
    X, _ = planted(snr=10)
    rows = first_rows(X)
    codes = by_atom(X, rows)
    before = X - codes @ rows
    R = before.copy()
    if kind == "exact":
        update_exact(R, rows, codes)
    else:
        update_approximate(R, rows, codes)
    np.testing.assert_allclose(R, X - codes @ rows, atol=1e-10)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-10)
    assert np.square(R).sum() < 0.9 * np.square(before).sum()


def test_mod_solves_least_squares() -> None:
    X, _ = planted(snr=10)
    rows = first_rows(X)
    codes = by_atom(X, rows)
    left = np.linalg.lstsq(codes.toarray(), X, rcond=None)[1].sum()
    update_mod(X, rows, codes)
    best = np.linalg.lstsq(codes.toarray(), X, rcond=None)[0]
    np.testing.assert_allclose(rows, best / np.linalg.norm(best, axis=1, keepdims=True), atol=1e-4)
    assert np.square(X - codes @ rows).sum() == pytest.approx(left, rel=1e-4)


def test_looks_at_held_out_samples_may_be_rare_and_a_finished_run_is_left_alone() -> None:
    X, _ = planted(snr=10)
    learner = KSVD(n_atoms=N_ATOMS, n_nonzero=3)
    learned = learn(learner, X[:200], n_iter=500, held_out=X[200:400], every=5, patience=1)
    looks = dict(learned.held_out)
    assert len(looks) > 1
    assert looks[learned.n_iter] == min(looks.values())
    assert learner.objective(X[200:400], learned.D) == pytest.approx(min(looks.values()))
    assert learn(learner, X, n_iter=learned.n_iter, start=learned) is learned
    assert (
        learn(learner, X[:200], n_iter=learned.n_iter + 2, start=learned).n_iter
        == learned.n_iter + 2
    )
    assert learn(learner, X[:200], n_iter=7, held_out=X[200:400], every=5).held_out[-1][0] == 7


def test_an_online_update_minimises_over_one_atom_after_the_other() -> None:
    rng = np.random.default_rng(0)
    codes = rng.standard_normal((200, 70))
    X = rng.standard_normal((200, 12))
    A = codes.T @ codes
    B = codes.T @ X
    rows = rng.standard_normal((70, 12))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    wanted = rows.copy()
    for j in range(70):
        # along it lies, of all unit vectors, the one with the least objective
        best = B[j] - A[j] @ wanted + A[j, j] * wanted[j]
        wanted[j] = best / np.linalg.norm(best)
    update_atoms(rows, A, B)
    np.testing.assert_allclose(rows, wanted, atol=1e-10)


def test_the_objective_of_online_learning_is_the_one_minimised() -> None:
    X, D = planted(n_samples=50)
    codes = encode(X, D, lmbd=0.1, alpha=0.2, positive=True, tol=1e-10).codes
    value = (
        0.5 * np.square(X - codes @ D.T).sum() + 0.1 * codes.sum() + 0.1 * np.square(codes).sum()
    )
    learner = Online(n_atoms=N_ATOMS, lmbd=0.1, alpha=0.2, positive=True)
    assert learner.objective(X, D) == pytest.approx(value / 50, rel=1e-4)


@pytest.mark.parametrize("update", ["approximate", "exact", "mod"])
def test_samples_may_be_bytes_or_zero(update: Any) -> None:
    learner = KSVD(n_atoms=N_ATOMS, n_nonzero=3, update=update)
    X = np.random.default_rng(0).integers(0, 256, (80, N_FEATURES), dtype=np.uint8)
    of_bytes = learn(learner, X, n_iter=3)
    of_floats = learn(learner, X.astype(np.float32), n_iter=3)
    np.testing.assert_array_equal(of_bytes.D, of_floats.D)
    assert learner.objective(X, of_bytes.D) == learner.objective(X.astype(np.float32), of_floats.D)
    assert learn(learner, np.zeros((5, 8), np.float32), n_iter=2).history == (0.0, 0.0)


def test_dead_and_duplicate_atoms_are_replaced_by_what_is_represented_worst() -> None:
    X, D = planted(n_samples=40)
    D[:, 3] = -D[:, 7]
    D[:, 5] = D[:, 9]
    uses = np.full(N_ATOMS, 10.0)
    uses[0] = 0
    uses[[3, 9]] = 4
    worst = X[[4, 8, 15]] / np.linalg.norm(X[[4, 8, 15]], axis=1, keepdims=True)
    R = np.zeros_like(X)
    R[[4, 8, 15]] = worst * np.array([[3], [2], [1]])
    before = D.copy()
    new = replace_atoms(D, D.T @ D, uses, R, X)
    assert new.tolist() == [0, 3, 9]
    np.testing.assert_allclose(D[:, new], worst.T)
    np.testing.assert_array_equal(np.delete(D, new, 1), np.delete(before, new, 1))


@pytest.mark.parametrize(
    "learner",
    [
        KSVD(n_atoms=60, n_nonzero=1),
        KSVD(n_atoms=60, n_nonzero=1, update="mod"),
        Online(n_atoms=60, lmbd=0.3),
    ],
    ids=["ksvd", "mod", "online"],
)
def test_more_atoms_than_the_samples_need_stay_finite_and_of_unit_norm(learner: Learner) -> None:
    X = np.repeat(planted(n_samples=10)[0], 20, 0).astype(np.float32)
    X[:5] = 0
    D = learn(learner, X, n_iter=5).D
    np.testing.assert_allclose(np.linalg.norm(D, axis=0), 1, atol=1e-5)
    assert D.dtype == np.float32


@pytest.mark.parametrize(
    "learner", [KSVD(n_atoms=N_ATOMS, n_nonzero=3), Online(n_atoms=N_ATOMS, lmbd=0.1)]
)
def test_a_run_that_was_saved_goes_on_as_if_it_had_not_stopped(
    learner: Learner, tmp_path: Path
) -> None:
    X, _ = planted()
    path = tmp_path / "learned.npz"
    whole = learn(learner, X, n_iter=8, held_out=X[:100])
    learn(learner, X, n_iter=5, held_out=X[:100], on_step=lambda state: state.save(path))
    resumed = learn(learner, X, n_iter=8, start=Learned.load(path), held_out=X[:100])
    np.testing.assert_array_equal(resumed.D, whole.D)
    assert resumed.history == whole.history
    assert resumed.held_out == whole.held_out
    assert len(whole.history) == 8


def test_learning_stops_once_held_out_samples_gain_no_more() -> None:
    X, _ = planted(snr=10)
    states: list[Learned] = []
    learner = KSVD(n_atoms=N_ATOMS, n_nonzero=3)
    learned = learn(learner, X[:200], n_iter=500, held_out=X[200:400], on_step=states.append)
    values = [look.objective for look in learned.held_out]
    assert states[-1].n_iter < 500
    assert learned.n_iter == 1 + int(np.argmin(values))
    assert learner.objective(X[200:400], learned.D) == pytest.approx(min(values))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_iter": 0}, "n_iter=0 must be an int of at least 1"),
        ({"n_iter": True}, "n_iter=True must be an int"),
        ({"n_iter": 2.0}, "n_iter=2.0 must be an int"),
        ({"every": 0}, "every=0 must be an int of at least 1"),
        ({"patience": 0}, "patience=0 must be an int of at least 1"),
        ({"patience": np.inf}, "patience=inf must be an int of at least 1"),
        ({"start": Learned(np.eye(N_FEATURES)[:, :7])}, "start has 7 atoms; expected n_atoms=30"),
        ({"start": Learned(np.ones((7, N_ATOMS)))}, "start has 7 features; expected 20"),
        ({"start": Learned(np.ones(N_ATOMS))}, r"start\.D has shape \(30,\)"),
        ({"start": Learned(np.full((N_FEATURES, N_ATOMS), np.inf))}, r"start\.D has entries"),
        ({"start": np.ones((N_FEATURES, N_ATOMS))}, "start is a ndarray; expected a Learned"),
        ({"held_out": np.ones((0, N_FEATURES))}, "held_out has 0 samples"),
        ({"held_out": np.ones((2, 7))}, "held_out has 7 features; expected 20"),
        ({"held_out": np.ones(N_FEATURES)}, r"held_out has shape \(20,\)"),
        ({"held_out": np.full((2, N_FEATURES), np.nan)}, "held_out has entries that are not"),
        ({"held_out": [[1.0] * N_FEATURES]}, "held_out is a list"),
        ({"X": np.ones((40, 2))}, "n_nonzero=3 of KSVD must be at most the 2 features"),
    ],
)
def test_wrong_arguments(options: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {
        "learner": KSVD(n_atoms=N_ATOMS, n_nonzero=3),
        "X": planted()[0],
        "n_iter": 3,
    }
    with pytest.raises(ValueError, match=f"^learn: {message}"):
        learn(**given | options)


@pytest.mark.parametrize(
    ("learner", "option", "value"),
    [
        (KSVD, "update", "nope"),
        *((KSVD, "n_nonzero", value) for value in (0, 4, 2.0, True, None)),
        *((kind, "n_atoms", value) for kind in (KSVD, Online) for value in (0, -1, 3.0, "3")),
        *((kind, "seed", value) for kind in (KSVD, Online, Union) for value in (-1, 0.5, None)),
        *((kind, "n_threads", value) for kind in (KSVD, Online) for value in (0, 1.0)),
        *((Online, "batch_size", value) for value in (0, -5, 1.5, np.nan)),
        *((Online, name, -1) for name in ("lmbd", "alpha", "forgetting")),
        *((Online, name, np.nan) for name in ("lmbd", "alpha", "forgetting")),
        *((Online, name, np.inf) for name in ("lmbd", "alpha", "forgetting")),
        *((Online, "lmbd", value) for value in (None, "0.1", 1j, np.ones(3), True)),
        *((Online, "positive", value) for value in (1, None, "no")),
        *((Union, "n_transforms", value) for value in (0, 2.0)),
        *((Union, "lmbd", value) for value in (0, -1, np.nan)),
        *((Union, "threshold", value) for value in (-1, np.nan, np.inf)),
    ],
)
def test_a_wrong_option_is_named_where_the_learner_is_made(
    learner: Any, option: str, value: Any
) -> None:
    right: dict[Any, dict[str, Any]] = {
        KSVD: {"n_atoms": 3, "n_nonzero": 1},
        Online: {"n_atoms": 3, "lmbd": 0.1},
        Union: {"lmbd": 0.1, "threshold": 0.1},
    }
    options = right[learner]
    learner(**options)
    with pytest.raises(ValueError, match=rf"^{learner.__name__}: {option}=.* must be"):
        learner(**options | {option: value})


def test_options_may_be_numbers_of_numpy() -> None:
    X, _ = planted()
    plain = learn(KSVD(n_atoms=N_ATOMS, n_nonzero=3), X, n_iter=2)
    counts = np.array([N_ATOMS, 3, 2])
    learner = KSVD(n_atoms=counts[0], n_nonzero=counts[1])
    np.testing.assert_array_equal(learn(learner, X, n_iter=counts[2]).D, plain.D)
    options: dict[str, Any] = {"lmbd": np.float32(0.5), "positive": np.bool_(True)}
    assert Online(n_atoms=3, **options).lmbd == 0.5


def test_online_learning_goes_on_from_any_dictionary() -> None:
    X, _ = planted()
    start = learn(KSVD(n_atoms=N_ATOMS, n_nonzero=3), X, n_iter=2)
    learner = Online(n_atoms=N_ATOMS, lmbd=0.1)
    blocks = iter([X[:0], X.astype(np.float16)])
    once = learn(learner, blocks, n_iter=9, start=start)
    often = learn(learner, X, n_iter=40, start=start)
    assert once.n_iter == 3
    assert often.history[-1] < once.history[-1]


def test_a_stream_is_learned_from_block_by_block() -> None:
    X, D = planted(n_samples=6000)
    learner = Online(n_atoms=N_ATOMS, lmbd=0.1)
    learned = learn(learner, (block for block in np.split(X, 60)), n_iter=1000)
    assert learned.n_iter == 60
    assert learned.history[-1] < 0.8 * learned.history[0]
    with pytest.raises(ValueError, match="stream of samples is empty"):
        learn(learner, iter([]), n_iter=3)
    with pytest.raises(ValueError, match="stream of samples is empty"):
        learn(learner, iter([]), n_iter=100, start=learned)
    with pytest.raises(ValueError, match="as an array"):
        learn(KSVD(n_atoms=3, n_nonzero=1), iter([X]), n_iter=3)
    assert D.shape == learned.D.shape


def test_the_example_of_the_docstring_runs() -> None:
    result = doctest.testmod(learner_module)
    assert result.attempted > 0
    assert result.failed == 0
