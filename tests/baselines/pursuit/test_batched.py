"""Pursuits of whole batches on tensors: agreement with those of arrays, certificates, devices."""

from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from torch import Tensor

from baselines.pursuit import batched_active_set as active_sets
from baselines.pursuit.batched_active_set import batched_active_set
from baselines.pursuit.batched_greedy import batched_omp
from baselines.pursuit.encode import Encoding, encode
from baselines.pursuit.objective import Problem
from tests.conftest import random_problem
from tests.gpu.pretend import DEVICE, Remote, pretend

SMALL_BLOCK = 2**14  # bytes: a few samples


class Drawn(NamedTuple):
    """Samples, dictionary and the other terms of a problem, in float64."""

    X: np.ndarray
    D: np.ndarray
    lmbd: np.ndarray
    alpha: float
    positive: bool
    linear: np.ndarray | None

    def problem(self, **options: Any) -> Problem:
        """Return the problem with tensors."""
        linear = None if self.linear is None else torch.from_numpy(self.linear)
        X, D, lmbd = (torch.from_numpy(array) for array in (self.X, self.D, self.lmbd))
        return Problem(X, D, lmbd, self.alpha, self.positive, linear, **options)


@st.composite
def nasty(draw: st.DrawFn) -> Drawn:
    """Draw problems with duplicate, zero and coherent atoms, zero samples and few features."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_samples = draw(st.integers(0, 6))
    n_features = draw(st.integers(1, 12))
    n_atoms = draw(st.integers(1, 20))
    X = rng.standard_normal((n_samples, n_features))
    D = rng.standard_normal((n_features, n_atoms))
    D += draw(st.sampled_from([0, 3])) * rng.standard_normal((n_features, 1))
    D /= np.linalg.norm(D, axis=0)
    if draw(st.booleans()):
        D[:, rng.integers(n_atoms)] = D[:, rng.integers(n_atoms)]
    if draw(st.booleans()):
        D[:, rng.integers(n_atoms)] = 0
    if n_samples and draw(st.booleans()):
        X[rng.integers(n_samples)] = 0
    lmbd = draw(st.sampled_from([0.02, 0.1, 0.5, 100.0])) * rng.uniform(0.5, 2, n_atoms)
    alpha = draw(st.sampled_from([0.0, 0.01, 1.0]))
    shape = draw(st.sampled_from([None, (n_atoms,), (n_samples, n_atoms)]))
    linear = None
    if shape is not None:
        linear = 0.9 * float(lmbd.min()) * rng.uniform(-1, 1, shape)
    return Drawn(X, D, lmbd, alpha, draw(st.booleans()), linear)


def tensors(X: np.ndarray, D: np.ndarray) -> tuple[Tensor, Tensor]:
    """Return samples and dictionary as tensors."""
    return torch.from_numpy(X), torch.from_numpy(D)


def single(X: np.ndarray, D: np.ndarray) -> tuple[Tensor, Tensor]:
    """Return samples and dictionary as tensors of single precision."""
    return torch.from_numpy(X).float(), torch.from_numpy(D).float()


# Greedy pursuits


@settings(max_examples=80)
@given(drawn=nasty(), n_nonzero=st.integers(0, 14), method=st.sampled_from(["omp", "ormp"]))
def test_batched_greedy_codes_are_those_of_arrays(
    drawn: Drawn, n_nonzero: int, method: str
) -> None:
    X = drawn.X
    D = drawn.D
    wanted = encode(X, D, n_nonzero=n_nonzero, method=method)
    result = batched_omp(*tensors(X, D), n_nonzero, recursive=method == "ormp")
    codes = result.codes.numpy()
    assert codes.shape == wanted.codes.shape
    assert (np.count_nonzero(codes, axis=1) <= n_nonzero).all()
    largest = np.abs(X).max(initial=1.0)
    np.testing.assert_allclose(codes @ D.T, wanted.codes @ D.T, atol=1e-6 * largest)


@pytest.mark.parametrize("method", ["omp", "ormp"])
def test_batched_greedy_codes_of_a_large_dictionary_are_the_same(method: str) -> None:
    X, D = random_problem(1, 60, 32, 200)
    wanted = encode(X, D, n_nonzero=9, method=method)
    for block_bytes in (None, SMALL_BLOCK):
        recursive = method == "ormp"
        result = batched_omp(*tensors(X, D), 9, recursive=recursive, block_bytes=block_bytes)
        np.testing.assert_allclose(result.codes, wanted.codes, atol=1e-10)
        assert result.n_iter == wanted.n_iter == 9


@pytest.mark.parametrize("recursive", [False, True])
def test_the_first_of_equal_atoms_is_taken(recursive: bool) -> None:
    D = np.repeat(np.eye(4), 2, axis=1)
    X = np.array([[2.0, 2.0, 2.0, 2.0], [0.0, 3.0, 0.0, -3.0]])
    codes = batched_omp(*tensors(X, D), 3, recursive=recursive).codes
    assert codes.tolist() == [[2, 0, 2, 0, 2, 0, 0, 0], [0, 0, 3, 0, 0, 0, -3, 0]]


@pytest.mark.parametrize("recursive", [False, True])
def test_a_zero_residual_and_the_rank_end_a_code(recursive: bool) -> None:
    rng = np.random.default_rng(3)
    D = rng.standard_normal((10, 4)) @ rng.standard_normal((4, 30))  # of rank 4
    D /= np.linalg.norm(D, axis=0)
    X = np.vstack([np.zeros(10), 2 * D[:, 7], D[:, :2].sum(1), rng.standard_normal(10)])
    codes = batched_omp(*tensors(X, D), 10, recursive=recursive).codes
    assert codes.count_nonzero(1).tolist()[:2] == [0, 1]
    assert int(codes.count_nonzero(1).max()) <= 4
    best = np.linalg.lstsq(D, X.T, rcond=None)[0]
    np.testing.assert_allclose(D @ codes.numpy().T, D @ best, atol=1e-8)


@pytest.mark.parametrize("method", ["omp", "ormp"])
def test_codes_end_at_the_error_allowed(method: str) -> None:
    X, D = random_problem(4, 80, 24, 64)
    X *= np.linspace(0.1, 3, 80)[:, None]
    recursive = method == "ormp"
    limit = 2.5
    codes = batched_omp(*tensors(X, D), 12, recursive=recursive, max_error=limit).codes.numpy()
    counts = np.count_nonzero(codes, axis=1)
    errors = np.linalg.norm(X - codes @ D.T, axis=1)
    assert ((errors <= limit) | (counts == 12)).all()
    assert len(np.unique(counts)) > 5
    for n_nonzero in range(1, 13):  # one atom fewer would not do
        some = counts == n_nonzero
        fewer = encode(X[some], D, n_nonzero=n_nonzero - 1, method=method).codes
        assert (np.linalg.norm(X[some] - fewer @ D.T, axis=1) > limit).all()
        same = encode(X[some], D, n_nonzero=n_nonzero, method=method).codes
        np.testing.assert_allclose(codes[some], same, atol=1e-10)


@pytest.mark.parametrize("recursive", [False, True])
@pytest.mark.parametrize(("of_samples", "of_atoms"), [(1e-9, 1.0), (1e9, 1.0), (1.0, 1e-6)])
def test_greedy_codes_scale_with_samples_and_atoms(
    of_samples: float, of_atoms: float, recursive: bool
) -> None:
    X, D = single(*random_problem(5, 30, 12, 40))
    options: dict[str, Any] = {"n_nonzero": 8, "recursive": recursive}
    plain = batched_omp(X, D, max_error=0.5, **options).codes
    scaled = batched_omp(of_samples * X, of_atoms * D, max_error=0.5 * of_samples, **options).codes
    assert torch.equal(scaled != 0, plain != 0)
    torch.testing.assert_close(scaled * (of_atoms / of_samples), plain, rtol=1e-3, atol=1e-4)


def test_greedy_codes_of_no_samples_or_no_atoms() -> None:
    X, D = tensors(*random_problem(0, 5, 4, 6))
    assert batched_omp(X[:0], D, 3).codes.shape == (0, 6)
    assert batched_omp(X, D, 0).codes.count_nonzero() == 0


def test_greedy_samples_that_are_not_finite_are_refused() -> None:
    X, D = tensors(*random_problem(0, 2, 3, 4))
    X[1, 1] = torch.nan
    with pytest.raises(ValueError, match="not finite"):
        batched_omp(X, D, 2)


# Active sets


@settings(max_examples=100)
@given(drawn=nasty(), block_bytes=st.sampled_from([None, SMALL_BLOCK]))
def test_batched_active_sets_satisfy_the_kkt_conditions(
    drawn: Drawn, block_bytes: int | None
) -> None:
    problem = drawn.problem(tol=1e-12, max_iter=10_000)
    found = batched_active_set(problem, block_bytes)
    codes = found.codes
    encoding = Encoding(codes, "active_set", found.n_iter, found.converged, problem)
    if len(drawn.X) == 0:
        assert codes.shape == (0, drawn.D.shape[1])
        return
    assert not drawn.positive or bool((codes >= 0).all())
    assert encoding.kkt <= 1e-9 * max(1, np.abs(drawn.X).max())
    options: dict[str, Any] = {"alpha": drawn.alpha, "positive": drawn.positive, "tol": 1e-12}
    best = encode(drawn.X, drawn.D, lmbd=drawn.lmbd, linear=drawn.linear, **options).codes
    value = float(problem.objective(codes).sum())
    wanted = float(problem.objective(torch.from_numpy(best)).sum())
    assert value == pytest.approx(wanted, rel=1e-9, abs=1e-9)
    np.testing.assert_allclose(codes.numpy() @ drawn.D.T, best @ drawn.D.T, atol=1e-4)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("lmbd", [0.1, 0.4])
def test_batched_active_sets_reach_the_gap_asked_for(lmbd: float, kind: Any) -> None:
    X, D = (array.astype(kind) for array in random_problem(6, 300, 32, 96))
    encoding = encode(X, D, lmbd=lmbd, method="active_set")
    assert encoding.method == "active_set"
    assert isinstance(encoding.codes, np.ndarray)
    assert encoding.codes.dtype == kind
    assert encoding.gap <= 1e-6
    counts = np.count_nonzero(encoding.codes, axis=1)
    assert 0 < counts.mean() < 96
    assert counts.mean() <= encoding.n_iter < 3 * counts.mean()


def test_a_polish_in_double_precision_lowers_the_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    X, D = (array.astype(np.float32) for array in random_problem(7, 100, 32, 96))
    polished = encode(X, D, lmbd=0.1, method="active_set")
    monkeypatch.setattr(active_sets, "WITHOUT_FLOAT64", ("cpu",))
    plain = encode(X, D, lmbd=0.1, method="active_set")
    assert polished.gap < plain.gap
    assert polished.kkt <= plain.kkt


@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_active_sets_scale_with_the_samples(scale: float) -> None:
    X, D = single(*random_problem(8, 40, 16, 40))
    lmbd = torch.full((40,), 0.2, dtype=torch.float64)
    plain = batched_active_set(Problem(X, D, lmbd)).codes
    scaled = batched_active_set(Problem(scale * X, D, scale * lmbd)).codes
    assert torch.equal(scaled != 0, plain != 0)
    torch.testing.assert_close(scaled / scale, plain, rtol=1e-4, atol=1e-5)


def test_equal_atoms_share_no_code() -> None:
    D = np.repeat(np.eye(4), 2, axis=1)
    X = np.array([[2.0, 2.0, 2.0, 2.0], [0.0, 3.0, 0.0, -3.0]])
    codes = encode(X, D, lmbd=0.5, method="active_set").codes
    wanted = [[1.5, 0, 1.5, 0, 1.5, 0, 1.5, 0], [0, 0, 2.5, 0, 0, 0, -2.5, 0]]
    np.testing.assert_allclose(codes, wanted, atol=1e-12)


@pytest.mark.parametrize("sparse", [False, True])
def test_active_sets_start_from_given_codes(sparse: bool) -> None:
    X, D = random_problem(9, 50, 16, 40)
    cold = encode(X, D, lmbd=0.2, method="active_set", tol=1e-12)
    warm: Any = csr_array(cold.codes) if sparse else cold.codes
    again = encode(X, D, lmbd=0.2, method="active_set", tol=1e-12, warm=warm)
    np.testing.assert_allclose(again.codes, cold.codes, atol=1e-10)
    assert again.n_iter == 0
    other = np.random.default_rng(0).standard_normal((50, 40))  # no code of the problem
    other[::2] = -cold.codes[::2]
    from_other = encode(X, D, lmbd=0.2, method="active_set", tol=1e-12, warm=other)
    np.testing.assert_allclose(from_other.codes, cold.codes, atol=1e-8)


def test_fista_ends_what_active_sets_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    X, D = random_problem(10, 20, 16, 40)
    monkeypatch.setattr(active_sets, "MOST_STOPS", 0)  # every sample is given up at once
    lmbd = torch.full((40,), 0.2, dtype=torch.float64)
    codes, converged, n_iter = batched_active_set(Problem(*tensors(X, D), lmbd))
    assert converged.all()
    best = encode(X, D, lmbd=0.2, tol=1e-10).codes
    assert n_iter == 0
    np.testing.assert_allclose(codes.numpy() @ D.T, best @ D.T, atol=2e-2)


def test_samples_that_are_not_finite_are_refused_by_active_sets() -> None:
    X, D = random_problem(0, 2, 3, 4)
    X[1, 1] = np.inf
    with pytest.raises(ValueError, match="not finite"):
        encode(X, D, lmbd=0.1, method="active_set")


# Devices


@pytest.mark.parametrize("method", ["omp", "ormp", "active_set"])
def test_codes_stay_on_the_device(method: str) -> None:
    X, D = tensors(*random_problem(11, 12, 8, 20))
    options: dict[str, Any] = {"lmbd": 0.3} if method == "active_set" else {"n_nonzero": 4}
    wanted = encode(X, D, **options).codes
    with pretend():
        there = [tensor.to(DEVICE) for tensor in (X, D)]
        encoding = encode(*there, **options, method=method if method == "ormp" else "auto")
        assert isinstance(encoding.codes, Remote)
        codes = encoding.codes.cpu()
        assert csr_array(codes.numpy()).nnz == encode(*there, **options, sparse=True).codes.nnz
    assert encoding.method == method
    if method == "ormp":
        wanted = encode(X, D, **options, method="ormp").codes
    tol = 1e-2 if method == "active_set" else 1e-8
    torch.testing.assert_close(codes @ D.T, wanted @ D.T, atol=tol, rtol=0)


@pytest.mark.parametrize("n_samples", [20, 200])
def test_greedy_pursuits_wait_for_the_device_every_few_steps(n_samples: int) -> None:
    X, D = tensors(*random_problem(12, n_samples, 32, 64))
    with pretend() as mode:
        samples, atoms = X.to(DEVICE), D.to(DEVICE)
        mode.waits.clear()
        batched_omp(samples, atoms, 16)
    # finite samples and atoms, unit norms, steps 4, 8 and 12, and the number of atoms chosen
    assert mode.waits == {"_local_scalar_dense": 7}


@pytest.mark.parametrize("n_samples", [20, 200])
def test_active_sets_wait_for_the_device_once_a_round(
    n_samples: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, D = tensors(*random_problem(13, n_samples, 32, 64))
    lmbd = torch.full((64,), 0.3, dtype=torch.float64)
    n_rounds = 0
    run_round = active_sets._round

    def counted(*arguments: Any) -> Any:
        nonlocal n_rounds
        n_rounds += 1
        return run_round(*arguments)

    monkeypatch.setattr(active_sets, "_round", counted)
    with pretend() as mode:
        problem = Problem(X.to(DEVICE), D.to(DEVICE), lmbd.to(DEVICE))
        mode.waits.clear()
        batched_active_set(problem)
    assert n_rounds < 30
    # in each round the samples at their end and the slots in use; at the end who converged
    assert mode.waits["_to_copy"] <= n_rounds + 1
    assert sum(mode.waits.values()) <= n_rounds + 10
