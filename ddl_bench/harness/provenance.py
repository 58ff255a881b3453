"""Where a row comes from: code, versions, machine."""

import hashlib
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

PACKAGES = (
    "ddl-bench",
    "torch",
    "torchvision",
    "numpy",
    "scipy",
    "scikit-learn",
    "numba",
    "spams-bin",
)


def collect(plugins: tuple[str, ...]) -> dict[str, Any]:
    """All that may explain a number and is not part of the cell: recorded with each row, not hashed into its ID."""
    commit, dirty = _git()
    cuda = torch.cuda.is_available()
    return {
        "commit": commit,
        "dirty": dirty,
        "versions": {"python": platform.python_version()}
        | {name: _version(name) for name in PACKAGES},
        "host": platform.node(),
        "os": platform.platform(),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "cores_used": sorted(os.sched_getaffinity(0)),
        "gpu": torch.cuda.get_device_name() if cuda else None,
        "cuda": torch.version.cuda if cuda else None,
        "blas": "mkl" if torch._C.has_mkl else "other",
        "plugins": {
            path: hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16] for path in plugins
        },
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _git() -> tuple[str | None, bool | None]:
    """Commit of the checkout this package lies in, and whether tracked files differ; None for an installed wheel."""
    here = Path(__file__).resolve().parents[2]
    if not (here / ".git").exists():
        return None, None

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", here, *words], capture_output=True, text=True, check=False
        ).stdout.strip()

    try:
        return git("rev-parse", "HEAD") or None, bool(
            git("status", "--porcelain", "--untracked-files=no")
        )
    except OSError:  # git is not installed
        return None, None


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")),
        platform.machine(),
    )
