"""Plugins that distort a run; each must leave a mark: a status, a note in the table, exit code 2.

A mark is looked for as a reader would: in the row, in the note of its line, in what is printed.
The numbers A1 to A15 are those of the kinds of plugins that are tried.
"""

import contextlib
import json
import os
import shutil
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from tests.conftest import PLUGINS, ROOT
from tests.faults import commands
from tests.faults.tally import Tally

if TYPE_CHECKING:
    from ddl_bench.results.rows import Row

# Ways to bend a number, each of which must be marked in its row.
MARKED = (
    "start", "classifier", "call", "passes", "alarm", "reading", "thread", "goes-on", "child",
    "slower-clock", "accuracy", "little", "negative", "fraction", "place", "company",
    "transductive", "freezes", "cache",
    "test-images", "cores", "cores-of-a-thread", "list", "pair", "nothing", "flags", "all-excluded",
)  # fmt: skip
# Ways that do not help, and are as honest as `honest`: nothing may be marked.
HARMLESS = ("honest", "array", "excluded", "slow-clock", "looks", "twins", "elsewhere",
    "sizeless",
)  # fmt: skip
# Ways that no program on the same machine can tell from honest work: SECURITY.md.
UNDETECTABLE = ("disk", "memorised", "short", "slowed", "hidden")
SMOKE = ("honest", "start", "disk")
LOAD_MARKS = {"train_others", "test_others"}  # which come of the machine, not of the method
LIMIT_S = 240.0
HONEST_ACCURACY = 70.0  # percent that the nearest mean surpasses on digits
BLIND_ACCURACY = 30.0  # percent that chance stays below
SLOW_ANSWER_S = 0.01 / 256  # an image, of a method that takes its time
WELL = commands.Ended(0, "", overtime=False)


def documented() -> list[str]:
    """Read the names of the section "What cannot be detected" in SECURITY.md."""
    path = ROOT / "SECURITY.md"
    if not path.exists():
        return []
    _, _, rest = path.read_text().partition("## What cannot be detected")
    section, _, _ = rest.partition("\n## ")
    return [line.split("`")[1] for line in section.splitlines() if line.startswith("- `")]


class Trial:
    """Commands on plugins, each in a folder of its own."""

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
        """Run cells of plugins; returns how the command ended."""
        options = ["--out", str(out), "--threads", "1", "--no-report", "--budget", "1e"]
        for plugin in plugins:
            options += ["--plugin", str(plugin)]
        return self.call(commands.command_line(["run", *options, *words]))

    def call(self, action: Callable[[], object]) -> commands.Ended:
        """Do an action in a child, without a limit of its memory."""
        self._number += 1
        log = self.scratch / f"{self._number}.log"
        return commands.call_action(action, log, seconds=LIMIT_S, memory=None)

    def expect(self, name: str, detected: bool, ended: commands.Ended = WELL) -> None:
        """Count an attempt, which should be detected and must not end in a traceback."""
        self.tally.tried += 1
        fault = ended.fault()
        if fault:
            self.tally.tracebacks.append(f"{name}: {fault}")
        elif not detected:
            self.tally.undetected.append(name)

    def expect_refused(self, name: str, ended: commands.Ended) -> None:
        """Count an attempt that the plan must refuse."""
        self.expect(name, ended.code == 2, ended)


def rows_of(out: Path) -> dict[str, "Row"]:
    """Read the rows of a run, by the way of the method or by its label."""
    from ddl_bench.results.rows import load_rows

    if not (out / "cells").is_dir():
        return {}
    return {str(row.cell.params.get("way", row.cell.label)): row for row in load_rows(out)}


def marks_of(row: "Row | None") -> set[str]:
    """What marks a row: its status, and its notes without those of a loaded machine."""
    from ddl_bench.results.marks import marks

    if row is None:
        return {"no row"}
    if row.status != "ok":
        return {row.status}
    return set(marks(row)) - LOAD_MARKS


def try_ways(trial: Trial, ways: tuple[str, ...]) -> None:
    """A3, A4, A9, A10, A12: numbers that mislead, beside honest ones."""
    out = trial.folder("ways")
    methods = ",".join(f"dishonest[way={way}]" for way in ways)
    words = ("--methods", methods, "--seeds", "0")
    ended = trial.run(out, [PLUGINS / "dishonest.py"], *words)
    if ended.fault():
        trial.tally.tracebacks.append(f"a run of dishonest methods: {ended.fault()}")
    rows = rows_of(out)
    for way in ways:
        row = rows.get(way)
        names = marks_of(row)
        if way in HARMLESS:
            trial.tally.tried += 1
            low = row is None or (row.measured.accuracy or 0.0) < HONEST_ACCURACY
            if names or low:
                trial.tally.lost.append(f"{way} is marked: {names or 'its accuracy is low'}")
        elif way == "cache" and row is not None and not names:
            trial.expect(way, (row.measured.test_s_per_image or 0.0) > SLOW_ANSWER_S)
        else:
            trial.expect(way, bool(names))


def sorted_images(path: Path) -> None:
    """Write digits, class by class, to an .npz file."""
    import numpy as np
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = np.argsort(digits.target, kind="stable")
    X = digits.images[order].astype(np.uint8)
    y = digits.target[order]
    np.savez(path, x_train=X[::2], y_train=y[::2], x_test=X[1::2], y_test=y[1::2])


def try_order(trial: Trial) -> None:
    """A5: the place of a test image says nothing, also where they are sorted by class."""
    out = trial.folder("order")
    images = out.with_suffix(".npz")
    sorted_images(images)
    words = ("--methods", "dishonest[way=place]", "--seeds", "0", "--datasets", str(images))
    ended = trial.run(out, [PLUGINS / "dishonest.py"], *words)
    row = rows_of(out).get("place")
    blind = row is not None and (row.measured.accuracy or 0.0) < BLIND_ACCURACY
    trial.expect("place among sorted images", blind, ended)


@contextlib.contextmanager
def busy_cores(scratch: Path) -> Iterator[None]:
    """Let two processes compute on each core meanwhile."""

    def compute() -> None:
        end = time.monotonic() + LIMIT_S
        while time.monotonic() < end:
            pass

    number = 2 * (os.cpu_count() or 1)
    pids = [commands.start(compute, scratch / f"busy{index}.log") for index in range(number)]
    try:
        yield
    finally:
        for pid in pids:
            commands.stop(pid)


LEAVING = {  # methods that leave a process behind, and their plugins
    "untidy[way=session]": PLUGINS / "untidy.py",
    "misbehave[way=orphan]": PLUGINS / "misbehaving.py",
}


def try_load(trial: Trial) -> None:
    """A9: a loaded machine is noted; what a method leaves behind ends with its cell."""
    from ddl_bench.results.marks import marks

    out = trial.folder("load")
    plugin = PLUGINS / "dishonest.py"
    words = ("--methods", "dishonest[way=honest]", "--seeds", "0")
    with busy_cores(trial.scratch):
        ended = trial.run(out, [plugin], *words)
    row = rows_of(out).get("honest")
    loaded = row is not None and bool(LOAD_MARKS & set(marks(row)))
    trial.expect("loaded machine", loaded, ended)
    for method, plugin in LEAVING.items():
        out = trial.folder("leaving")
        ended = trial.run(out, [plugin], "--methods", method, "--seeds", "0")
        left = sleepers()
        for process in left:
            process.kill()
        trial.expect(f"{method} leaves a child", not left and bool(rows_of(out)), ended)


def sleepers() -> list[psutil.Process]:
    """List the children that the plugins of the tests leave behind."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if process.info["cmdline"] in (["sleep", "611"], ["sleep", "602"]):
            found.append(process)
    return found


def try_two_runners(trial: Trial) -> None:
    """A9: two runners of one machine never compute on the same core at the same time."""
    pids = []
    outs = []
    for number in (1, 2):
        out = trial.folder(f"runner{number}")
        words = ["--methods", "dishonest[way=honest]", "--seeds", "0", "--jobs", "1"]
        words += ["--threads", "1", "--no-report", "--budget", "1e", "--out", str(out)]
        words += ["--plugin", str(PLUGINS / "dishonest.py")]
        action = commands.command_line(["run", *words])
        pids.append(commands.start(action, out.with_suffix(".log")))
        outs.append(out)
    for pid in pids:
        if commands.wait(pid, LIMIT_S) is None:
            commands.stop(pid)
    spans = []
    for out in outs:
        row = rows_of(out).get("honest")
        if row is not None:
            spans.append(set(row.provenance["cores_used"]))
    apart = (os.cpu_count() or 1) < 2 or (len(spans) == 2 and not spans[0] & spans[1])
    trial.expect("two runners on one core", apart)


ENDINGS = {  # what a method does, and the statuses that its row may have; "" for no row
    "misbehave[way=remove]": ("ok", "crashed", "failed", ""),
    "misbehave[way=long-reason]": ("failed",),
    "misbehave[way=nan]": ("diverged", "failed"),  # the text, not the number
    "misbehave[way=1]": ("ok",),
    "misbehave[way=exit]": ("crashed",),
    "misbehave[way=pipes]": ("crashed",),
    "misbehave[way=exit-politely]": ("crashed", "failed"),
    "misbehave[way=import]": ("not_installed",),
    "misbehave[way=oom]": ("oom",),
}


def try_endings(trial: Trial) -> None:
    """A12, A15: methods that end in odd ways, and texts that look like numbers."""
    plugin = PLUGINS / "misbehaving.py"
    for method, expected in ENDINGS.items():
        out = trial.folder("ending")
        ended = trial.run(out, [plugin], "--methods", method, "--seeds", "0", "--json")
        statuses: list[str] = [row.status for row in rows_of(out).values()]
        statuses.append("")
        trial.expect(method, statuses[0] in expected and len(ended.output) < 20_000, ended)


TEMPLATE = """\
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
    return TEMPLATE.format(name=name, first=first, inside=inside, last=last, value=value)


IMPORT_EFFECTS = (
    "torch.set_default_dtype(torch.float64)",
    "torch.backends.mkldnn.enabled = False",
    "torch.nn.functional.relu = torch.nn.functional.relu6",
)


def try_import_effects(trial: Trial) -> None:
    """A2: what a plugin changes at its import does not reach the methods of another."""
    home = trial.folder("import")
    seen = home / "seen"
    state = "torch.get_default_dtype(), torch.backends.mkldnn.enabled, "
    state += "torch.nn.functional.relu.__name__"
    victim = home / "victim.py"
    record = f"open({str(seen)!r}, 'a').write(repr(({state})) + '\\n')"
    victim.write_text(source("victim", inside=record))
    loud = home / "loud.py"
    loud.write_text(source("loud", first="\n".join(IMPORT_EFFECTS)))
    ended = trial.run(home / "out", [loud, victim], "--methods", "victim", "--seeds", "0")
    states = set(seen.read_text().splitlines()) if seen.exists() else set()
    trial.expect("import effect", states == {"(torch.float32, True, 'relu')"}, ended)


def cell_ids(trial: Trial, plugins: list[Path], method: str, out: Path) -> list[str]:
    """Plan a method of a plugin: the IDs of its cells; none where standard output is no JSON."""
    words = ("--methods", method, "--seeds", "0", "--dry-run", "--json")
    ended = trial.run(out, plugins, *words)
    start = ended.output.find("[")
    with contextlib.suppress(ValueError, KeyError, TypeError):
        records, _ = json.JSONDecoder().raw_decode(ended.output[max(0, start) :])
        return [record["cell"] for record in records]
    return []


def differ(ids: list[list[str]]) -> bool:
    """Whether two plans have other cells, or one was refused."""
    first, second = ids
    return not first or not second or first != second


def try_stale_code(trial: Trial) -> None:
    """A6: code beside a plugin counts, and plugins of one file name do not mix."""
    home = trial.folder("stale")
    helper = home / "faults_helper.py"
    plugin = home / "plugin.py"
    plugin.write_text(source("stale", first="import faults_helper", value="faults_helper.value()"))
    ids = []
    for value in (1, 2):
        helper.write_text(f"def value():\n    return {value}\n")
        shutil.rmtree(home / "__pycache__", ignore_errors=True)
        ids.append(cell_ids(trial, [plugin], "stale", home / "out"))
    trial.expect("code beside a plugin", differ(ids))
    ids = []
    for text in ("1", "2"):
        files = []
        for folder in ("a", "b"):
            path = home / folder / "method.py"
            path.parent.mkdir(exist_ok=True)
            code = source(f"of-{folder}", value=text if folder == "a" else "0")
            path.write_text(code)
            files.append(path)
        ids.append(cell_ids(trial, files, "of-a", home / "out"))
    trial.expect("plugins of one name", differ(ids))


def try_mixed_code(trial: Trial) -> None:
    """A6: rows of a method whose file was edited in between do not make one line in silence."""
    from ddl_bench.results.groups import gather
    from ddl_bench.results.rows import load_rows
    from ddl_bench.results.table import notes

    home = trial.folder("mixed")
    plugin = home / "mixed.py"
    for seed in ("0", "1"):
        plugin.write_text(source("mixed", value=seed))
        ended = trial.run(home / "out", [plugin], "--methods", "mixed", "--seeds", seed)
    groups = gather(load_rows(home / "out"))
    told = len(groups) > 1 or any(notes(group) for group in groups)
    trial.expect("mixed code", told, ended)


UNCLEAR = source("unclear").replace("    def start", "    depth: 'NoSuchName' = 1\n    def start")
REFUSED = {  # plugins, and the method that is planned, with exit code 2 before anything runs
    "taken data set": (
        source("taken", last="DATASETS = {'digits': lambda data_dir, download: None}"),
        "nearest-mean",
    ),
    "taken method": (source("sdl"), "nearest-mean"),
    "one name twice": (
        source("twice") + source("twice").replace("class Some", "class Other"),
        "nearest-mean",
    ),
    "name with a comma": (source("a,b"), "nearest-mean"),
    "exit at import": (source("exits", last="import sys; sys.exit(0)"), "nearest-mean"),
    "hard exit at import": (source("exits", last="import os; os._exit(0)"), "nearest-mean"),
    "error at import": (source("raises", last="1 / 0"), "nearest-mean"),
    "unclear types": (UNCLEAR, "unclear[depth=2]"),
}


def try_refused(trial: Trial) -> None:
    """A7, A15: names that are taken, and imports that end the process."""
    for name, (text, method) in REFUSED.items():
        home = trial.folder("refused")
        plugin = home / "plugin.py"
        plugin.write_text(text)
        words = ("--methods", method, "--seeds", "0", "--dry-run")
        trial.expect_refused(name, trial.run(home / "out", [plugin], *words))


def try_plan(trial: Trial) -> None:
    """A1, A12, A13, A15: limits, models that cannot be kept, the command of a row, prints."""
    home = trial.folder("plan")
    plugin = home / "loud.py"
    plugin.write_text(source("loud", last="print('hello')"))
    trial.expect("print at import", bool(cell_ids(trial, [plugin], "loud", home / "out")))
    words = ("--methods", "loud", "--seeds", "0", "--keep-models")
    trial.expect_refused("model that cannot be kept", trial.run(home / "out", [plugin], *words))
    limits = ("--methods", "loud", "--seeds", "0", "--time-limit", "41", "--memory-limit-gb", "7")
    trial.run(home / "command", [plugin], *limits)
    told = [str(row.provenance["command"]) for row in rows_of(home / "command").values()]
    complete = all("--time-limit 41" in text and "--memory-limit-gb 7" in text for text in told)
    trial.expect("command without its limits", bool(told) and complete)
    from ddl_bench.errors import UserError
    from ddl_bench.plan.expansion import Overrides, plan

    try:
        cells = plan("quick", Overrides.of(methods=["sdl"], seeds=[0], budget="3m"))
        trial.expect("budget beyond the limit", all(cell.limits.time_s > 180 for cell in cells))
    except UserError:
        trial.expect("budget beyond the limit", True)


PACKAGES = {  # entry points of a made-up package
    "broken data set": "[ddl_bench.datasets]\nbroken = no_such_module:load\n",
    "broken method": "[ddl_bench.methods]\nbroken = faults_broken:Broken\n",
    "broken report": "[ddl_bench.reports]\nbroken = no_such_module:write\n",
    "package that takes a method": "[ddl_bench.methods]\nnearest-mean = faults_broken:Broken\n",
    "package that takes a data set": "[ddl_bench.datasets]\ndigits = faults_broken:load\n",
}


def try_packages(trial: Trial) -> None:
    """A7, A8: installed packages that cannot be loaded, or take names, harm no method of others."""
    for name, text in PACKAGES.items():
        home = trial.folder("package")
        site = home / "faults_broken-1.0.dist-info"
        site.mkdir()
        (site / "METADATA").write_text("Metadata-Version: 2.1\nName: faults-broken\nVersion: 1.0\n")
        (site / "entry_points.txt").write_text(text)
        (home / "faults_broken.py").write_text("raise RuntimeError('at import')\n")
        words = ["--methods", "nearest-mean", "--seeds", "0", "--threads", "1"]
        words += ["--out", str(home / "out")]
        if "report" not in name:
            words.append("--no-report")

        def action(home: Path = home, words: list[str] = words) -> None:
            import sys

            sys.path.insert(0, str(home))
            commands.command_line(["run", *words])()

        ended = trial.call(action)
        rows = rows_of(home / "out").values()
        unharmed = [row.status for row in rows] == ["ok"]
        named = "takes" not in name or "it is ignored" in ended.output
        trial.expect(name, unharmed and named, ended)


CHECKED = {  # what a method does in start(), which `check` must not pass as tried and held
    "skips all": "from ddl_bench.api import Skip; raise Skip('not for me')",
    "ends in check": "import os; os._exit(0)",
    "forks in check": "import os; os.fork()",
    "learns in start": "import time; end = time.time() + 1\n        while time.time() < end: pass",
}


def try_check(trial: Trial) -> None:
    """A11: `check` does not pass what it has not tried, and ends."""
    for name, inside in CHECKED.items():
        home = trial.folder("check")
        plugin = home / "plugin.py"
        plugin.write_text(source("unchecked", inside=inside))
        ended = trial.call(commands.command_line(["check", str(plugin), "--like", "1x8x8"]))
        trial.expect(name, "skipped" in ended.output or "broken" in ended.output, ended)
    for name, text in {
        "taken name in check": source("sdl"),
        "name with a comma in check": source("a,b"),
        "unclear types in check": UNCLEAR,
        "exit at import in check": source("exits", last="import os; os._exit(0)"),
    }.items():
        home = trial.folder("check")
        plugin = home / "plugin.py"
        plugin.write_text(text)
        ended = trial.call(commands.command_line(["check", str(plugin), "--like", "1x8x8"]))
        trial.expect(name, ended.code in (1, 2), ended)


def try_conversion(trial: Trial) -> None:
    """A14: hooks are kept by `convert` and `fold`, or refused; wrapped networks are refused."""
    import torch
    from torch import nn

    from detrame import convert, fold

    def plain() -> nn.Sequential:
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5))

    def with_pre_hook() -> nn.Module:
        net = plain()
        net.register_forward_pre_hook(lambda module, inputs: (10 * inputs[0],))
        return net

    def with_hook() -> nn.Module:
        net = plain()
        net.register_forward_hook(lambda module, inputs, output: 3 * output)
        return net

    def with_inner_hook() -> nn.Module:
        net = plain()
        net[1].register_forward_hook(lambda module, inputs, output: 3 * output)
        return net

    def scripted() -> nn.Module:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch has newer ways
            return torch.jit.script(plain())

    X = torch.randn(2, 3, 8, 8)
    nets: dict[str, Callable[[], nn.Module]] = {
        "hook before a network": with_pre_hook,
        "hook on a network": with_hook,
        "hook on a ReLU": with_inner_hook,
        "wrapped network": lambda: nn.DataParallel(plain()),
        "scripted network": scripted,
    }
    changes: dict[str, Callable[[nn.Module], nn.Module]] = {
        "convert": convert,
        "fold": lambda net: fold(convert(net)),
    }
    for name, make in nets.items():
        for change_name, change in changes.items():
            net = make().eval()
            expected = net(X)
            try:
                close = torch.allclose(change(net)(X), expected, atol=1e-3)
            except (ValueError, TypeError):  # refused
                close = True
            trial.expect(f"{name}, {change_name}", close)


PARTS: tuple[Callable[[Trial], None], ...] = (
    try_order, try_load, try_two_runners, try_endings, try_import_effects, try_stale_code,
    try_mixed_code, try_refused, try_plan, try_packages, try_check, try_conversion,
)  # fmt: skip
SMOKE_PARTS: tuple[Callable[[Trial], None], ...] = (try_refused, try_conversion)


def try_hostile(scratch: Path, *, smoke: bool) -> Tally:
    """Try every plugin, or those of a few parts."""
    from ddl_bench.cli import running as imported  # noqa: F401  for all children

    tally = Tally("hostile plugins")
    trial = Trial(scratch, tally)
    try_ways(trial, SMOKE if smoke else (*HARMLESS, *MARKED, *UNDETECTABLE))
    for part in SMOKE_PARTS if smoke else PARTS:
        part(trial)
    return tally
