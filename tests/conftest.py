"""What tests share: a stub clock, a trained classifier, made-up rows, the command line."""

import dataclasses
import signal
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from typer.testing import CliRunner

from ddl_bench.api import Budget, Method, Task
from ddl_bench.cli import main as cli
from ddl_bench.data import ImageSet
from ddl_bench.data.digits import digits
from ddl_bench.data.splits import Splits, cut, split
from ddl_bench.errors import UserError
from ddl_bench.plan.cell import BudgetSpec, Cell, Limits, Machine
from ddl_bench.results.rows import COLUMNS_MEASURED, Measured, Row, write_row

ROOT = Path(__file__).parents[1]
PLUGINS = ROOT / "tests" / "plugins"
N_HELD_OUT = 360

# How long an example takes says nothing on a machine that does other work.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")


def held_out(images: ImageSet) -> ImageSet:
    """Take images to test on from the training images, so that no threshold knows the others."""
    train, test = cut(images.y_train, N_HELD_OUT)
    x, y = images.x_train, images.y_train
    return dataclasses.replace(
        images, x_train=x[train], y_train=y[train], x_test=x[test], y_test=y[test]
    )


DIGITS, HELD_OUT, _ = split("digits", held_out(digits(Path())), Splits())
EPOCHS = BudgetSpec(epochs=30, seconds=None)


@pytest.fixture(autouse=True, scope="session")
def locks_of_their_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the locks of cores apart, so that several test runs on one machine do not wait."""
    folder = str(tmp_path_factory.mktemp("temporary"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", folder)
        patch.setattr(tempfile, "tempdir", folder)
        yield


@pytest.fixture(autouse=True)
def coverage_of_children(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the processes that a test starts out of the coverage: a tracer takes its time.

    Tests of what runs in them replace this by a fixture that keeps them.
    """
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)


@pytest.fixture(autouse=True, scope="session")
def output_of_any_width() -> Iterator[None]:
    """Let lines go as long as they are, as into a pipe: workers of pytest-xdist give a width."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("COLUMNS", raising=False)
        yield


@pytest.fixture(autouse=True, scope="session")
def usual_ctrl_c() -> None:
    """Heed Ctrl-C, which background jobs of a script ignore, and all that they start."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@dataclasses.dataclass
class Clock:
    """A deadline that has used `used` of its time."""

    used: float = 0.0

    def fraction(self) -> float:
        return self.used

    def expired(self) -> bool:
        return self.used >= 1

    def report(self, share: float) -> None:
        pass


def fit(method: Method, task: Task = DIGITS, *, seed: int = 0, epochs: int = 1) -> Any:
    training = method.start(task, Budget(epochs=epochs, seed=seed))
    while training.advance(Clock()):
        pass
    return training.classifier()


def random_problem(
    seed: int, n_samples: int, n_features: int, n_atoms: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draw samples (n_samples, n_features) and unit-norm atoms (n_features, n_atoms)."""
    rng = np.random.default_rng(seed)
    D = rng.standard_normal((n_features, n_atoms))
    X = rng.standard_normal((n_samples, n_features))
    return X, D / np.linalg.norm(D, axis=0)


def make_cell(label: str, seed: int = 0, **changes: Any) -> Cell:
    """A cell of a made-up run; `changes` replace its fields."""
    fields: dict[str, Any] = {
        "method": label,
        "params": {},
        "grid": {},
        "source": "0",
        "plugins": (),
        "dataset": "digits",
        "mirror": None,
        "data_dir": "",
        "splits": Splits(),
        "budget": EPOCHS,
        "machine": Machine(threads=1),
        "limits": Limits(time_s=60, memory_gb=8),
        "track": "quick",
    }
    fields |= {"data": str(changes.get("dataset", "digits")), **changes}
    return Cell(label=label, seed=seed, **fields)


def make_row(cell: Cell, **values: Any) -> Row:
    """Make a row; `values` are fields of `Row` or of `Measured`."""
    measured = {key: value for key, value in values.items() if key in COLUMNS_MEASURED}
    rest = {key: value for key, value in values.items() if key not in COLUMNS_MEASURED}
    return Row(cell=cell, measured=Measured(**measured), **rest)


def put(
    run: Path,
    cell: Cell,
    right: np.ndarray | None = None,
    kept: dict[str, Any] | None = None,
    **fields: Any,
) -> Row:
    """Write a finished row of a method that is right on the images of a mask (n_images,)."""
    ok: dict[str, Any] = {
        "status": "ok",
        "started": f"{len(list((run / 'cells').glob('*.json'))):04}",
    }
    if fields.get("status", "ok") == "ok":
        ok["accuracy"] = 50.0
    if right is not None:
        ok |= {
            "accuracy": 100 * right.mean(),
            "n_train": 900,
            "n_val": 100,
            "n_test": len(right),
            "train_s": 2.0,
        }
    row = make_row(cell, **ok | fields)
    write_row(run, row)
    if right is not None and kept is not None:
        y = np.arange(len(right)) % 10
        np.savez(
            run / "cells" / f"{cell.id}.npz", y_test=y, predictions=np.where(right, y, 11), **kept
        )
    return row


def ddl_bench(arguments: Sequence[object], code: int = 0) -> str:
    result = CliRunner().invoke(cli.app, [str(argument) for argument in arguments])
    if isinstance(result.exception, UserError):
        raise result.exception
    assert result.exit_code == code, result.output + repr(result.exception)
    return result.output
