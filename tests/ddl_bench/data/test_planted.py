"""The planted data sets and the share of their atoms that is recovered, from signals to figure."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from baselines.pursuit.encode import encode
from ddl_bench import registry
from ddl_bench.cli.catalogue import list_datasets
from ddl_bench.data import fingerprint
from ddl_bench.data.planted import recovered
from ddl_bench.data.sources import load
from ddl_bench.harness.run import run
from ddl_bench.plan.expansion import Overrides
from ddl_bench.results.table import display
from reports.report import write


@pytest.mark.parametrize("name", ["planted-4", "planted-12-noisy"])
def test_signals_are_made_of_their_atoms(name: str) -> None:
    images = load(name, datasets=registry.datasets())
    assert images.dictionary is not None
    D = images.dictionary.reshape(100, 64)
    X = images.x_train[:300].reshape(-1, 64) - 127.5
    codes = encode(X, D.T, n_nonzero=int(name.split("-")[1]), method="ormp").codes
    residual = np.square(X - codes @ D).sum() / np.square(X).sum()
    limit = 0.03 if "noisy" in name else 1e-3
    assert residual < limit
    assert (np.abs(codes).argmax(1) // 10 == images.y_train[:300]).mean() > 0.9
    assert fingerprint(images) != fingerprint(replace(images, dictionary=images.dictionary + 1))


def test_atoms_count_up_to_sign_scale_and_order() -> None:
    truth = np.random.default_rng(0).standard_normal((10, 1, 4, 4))
    atoms = -3 * truth[::-1].copy()
    assert recovered(atoms, truth) == 100
    atoms[:4] = atoms[5]
    assert recovered(atoms, truth) == 60


def test_each_planted_set_says_what_it_is() -> None:
    planted = [record for record in list_datasets() if record["name"].startswith("planted-")]
    assert len(planted) == 6
    for record in planted:
        n_nonzero = record["name"].split("-")[1]
        assert f"made of {n_nonzero} of 100 planted atoms" in record["about"]
        assert ("noise at 20 dB" in record["about"]) == record["name"].endswith("-noisy")


def test_the_track_finds_atoms_and_draws_them(tmp_path: Path) -> None:
    overrides = Overrides(methods=["online", "ksvd-exact"], datasets=["planted-4-noisy"], seeds=[0])
    rows = run("recovery", tmp_path, overrides=overrides)
    assert [row.status for row in rows] == ["ok", "ok"], [row.reason for row in rows]
    assert all((row.measured.recovered or 0) > 80 for row in rows)
    assert "recovered (%)" in display(rows)
    report = write(tmp_path)
    assert (report["figures"] / "recovery.png").stat().st_size > 5000
    assert "Planted dictionaries" in report["page"].read_text()
