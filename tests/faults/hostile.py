"""Plugins that distort a run; each must leave a mark: a status, a note in the table, exit code 2.

A mark is looked for as a reader would: in the row, in the note of its line, in what is printed.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import psutil

from tests.conftest import PLUGINS, ROOT
from tests.faults import commands
from tests.faults.tally import Tally

# Methods that distort a number, each of which must be marked in its row or in its line.
MARKED = (
    "start", "classifier", "call", "thread", "child", "slow-clock", "frames", "memory", "accuracy",
    "size", "negative-size", "cores", "disk", "transductive", "memorised",
)  # fmt: skip
# Those of them that no program on the same machine can tell from honest work: SECURITY.md.
UNDETECTABLE = ("disk", "transductive", "memorised")
SMOKE = ("start", "disk")
LIMIT_S = 240.0
MARGIN = 10  # percentage points above what an honest classifier gets


def documented() -> list[str]:
    """Read the names of the section "What cannot be detected" in SECURITY.md."""
    path = ROOT / "SECURITY.md"
    if not path.exists():
        return []
    _, _, rest = path.read_text().partition("## What cannot be detected")
    section, _, _ = rest.partition("\n## ")
    return [line.split("`")[1] for line in section.splitlines() if line.startswith("- `")]


class Trial:
    """Commands on one plugin, in a folder of their own."""

    def __init__(self, scratch: Path, tally: Tally) -> None:
        self.scratch = scratch
        self.tally = tally
        self._number = 0

    def folder(self, name: str) -> Path:
        """Make a new folder."""
        self._number += 1
        path = self.scratch / f"{name}-{self._number}"
        path.mkdir()
        return path

    def run(self, out: Path, plugins: list[Path], *words: str) -> commands.Ended:
        """Run cells of a plugin; returns how the command ended."""
        options = ["--out", str(out), "--threads", "1", "--no-report", "--budget", "1e"]
        for plugin in plugins:
            options += ["--plugin", str(plugin)]

        def action() -> None:
            os.environ["DDL_BENCH_RUN"] = str(out)
            os.environ["DDL_BENCH_PIDS"] = str(self.scratch / "pids")
            commands.command_line(["run", *options, *words])()

        log = self.scratch / f"{self._number}.log"
        self._number += 1
        pid = commands.start(action, log)
        code = commands.wait(pid, LIMIT_S)
        if code is None:
            commands.stop(pid)
        output = log.read_text(errors="replace")
        return commands.Ended(-1 if code is None else code, output, code is None)

    def expect(self, name: str, marked: bool, ended: commands.Ended | None = None) -> None:
        """Count an attempt, which should be marked and must not end in a traceback."""
        self.tally.tried += 1
        fault = ended.fault() if ended else ""
        if fault:
            self.tally.tracebacks.append(f"{name}: {fault}")
        elif not marked:
            self.tally.undetected.append(name)


def rows_of(out: Path) -> list[dict[str, object]]:
    """Read the rows of a run."""
    rows = []
    for path in sorted((out / "cells").glob("*.json")):
        with contextlib.suppress(ValueError):
            rows.append(json.loads(path.read_text()))
    return rows


def notes_of(out: Path) -> dict[str, str]:
    """Read the status of each row that is not ok, and the note of each line of the table."""
    from ddl_bench.results.groups import gather
    from ddl_bench.results.rows import load_rows
    from ddl_bench.results.table import notes

    texts = {}
    for group in gather(load_rows(out)):
        way = str(group.cell.params.get("way", group.cell.method))
        failed = [row.reason or row.status for row in group.rows if row.status != "ok"]
        texts[way] = "; ".join([*failed, *notes(group)])
    return texts


def try_measured(trial: Trial, ways: tuple[str, ...]) -> None:
    """A3, A9, A10: learning off the clock, test images within reach, invented sizes."""
    out = trial.folder("measured")
    methods = ",".join(f"distort[way={way}]" for way in ("honest", *ways))
    plugin = PLUGINS / "distorting.py"
    ended = trial.run(out, [plugin], "--methods", methods, "--seeds", "0")
    texts = notes_of(out)
    if texts.get("honest", "no row"):
        trial.tally.lost.append(f"the honest method is marked: {texts.get('honest')}")
    if ended.fault():
        trial.tally.tracebacks.append(f"measured: {ended.fault()}")
    for way in ways:
        trial.expect(way, bool(texts.get(way, "no row")))


def sorted_images(path: Path) -> None:
    """Write digits, class by class, to an .npz file."""
    import numpy as np
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = np.argsort(digits.target, kind="stable")
    X = digits.images[order].astype(np.uint8)
    y = digits.target[order]
    np.savez(path, x_train=X[::2], y_train=y[::2], x_test=X[1::2], y_test=y[1::2])


def try_order_and_cache(trial: Trial) -> None:
    """A4, A5: answers that are remembered, and places in a batch."""
    out = trial.folder("order")
    images = out.with_suffix(".npz")
    sorted_images(images)
    plugin = PLUGINS / "distorting.py"
    methods = "distort[way=position],distort[way=cache]"
    words = ("--methods", methods, "--seeds", "0", "--datasets", str(images))
    ended = trial.run(out, [plugin], *words)
    measured = {row["cell"]["params"]["way"]: row for row in rows_of(out)}  # type: ignore[index]
    texts = notes_of(out)
    for way in ("position", "cache"):
        row = measured.get(way)
        values = row["measured"] if row else {}
        bent = True
        if way == "position":
            bent = (values.get("accuracy") or 0) > 10 + 2 * MARGIN  # type: ignore[attr-defined]
        else:
            bent = (values.get("test_s_per_image") or 1) < 2e-5  # type: ignore[attr-defined]
        trial.expect(way, bool(texts.get(way)) or (row is not None and not bent), ended)


def try_leftovers(trial: Trial) -> None:
    """A9: a child in a session of its own does not outlive its cell."""
    out = trial.folder("detached")
    plugin = PLUGINS / "distorting.py"
    words = ("--methods", "distort[way=detached]", "--seeds", "0")
    ended = trial.run(out, [plugin], *words)
    pids = [int(word) for word in (trial.scratch / "pids").read_text().split()]
    alive = [pid for pid in pids if psutil.pid_exists(pid)]
    for pid in alive:
        psutil.Process(pid).kill()
    trial.expect("detached", not alive, ended)


ENDINGS = {  # what a method does, and the statuses that its row may have
    "fork": ("ok", "failed", "crashed"),
    "no-size": ("failed",),
    "chdir": ("ok",),
    "masked": ("ok",),
    "remove": ("ok", "crashed", "failed"),
    "long-reason": ("failed",),
}


def try_endings(trial: Trial) -> None:
    """A10, A12, A15: methods that fork, change the folder, remove the run or score -inf."""
    plugin = PLUGINS / "distorting.py"
    for way, expected in ENDINGS.items():
        out = trial.folder(way)
        methods = f"distort[way={way}]"
        ended = trial.run(out, [plugin], "--methods", methods, "--seeds", "0", "--json")
        statuses = [row["status"] for row in rows_of(out)]
        right = all(status in expected for status in statuses) and (
            bool(statuses) or way == "remove"
        )
        if way == "fork" and statuses == ["ok"]:
            measured = rows_of(out)[0]["measured"]
            right = measured["accuracy"] > 50  # type: ignore[index]
        if way == "long-reason":
            right = right and len(str(rows_of(out)[0]["reason"])) < 5_000
        trial.expect(way, right, ended)


NEEDLESS = """\
from dataclasses import dataclass
from typing import ClassVar
import torch
from ddl_bench.api import OneShot, Size
{first}
class Zero:
    def size(self): return Size(n_params=0, n_stored=0)
    def __call__(self, X): return torch.zeros(len(X), 10) + {value}
@dataclass(frozen=True)
class Some:
    name: ClassVar[str] = "{name}"
    def start(self, task, budget):
        {inside}
        return OneShot(Zero)
{last}
"""


def source(
    name: str, *, first: str = "", inside: str = "pass", last: str = "", value: str = "0"
) -> str:
    """Write the source of a small plugin, with lines of its own at its beginning or end."""
    return NEEDLESS.format(name=name, first=first, inside=inside, last=last, value=value)


def try_import_effects(trial: Trial) -> None:
    """A2: what a plugin changes at its import does not reach the methods of another."""
    home = trial.folder("import")
    record = "import os; open(os.environ['DDL_BENCH_PIDS'] + '.dtype', 'a').write("
    record += "str(torch.get_default_dtype()) + '\\n')"
    victim = home / "victim.py"
    victim.write_text(source("victim", inside=record))
    loud = home / "loud.py"
    loud.write_text(source("loud", first="torch.set_default_dtype(torch.float64)"))
    ended = trial.run(home / "out", [loud, victim], "--methods", "victim", "--seeds", "0")
    seen = trial.scratch / "pids.dtype"
    types = set(seen.read_text().split()) if seen.exists() else set()
    trial.expect("import effect", types == {"torch.float32"}, ended)


def cell_ids(trial: Trial, plugins: list[Path], method: str, out: Path) -> tuple[list[str], str]:
    """Plan a method of a plugin: the IDs of its cells, and what was printed."""
    words = ("--methods", method, "--seeds", "0", "--dry-run", "--json")
    ended = trial.run(out, plugins, *words)
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return [record["cell"] for record in json.loads(ended.output)], ended.output
    return [], ended.output


def try_stale_code(trial: Trial) -> None:
    """A6: code beside a plugin counts, and plugins of one file name do not mix."""
    home = trial.folder("stale")
    helper = home / "faults_helper.py"
    plugin = home / "plugin.py"
    line = "import sys; sys.path.insert(0, __file__.rpartition('/')[0])\n"
    line += "import faults_helper"
    plugin.write_text(source("stale", first=line, value="faults_helper.value()"))
    ids = []
    for value in (1, 2):
        helper.write_text(f"def value():\n    return {value}\n")
        shutil.rmtree(home / "__pycache__", ignore_errors=True)
        ids.append(cell_ids(trial, [plugin], "stale", home / "out"))
    refused = any(not found for found, _ in ids)
    trial.expect("code beside a plugin", refused or ids[0][0] != ids[1][0])
    ids = []
    for text in ("1", "2"):
        files = []
        for folder in ("a", "b"):
            path = home / folder / "method.py"
            path.parent.mkdir(exist_ok=True)
            path.write_text(source(f"of-{folder}", value=text if folder == "a" else "0"))
            files.append(path)
        ids.append(cell_ids(trial, files, "of-a", home / "out"))
    refused = any(not found for found, _ in ids)
    trial.expect("plugins of one name", refused or ids[0][0] != ids[1][0])


def try_mixed_code(trial: Trial) -> None:
    """A6: rows of a method whose file was edited in between do not make one line."""
    home = trial.folder("mixed")
    plugin = home / "mixed.py"
    for seed in ("0", "1"):
        plugin.write_text(source("mixed", value=seed))
        ended = trial.run(home / "out", [plugin], "--methods", "mixed", "--seeds", seed)
    texts = notes_of(home / "out")
    trial.expect("mixed code", bool(texts.get("mixed")), ended)


REFUSED = {  # plugins that are refused with exit code 2 before anything runs
    "taken data set": source(
        "taken", last="from ddl_bench.data.digits import digits\nDATASETS = {'digits': digits}"
    ),
    "taken method": source("sdl"),
    "one name twice": source("twice") + source("twice").replace("class Some", "class Other"),
    "exit at import": source("exits", last="import sys; sys.exit(0)"),
    "hard exit at import": source("exits", last="import os; os._exit(0)"),
    "error at import": source("raises", last="1 / 0"),
    "unclear types": source("unclear", first="").replace(
        "    def start", "    depth: 'NoSuchName' = 1\n    def start"
    ),
}


def try_refused(trial: Trial) -> None:
    """A7, A15: names that are taken, and imports that end the process."""
    for name, text in REFUSED.items():
        home = trial.folder("refused")
        plugin = home / "plugin.py"
        plugin.write_text(text)
        words = ("--methods", "nearest-mean", "--seeds", "0", "--dry-run")
        ended = trial.run(home / "out", [plugin], *words)
        trial.expect(name, ended.code == 2, ended)


def try_plan(trial: Trial) -> None:
    """A1, A12, A13, A15: limits, models that cannot be kept, the command of a row, prints."""
    home = trial.folder("plan")
    plugin = home / "loud.py"
    plugin.write_text(source("loud", last="print('hello')"))
    ids, _ = cell_ids(trial, [plugin], "loud", home / "out")
    trial.expect("print at import", bool(ids))
    words = ("--methods", "loud", "--seeds", "0", "--keep-models")
    ended = trial.run(home / "out", [plugin], *words)
    trial.expect("model that cannot be kept", ended.code == 2, ended)
    limits = ("--methods", "loud", "--seeds", "0", "--time-limit", "41", "--memory-limit-gb", "7")
    trial.run(home / "command", [plugin], *limits)
    command = str(rows_of(home / "command")[0]["provenance"])
    complete = "--time-limit 41" in command and "--memory-limit-gb 7" in command
    trial.expect("command without its limits", complete)
    from ddl_bench.errors import UserError
    from ddl_bench.plan.expansion import Overrides, plan

    try:
        cells = plan("quick", Overrides.of(methods=["sdl"], seeds=[0], budget="3m"))
        trial.expect("budget beyond the limit", all(cell.limits.time_s > 180 for cell in cells))
    except UserError:
        trial.expect("budget beyond the limit", True)


PACKAGES = {  # entry points of a made-up package, and whether the run must be refused
    "broken data set": "[ddl_bench.datasets]\nbroken = no_such_module:load\n",
    "broken method": "[ddl_bench.methods]\nbroken = faults_broken:Broken\n",
    "broken report": "[ddl_bench.reports]\nbroken = no_such_module:write\n",
}


def try_packages(trial: Trial) -> None:
    """A8: packages that cannot be loaded do not harm the methods of others."""
    for name, text in PACKAGES.items():
        home = trial.folder("package")
        site = home / "faults_broken-1.0.dist-info"
        site.mkdir()
        (site / "METADATA").write_text("Metadata-Version: 2.1\nName: faults-broken\nVersion: 1.0\n")
        (site / "entry_points.txt").write_text(text)
        (home / "faults_broken.py").write_text("raise RuntimeError('at import')\n")
        out = str(home / "out")

        def action(home: Path = home, out: str = out) -> None:
            import sys

            sys.path.insert(0, str(home))
            words = ["--methods", "nearest-mean", "--seeds", "0", "--threads", "1", "--out", out]
            commands.command_line(["run", *words])()

        log = home / "log"
        pid = commands.start(action, log)
        code = commands.wait(pid, LIMIT_S)
        ended = commands.Ended(-1 if code is None else code, log.read_text(), code is None)
        trial.expect(name, len(rows_of(home / "out")) == 1, ended)


def try_check(trial: Trial) -> None:
    """A11: `check` does not pass what it has not tried, and ends."""
    for name, inside in {
        "skips all": "from ddl_bench.api import Skip; raise Skip('not for me')",
        "ends in check": "import os; os._exit(0)",
    }.items():
        home = trial.folder("check")
        plugin = home / "plugin.py"
        plugin.write_text(source("unchecked", inside=inside))
        ended = commands.call(["check", str(plugin)], home / "log", seconds=LIMIT_S)
        untried = "skipped" in ended.output or "broken" in ended.output
        trial.expect(name, untried, ended)


def try_conversion(trial: Trial) -> None:
    """A14: hooks are kept by `convert`, or refused."""
    import torch
    from torch import nn

    from detrame import convert

    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(5))
    X = torch.randn(2, 3, 8, 8)
    net(X)
    net.register_forward_pre_hook(lambda module, inputs: (10 * inputs[0],))
    expected = net(X)
    try:
        close = torch.allclose(convert(net)(X), expected, atol=1e-3)
        trial.expect("hook on a network", close)
    except ValueError:
        trial.expect("hook on a network", True)


PARTS: tuple[Callable[[Trial], None], ...] = (
    try_order_and_cache, try_leftovers, try_endings, try_import_effects, try_stale_code,
    try_mixed_code, try_refused, try_plan, try_packages, try_check, try_conversion,
)  # fmt: skip


def try_hostile(scratch: Path, *, smoke: bool) -> Tally:
    """Try every plugin, or those of a few parts."""
    from ddl_bench.cli import commands as imported  # noqa: F401  for all children

    tally = Tally("hostile plugins")
    trial = Trial(scratch, tally)
    try_measured(trial, SMOKE if smoke else MARKED)
    for part in (try_refused, try_conversion) if smoke else PARTS:
        part(trial)
    return tally
