"""What a learner accepts as samples and as a start: it works and is right, or one line says why."""

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from scipy.linalg import hadamard
from torch.utils.data import DataLoader, TensorDataset

from baselines.learning.ksvd import KSVD
from baselines.learning.learner import Learned, Learner, first_atoms, learn
from baselines.learning.online import Online
from baselines.learning.samples import unit_columns
from baselines.learning.transform import Union
from ddl_bench.errors import UserError

N_FEATURES, N_ATOMS = 8, 16
X = np.random.default_rng(0).standard_normal((120, N_FEATURES))
D = unit_columns(np.random.default_rng(1).standard_normal((N_FEATURES, N_ATOMS)))
ONLINE = Online(n_atoms=N_ATOMS, lmbd=0.2, batch_size=50)
LEARNERS: list[Learner] = [
    KSVD(n_atoms=N_ATOMS, n_nonzero=3),
    KSVD(n_atoms=N_ATOMS, n_nonzero=3, update="exact"),
    KSVD(n_atoms=N_ATOMS, n_nonzero=3, update="mod"),
    ONLINE,
]
each_learner = pytest.mark.parametrize(
    "learner", LEARNERS, ids=lambda learner: learner_name(learner)
)
Convert = Callable[[np.ndarray], Any]


def learner_name(learner: Learner) -> str:
    return getattr(learner, "update", "online")


def read_only(A: np.ndarray) -> np.ndarray:
    """Return a copy that cannot be written to."""
    frozen = A.copy()
    frozen.flags.writeable = False
    return frozen


def spread(A: np.ndarray) -> np.ndarray:
    """Return a view of every other entry of a larger array."""
    larger = np.zeros((2 * len(A), 3 * A.shape[1]), A.dtype)
    larger[::2, ::3] = A
    return larger[::2, ::3]


SAME: dict[str, Convert] = {
    "fortran": np.asfortranarray,
    "read-only": read_only,
    "strided": spread,
    "reversed": lambda A: A[::-1, ::-1].copy()[::-1, ::-1],
    "byte order": lambda A: A.astype(A.dtype.newbyteorder("S")),
    "longdouble": lambda A: A.astype(np.longdouble),
    "matrix": lambda A: np.asarray(A).view(np.matrix),
    "tensor": torch.tensor,
    "tensor with gradient": lambda A: torch.tensor(A, requires_grad=True),
    "transposed tensor": lambda A: torch.tensor(A.T.copy()).T,
}


@each_learner
@pytest.mark.parametrize("convert", SAME.values(), ids=SAME.keys())
def test_samples_and_starts_in_any_form_give_the_same_and_stay_as_they_were(
    learner: Learner, convert: Convert
) -> None:
    plain = learn(learner, X, n_iter=3, start=Learned(D), held_out=X[:20])
    samples = convert(X)
    atoms = convert(D)
    held_out = convert(X[:20])
    learned = learn(learner, samples, n_iter=3, start=Learned(atoms), held_out=held_out)
    np.testing.assert_array_equal(learned.D, plain.D)
    assert learned.history == plain.history
    assert learned.held_out == plain.held_out
    assert learner.objective(samples, atoms) == learner.objective(X, D)
    for now, before in ((samples, X), (atoms, D), (held_out, X[:20])):
        if isinstance(now, torch.Tensor):
            now = now.detach().numpy()
        np.testing.assert_array_equal(np.asarray(now), before)


SINGLE: dict[str, Convert] = {
    "float16": lambda A: A.astype(np.float16),
    "bool": lambda A: A > 0,
    "int8": lambda A: (10 * A).astype(np.int8),
    "uint8 tensor": lambda A: torch.tensor((10 * A + 90).astype(np.uint8)),
    "bfloat16": lambda A: torch.tensor(A).bfloat16(),
}


@each_learner
@pytest.mark.parametrize("convert", SINGLE.values(), ids=SINGLE.keys())
def test_small_types_are_learned_from_in_single_precision(
    learner: Learner, convert: Convert
) -> None:
    samples = convert(X)
    as_single = np.asarray(torch.as_tensor(samples).float())
    learned = learn(learner, samples, n_iter=3)
    plain = learn(learner, as_single, n_iter=3)
    assert learned.D.dtype == np.float32
    np.testing.assert_array_equal(learned.D, plain.D)
    assert learned.history == plain.history


@each_learner
def test_large_integers_are_learned_from_in_double_precision(learner: Learner) -> None:
    samples = (1000 * X).astype(np.int64)
    learned = learn(learner, samples, n_iter=3)
    assert learned.D.dtype == np.float64
    np.testing.assert_array_equal(learned.D, learn(learner, samples.astype(float), n_iter=3).D)


@each_learner
def test_a_start_of_integers_is_brought_to_unit_norm(learner: Learner) -> None:
    """Of any type and norm a start means its directions."""
    signs = np.hstack([hadamard(N_FEATURES), np.eye(N_FEATURES, dtype=int)])
    starts = [signs, 5 * signs, signs * 1e-200, signs * 1e200, signs.astype(np.float32)]
    right = learn(learner, X, n_iter=4, start=Learned(signs / np.linalg.norm(signs, axis=0)))
    for start in starts:
        learned = learn(learner, X, n_iter=4, start=Learned(start))
        assert learned.D.dtype == np.float64
        np.testing.assert_allclose(np.linalg.norm(learned.D, axis=0), 1)
        np.testing.assert_allclose(learned.D, right.D, atol=1e-5)
        np.testing.assert_allclose(learned.history, right.history, rtol=1e-5)


@each_learner
def test_zero_atoms_of_a_start_become_atoms(learner: Learner) -> None:
    start = D.copy()
    start[:, ::3] = 0
    states: list[Learned] = []
    learn(learner, X, n_iter=3, start=Learned(start), on_step=states.append)
    for state in states:
        np.testing.assert_allclose(np.linalg.norm(state.D, axis=0), 1)
    assert not start[:, ::3].any()


@each_learner
def test_states_are_not_changed_by_later_iterations(learner: Learner) -> None:
    states: list[Learned] = []
    copies: list[Learned] = []

    def keep(state: Learned) -> None:
        states.append(state)
        copies.append(copy.deepcopy(state))

    learn(learner, X, n_iter=4, on_step=keep)
    for state, before in zip(states, copies, strict=True):
        np.testing.assert_array_equal(state.D, before.D)
        for name, array in before.memory.items():
            np.testing.assert_array_equal(state.memory[name], array)


def test_the_memory_of_a_start_stays_as_it_was() -> None:
    start = learn(ONLINE, X, n_iter=3)
    before = {name: array.copy() for name, array in start.memory.items()}
    once = learn(ONLINE, X, n_iter=6, start=start)
    again = learn(ONLINE, X, n_iter=6, start=start)
    np.testing.assert_array_equal(once.D, again.D)
    for name, array in before.items():
        np.testing.assert_array_equal(start.memory[name], array)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("A", np.ones((3, 3)), r"memory\['A'\] has shape \(3, 3\); expected \(16, 16\)"),
        ("B", np.ones(3), r"memory\['B'\] has shape \(3,\); expected \(16, 8\)"),
        ("B", np.full((16, 8), np.nan), r"memory\['B'\] has entries that are not finite"),
    ],
)
def test_a_memory_that_does_not_fit_is_refused(name: str, value: Any, message: str) -> None:
    start = learn(ONLINE, X, n_iter=3)
    broken = Learned(start.D, start.n_iter, memory={**start.memory, name: value})
    with pytest.raises(ValueError, match=rf"^learn: start\.{message}"):
        learn(ONLINE, X, n_iter=6, start=broken)


def batches(loader: Any) -> Iterator[np.ndarray]:
    """Yield the batches of a loader as arrays."""
    for batch in loader:
        yield (batch[0] if isinstance(batch, list) else batch).numpy()


@pytest.mark.parametrize("alone", [True, False])
def test_a_data_loader_is_a_stream(alone: bool) -> None:
    tensor = torch.tensor(X)
    loader: Any = DataLoader(TensorDataset(tensor) if alone else tensor, batch_size=50)  # type: ignore[arg-type]
    learned = learn(ONLINE, loader, n_iter=100)
    plain = learn(ONLINE, list(batches(loader)), n_iter=100)
    assert learned.n_iter == 3
    np.testing.assert_array_equal(learned.D, plain.D)
    assert learned.history == plain.history
    again = learn(ONLINE, loader, n_iter=100, start=learned)
    assert again.n_iter == 6
    assert again.history[:3] == learned.history


def test_blocks_of_a_stream_may_be_of_any_type() -> None:
    single = X.astype(np.float32)
    mixed: list[Any] = [single[:50], torch.tensor(X[50:90]), (single[90:],), X[:0]]
    learned = learn(ONLINE, mixed, n_iter=100)
    plain = learn(ONLINE, np.split(single, [50, 90]), n_iter=100)
    np.testing.assert_array_equal(learned.D, plain.D)
    assert learned.n_iter == 3


WITH_NAN = X.copy()
WITH_NAN[-1, 3] = np.nan
WITH_INFINITY = X.copy()
WITH_INFINITY[7, 0] = -np.inf
MASKED = np.ma.masked_array(X, mask=X > 1)
REFUSED: dict[str, tuple[Any, str]] = {
    "frame": (pd.DataFrame(X), "X is a DataFrame; expected an array or a tensor.*to_numpy"),
    "series": (pd.Series(X[0]), "X is a Series; expected"),
    "csr": (scipy.sparse.csr_array(X), "X is a csr_array; expected.*toarray"),
    "csr matrix": (scipy.sparse.csr_matrix(X), "X is a csr_matrix; expected"),
    "masked": (MASKED, "X is a masked array; expected a plain one.*filled"),
    "none": (None, "X is a NoneType; expected"),
    "number": (3.0, "X is a float; expected"),
    "text": ("samples.npy", "X is a str; expected"),
    "dict": ({"x": X}, "X is a dict; expected"),
    "complex": (X + 1j, "X has entries of type complex128; expected real numbers"),
    "complex tensor": (torch.tensor(X + 1j), "X has entries of type complex128"),
    "object": (X.astype(object), "X has entries of type object"),
    "strings": (X.astype(str), "X has entries of type <U"),
    "dates": (X.astype("datetime64[s]"), "X has entries of type datetime64"),
    "1-d": (X[0], r"X has shape \(8,\); expected \(n_samples, n_features\)"),
    "3-d": (X.reshape(4, 30, 8), r"X has shape \(4, 30, 8\); expected"),
    "0-d": (np.array(3.0), r"X has shape \(\); expected"),
    "images": (torch.zeros(3, 1, 4, 4), r"X has shape \(3, 1, 4, 4\); expected"),
    "empty": (X[:0], "X has 0 samples; expected at least 1"),
    "no features": (X[:, :0], r"X has shape \(120, 0\); expected"),
    "nan": (WITH_NAN, "X has entries that are not finite"),
    "infinity": (WITH_INFINITY, "X has entries that are not finite"),
    "huge": (X.astype(np.longdouble) * np.longdouble("1e4000"), "X has entries that are not"),
    "sparse tensor": (torch.tensor(X).to_sparse(), "X is a sparse tensor; expected a dense one"),
}


@each_learner
@pytest.mark.parametrize(("samples", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_other_samples_are_refused_in_one_line(
    learner: Learner, samples: Any, message: str
) -> None:
    states: list[Learned] = []
    with pytest.raises(ValueError, match=f"^learn: {message}") as error:
        learn(learner, samples, n_iter=3, on_step=states.append)
    assert "\n" not in str(error.value)
    assert not states


@each_learner
@pytest.mark.parametrize("name", ["held_out", "start"])
@pytest.mark.parametrize("key", ["frame", "csr", "masked", "complex", "object", "1-d", "nan"])
def test_what_stands_beside_the_samples_is_checked_as_well(
    learner: Learner, name: str, key: str
) -> None:
    wrong = REFUSED[key][0]
    options: dict[str, Any] = {name: Learned(wrong) if name == "start" else wrong}
    with pytest.raises(ValueError, match=rf"^learn: {name}(\.D)? (is|has)"):
        learn(learner, X, n_iter=3, **options)


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        (X.tolist(), "block 0 of X is a list; expected an array or a tensor"),
        ([X, pd.DataFrame(X)], "block 1 of X is a DataFrame; expected"),
        ([X, X[:, :5]], "block 1 of X has 5 features; expected 8, as in the first"),
        ([X[:0], X[:, :5], X], "block 1 of X has 5 features; expected 8"),
        (list(X), r"block 0 of X has shape \(8,\); expected \(n_samples, n_features\)"),
        ([(X, X[:, 0])], "block 0 of X is a tuple; expected"),
        ([X, WITH_NAN], "X has entries that are not finite"),
        ([[MASKED]], "block 0 of X is a masked array"),
        ([scipy.sparse.csr_array(X)], "block 0 of X is a csr_array"),
        ([X + 1j], "block 0 of X has entries of type complex128"),
        ([None], "block 0 of X is a NoneType"),
        ([X[:0], X[:0]], "the stream of samples is empty"),
    ],
)
def test_streams_of_other_blocks_are_refused_in_one_line(stream: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^learn: {message}"):
        learn(ONLINE, stream, n_iter=3)


def test_a_stream_must_fit_its_start_and_what_is_held_out() -> None:
    stream = [X, X]
    with pytest.raises(
        ValueError, match=r"^learn: start\.D has shape \(5, 16\); expected \(8, 16\)"
    ):
        learn(ONLINE, stream, n_iter=3, start=Learned(D[:5]))
    with pytest.raises(ValueError, match=r"^learn: held_out has 5 features; expected 8, as X has"):
        learn(ONLINE, stream, n_iter=3, held_out=X[:, :5])
    with pytest.raises(ValueError, match=r"^learn: KSVD needs all samples at once"):
        learn(LEARNERS[0], stream, n_iter=3)


def test_transforms_take_the_same_samples() -> None:
    union = Union(n_transforms=2, lmbd=0.1, threshold=0.3)
    right = next(union.steps(X))
    for convert in SAME.values():
        np.testing.assert_array_equal(next(union.steps(convert(X))).W, right.W)
    numbers = (10 * X).astype(np.int16)
    of_integers = next(union.steps(numbers))
    of_floats = next(union.steps(numbers.astype(np.float32)))
    np.testing.assert_array_equal(of_integers.W, of_floats.W)
    W = right.W[0]
    floats = numbers.astype(np.float32)
    np.testing.assert_array_equal(union.costs(numbers, W), union.costs(floats, W))
    for samples, message in REFUSED.values():
        with pytest.raises(ValueError, match=f"^learn: {message}"):
            next(union.steps(samples))


def test_first_atoms_of_samples_of_any_size() -> None:
    tiny = X * 1e-300
    atoms = first_atoms(tiny, N_ATOMS, np.random.default_rng(0))
    np.testing.assert_allclose(atoms, first_atoms(X, N_ATOMS, np.random.default_rng(0)))
    np.testing.assert_allclose(np.linalg.norm(atoms, axis=0), 1)
    with pytest.raises(ValueError, match=r"^learn: X has entries"):
        first_atoms(WITH_NAN, N_ATOMS, np.random.default_rng(0))


def test_a_state_is_saved_to_a_new_folder_and_other_files_are_refused(tmp_path: Path) -> None:
    state = learn(ONLINE, X, n_iter=2, held_out=X[:9])
    path = tmp_path / "new" / "folder" / "state.npz"
    state.save(path)
    loaded = Learned.load(path)
    np.testing.assert_array_equal(loaded.D, state.D)
    assert loaded.held_out == state.held_out
    assert loaded.memory.keys() == state.memory.keys()
    with pytest.raises(UserError, match=r"state\.npz"):
        state.save(path / "beneath a file" / "state.npz")
    with pytest.raises(FileNotFoundError):
        Learned.load(tmp_path / "nothing.npz")
    np.savez(tmp_path / "other.npz", D=state.D)
    np.save(tmp_path / "array.npy", state.D)
    (tmp_path / "text.npz").write_text("text")
    (tmp_path / "empty.npz").write_text("")
    (tmp_path / "half.npz").write_bytes(path.read_bytes()[:500])
    for name in ("other.npz", "array.npy", "text.npz", "empty.npz", "half.npz"):
        with pytest.raises(ValueError, match=rf"^Learned.load: .*{name} holds no dictionary"):
            Learned.load(tmp_path / name)
