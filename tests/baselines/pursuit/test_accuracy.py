"""Pursuits where data are not kind: dependent atoms, small penalties, all scales, all inputs.

What is promised: a gap of ten times the tolerance at most, or a result that says otherwise.
"""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from sklearn.datasets import load_digits
from threadpoolctl import threadpool_info

import baselines
from baselines.pursuit import ConvergenceWarning, Encoding, encode
from baselines.pursuit.coordinate_descent import GRAM_ATOMS
from baselines.pursuit.scale import nearest_powers, norms_of
from tests.conftest import random_problem

TOL = 1e-6
KINDS: dict[Any, int] = {np.float32: 12, np.float64: 30}  # orders of magnitude that scales go over
PURSUITS: list[dict[str, Any]] = [
    {"lmbd": 0.3},
    {"lmbd": 0.01, "positive": True},
    {"lmbd": 0.3, "alpha": 0.1},
    {"lmbd": 0.0, "n_atoms": 12},
    {"lmbd": 0.3, "method": "fista", "max_iter": 20_000},
    {"n_nonzero": 5},
    {"n_nonzero": 5, "method": "ormp"},
    {"max_error": 0.5},
]


def digits() -> np.ndarray:
    """Return the digits as unit-norm rows in single precision."""
    X = load_digits().data.astype(np.float32)
    return np.asarray(X / np.linalg.norm(X, axis=1, keepdims=True))


def objective(X: np.ndarray, D: np.ndarray, codes: np.ndarray, lmbd: float) -> float:
    """Compute the lasso's objective in double precision."""
    R = X.astype(np.float64) - codes.astype(np.float64) @ D.T.astype(np.float64)
    return 0.5 * float(np.square(R).sum()) + lmbd * float(np.abs(codes).sum(dtype=np.float64))


@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("lmbd", [1e-1, 1e-2, 1e-3, 1e-4])
def test_dependent_atoms_in_single_precision(lmbd: float, positive: bool) -> None:
    """Images as atoms depend on each other: the Gram matrix of active ones is nearly singular."""
    X = digits()[:200]
    D = digits()[::7].T
    found = encode(X, D, lmbd=lmbd, positive=positive)
    exact = encode(X.astype(float), D.astype(float), lmbd=lmbd, positive=positive, tol=1e-10)
    assert found.codes.dtype == np.float32
    assert found.converged
    assert found.gap <= 10 * TOL
    assert exact.gap <= 1e-9
    least = objective(X, D, exact.codes, lmbd)
    assert objective(X, D, found.codes, lmbd) <= least * (1 + 10 * TOL)


@st.composite
def hard(draw: st.DrawFn) -> dict[str, Any]:
    """Draw problems with coherent, equal, rounded and missing atoms, and penalties down to 0."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_features = draw(st.integers(1, 40))
    n_atoms = draw(st.integers(1, 80))
    X = rng.standard_normal((draw(st.integers(1, 20)), n_features))
    D = rng.standard_normal((n_features, n_atoms))
    D += draw(st.sampled_from([0, 3, 30])) * rng.standard_normal((n_features, 1))
    D /= np.linalg.norm(D, axis=0)
    if draw(st.booleans()):
        D[:, rng.integers(n_atoms, size=n_atoms // 3)] = D[:, rng.integers(n_atoms)][:, None]
    if draw(st.booleans()):
        D = np.round(4 * D) / 4
        X = np.round(2 * X) / 2
    kind = draw(st.sampled_from([np.float32, np.float64]))
    return {
        "X": X.astype(kind),
        "D": D.astype(kind),
        "lmbd": draw(st.sampled_from([1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0])),
        "alpha": draw(st.sampled_from([0.0, 0.0, 0.01])),
        "positive": draw(st.booleans()),
    }


@pytest.mark.filterwarnings("ignore::baselines.pursuit.ConvergenceWarning")
@settings(max_examples=150)
@given(problem=hard())
def test_the_gap_is_reached_or_the_result_says_so(problem: dict[str, Any]) -> None:
    found = encode(**problem)
    assert np.isfinite(found.codes).all()
    # the objective of zero codes bounds that of any descent
    assert objective(problem["X"], problem["D"], found.codes, problem["lmbd"]) <= (
        0.5 * np.square(problem["X"].astype(float)).sum() * 1.02 + 1e-12
    )
    if found.converged:
        assert found.gap <= 10 * TOL
    assert found.converged_samples.mean() > 0.5


@pytest.mark.parametrize("options", PURSUITS)
@settings(max_examples=15)
@given(data=st.data())
def test_codes_follow_the_scale_of_samples_and_atoms(
    options: dict[str, Any], data: st.DataObject
) -> None:
    """With X -> s X and D -> t D: lmbd -> s t lmbd, alpha -> t**2 alpha, codes -> s / t codes."""
    kind = data.draw(st.sampled_from(list(KINDS)))
    half = KINDS[kind] / 2
    s = kind(10 ** data.draw(st.floats(-half, half)))
    t = kind(10 ** data.draw(st.floats(-half, half)))
    options = dict(options)
    X, D = random_problem(data.draw(st.integers(0, 99)), 10, 20, options.pop("n_atoms", 30))
    X = X.astype(kind)
    D = D.astype(kind)
    wanted = encode(X, D, **options)
    units = {"lmbd": s * t, "alpha": t * t, "max_error": s}
    scaled: dict[str, Any] = {
        name: float(value * float(units[name])) if name in units else value
        for name, value in options.items()
    }
    found = encode(s * X, t * D, **scaled)
    assert found.codes.dtype == kind
    rounding = 2e-3 if kind is np.float32 else 1e-5
    size = np.abs(wanted.codes).max()
    np.testing.assert_allclose(found.codes * (t / s), wanted.codes, atol=rounding * float(size))


@pytest.mark.parametrize("options", PURSUITS)
@settings(max_examples=15)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_order_of_samples_atoms_and_features_does_not_matter(
    options: dict[str, Any], seed: int
) -> None:
    options = dict(options)
    rng = np.random.default_rng(seed)
    X, D = random_problem(seed % 1000, 10, 20, options.pop("n_atoms", 30))
    samples = rng.permutation(len(X))
    features = rng.permutation(len(D))
    atoms = rng.permutation(D.shape[1])
    wanted = encode(X, D, **options).codes
    found = encode(X[samples][:, features], D[features][:, atoms], **options).codes
    np.testing.assert_allclose(found, wanted[samples][:, atoms], atol=1e-4)


@pytest.mark.parametrize("options", PURSUITS)
def test_powers_of_two_change_no_bit(options: dict[str, Any]) -> None:
    options = dict(options)
    X, D = random_problem(3, 10, 20, options.pop("n_atoms", 30))
    wanted = encode(X, D, **options).codes
    s = 2.0**-300
    units = {"lmbd": s, "max_error": s}
    scaled = {name: value * units.get(name, 1) for name, value in options.items() if name in units}
    found = encode(s * X, D, **(options | scaled)).codes
    np.testing.assert_array_equal(found / s, wanted)


def test_samples_of_one_call_may_differ_in_scale() -> None:
    X, D = random_problem(1, 6, 20, 30)
    sizes = 10.0 ** np.array([-200, -20, -3, 0, 20, 150])
    found = encode(X * sizes[:, None], D, n_nonzero=4).codes
    np.testing.assert_allclose(found / sizes[:, None], encode(X, D, n_nonzero=4).codes, rtol=1e-9)
    sizes = 10.0 ** np.array([-200, -20, -3, -1, 0, 2])
    lone = [encode(x[None] * size, D, lmbd=0.1).codes[0] for x, size in zip(X, sizes, strict=True)]
    np.testing.assert_allclose(encode(X * sizes[:, None], D, lmbd=0.1).codes, lone, atol=1e-7)


def test_atoms_may_differ_in_scale() -> None:
    """In the units of each atom the problem is the same, penalties in proportion."""
    X, D = random_problem(2, 8, 20, 30)
    sizes = 10.0 ** np.random.default_rng(0).uniform(-40, 40, 30)
    wanted = encode(X, D, lmbd=np.full(30, 0.2)).codes
    found = encode(X, D * sizes, lmbd=0.2 * sizes).codes
    np.testing.assert_allclose(found * sizes, wanted, atol=1e-9)
    for method in ("omp", "ormp"):
        wanted = encode(X, D, n_nonzero=5, method=method).codes
        found = encode(X, D * sizes, n_nonzero=5, method=method).codes
        np.testing.assert_allclose(found * sizes, wanted, atol=1e-9)


def test_norms_and_powers_hold_at_all_scales() -> None:
    rows = np.array([[3.0, 4.0], [3e-200, 4e-200], [3e200, 4e200], [0, 0]])
    np.testing.assert_allclose(norms_of(rows), [5, 5e-200, 5e200, 0])
    powers = nearest_powers(np.array([0.0, 1.0, 0.8, 1.4, 1.5, 3e-200]))
    assert powers[:5].tolist() == [1, 1, 1, 1, 2]
    assert 0.7 <= 3e-200 / powers[5] <= 1.42


@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("alpha", [0.0, 0.05])
def test_without_a_gram_matrix_the_codes_are_the_same(alpha: float, positive: bool) -> None:
    rng = np.random.default_rng(0)
    n_atoms = GRAM_ATOMS + 1
    D = rng.standard_normal((24, n_atoms)).astype(np.float32)
    D /= np.linalg.norm(D, axis=0)
    X = rng.standard_normal((40, 24)).astype(np.float32)
    options: dict[str, Any] = {"lmbd": 0.5, "alpha": alpha, "positive": positive}
    found = encode(X, D, **options)
    assert found.converged
    assert found.gap <= 10 * TOL
    fewer = encode(X, D[:, :-2], **options)  # with one
    assert found.n_iter > 0
    assert fewer.gap <= 10 * TOL


def test_few_samples_need_no_gram_matrix() -> None:
    X, D = random_problem(8, 3, 20, 400)
    few = encode(X, D, lmbd=0.2)
    many = encode(np.tile(X, (40, 1)), D, lmbd=0.2)
    np.testing.assert_allclose(few.codes, many.codes[:3], atol=1e-8)


def test_a_result_says_which_samples_did_not_converge() -> None:
    X, D = random_problem(0, 30, 20, 40)
    X[0] = 0
    with pytest.warns(ConvergenceWarning, match=r"\d+ of 30 samples did not reach tol=1e-06"):
        found = encode(X, D, lmbd=0.01, max_iter=1)
    assert not found.converged
    assert found.converged_samples.shape == (30,)
    assert found.converged_samples[0]
    with pytest.warns(ConvergenceWarning, match="raise max_iter"):
        encode(X, D, lmbd=0.01, method="fista", max_iter=3)


def test_a_greedy_pursuit_stops_at_an_error() -> None:
    X, D = random_problem(0, 50, 20, 40)
    for method in ("omp", "ormp"):
        found = encode(X, D, max_error=1.5, method=method)
        assert found.converged
        errors = np.linalg.norm(X - found.codes @ D.T, axis=1)
        assert errors.max() <= 1.5 * (1 + 1e-9)
        counts = np.count_nonzero(found.codes, axis=1)
        for i in np.flatnonzero(counts > 0)[:10]:
            shorter = encode(X[i : i + 1], D, n_nonzero=int(counts[i]) - 1, method=method)
            assert np.linalg.norm(X[i] - shorter.codes[0] @ D.T) > 1.5
    with pytest.warns(ConvergenceWarning, match="max_error=1e-09 with the atoms allowed"):
        capped = encode(X, D, max_error=1e-9, n_nonzero=3)
    assert np.count_nonzero(capped.codes, axis=1).max() == 3
    assert not capped.converged


@pytest.mark.parametrize("max_error", [1e-2, 1e-4, 1e-6])
def test_small_errors_in_single_precision(max_error: float) -> None:
    X, D = random_problem(0, 50, 20, 40)
    found = encode(X.astype(np.float32), D.astype(np.float32), max_error=max_error)
    errors = np.linalg.norm(X - found.codes.astype(float) @ D.T, axis=1)
    assert errors.max() <= max(max_error, 1e-5) * 1.5
    assert found.codes.dtype == np.float32


@pytest.mark.parametrize("method", ["omp", "ormp"])
def test_greedy_pursuits_of_more_atoms_than_the_rank(method: str) -> None:
    rng = np.random.default_rng(0)
    D = rng.standard_normal((12, 5)) @ rng.standard_normal((5, 30))  # of rank 5, with ties below
    D = np.hstack([D, D[:, :10], -D[:, :5]])
    D /= np.linalg.norm(D, axis=0)
    X = rng.standard_normal((20, 12))
    for kind in KINDS:
        codes = encode(X.astype(kind), D.astype(kind), n_nonzero=12, method=method).codes
        assert np.isfinite(codes).all()
        if kind is np.float64:  # rounding to single precision raises the rank
            assert np.count_nonzero(codes, axis=1).max() <= 5
        best = D @ np.linalg.lstsq(D, X.T, rcond=1e-10)[0]
        np.testing.assert_allclose(codes @ D.T, best.T, atol=1e-3 if kind is np.float32 else 1e-9)


@pytest.mark.parametrize("method", ["coordinate_descent", "fista"])
def test_atoms_without_penalty_have_a_certificate(method: str) -> None:
    X, D = random_problem(0, 30, 40, 12)
    free = encode(X, D, lmbd=0.0, method=method)
    best = np.linalg.lstsq(D, X.T, rcond=None)[0].T
    np.testing.assert_allclose(free.codes, best, atol=1e-4)
    assert free.gap <= 10 * TOL
    some = encode(X, D, lmbd=np.where(np.arange(12) < 6, 0.0, 0.4), method=method)
    assert some.converged
    assert some.gap <= 10 * TOL


def test_callers_arrays_may_be_read_only_and_stay_as_they_are() -> None:
    X, D = random_problem(0, 10, 20, 30)
    warm = encode(X, D, lmbd=0.5).codes
    arrays = {"X": X, "D": D, "warm": warm, "gram": D.T @ D, "linear": np.zeros(30)}
    copies = {name: array.copy() for name, array in arrays.items()}
    for array in arrays.values():
        array.setflags(write=False)
    for method in ("coordinate_descent", "fista"):
        encode(**arrays, lmbd=0.3, method=method, max_iter=20_000)
        encode(1e-9 * X, 1e9 * D, warm=1e-18 * warm, lmbd=0.3, method=method, max_iter=20_000)
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, copies[name])


def _layouts(A: np.ndarray) -> dict[str, Any]:
    """Return the same numbers in other forms."""
    return {
        "fortran": np.asfortranarray(A),
        "strided": np.repeat(A, 2, axis=1)[:, ::2],
        "swapped": A.astype(A.dtype.newbyteorder()),
        "longdouble": A.astype(np.longdouble),
        "tensor": torch.from_numpy(A),
        "reversed": A[::-1].copy()[::-1],
    }


@pytest.mark.parametrize(
    "form", ["fortran", "strided", "swapped", "longdouble", "tensor", "reversed"]
)
def test_the_form_of_an_array_does_not_matter(form: str) -> None:
    X, D = random_problem(0, 10, 20, 30)
    wanted = encode(X, D, lmbd=0.3).codes
    found = encode(_layouts(X)[form], _layouts(D)[form], lmbd=0.3).codes
    np.testing.assert_allclose(np.asarray(found), wanted, atol=1e-9)


def test_whole_numbers_and_booleans_are_numbers() -> None:
    X = np.array([[3, 0, 1], [0, 1, 1]])
    D = scipy.linalg.hadamard(4)[:3].astype(np.int8)
    wanted = encode(X.astype(float), D.astype(float), lmbd=0.3).codes
    np.testing.assert_allclose(encode(X, D, lmbd=0.3).codes, wanted)
    np.testing.assert_allclose(encode(X > 0, D, n_nonzero=1).codes.shape, (2, 4))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"X": np.ma.masked_array(np.eye(3), np.eye(3) > 0)}, "X is a masked array"),
        ({"X": csr_array(np.eye(3))}, r"X is a sparse csr_array.*X\.toarray\(\)"),
        ({"X": np.eye(3).astype(str)}, "X has numbers of type <U32"),
        ({"X": np.eye(3).astype(object)}, "X has numbers of type object"),
        ({"D": torch.eye(3, dtype=torch.complex64)}, "D has numbers of type torch.complex64"),
        ({"warm": [[0.0] * 3] * 3}, "warm is a list"),
        ({"linear": [0.0] * 3}, "linear is a list"),
        ({"gram": np.ma.masked_array(np.eye(3))}, "gram is a masked array"),
        ({"alpha": np.ones(3)}, r"alpha has shape \(3,\); expected a number"),
        ({"X": torch.eye(3).to_sparse()}, r"X is a sparse tensor.*X\.to_dense\(\)"),
        ({"X": np.ones(3)}, r"X has shape \(3,\); expected two dimensions"),
        ({"lmbd": True}, "lmbd=True must be a finite number"),
        ({"lmbd": None, "n_nonzero": True}, "n_nonzero=True must be a whole number"),
        ({"lmbd": "high"}, "lmbd='high' must be a finite number"),
        ({"lmbd": np.array([0.1, 0.2, np.inf])}, "lmbd has entries that are not finite"),
        ({"max_iter": np.inf}, "max_iter=inf must be a whole number"),
        ({"max_iter": 1.5}, "max_iter=1.5 must be a whole number"),
        ({"n_threads": 1.0}, "n_threads=1.0 must be a whole number"),
        ({"tol": -1}, "tol=-1 must be a finite number, 0 or more"),
        ({"lmbd": None, "n_nonzero": 2.0}, "n_nonzero=2.0 must be a whole number"),
        ({"lmbd": None, "max_error": -1}, "max_error=-1 must be a finite number"),
        ({"lmbd": None, "n_nonzero": 1, "tol": 1e-3}, "take no tol; a greedy pursuit stops at"),
        ({"lmbd": None, "n_nonzero": 1, "alpha": 1.0, "positive": True}, "take no positive, alpha"),
        ({"max_error": 1.0}, "give either lmbd, or n_nonzero or max_error"),
    ],
)
def test_wrong_input_is_named(options: dict[str, Any], message: str) -> None:
    given_: dict[str, Any] = {"X": np.eye(3), "D": np.eye(3), "lmbd": 0.1}
    with pytest.raises(ValueError, match=message):
        encode(**(given_ | options))


def test_a_penalty_beyond_single_precision_is_one() -> None:
    X, D = random_problem(0, 3, 4, 5)
    single = (X.astype(np.float32), D.astype(np.float32))
    for method in ("coordinate_descent", "fista"):
        assert not encode(*single, lmbd=1e300, method=method).codes.any()
        assert not encode(X, D, lmbd=1e308, method=method).codes.any()
        small = encode(*single, lmbd=1e-300, alpha=0.1, method=method, max_iter=20_000)
        np.testing.assert_allclose(small.codes, encode(X, D, lmbd=0.0, alpha=0.1).codes, atol=1e-3)


def test_the_gap_of_rounded_codes_is_that_of_the_codes() -> None:
    """Not that of the residual: it moves further from the best dual point by rounding."""
    X = digits()[:50]
    D = digits()[::7].T
    found = encode(X, D, lmbd=1e-3)
    assert found.gap <= 10 * TOL
    worse = Encoding(
        found.codes * np.float32(1.01), "by hand", 0, found.converged_samples, found.problem
    )
    best = encode(X.astype(float), D.astype(float), lmbd=1e-3, tol=1e-10)
    least = objective(X, D, best.codes, 1e-3)
    loss = objective(X, D, worse.codes, 1e-3)
    assert worse.gap == pytest.approx((loss - least) / loss, rel=1e-3)


def test_threads_of_the_caller_leave_blas_as_it_was() -> None:
    def blas() -> list[int]:
        return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

    X, D = random_problem(0, 400, 20, 40)
    encode(X, D, lmbd=0.3)
    before = blas()
    with ThreadPoolExecutor(4) as pool:
        for _ in range(20):
            blocks = [X[100 * i : 100 * i + 100] for i in range(4)]
            list(pool.map(lambda block: encode(block, D, lmbd=0.3, n_threads=1), blocks))
            assert blas() == before


def test_kernels_compile_where_nothing_can_be_written() -> None:
    """As in a container whose files are read-only: no folder for a cache is found."""
    script = (
        "import numba.core.caching as caching\n"
        "caching.CacheImpl._locator_classes = []\n"
        "import numpy as np\n"
        "from baselines.pursuit import encode\n"
        "print(encode(np.ones((1, 2)), np.eye(2), n_nonzero=1).codes.sum())\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "1.0"), done.stderr


def test_cached_kernels_notice_changes_in_the_files_of_functions_they_call(tmp_path: Path) -> None:
    """Of two atoms as good the first is taken; after an edit of what does so, the second."""
    root = Path(baselines.__file__).parents[1]
    for name in ("baselines", "ddl_bench"):
        shutil.copytree(root / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    script = (
        "import numpy as np\n"
        "from baselines.pursuit import encode\n"
        "print(encode(np.ones((1, 2)), np.eye(2), n_nonzero=1).codes.tolist())\n"
    )
    environment = os.environ | {
        "NUMBA_CACHE_DIR": str(tmp_path / "cache"),
        "PYTHONPATH": str(tmp_path),
    }

    def run() -> str:
        command = [sys.executable, "-c", script]
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=True
        )
        return done.stdout.strip()

    assert run() == "[[1.0, 0.0]]"
    file = tmp_path / "baselines" / "pursuit" / "compiled.py"
    source = file.read_text()
    edited = source.replace("        j += 1\n    return j\n", "        j += 1\n    return j + 1\n")
    assert edited != source
    file.write_text(edited)
    assert run() == "[[0.0, 1.0]]"
