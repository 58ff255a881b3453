"""The benchmark suite for deep dictionary learning.

The functions that a script or a notebook needs, imported when first used:

- `run`: run a track and return its rows.
- `load`: read the rows of a run folder, or of several, as a DataFrame.
- `curves`: read the accuracies while training as a DataFrame.
- `predictions`: read the class that each test image was given as a DataFrame.
- `compare`: compare two methods of a run.
- `predict`: classify images with a kept model.
- `check`: run the contract on a method.
- `from_estimator`: make a method of a scikit-learn classifier.
- `from_module`: make a method of a torch network.
- `from_function`: make a method of a function of numpy arrays.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ddl_bench.contract.check import check as check
    from ddl_bench.harness.run import run as run
    from ddl_bench.results.frame import curves as curves
    from ddl_bench.results.frame import load as load
    from ddl_bench.results.frame import predictions as predictions
    from ddl_bench.results.models import predict as predict
    from ddl_bench.results.stats.compare import compare as compare
    from ddl_bench.training.estimator import from_estimator as from_estimator
    from ddl_bench.training.function import from_function as from_function
    from ddl_bench.training.module import from_module as from_module

HOMES = {
    "run": "ddl_bench.harness.run",
    "load": "ddl_bench.results.frame",
    "curves": "ddl_bench.results.frame",
    "predictions": "ddl_bench.results.frame",
    "compare": "ddl_bench.results.stats.compare",
    "predict": "ddl_bench.results.models",
    "check": "ddl_bench.contract.check",
    "from_estimator": "ddl_bench.training.estimator",
    "from_module": "ddl_bench.training.module",
    "from_function": "ddl_bench.training.function",
}


def __getattr__(name: str) -> Any:
    """Import a public function, or the version, when it is first asked for (PEP 562)."""
    if name == "__version__":
        from importlib.metadata import version

        return version("ddl-bench")
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *HOMES, "__version__"])
