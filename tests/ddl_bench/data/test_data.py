"""Data sets: files are read as written, nothing is parsed unchecked, splits keep their promises."""

import gzip
import hashlib
import io
import json
import os
import pickle
import re
import shlex
import struct
import subprocess
import sys
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, ValidationError
from requests.adapters import HTTPAdapter
from scipy.io import savemat

from ddl_bench import registry
from ddl_bench.data import ImageSet, fingerprint
from ddl_bench.data.cifar import cifar10, cifar100
from ddl_bench.data.digits import digits
from ddl_bench.data.download import RemoteFile
from ddl_bench.data.folder import pixels
from ddl_bench.data.mnist import fashion_mnist, mnist
from ddl_bench.data.published import RemoteArchive
from ddl_bench.data.sources import load
from ddl_bench.data.splits import Splits, cut, split
from ddl_bench.data.svhn import svhn
from ddl_bench.errors import UserError
from ddl_bench.results.rows import load_rows
from tests.conftest import ddl_bench

FIELDS = ("x_train", "y_train", "x_test", "y_test")


def numbered(labels: NDArray[np.int64], first: int = 0) -> NDArray[np.uint8]:
    """Make 1x1 images of four channels that spell a number, to recognise each one afterwards."""
    spelled = np.arange(first, first + len(labels), dtype=np.uint32)
    return spelled.view(np.uint8).reshape(-1, 4, 1, 1)


def numbers(X: torch.Tensor) -> list[int]:
    """Read the numbers that `numbered` spelled."""
    return [int(number) for number in X.numpy().reshape(-1, 4).copy().view(np.uint32).ravel()]


def image_set(train: list[int], test: list[int], n_classes: int | None = None) -> ImageSet:
    y = np.array(train, dtype=np.int64)
    y_test = np.array(test, dtype=np.int64)
    names = tuple(f"c{label}" for label in range(n_classes or max(train + test) + 1))
    return ImageSet(numbered(y), y, numbered(y_test, first=len(y)), y_test, names)


def photos(n: int, shape: tuple[int, ...], seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (n, *shape), dtype=np.uint8)


# --- ImageSet and its fingerprint


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"x_train": np.zeros((3, 1, 2, 2))},
            r"x_train is float64 \(3, 1, 2, 2\); expected C-contiguous uint8",
        ),
        ({"x_test": np.zeros((2, 2, 2), np.uint8)}, r"x_test is uint8 \(2, 2, 2\); expected"),
        (
            {"x_test": np.zeros((2, 2, 2, 1), np.uint8).transpose(0, 3, 2, 1)},
            "x_test .* C-contiguous",
        ),
        (
            {"x_test": np.zeros((2, 1, 3, 2), np.uint8)},
            r"x_test \(2, 1, 3, 2\); expected images of one size",
        ),
        ({"y_train": np.zeros(3, np.int32)}, r"y_train is int32 \(3,\); expected int64 \(3,\)"),
        ({"y_test": np.zeros(3, np.int64)}, r"y_test is int64 \(3,\); expected int64 \(2,\)"),
        ({"y_train": np.array([0, 2, 1])}, "y_train has 0 to 2; expected 0 to 1"),
        ({"class_names": ("a", "a")}, "two classes have the name 'a'"),
        ({"class_names": ("a", " ")}, "the class name ' ' is empty"),
        ({"class_names": ("a\nb", "c")}, "more than one line"),
        ({"y_test": np.array([-1, 0])}, "y_test has -1 to 0; expected 0 to 1"),
        (
            {"x_train": np.zeros((0, 1, 2, 2), np.uint8), "y_train": np.zeros(0, np.int64)},
            "expected images",
        ),
    ],
)
def test_image_set_refuses_what_methods_could_not_use(change: dict[str, Any], message: str) -> None:
    x = np.zeros((3, 1, 2, 2), np.uint8)
    y = np.array([0, 1, 1])
    good = ImageSet(x, y, x[:2], y[:2], ("a", "b"))
    with pytest.raises(UserError, match=message) as raised:
        replace(good, **change)
    assert "\n" not in str(raised.value)


def test_fingerprint_sees_every_change_and_nothing_else() -> None:
    x = photos(6, (1, 4, 4))
    x_test = photos(3, (1, 4, 4), seed=1)
    images = ImageSet(x, np.arange(6) % 3, x_test, np.arange(3), ("a", "b", "c"))
    copies = {field: getattr(images, field).copy() for field in FIELDS}
    assert fingerprint(replace(images, **copies, note="a copy")) == fingerprint(images)
    others = [
        replace(images, class_names=("a", "b", "d")),
        replace(images, mirror=True),
        replace(images, x_train=x.reshape(6, 1, 2, 8), x_test=x_test.reshape(3, 1, 2, 8)),
        replace(images, x_test=x_test[:0], y_test=images.y_test[:0]),
    ]
    for field in FIELDS:
        for position in (0, -1):
            array = getattr(images, field).copy()
            array.flat[position] = array.flat[position] == 0
            others.append(replace(images, **{field: array}))
    assert len({fingerprint(other) for other in [images, *others]}) == 1 + len(others)


# --- splits

labels = st.lists(st.integers(0, 5), min_size=1, max_size=120)


@given(labels, st.data())
def test_cut_is_exact_balanced_and_keeps_every_class(
    values: list[int], data: st.DataObject
) -> None:
    y = np.array(values, dtype=np.int64)
    n = data.draw(st.integers(0, len(y)))
    rest, cut_off = cut(y, n)
    assert len(cut_off) == n
    assert sorted([*rest, *cut_off]) == list(range(len(y)))
    assert (np.diff(rest) > 0).all()
    assert (np.diff(cut_off) > 0).all()
    counts = np.bincount(y)
    left = np.bincount(y[rest], minlength=max(values) + 1)
    exact = counts * (len(y) - n) / len(y)
    if len(rest) >= np.count_nonzero(counts):
        assert (left[counts > 0] > 0).all()
    if (exact[counts > 0] >= 1).all() or len(rest) < np.count_nonzero(counts):
        assert (abs(left - exact) < 1).all()


def test_cut_is_random_within_a_class_and_the_same_on_every_machine() -> None:
    y = np.repeat(np.arange(2), 10)
    assert cut(y, 6).cut_off.tolist() == [4, 5, 9, 10, 12, 16]
    assert cut(y, 6, stream=1).cut_off.tolist() == [1, 3, 6, 10, 11, 13]


def test_cut_takes_rare_classes_into_account() -> None:
    y = np.array([0] * 97 + [1, 2, 3])
    assert np.bincount(y[cut(y, 95).rest]).tolist() == [2, 1, 1, 1]
    assert len(cut(y, 97).rest) == 3  # too few for all four classes
    assert all(len(part) == 0 for part in cut(y[:0], 0))


rules = st.builds(
    Splits,
    test_from_train=st.integers(0, 20),
    val_fraction=st.sampled_from([0.0, 0.1, 1 / 3, 0.9]),
    limit_train=st.none() | st.integers(1, 80),
    limit_test=st.none() | st.integers(1, 30),
)


@given(
    st.lists(st.integers(0, 4), min_size=21, max_size=100),
    st.lists(st.integers(0, 4), max_size=30),
    rules,
)
def test_split_moves_every_image_with_its_label_to_one_place(
    train: list[int], test: list[int], rule: Splits
) -> None:
    images = image_set(train, test, n_classes=5)
    before = fingerprint(images)
    moved = rule.test_from_train
    n = len(train) - moved
    if set(train[:n]) != set(train):
        with pytest.raises(
            UserError, match=f"noname: test_from_train={moved} of {len(train)} images leaves no"
        ):
            split("noname", images, rule)
        return
    n_classes = len(set(train))
    if rule.limit_train is not None and rule.limit_train < n_classes:
        n_lost = n_classes - min(rule.limit_train, n)
        with pytest.raises(UserError, match=f"no training image of {n_lost} of {n_classes} cl"):
            split("noname", images, rule)
        return
    if not moved and not test:
        with pytest.raises(UserError, match="noname: no test images"):
            split("noname", images, rule)
        return
    task, binding, extra = split("noname", images, rule)
    all_labels = np.array(train + test)
    for part in (task.train, task.val, binding, extra or binding):
        assert part.X.dtype == torch.uint8
        assert part.y.dtype == torch.int64
        assert part.y.tolist() == all_labels[numbers(part.X)].tolist()
    used = [*numbers(task.train.X), *numbers(task.val.X), *numbers(binding.X)]
    if extra:
        used += numbers(extra.X)
    assert len(used) == len(set(used))
    official = range(len(train), len(train) + len(test))
    last = range(n, len(train))
    assert set(numbers(task.train.X)) | set(numbers(task.val.X)) <= set(range(n))
    assert set(numbers(binding.X)) <= set(last if moved else official)
    assert len(binding) == min(rule.limit_test or 1000, moved or len(test))
    assert (extra is None) == (not moved or not test)
    assert extra is None or (
        set(numbers(extra.X)) <= set(official)
        and len(extra) == min(rule.limit_test or 1000, len(test))
    )
    total = len(task.train) + len(task.val)
    assert total == min(rule.limit_train or 1000, n)
    present = set(task.train.y.tolist()) | set(task.val.y.tolist())
    assert set(task.train.y.tolist()) == present
    assert len(task.val) == min(round(rule.val_fraction * total), total - len(present))
    assert present == set(train)
    task.train.X.zero_()
    assert fingerprint(images) == before


def test_without_limits_the_last_training_images_become_the_test_split_in_their_order() -> None:
    images = image_set([0, 1, 2] * 20, [0, 1, 2])
    task, test, extra = split("three", images, Splits(test_from_train=6, val_fraction=0))
    assert numbers(task.train.X) == [*range(54)]
    assert numbers(test.X) == [*range(54, 60)]
    assert extra is not None
    assert numbers(extra.X) == [60, 61, 62]
    assert len(task.val) == 0
    assert (task.name, task.class_names, task.mirror) == ("three", ("c0", "c1", "c2"), False)
    assert split("three", replace(images, mirror=True), Splits())[0].mirror


def test_validation_is_balanced_and_always_the_same() -> None:
    images = digits(Path())
    rule = Splits(limit_train=1000, limit_test=100)
    first = split("digits", images, rule)
    again = split("digits", images, rule)
    assert torch.equal(first.task.train.X, again.task.train.X)
    assert torch.equal(first.task.val.X, again.task.val.X)
    assert torch.equal(first.test.X, again.test.X)
    shares = np.bincount(images.y_train) / len(images.y_train)
    for part, n in ((first.task.train, 900), (first.task.val, 100)):
        assert len(part) == n
        assert (abs(np.bincount(part.y.numpy()) - shares * n) < 2).all()  # two roundings
    test_shares = np.bincount(images.y_test) / 360
    assert (abs(np.bincount(first.test.y.numpy()) - test_shares * 100) < 1).all()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("test_from_train", -1, "test_from_train=-1: must be at least 0"),
        ("val_fraction", 1.0, "val_fraction=1.0: must be at least 0 and below 1"),
        ("val_fraction", float("nan"), "val_fraction=nan: must be at least 0 and below 1"),
        ("limit_train", 0, "limit_train=0: must be at least 1"),
        ("limit_test", 0, "limit_test=0: must be at least 1"),
    ],
)
def test_split_rules_are_checked_alone_and_inside_a_track(
    field: str, value: float, message: str
) -> None:
    class Track(BaseModel):
        model_config = ConfigDict(extra="forbid")
        splits: Splits = Splits()

    with pytest.raises(ValueError, match=field) as raised:
        Splits(**{field: value})  # type: ignore[arg-type]  # the field is a parameter of the test
    assert str(raised.value) == message
    with pytest.raises(ValidationError, match="must be at least"):
        Track.model_validate({"splits": {field: value}})
    with pytest.raises(ValueError, match=f"Splits.{field}=True"):
        Splits(**{field: True})
    with pytest.raises(ValidationError, match="val_fractoin"):
        Track.model_validate({"splits": {"val_fractoin": 0.1}})
    assert Track.model_validate({"splits": {"limit_test": 9}}).splits == Splits(limit_test=9)


# --- by name or path


def test_load_finds_names_paths_and_the_nearest_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[Path, bool]] = []

    def two(data_dir: Path, download: bool) -> ImageSet:
        seen.append((data_dir, download))
        return image_set([0, 1], [0])

    known = {"two": two}
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("DDL_BENCH_DATA", raising=False)
    assert not load("two", datasets=known).mirror
    monkeypatch.setenv("DDL_BENCH_DATA", "~/elsewhere")
    load("two", datasets=known)
    given = tmp_path / "given"
    assert load("two", datasets=known, data_dir=given, download=True, mirror=True).mirror
    cache = tmp_path / ".cache/ddl-bench"
    assert seen == [(cache, False), (tmp_path / "elsewhere", False), (given, True)]
    np.savez(tmp_path / "mine.npz", **arrays())
    assert len(load("~/mine.npz", datasets={}).y_train) == 8
    for spec in ("digitz", str(tmp_path / "absent.npz")):
        with pytest.raises(UserError, match="no such data set, file or folder") as raised:
            load(spec, datasets={"digits": digits, "two": two})
        assert str(raised.value).startswith(f"{spec}: ")
        assert "digits, two" in str(raised.value)
        assert ("did you mean 'digits'" in str(raised.value)) == (spec == "digitz")
    assert load("digits", datasets={"digits": digits}).note


# --- digits


def test_digits_are_those_of_scikit_learn() -> None:
    from sklearn.datasets import load_digits

    published = load_digits()
    images = digits(Path())
    assert len(images.y_train) == 1437
    assert len(images.y_test) == 360
    assert (abs(np.bincount(images.y_test) - np.bincount(published.target) * 360 / 1797) < 1).all()
    train, test = cut(published.target, 360)
    levels = np.array([round(255 / 16 * level) for level in range(17)], np.uint8)
    expected = levels[published.images.astype(int)]
    for x, y, index in (
        (images.x_train, images.y_train, train),
        (images.x_test, images.y_test, test),
    ):
        assert (x[:, 0] == expected[index]).all()
        assert (y == published.target[index]).all()
    assert fingerprint(images)[:16] == "39a03df80f8f9ece"


def test_digits_need_neither_scikit_learn_nor_torch() -> None:
    code = """
import sys, pathlib, ddl_bench.data.digits
ddl_bench.data.digits.digits(pathlib.Path())
print({"sklearn", "torch"} & set(sys.modules))
"""
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "set()\n"


# --- published files


def python2(value: object) -> bytes:
    """Pickle a value as Python 2 and its numpy did: text as byte strings, arrays of numpy.core."""
    if isinstance(value, str):
        return python2(value.encode())
    if isinstance(value, bytes):
        return b"T" + struct.pack("<i", len(value)) + value
    if isinstance(value, int):
        return b"J" + struct.pack("<i", value)
    if isinstance(value, list):
        return b"(" + b"".join(map(python2, value)) + b"l"
    if isinstance(value, dict):
        return b"(" + b"".join(python2(part) for item in value.items() for part in item) + b"d"
    assert isinstance(value, np.ndarray)
    empty = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\0tU\1btR"
    dtype = b"cnumpy\ndtype\n(U\2u1K\0K\1tR(K\3U\1|NNN" + 2 * python2(-1) + b"K\0tb"
    shape = b"(" + b"".join(map(python2, value.shape)) + b"t"
    return empty + b"(K\1" + shape + dtype + b"\x89" + python2(value.tobytes()) + b"tb"


@dataclass(frozen=True)
class Published:
    """A small published data set: its files, what lies at its URLs, and what is to be read."""

    loader: Callable[..., ImageSet]
    folder: str
    files: dict[str, bytes]
    remote: dict[str, bytes]
    x: NDArray[np.uint8]
    y: list[int]
    names: tuple[str, ...]
    mirror: bool = False

    @property
    def is_packed(self) -> bool:
        """Whether its files lie in an archive."""
        return self.remote.keys() != self.files.keys()

    def load(self, data_dir: Path, download: bool = False) -> ImageSet:
        """Load it, with the sums of these files in place of the published ones."""
        folder = "" if self.is_packed else f"{self.folder}/"
        files = tuple(
            RemoteFile(
                name=f"{folder}{name}".removeprefix("/"),
                sha256=sha256(content),
                n_bytes=len(content),
                urls=(f"https://example.org/{name}",),
            )
            for name, content in self.remote.items()
        )
        if not self.is_packed:
            return self.loader(data_dir, download, files=files)
        sums = {f"{self.folder}/{name}": sha256(raw) for name, raw in self.files.items()}
        return self.loader(data_dir, download, archive=RemoteArchive(file=files[0], sha256s=sums))

    def write(self, data_dir: Path) -> None:
        """Write the files to where the loader looks for them."""
        (data_dir / self.folder).mkdir(parents=True, exist_ok=True)
        for name, content in self.files.items():
            (data_dir / self.folder / name).write_bytes(content)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def idx_set(
    loader: Callable[..., ImageSet], folder: str, names: tuple[str, ...], mirror: bool
) -> Published:
    def idx(array: NDArray[Any]) -> bytes:
        head = struct.pack(f">BBBB{array.ndim}i", 0, 0, 8, array.ndim, *array.shape)
        return gzip.compress(head + array.astype(np.uint8).tobytes(), mtime=0)

    x = photos(7, (1, 28, 28))
    y = [3, 9, 0, 0, 5, 1, 2]
    files = {
        "train-images-idx3-ubyte.gz": idx(x[:5, 0]),
        "train-labels-idx1-ubyte.gz": idx(np.array(y[:5])),
        "t10k-images-idx3-ubyte.gz": idx(x[5:, 0]),
        "t10k-labels-idx1-ubyte.gz": idx(np.array(y[5:])),
    }
    return Published(loader, folder, files, files, x, y, names, mirror)


def svhn_set(scratch: Path) -> Published:
    x = photos(7, (3, 32, 32))
    y = [3, 9, 0, 0, 5, 1, 2]
    files = {}
    for name, part in (("train_32x32.mat", slice(5)), ("test_32x32.mat", slice(5, 7))):
        labels = np.array([label or 10 for label in y[part]], np.uint8)[:, None]
        content = {"X": x[part].transpose(2, 3, 1, 0), "y": labels}
        savemat(str(scratch / name), content, do_compression=True)
        files[name] = (scratch / name).read_bytes()
    return Published(svhn, "", files, files, x, y, tuple("0123456789"))


def cifar_set(loader: Callable[..., ImageSet], number: int) -> Published:
    x = photos(7, (3, 32, 32))
    y = [0, 2, 1, 1, 0, 2, 0]
    names = ("apple", "bear", "crab")
    if number == 10:
        fine = ""
        folder = "cifar-10-batches-py"
    else:
        fine = "fine_"
        folder = "cifar-100-python"

    def batch(start: int, stop: int) -> bytes:
        flat = x[start:stop].reshape(stop - start, -1)
        content = {
            "coarse_labels": [0],
            f"{fine}labels": y[start:stop],
            "data": flat,
            "filenames": ["a.png"],
        }
        return b"\x80\2" + python2(content) + b"."

    meta = b"\x80\2" + python2({f"{fine}label_names": list(names), "num_vis": 3072}) + b"."
    if number == 10:
        files = {
            "data_batch_1": batch(0, 3),
            "data_batch_2": batch(3, 5),
            "test_batch": batch(5, 7),
            "batches.meta": meta,
        }
    else:
        files = {"train": batch(0, 5), "test": batch(5, 7), "meta": meta}
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    remote = {f"cifar-{number}-python.tar.gz": target.getvalue()}
    return Published(loader, folder, files, remote, x, y, names, mirror=True)


CLOTHES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


@pytest.fixture(params=["mnist", "fashion-mnist", "svhn", "cifar10", "cifar100"])
def published(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Published:
    if request.param == "svhn":
        return svhn_set(tmp_path_factory.mktemp("svhn"))
    return {
        "mnist": lambda: idx_set(mnist, "MNIST/raw", tuple("0123456789"), False),
        "fashion-mnist": lambda: idx_set(fashion_mnist, "FashionMNIST/raw", CLOTHES, True),
        "cifar10": lambda: cifar_set(cifar10, 10),
        "cifar100": lambda: cifar_set(cifar100, 100),
    }[request.param]()


class Internet:
    """Stands in for the network: serves files by the last part of their URL, and notes requests."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, remote: Mapping[str, bytes]) -> None:
        self.asked: list[str] = []
        self.remote = remote
        monkeypatch.setattr(HTTPAdapter, "send", self.send)

    def send(self, request: requests.PreparedRequest, **_: object) -> requests.Response:
        name = str(request.url).rpartition("/")[2]
        self.asked.append(name)
        if name not in self.remote:
            raise requests.ConnectionError("no route to host")
        answer = requests.Response()
        answer.status_code = 200
        answer.url = str(request.url)
        answer.raw = io.BytesIO(self.remote[name])
        return answer


def assert_read(images: ImageSet, published: Published) -> None:
    assert (images.x_train == published.x[:5]).all()
    assert (images.x_test == published.x[5:]).all()
    assert images.y_train.tolist() == published.y[:5]
    assert images.y_test.tolist() == published.y[5:]
    assert images.class_names == published.names
    assert images.mirror == published.mirror


def test_published_files_are_read_as_they_were_written(
    published: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    internet = Internet(monkeypatch, {})
    published.write(tmp_path)
    assert_read(published.load(tmp_path), published)
    assert_read(published.load(tmp_path, download=True), published)
    assert internet.asked == []


def test_a_missing_or_damaged_file_is_named_with_two_ways_out(
    published: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    internet = Internet(monkeypatch, published.remote)
    published.write(tmp_path)
    for name, content in published.files.items():
        path = tmp_path / published.folder / name
        relative = path.relative_to(tmp_path)
        mend = f"; fetch it by --download, or say by --data-dir which folder holds {relative}"
        if published.is_packed:
            mend += f", or {next(iter(published.remote))}"
        for damage, fault in (
            (None, "not found"),
            (content[:-1], "is damaged: its SHA-256 is wrong"),
        ):
            if damage is None:
                path.unlink()
            else:
                path.write_bytes(damage)
            with pytest.raises(UserError) as raised:
                published.load(tmp_path)
            assert str(raised.value) == f"{path} {fault}{mend}"
        path.write_bytes(content)
    with pytest.raises(UserError, match="is damaged"):
        published.loader(tmp_path)  # not the published files
    assert internet.asked == []


def test_download_fetches_what_is_missing_or_damaged_and_checks_it(
    published: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    internet = Internet(monkeypatch, published.remote)
    assert_read(published.load(tmp_path, download=True), published)
    assert internet.asked == [*published.remote]
    internet.remote = {}
    assert_read(published.load(tmp_path, download=True), published)
    last = tmp_path / published.folder / [*published.files][-1]
    last.write_bytes(b"half")
    if published.is_packed:  # the archive is still there
        assert_read(published.load(tmp_path), published)
        assert last.read_bytes() == published.files[last.name]
        (tmp_path / next(iter(published.remote))).unlink()
        last.unlink()
    with pytest.raises(UserError, match=r"download of .* failed: example.org: no route to host"):
        published.load(tmp_path, download=True)
    internet.remote = {name: bytes(content[::-1]) for name, content in published.remote.items()}
    with pytest.raises(UserError, match=r"failed: example.org: SHA256 hash of downloaded file"):
        published.load(tmp_path, download=True)
    assert not [*tmp_path.rglob("tmp*")]


def test_an_archive_is_read_from_a_folder_that_takes_no_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = cifar_set(cifar10, 10)
    for name, content in small.remote.items():
        (tmp_path / name).write_bytes(content)

    def refuse(path: Path, data: bytes) -> None:
        raise UserError(f"{path}: read-only")

    monkeypatch.setattr("ddl_bench.data.published.write_atomically", refuse)
    assert_read(small.load(tmp_path), small)


@pytest.mark.parametrize("number", [10, 100])
def test_an_export_is_the_file_that_rows_name(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows name an .npz of the four arrays, without class names: the same images, the same hash."""
    published = cifar_set(cifar10 if number == 10 else cifar100, number)
    published.write(tmp_path)
    loaders = {"small": lambda data_dir, download: published.load(data_dir, download)}
    monkeypatch.setattr(registry, "datasets", lambda plugins: loaders)
    out = tmp_path / "small.npz"
    words = ["datasets", "export", "small", out, "--data-dir", tmp_path, "--test", 1]
    facts = json.loads(ddl_bench([*words, "--train", 5, "--json"]))
    x = published.x.transpose(0, 2, 3, 1)
    y = np.array(published.y)
    made = tmp_path / "made.npz"
    np.savez(made, x_train=x[:5], y_train=y[:5], x_test=x[5:6], y_test=y[5:6])
    assert out.read_bytes() == made.read_bytes()
    expected = fingerprint(load(str(made), datasets={}, mirror=published.mirror))
    assert facts["data"] == expected
    source = f"{out}[mirror=true]" if published.mirror else str(out)
    assert shlex.split(facts["use"]) == ["--datasets", source]
    with pytest.raises(UserError, match=r"small\.npz: exists already"):
        ddl_bench(words)
    with pytest.raises(UserError, match="--test 3: there are 2 images"):
        ddl_bench(["datasets", "export", "small", tmp_path / "x.npz", "--test", 3, *words[4:6]])


def test_an_export_of_grey_images_is_read_as_they_are(tmp_path: Path) -> None:
    out = tmp_path / "digits.npz"
    facts = json.loads(ddl_bench(["datasets", "export", "digits", out, "--json"]))
    images = digits(tmp_path)
    written = load(str(out), datasets={})
    assert (written.x_train == images.x_train).all()
    assert (written.y_test == images.y_test).all()
    assert facts["data"] == fingerprint(written) == fingerprint(images)


@pytest.mark.parametrize(
    ("n_test", "n_last", "taken"),
    [(5, 8, 0), (0, 20, 8), (0, 3, 2)],
)
def test_a_run_takes_an_export_as_it_is_told_to(
    n_test: int, n_last: int, taken: int, tmp_path: Path
) -> None:
    """Without test images some of the last are taken, but not the first of the last class."""
    x = photos(40, (4, 4))
    y = np.repeat([0, 1], [40 - n_last, n_last])
    np.savez(tmp_path / "all.npz", x_train=x, y_train=y, x_test=x, y_test=y, mirror=True)
    out = tmp_path / "a b, c.npz"
    words = ["datasets", "export", tmp_path / "all.npz", out, "--test", n_test, "--json"]
    used = shlex.split(json.loads(ddl_bench(words))["use"])
    assert used[2:] == (["--test-from-train", str(taken)] if taken else [])
    run = ["run", *used, "--methods", "nearest-mean", "--seeds", "0", "--out", tmp_path / "run"]
    ddl_bench([*run, "--no-report"])
    (row,) = load_rows(tmp_path / "run")
    assert (row.status, row.measured.n_test) == ("ok", n_test or taken)


def test_an_export_that_no_run_takes_is_refused(tmp_path: Path) -> None:
    x = photos(3, (4, 4))
    y = [0, 1, 2]
    np.savez(tmp_path / "all.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    with pytest.raises(UserError, match=r"out\.npz: no image would be left to test on"):
        ddl_bench(["datasets", "export", tmp_path / "all.npz", tmp_path / "out.npz", "--test", 0])
    assert not (tmp_path / "out.npz").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["export", "planted-4", "x.npz"], "planted-4: its images are made of known atoms"),
        (["export", "digits", "x.csv"], "expected the name of an .npz file"),
        (["export", "digits", "none/such/x.npz", "--train", "9999"], "there are 1,437 images"),
        (["export", "digits", "x.npz", "--train", "3"], "digits: no training image of the class"),
        (["digits", "mnist"], "expected one name"),
        (["digits", "--test", "5"], "are for `datasets export`"),
    ],
)
def test_mistakes_in_an_export_are_one_clear_line(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        ddl_bench(["datasets", *words])


REFUSED = {
    "posix.mkdir": b"cposix\nmkdir\n(S'%s'\ntR.",
    "builtins.eval": b'cbuiltins\neval\n(S\'__import__("os").mkdir("%s")\'\ntR.',
    "numpy.save": b"cnumpy\nsave\n(S'%s'\n(lI1\natR.",
    "numpy.core.multiarray.fromfile": b"cnumpy.core.multiarray\nfromfile\n(S'%s'\ntR.",
    "numpy.ndarray.tofile": b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93(S'%s'\ntR.",
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_pickle_that_calls_anything_is_refused_even_with_the_right_hash(
    name: str, tmp_path: Path
) -> None:
    proof = tmp_path / "proof"
    evil = REFUSED[name] % str(proof).encode()
    small = cifar_set(cifar10, 10)
    small = replace(small, files=small.files | {"test_batch": evil})
    small.write(tmp_path)
    with pytest.raises(UserError, match=f"pickle asks for {name}, which no CIFAR file needs"):
        small.load(tmp_path)
    assert not proof.exists()
    assert not proof.with_suffix(".npy").exists()


# --- a user's own .npz


def arrays(**changes: Any) -> dict[str, Any]:
    y = np.array([7, -2, 7, 40, -2, 40, 7, 7])
    made = {
        "x_train": photos(8, (5, 4, 3)),
        "y_train": y,
        "x_test": photos(3, (5, 4, 3), 1),
        "y_test": y[[3, 0, 1]],
    }
    return {key: value for key, value in (made | changes).items() if value is not None}


def npz(folder: Path, **changes: Any) -> str:
    np.savez(folder / "mine.npz", **arrays(**changes))
    return str(folder / "mine.npz")


def read(spec: object) -> ImageSet:
    return load(str(spec), datasets={})


def test_npz_colour_images_and_any_integers(tmp_path: Path) -> None:
    made = arrays()
    images = read(npz(tmp_path))
    assert (images.x_train == made["x_train"].transpose(0, 3, 1, 2)).all()
    assert (images.x_test == made["x_test"].transpose(0, 3, 1, 2)).all()
    assert images.class_names == ("-2", "7", "40")
    assert images.y_train.tolist() == [1, 0, 1, 2, 0, 2, 1, 1]
    assert images.y_test.tolist() == [2, 1, 0]
    assert not images.mirror


def test_whatever_a_loader_of_images_does_is_one_line(tmp_path: Path) -> None:
    def fails(folder: Path, download: bool) -> ImageSet:
        raise KeyError("x")

    known: dict[str, Any] = {"fails": fails, "odd": lambda folder, download: (1, 2), "none": 3}
    for name, message in (
        ("fails", "fails: cannot be loaded: KeyError: 'x'"),
        ("odd", "odd: its loader returned tuple; expected an ImageSet"),
        ("none", "none: cannot be loaded: TypeError: 'int' object is not callable"),
    ):
        with pytest.raises(UserError, match=re.escape(message)):
            load(name, data_dir=tmp_path, datasets=known)


def test_npz_grey_images_text_labels_names_and_mirror(tmp_path: Path) -> None:
    text = np.array(["cat", "ant", "cat", "dog", "ant", "dog", "cat", "cat"])
    grey = arrays()["x_train"][..., 0]
    changes = {"x_train": grey, "x_test": grey[:3], "y_train": text, "y_test": text[:3]}
    images = read(npz(tmp_path, **changes, mirror=True))
    assert (images.x_train[:, 0] == grey).all()
    assert images.class_names == ("ant", "cat", "dog")
    assert images.y_test.tolist() == [1, 0, 1]
    assert images.mirror
    names = np.array(["a", "b", "c"])
    small_integers = arrays()["y_train"].astype(np.int8)
    named = read(npz(tmp_path, class_names=names, y_train=small_integers))
    assert named.class_names == ("a", "b", "c")
    assert split("own", named, Splits()).test.y.tolist() == [2, 1, 0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y_test": None}, "has no array y_test; expected x_train, y_train, x_test, y_test"),
        ({"class_names": np.array([b"a", b"b", b"c"])}, r"class_names is \|S1; expected texts"),
        (
            {"x_train": np.zeros((8, 5, 4, 3), np.float32)},
            r"x_train is float32 \(8, 5, 4, 3\); expected uint8 \(n, height",
        ),
        (
            {"x_test": np.zeros((3, 3, 32, 32), np.uint8)},
            r"x_test is uint8 \(3, 3, 32, 32\); expected uint8 \(n, height",
        ),
        ({"x_test": np.zeros((3, 20), np.uint8)}, r"x_test is uint8 \(3, 20\)"),
        ({"x_test": np.zeros((3, 4, 4, 3), np.uint8)}, "expected images of one size"),
        (
            {"y_train": np.arange(8.0)},
            r"y_train is float64 \(8,\); expected \(n,\) integers, or text",
        ),
        ({"y_train": np.eye(8, dtype=int)}, r"y_train is int64 \(8, 8\); expected \(n,\) integers"),
        ({"y_train": np.array([7, -2, 40])}, r"y_train is int64 \(3,\); expected int64 \(8,\)"),
        (
            {"y_train": np.array(["a", 1] * 4, dtype=object)},
            "y_train holds Python objects; expected plain numbers or text",
        ),
        ({"y_test": np.array([7, 7, 8])}, "y_test has the label 8, which y_train lacks"),
        (
            {"y_test": np.array(["7", "7", "40"])},
            r"y_test is <U2 \(3,\); expected \(n,\) integers, or text in both parts",
        ),
        (
            {"class_names": np.array(["a", "b"])},
            r"class_names is \(2,\); expected one name for each of the 3 labels",
        ),
    ],
)
def test_npz_faults_are_one_clear_line(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    path = npz(tmp_path, **changes)
    with pytest.raises(UserError, match=message) as raised:
        read(path)
    assert str(raised.value).startswith(f"{path}: ")
    assert "\n" not in str(raised.value)


def test_npz_that_is_cut_short_overwritten_or_no_zip(tmp_path: Path) -> None:
    path = Path(npz(tmp_path))
    whole = path.read_bytes()
    middle = whole.index(b"x_train") + 200
    np.save(tmp_path / "one.npy", np.arange(3))
    damaged = [
        whole[: len(whole) // 2],
        whole[:middle] + b"!!!!" + whole[middle + 4 :],
        b"not a zip",
        b"",
    ]
    for content in [*damaged, (tmp_path / "one.npy").read_bytes(), pickle.dumps(arrays())]:
        path.write_bytes(content)
        fault = r"cannot be read as an \.npz file of plain arrays: "
        with pytest.raises(UserError, match=fault) as raised:
            read(path)
        assert "\n" not in str(raised.value)


# --- a user's own folder


def save(path: Path, image: NDArray[np.uint8], **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, **options)


def test_folder_with_train_and_test(tmp_path: Path) -> None:
    x = photos(5, (6, 4, 3))
    names = (
        "train/dog/2.png",
        "train/dog/10.PNG",
        "train/cat/x.bmp",
        "test/dog/1.png",
        "test/cat/1.tif",
    )
    for image, name in zip(x, names, strict=True):
        save(tmp_path / name, image)
    (tmp_path / "train/.hidden").mkdir()
    (tmp_path / "train/dog/notes.txt").write_text("no image")
    (tmp_path / "train/dog/._2.png").write_text("what some systems leave behind")
    images = read(tmp_path)
    assert images.class_names == ("cat", "dog")
    assert images.note == "1 file was passed over, whose endings are of no image: .txt"
    assert images.y_train.tolist() == [0, 1, 1]
    assert images.y_test.tolist() == [0, 1]
    assert (images.x_train == x[[2, 1, 0]].transpose(0, 3, 1, 2)).all()
    assert (images.x_test == x[[4, 3]].transpose(0, 3, 1, 2)).all()


def test_folder_of_classes_alone_gives_a_fixed_fifth_to_the_test(tmp_path: Path) -> None:
    x = photos(30, (4, 4))
    for number, image in enumerate(x):
        label = "ant" if number < 20 else "bee"
        save(tmp_path / label / f"{number:02}.png", image)
    images = read(tmp_path)
    train, test = cut(np.repeat([0, 1], [20, 10]), 6)
    assert np.bincount(images.y_test).tolist() == [4, 2]
    assert (images.x_train[:, 0] == x[train]).all()
    assert (images.x_test[:, 0] == x[test]).all()
    assert fingerprint(read(tmp_path)) == fingerprint(images)


def test_names_of_classes_that_are_not_utf8_are_written_out(tmp_path: Path) -> None:
    for number, image in enumerate(photos(20, (4, 4))):
        save(tmp_path / ("ant" if number < 10 else "bee") / f"{number:02}.png", image)
    try:
        (tmp_path / "bee").rename(tmp_path / os.fsdecode(b"b\xe8e"))
    except OSError:
        pytest.skip("this file system takes no such names")
    images = read(tmp_path)
    assert images.class_names == ("ant", r"b\udce8e")
    with pytest.raises(UserError, match="class name"):
        replace(images, class_names=("ant", "b\udce8e"))


def test_folder_is_in_colour_if_one_image_is(tmp_path: Path) -> None:
    colour = photos(1, (6, 4, 3))[0]
    transparent = np.dstack([colour, np.full((6, 4), 128, np.uint8)])
    first = tmp_path / "c/1.png"
    second = tmp_path / "c/2.png"
    third = tmp_path / "c/3.jpg"
    save(first, colour[..., 0])
    save(second, transparent)
    save(third, colour, quality=95)
    assert pixels([first]).shape == (1, 1, 6, 4)
    assert (pixels([first, second])[1] == colour.transpose(2, 0, 1)).all()
    assert pixels([first, second], "L").shape == (2, 1, 6, 4)
    assert (pixels([second, first])[0] == colour.transpose(2, 0, 1)).all()
    assert (pixels([first], "RGB")[0] == colour[..., 0]).all()
    with Image.open(third) as image:
        assert (pixels([third])[0] == np.asarray(image).transpose(2, 0, 1)).all()


def test_folder_faults_name_the_file(tmp_path: Path) -> None:
    def fails(message: str) -> None:
        with pytest.raises(UserError, match=message) as raised:
            read(tmp_path)
        assert str(raised.value).startswith(f"{tmp_path}: ")
        assert "\n" not in str(raised.value)

    fails(f"no image in {tmp_path}; expected CLASS/")
    for name in ("a/1.png", "a/2.png", "b/1.png"):
        save(tmp_path / name, photos(1, (6, 4))[0])
    save(tmp_path / "b/2.png", photos(1, (6, 5))[0])
    fails(f"{tmp_path}/b/2.png is 5x6; expected 4x6 like {tmp_path}/a/1.png")
    (tmp_path / "b/2.png").write_bytes((tmp_path / "b/1.png").read_bytes()[:60])
    fails(f"{tmp_path}/b/2.png cannot be read as an image: ")
    (tmp_path / "b/2.png").write_text("no image")
    fails(f"{tmp_path}/b/2.png cannot be read as an image: expected BMP, JPEG, ")
    Image.fromarray(np.zeros((6, 4), np.uint16)).save(tmp_path / "b/2.png")
    fails(f"{tmp_path}/b/2.png cannot be read as an image: mode I(;16)?; expected 8 bits a channel")
    (tmp_path / "b/2.png").unlink()
    (tmp_path / "c").mkdir()
    fails(f"no image in {tmp_path}/c; expected")
    (tmp_path / "c").rmdir()
    (tmp_path / "train").mkdir()
    (tmp_path / "a").rename(tmp_path / "train/a")
    (tmp_path / "val").mkdir()
    (tmp_path / "b").rename(tmp_path / "val/b")
    fails("train/ has folders of classes, and there is no test/ beside it; name the folder")
    (tmp_path / "val").rename(tmp_path / "test")
    fails("test has the class b, which train lacks")


def test_images_with_channels_first_are_told_how_to_turn(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    y = np.arange(50) % 5
    np.savez(path, x_train=np.zeros((50, 3, 8, 8), np.uint8), y_train=y, x_test=[], y_test=[])
    with pytest.raises(UserError, match=r"channels last: x\.transpose\(0, 2, 3, 1\)"):
        load(str(path), datasets={})


def test_a_file_of_another_kind_is_not_called_missing(tmp_path: Path) -> None:
    path = tmp_path / "notes.md"
    path.write_text("x")
    with pytest.raises(UserError, match=r"expected an \.npz file, or a folder"):
        load(str(path), datasets={})
