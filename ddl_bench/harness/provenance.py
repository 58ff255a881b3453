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
    "dictlearn",
)


def collect(plugins: tuple[str, ...], device: str = "cpu") -> dict[str, Any]:
    """Collect what may explain a number and is not part of the cell, for the row, not its ID."""
    gpu = None
    cuda = None
    if device.startswith("cuda"):
        gpu = torch.cuda.get_device_name(device)
        cuda = torch.version.cuda
    versions = {"python": platform.python_version()}
    return {
        **_git(),
        "versions": versions | {name: _version(name) for name in PACKAGES},
        "host": platform.node(),
        "os": platform.platform(),
        "cpu": cpu(),
        "cores": os.cpu_count(),
        "cores_used": sorted(os.sched_getaffinity(0)),
        "gpu": gpu,
        "cuda": cuda,
        "blas": "mkl" if torch._C.has_mkl else "other",
        "plugins": {path: _digest(Path(path)) for path in plugins},
    }


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _git() -> dict[str, Any]:
    """Commit of the checkout this package lies in, and whether tracked files differ from it.

    None for an installed wheel, and where git is not installed or refuses, as it does in a checkout
    of another user.
    """
    unknown = {"commit": None, "dirty": None}
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return unknown

    def git(*words: str) -> str:
        # Optional locks are those of the user's own work in this checkout.
        command = ["git", "--no-optional-locks", "-C", str(root), *words]
        result = subprocess.run(  # noqa: S603  a list of words, without a shell
            command, capture_output=True, encoding="utf-8", check=True
        )
        return result.stdout.strip()

    try:
        commit = git("rev-parse", "HEAD")
        changes = git("status", "--porcelain", "--untracked-files=no")
    except (OSError, UnicodeDecodeError, subprocess.CalledProcessError):
        return unknown
    return {"commit": commit, "dirty": bool(changes)}


def cpu() -> str:
    """Name the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    for line in lines:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
