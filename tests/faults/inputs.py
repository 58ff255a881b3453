"""Give the commands damaged files and odd options; each ends with a line, soon, in little memory.

A case is a folder with the damaged input and the words of a command. Each runs in a forked child.
"""

import dataclasses
import io
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from tests.conftest import PLUGINS, make_cell, put
from tests.faults import commands, damage
from tests.faults.shares import N_PROCESSES, in_shares
from tests.faults.tally import Tally

LIMIT_S = 120.0  # as other tests may run beside this one
BUSY_S = 10  # of a processor
SMOKE_SHARE = 0.06
OTHER_WEIGHTS = 9  # exit code
TRACK = """\
name = "tried"
description = "two methods"
seeds = [0, 1]
machine = { threads = 1, device = "cpu", precision = "float32" }
limits = { time_s = 60, memory_gb = 4 }
budget = { epochs = 3 }
splits = { limit_train = 200, limit_test = 50, val_fraction = 0.2 }

[[datasets]]
source = "digits"
mirror = false

[[methods]]
name = "nearest-mean"
label = "means"
ms_per_image = 0.001

[[methods]]
name = "plainnet"
params = { depth = 3 }
grid = { depth = [2, 3] }
budget = { epochs = 2 }
only = ["digits"]
paper = "x"
"""


@dataclasses.dataclass(frozen=True)
class Good:
    """Inputs without damage, which the cases start from."""

    folder: Path

    @property
    def run(self) -> Path:
        """A finished run of two methods with two seeds."""
        return self.folder / "run"

    @property
    def model(self) -> Path:
        """A kept model."""
        return self.folder / "model.safetensors"

    @property
    def checkpoint(self) -> Path:
        """What a killed worker leaves."""
        return self.folder / "good.checkpoint"

    @property
    def npz(self) -> Path:
        """A data set in one file."""
        return self.folder / "photos.npz"

    @property
    def images(self) -> Path:
        """A data set of class folders."""
        return self.folder / "photos"


def make_good(folder: Path) -> Good:
    """Make the inputs without damage."""
    from ddl_bench.plan.expansion import Overrides, plan
    from ddl_bench.registry import load_method
    from ddl_bench.results.models import save_model
    from tests.conftest import DIGITS, fit

    rng = np.random.default_rng(0)
    good = Good(folder)
    labels = np.arange(40) % 4
    pictures = rng.integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)
    np.savez(good.npz, x_train=pictures, y_train=labels, x_test=pictures[:20], y_test=labels[:20])
    for part in ("train", "test"):
        for label in ("cat", "dog"):
            home = good.images / part / label
            home.mkdir(parents=True)
            for index in range(4):
                Image.fromarray(pictures[index]).save(home / f"{index}.png")
    for label in ("a", "b"):
        for seed in range(2):
            right = rng.random(60) < 0.7
            curve = np.arange(3.0)
            kept: dict[str, Any] = {
                f"curve_{name}": curve for name in ("seconds", "accuracy", "step")
            }
            kept |= {"curve_split": "val", "class_names": np.array(list("0123456789"))}
            put(good.run, make_cell(label, seed), right, kept)
    (cell,) = plan("quick", Overrides(methods=["nearest-mean"], seeds=[0]))
    method = load_method("nearest-mean", [])()
    save_model(good.model, fit(method), method, cell, DIGITS)
    write_checkpoint(good.checkpoint)
    return good


def write_checkpoint(path: Path) -> None:
    """Write the checkpoint of a small network."""
    from ddl_bench.api import Budget
    from ddl_bench.harness import checkpoint
    from ddl_bench.harness.clock import Phases
    from tests.conftest import DIGITS, Clock

    training = small_network().start(DIGITS, Budget(epochs=3))
    training.advance(Clock())
    reopened = checkpoint.Checkpoint(path, Phases({"training": 1.0}))
    reopened._last_saved -= 1e6  # due at once
    reopened.save(checkpoint.Mark(n_advances=1, train_s=1.0), training)
    assert path.exists()


def small_network() -> Any:
    """Return a method that can be resumed."""
    from ddl_bench.registry import load_method

    return load_method("drops", [PLUGINS / "resumable.py"])()


class Loaded:
    """Tell whether a damaged checkpoint is ignored, or gives back the weights that were written."""

    def __init__(self, good: Path) -> None:
        self.expected = state_of(good)

    def action(self, path: Path) -> Callable[[], None]:
        """Return an action that fails where other weights are loaded."""

        def load() -> None:
            state = state_of(path)
            if state is not None and state != self.expected:
                print("other weights are loaded")
                raise SystemExit(OTHER_WEIGHTS)

        return load


def state_of(path: Path) -> bytes | None:
    """Return the state of the training that a checkpoint holds; None where it is ignored."""
    from ddl_bench.api import Budget, Resumable
    from ddl_bench.harness.checkpoint import Checkpoint
    from ddl_bench.harness.clock import Phases
    from tests.conftest import DIGITS

    reopened = Checkpoint(path, Phases({}))
    training, mark = reopened.begin(
        lambda: small_network().start(DIGITS, Budget(epochs=3)), reopened.mark
    )
    if not mark.n_advances:
        return None
    buffer = io.BytesIO()
    assert isinstance(training, Resumable)
    torch.save(training.state(), buffer)
    return buffer.getvalue()


def dry(folder: Path, *words: object) -> list[str]:
    """Return the words of a dry run."""
    return ["run", "--dry-run", "--out", str(folder / "none"), *map(str, words)]


def track_case(good: Good, folder: Path, rng: random.Random) -> list[str]:
    """Damage a track."""
    path = folder / "track.toml"
    if rng.random() < 0.8:
        text = damage.damaged_toml(TRACK, rng)
        path.write_text(text)
    else:
        path.write_bytes(damage.damaged_bytes(TRACK.encode(), rng))
    return dry(folder, path)


def npz_case(good: Good, folder: Path, rng: random.Random) -> list[str]:
    """Damage a data set in an .npz file, byte by byte or by its arrays."""
    path = folder / rng.choice(("photos.npz", "28x28.npz", "2026-photos.npz", "a,b.npz", "é.npz"))
    if rng.random() < 0.6:
        path.write_bytes(damage.damaged_bytes(good.npz.read_bytes(), rng))
    else:
        with np.load(good.npz) as file:
            arrays = dict(file)
        key = rng.choice(sorted(arrays))
        odd = rng.choice(
            (
                np.zeros(0), np.zeros((0, 0)), np.array(3), np.array("x"), np.array([True]),
                np.full((40, 8, 8), np.nan), np.zeros((40, 8), np.uint8), np.arange(40.0),
                np.zeros((40, 8, 8, 9), np.uint8), np.zeros((2, 3, 8, 8), np.uint8),
                np.array(["a"] * 40), np.array([b"a"] * 40), np.arange(40) - 2**62,
                np.zeros((40, 0, 8), np.uint8), np.zeros(40, "M8[s]"), np.zeros(40, "i4,f8"),
                np.arange(40).astype(complex), np.arange(40, dtype=np.uint64) + 2**63,
            )
        )  # fmt: skip
        if rng.random() < 0.2:
            del arrays[key]
        else:
            arrays[rng.choice((key, "mirror", "class_names"))] = odd
        np.savez(path, **arrays)
    if rng.random() < 0.3:
        return ["datasets", str(path)]
    return dry(folder, "--datasets", path, "--methods", "nearest-mean")


def image_case(good: Good, folder: Path, rng: random.Random) -> list[str]:
    """Damage an image of a folder of class folders, or of images to classify."""
    home = folder / "photos"
    shutil.copytree(good.images, home)
    files = sorted(home.rglob("*.png"))
    victim = rng.choice(files)
    form = rng.choice(("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM"))
    buffer = io.BytesIO()
    Image.open(victim).save(buffer, form)
    match rng.randrange(8):
        case 0:
            victim.unlink()
            victim.mkdir()
        case 1:
            victim.unlink()
            victim.symlink_to(victim)
        case 2:
            victim.unlink()
            os.mkfifo(victim)
        case 3:
            mode = rng.choice(("1", "P", "LA", "RGBA", "I;16", "F", "CMYK"))
            form = "TIFF" if mode in ("F", "CMYK") else "PNG"
            Image.new(mode, rng.choice(((8, 8), (1, 1), (9, 8)))).save(victim, form)
        case 4:
            name = os.fsencode(victim.parent) + rng.choice(
                (b"/\xff.png", b"/a\nb.png", b"/[b].png")
            )
            with open(name, "wb") as file:
                file.write(damage.damaged_bytes(buffer.getvalue(), rng))
        case _:
            victim.write_bytes(damage.damaged_bytes(buffer.getvalue(), rng))
    if rng.random() < 0.4:
        return ["predict", str(good.model), str(victim.parent)]
    if rng.random() < 0.5:
        return ["datasets", str(home)]
    return dry(folder, "--datasets", home, "--methods", "nearest-mean")


READERS = (["compare", "a", "b"], ["compare", "a", "b"], ["show", "a"], ["report"])


def reading(run: Path, rng: random.Random) -> list[str]:
    """Return the words of a command that reads a run folder; reports, which are slow, seldom."""
    if rng.random() < 0.2:
        return ["run", "--dry-run", "--methods", "nearest-mean", "--seeds", "0", "--out", str(run)]
    reader = READERS[3] if rng.random() < 0.04 else rng.choice(READERS[:3])
    return [*reader, "--run", str(run)]


def row_case(good: Good, folder: Path, rng: random.Random) -> list[str]:
    """Damage a row."""
    run = folder / "run"
    shutil.copytree(good.run, run)
    path = rng.choice(sorted((run / "cells").glob("*.json")))
    text = path.read_text()
    chance = rng.random()
    if chance < 0.6:
        path.write_text(json.dumps(damage.damaged_json(json.loads(text), rng)))
    elif chance < 0.85:
        path.write_bytes(damage.damaged_bytes(text.encode(), rng))
    else:
        replace_by_oddity(path, rng)
    return reading(run, rng)


def replace_by_oddity(path: Path, rng: random.Random) -> None:
    """Put something else in place of a file."""
    path.unlink(missing_ok=True)
    match rng.randrange(6):
        case 0:
            path.mkdir()
        case 1:
            path.symlink_to(path)
        case 2:
            os.mkfifo(path)
        case 3:
            path.symlink_to("/dev/zero")
        case 4:
            path.symlink_to("nothing")
        case _:
            path.write_text("[" * rng.choice((900, 100_000)))


def claim_action(folder: Path, rng: random.Random) -> Callable[[], None]:
    """Damage the claim of a runner that is gone; returns an action that claims its cell."""
    from ddl_bench.harness import claims

    good = {**claims.this_process(), "pid": 2**22, "token": "x"}  # no process has that number
    path = folder / "cell.claim.1"
    chance = rng.random()
    if chance < 0.5:
        path.write_text(json.dumps(damage.damaged_json(good, rng)))
    elif chance < 0.7:
        path.write_bytes(damage.damaged_bytes(json.dumps(good).encode(), rng))
    else:
        replace_by_oddity(path, rng)
    old = claims.clock_of(folder) - 2 * claims.STALE_AFTER_S
    os.utime(path, (old, old), follow_symlinks=False)

    def take() -> None:
        claims.holder(folder, "cell")
        taken = claims.claim(folder, "cell")
        if taken is None:
            raise RuntimeError("a cell that nobody holds cannot be claimed")
        taken.keep_fresh()
        taken.release()

    return take


def array_case(good: Good, folder: Path, rng: random.Random) -> list[str]:
    """Damage the arrays beside a row."""
    run = folder / "run"
    shutil.copytree(good.run, run)
    path = rng.choice(sorted((run / "cells").glob("*.npz")))
    if rng.random() < 0.6:
        path.write_bytes(damage.damaged_bytes(path.read_bytes(), rng))
    else:
        with np.load(path) as file:
            arrays = dict(file)
        key = rng.choice(sorted(arrays))
        choice = (
            np.zeros(0), np.array(1), np.array("x"), np.full(60, np.nan), np.arange(7),
            np.zeros((60, 2)), np.array(["a"] * 60), np.zeros(60, "M8[s]"), None,
        )  # fmt: skip
        value = rng.choice(choice)
        if value is None:
            del arrays[key]
        else:
            arrays[key] = value
        np.savez(path, **arrays)
    return reading(run, rng)


def model_case(good: Good, folder: Path, rng: random.Random) -> list[str]:
    """Damage a kept model, byte by byte or in its metadata."""
    path = folder / "model.safetensors"
    data = good.model.read_bytes()
    if rng.random() < 0.5:
        path.write_bytes(damage.damaged_bytes(data, rng))
    else:
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length])
        if rng.random() < 0.7:
            inner = json.loads(header["__metadata__"]["ddl-bench"])
            header["__metadata__"]["ddl-bench"] = json.dumps(damage.damaged_json(inner, rng))
        else:
            header = damage.damaged_json(header, rng)
        text = json.dumps(header).encode()
        path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])
    images = folder / "digits.npz"
    np.savez(images, x=np.zeros((3, 8, 8), np.uint8))
    return ["predict", str(path), str(images)]


NUMBERS = (
    "0", "-1", "nan", "inf", "-inf", "1e400", "x", "", " ", "1.5", "9" * 30, "9" * 5_000, "true",
    "0x10", "1_0", "[/b]",
)  # fmt: skip
ODD_OPTIONS: dict[str, tuple[str, ...]] = {
    "--seeds": ("0-10000000", "0-1000000000", "4294967296", "3-1", "-", ",", "1,1", "é", *NUMBERS),
    "--budget": ("0s", "1e400e", "9" * 400 + "e", "9" * 400 + "h", "3m3m", "e", "s", *NUMBERS),
    "--device": ("cuda", "cuda:99", "tpu", "cuda:-1", "", "CPU"),
    "--threads": NUMBERS,
    "--jobs": NUMBERS,
    "--limit-train": NUMBERS,
    "--limit-test": NUMBERS,
    "--val-fraction": NUMBERS,
    "--test-from-train": NUMBERS,
    "--time-limit": NUMBERS,
    "--memory-limit-gb": NUMBERS,
    "--precision": ("float16", "", "1"),
    "--methods": (
        "sdl[", "sdl]", "sdl[n_atoms=]", "sdl[n_atoms=nan]", "sdl[n_atoms=-1]", "[", ",", "no-such",
        "sdl[n_atoms=1e400]", "sdl[=1]", "sdl[n_atoms=1,n_atoms=2]", "x" * 5_000, "\x1b[31m", "é",
        "plainnet[depth=999999999]", "plainnet[recipe.=1]", "sdl[n_atoms=" + "9" * 5_000 + "]",
    ),
    "--datasets": (
        "~/no.npz", "~nosuchuser/x", "x" * 5_000, "/", "/dev/null", "/proc", ".", "digits[", "é",
        "digits[mirror=x]", "digits[mirror=]", "no.npz", "/dev/zero", "[/b]", ",", "\x1b[31m.npz",
        "/root/../etc/passwd", "digits[x=1]", "mnist",
    ),
    "--plugin": ("/", "/dev/null", "no.py", "x" * 300, "/etc/passwd", "é.py", ""),
    "--data-dir": ("/dev/null", "x" * 300, "", "/proc/1/no"),
    "--rerun": ("zzz", "é", "[/b]", "x" * 5_000, "*"),
    "--rerun-before": ("noon", "é", "[/b]", "x" * 5_000, "2026-13-45", "2026-11-30"),
    "--out": ("x" * 300, "/dev/null/x", "/proc/x", "a\nb", "[/b]", "\udcff"),
}  # fmt: skip


def option_cases(folder: Path) -> list[list[str]]:
    """List the commands with odd options."""
    cases = []
    for option, values in ODD_OPTIONS.items():
        for value in values:
            out = [] if option == "--out" else ["--out", str(folder / "none")]
            others = {"--methods": "nearest-mean", "--seeds": "0"}
            words = ["run", "--dry-run", *out, option, value]
            for name, usual in others.items():
                if name != option:
                    words += [name, usual]
            cases.append(words)
    names = ("[/b]", "x" * 300, "/dev/null", "no", "\udcff", "", "/proc/1")
    for name in names:
        for reader in READERS:
            cases.append([*reader, "--run", name])
        cases.append(["methods", name])
        cases.append(["datasets", name])
        cases.append(["show", name])
        cases.append(["check", name])
        cases.append(["predict", name, name])
        cases.append(["run", name, "--dry-run"])
    return cases


Maker = Callable[[Good, Path, random.Random], list[str]]
KINDS: dict[str, tuple[Maker, int]] = {
    "track": (track_case, 320),
    "npz": (npz_case, 260),
    "image": (image_case, 170),
    "row": (row_case, 260),
    "array": (array_case, 160),
    "model": (model_case, 200),
}
N_CHECKPOINTS = 120
N_CLAIMS = 100


def each_case(good: Good, folder: Path, share: float) -> Iterator[tuple[str, Path, Any]]:
    """Yield the name, the folder and the words or the action of each case."""
    for kind, (make, number) in KINDS.items():
        for index in range(round(share * number)):
            home = folder / f"{kind}{index}"
            home.mkdir()
            yield home.name, home, make(good, home, random.Random(f"{kind} {index}"))
            shutil.rmtree(home)
    options = option_cases(folder)
    chosen = options if share == 1 else random.Random(1).sample(options, 40)
    for index, words in enumerate(chosen):
        home = folder / f"option{index}"
        home.mkdir()
        yield home.name, home, words
        shutil.rmtree(home)
    for index in range(round(share * N_CLAIMS)):
        home = folder / f"claim{index}"
        home.mkdir()
        yield home.name, home, claim_action(home, random.Random(f"claim {index}"))
        shutil.rmtree(home)
    loaded = Loaded(good.checkpoint)
    for index in range(round(share * N_CHECKPOINTS)):
        home = folder / f"checkpoint{index}"
        home.mkdir()
        path = home / "damaged"
        rng = random.Random(f"checkpoint {index}")
        data = good.checkpoint.read_bytes()
        path.write_bytes(damage.damaged_bytes(data, rng))
        yield home.name, home, loaded.action(path)
        shutil.rmtree(home)


def judge(name: str, doing: Any, ended: commands.Ended) -> tuple[str, str] | None:
    """Return the column and the text of a fault; None where a case ended well."""
    if ended.code == OTHER_WEIGHTS:
        return "undetected", f"{name}: a damaged checkpoint loads other weights"
    fault = ended.fault()
    if not fault:
        return None
    words = " ".join(word[:60] for word in doing) if isinstance(doing, list) else "load it"
    return "tracebacks", f"{name}: {words!r}: {fault}"


def try_share(good: Good, folder: Path, share: float, number: int) -> Tally:
    """Try every N_PROCESSES-th case."""
    tally = Tally("inputs")
    folder.mkdir()
    os.chdir(folder)
    for index, (name, _, doing) in enumerate(each_case(good, folder, share)):
        if index % N_PROCESSES != number:
            continue
        action = commands.command_line(doing) if isinstance(doing, list) else doing
        log = folder.with_suffix(".out")
        ended = commands.call_action(action, log, seconds=LIMIT_S, busy_s=BUSY_S)
        tally.tried += 1
        fault = judge(name, doing, ended)
        if fault:
            column, text = fault
            getattr(tally, column).append(text)
            print(column, text, flush=True)
    return tally


def try_inputs(scratch: Path, *, smoke: bool) -> Tally:
    """Try 1,500 inputs and more, or some of them in the smoke part."""
    from ddl_bench.cli import catalogue  # noqa: F401  for all children
    from ddl_bench.results import models, stats  # noqa: F401

    torch.set_num_threads(1)
    folder = scratch / "good"
    folder.mkdir()
    good = make_good(folder)
    part = SMOKE_SHARE if smoke else 1.0

    def share(number: int) -> Tally:
        return try_share(good, scratch / f"cases{number}", part, number)

    return in_shares("inputs", share, scratch)
