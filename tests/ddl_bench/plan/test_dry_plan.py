"""Plans that are only listed need no files; options that no row could hold are refused."""

import json
from pathlib import Path

import pytest

from ddl_bench.data.cifar import CIFAR10, CIFAR100
from ddl_bench.data.declared import DECLARED, UNREAD
from ddl_bench.data.mnist import FASHION_MNIST, MNIST
from ddl_bench.data.svhn import SVHN
from ddl_bench.errors import UserError
from ddl_bench.plan.expansion import Overrides, plan
from tests.conftest import ddl_bench

SETS = ["--methods", "nearest-mean", "--datasets", "digits,cifar10,svhn", "--seeds", "0"]


def test_what_is_declared_is_what_is_downloaded() -> None:
    assert DECLARED["cifar10"].n_bytes == CIFAR10.file.n_bytes
    assert DECLARED["cifar100"].n_bytes == CIFAR100.file.n_bytes
    for name, files in (("mnist", MNIST), ("fashion-mnist", FASHION_MNIST), ("svhn", SVHN)):
        assert DECLARED[name].n_bytes == sum(file.n_bytes for file in files)


def test_a_dry_run_downloads_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(*_: object) -> None:
        raise AssertionError("a dry run downloads")

    monkeypatch.setattr("ddl_bench.data.published.fetch", fetch)
    words = ["run", *SETS, "--data-dir", tmp_path, "--out", tmp_path / "run", "--dry-run"]
    for more in ([], ["--download"]):
        cells = json.loads(ddl_bench([*words, *more, "--json"]))
        assert [bool(cell["cell"]) for cell in cells] == [True, False, False]
        text = ddl_bench([*words, *more])
        assert "not here yet: cifar10, svhn; `run --download` fetches 417 MB" in text
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UserError, match="not found; fetch it by --download"):
        ddl_bench(words[:-1])


def test_splits_of_declared_images_are_those_of_their_numbers(tmp_path: Path) -> None:
    overrides = Overrides.of(
        methods="nearest-mean", datasets="cifar10", data_dir=tmp_path, limit_train=500
    )
    with pytest.raises(UserError, match="not found"):
        plan("quick", overrides)
    (cell, *_) = plan("quick", Overrides(**{**vars(overrides), "only_lists": True}))
    assert cell.data == UNREAD
    assert cell.splits.limit_train == 500


@pytest.mark.parametrize(
    "text",
    [
        "plainnet[depth=6",
        "plainnet]",
        "plainnet[depth=6]]",
        "plainnet[[depth=6]",
        "plainnet[depth=6,sdl",
    ],
)
def test_brackets_that_do_not_match_are_one_clear_line(text: str) -> None:
    with pytest.raises(UserError, match=r"brackets do not match; expected name\[option=value\]"):
        ddl_bench(["run", "--dry-run", "--methods", text])


TRACK = """
name = "t"
budget = {{ epochs = 1 }}
datasets = [{{ source = "digits" }}]

[[methods]]
name = "{method}"
{line}
"""


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "[0.1, nan]", "[[1.0], [inf]]"])
@pytest.mark.parametrize("method", ["sdl", "logistic", "src", "plainnet"])
def test_a_number_that_is_not_finite_is_refused_in_a_track(
    method: str, value: str, tmp_path: Path
) -> None:
    path = tmp_path / "t.toml"
    for line in (
        f"params = {{ lmbd = {value} }}",
        f"params = {{ recipe = {{ lr = {value} }} }}",
        f"grid = {{ lmbd = [1.0, {value}] }}",
    ):
        path.write_text(TRACK.format(method=method, line=line))
        with pytest.raises(UserError, match="expected a finite number") as refused:
            plan(str(path))
        assert "\n" not in str(refused.value)
