"""Before anything is imported: wheels brought along, the package's metadata, what is missing.

Only the standard library is needed here.
"""

import argparse
import importlib
import os
import shutil
import subprocess
import sys
import tomllib
from email.message import Message
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
IMPORTED_AS = {"scikit-learn": "sklearn", "pillow": "PIL"}
DOWNLOADING = {"pooch", "requests"}  # only what downloads images imports these
COPIED = ("ddl_bench", "baselines", "detrame", "reports", "pyproject.toml", "README.md", "LICENSE")


def main(words: list[str]) -> int:
    """0, or 2 after one line that says what is missing."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--wheels", type=Path)
    wheels = parser.parse_known_args(words)[0].wheels
    work = Path(os.environ["DDL_BENCH_GPU_WORK"])
    packages = work / "packages"
    packages.mkdir(parents=True, exist_ok=True)
    if wheels is not None:
        folder = Path(os.environ.get("DDL_BENCH_GPU_FROM", ".")) / wheels
        files = sorted(folder.glob("*.whl"))
        if not files:
            print(f"--wheels {wheels}: no wheels in it", file=sys.stderr)
            return 2
        if (failed := pip(packages, [str(file) for file in files])) is not None:
            print(f"--wheels {wheels}: pip could not install them: {failed}", file=sys.stderr)
            return 2
    lacking = missing(packages)
    if lacking:
        print(f"missing, of what pyproject.toml asks for: {', '.join(lacking)}", file=sys.stderr)
        return 2
    install(work, packages)
    return 0


def pip(target: Path, what: list[str]) -> str | None:
    """Install into a folder, from files alone; the last line of what pip says where that fails."""
    options = ["--no-index", "--no-deps", "--no-build-isolation", "--quiet", "--no-warn-conflicts"]
    options += ["--disable-pip-version-check", "--target", str(target)]
    command = [sys.executable, "-m", "pip", "install", *options, *what]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = (done.stderr + done.stdout).strip().splitlines() or ["no message"]
    return lines[-1] if done.returncode else None


def missing(packages: Path | None = None) -> list[str]:
    """Dependencies that are not there or too old, each with what was asked for.

    Those in the folder `packages` are imported as well.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found = []
    importlib.invalidate_caches()
    for wanted in project["dependencies"]:
        name, _, least = wanted.partition(">=")
        if name in DOWNLOADING:
            continue
        module = IMPORTED_AS.get(name, name)
        spec = find_spec(module)
        if spec is None:
            found.append(wanted)
            continue
        if packages is not None and packages in Path(spec.origin or "").parents:
            try:  # it was brought along, perhaps without what it needs itself
                importlib.import_module(module)
            except ImportError as error:
                found.append(f"{wanted} ({error})")
        try:
            there = version(name)
        except PackageNotFoundError:  # on the path without metadata: good enough
            continue
        if numbers(there) < numbers(least):
            found.append(f"{wanted} (there is {there})")
    return found


def numbers(text: str) -> tuple[int, ...]:
    """The leading numbers of a version: 2.11.0+cu130 gives (2, 11, 0)."""
    parts = []
    for part in text.partition("+")[0].split("."):
        if not part.isdigit():
            break
        parts.append(int(part))
    return tuple(parts)


def install(work: Path, packages: Path) -> None:
    """Make the entry points known: by pip from a copy, or, if that fails, by writing them down."""
    copy = work / "source"
    copy.mkdir()
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy / name)
    failed = pip(packages, [str(copy)])
    if failed is not None:
        print(f"pip could not install the package, so its entry points are written down: {failed}")
        write_metadata(packages)
    shutil.rmtree(copy)


def write_metadata(packages: Path) -> None:
    """What importlib.metadata needs of an installed package."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    folder = packages / f"ddl_bench-{project['version']}.dist-info"
    folder.mkdir(exist_ok=True)
    about = Message()
    about["Metadata-Version"] = "2.1"
    about["Name"] = project["name"]
    about["Version"] = project["version"]
    for extra in project.get("optional-dependencies", {}):
        about["Provides-Extra"] = extra
    (folder / "METADATA").write_text(str(about))
    lines = []
    for group, entries in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in entries.items()), ""]
    (folder / "entry_points.txt").write_text("\n".join(lines))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
