"""Every registered method keeps the contract; and the contract finds what is broken."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from ddl_bench import describe
from ddl_bench.api import Budget, Classifier, OneShot, Size, Skip, Stepwise, Task, Training
from ddl_bench.contract import Finding
from ddl_bench.contract.check import check
from ddl_bench.contract.check import findings as iterate
from ddl_bench.contract.examine import examine
from ddl_bench.contract.rules import RULES, TO_THE_END, Broken, trains
from ddl_bench.contract.toys import SHAPES, shape_like
from ddl_bench.errors import UserError
from ddl_bench.registry import METHODS, load_method
from tests.conftest import ddl_bench

NAMES = sorted(entry.name for entry in entry_points(group=METHODS))
FAMILIES = {name: describe.method(name)["family"] for name in NAMES}
EXTRAS = {name: needs for name in NAMES if (needs := describe.method(name)["needs"])}
SCORES = """
import hashlib, sys, torch
from ddl_bench.api import Budget
from ddl_bench.contract.rules import EPOCHS, train
from ddl_bench.contract.toys import toy_task
from ddl_bench.registry import load_method
torch.set_num_threads(1)
task, test = toy_task()
for name in sys.argv[1:]:
    scores = train(load_method(name)(), task, Budget(epochs=EPOCHS)).classifier()(test.X)
    print(name, hashlib.sha256(scores.contiguous().numpy().tobytes()).hexdigest())
"""


@pytest.fixture(autouse=True)
def coverage_of_children() -> None:
    """Keep them in the coverage: methods are checked in a process of their own."""


def broken(found: Iterable[Finding]) -> list[str]:
    return [f"{each.rule}: {each.detail}" for each in found if each.status == "broken"]


@pytest.mark.parametrize("name", NAMES)
def test_method_keeps_the_contract(name: str) -> None:
    for extra in EXTRAS.get(name, ()):
        pytest.importorskip(extra, reason=f"the extra `{extra}` is not installed")
    # Where patches are coded, larger images take the same way as those of 16 pixels, and long.
    shapes = SHAPES[:2] if FAMILIES[name].startswith("dictionaries") else SHAPES
    findings = list(examine(load_method(name), shapes, limit_s=300))  # slow machines are not hangs
    assert broken(iter(findings)) == []
    skipped = [each.detail for each in findings if each.status == "skipped"]
    assert len(skipped) <= 2, skipped


def test_predictions_are_identical_in_two_processes() -> None:
    names = [name for name in NAMES if name not in EXTRAS]
    command = [sys.executable, "-c", SCORES, *names]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate(timeout=300)[0] for process in both]
    assert outputs[0].count("\n") == len(names)
    assert outputs[0] == outputs[1]


class Mean:
    """Nearest class mean, with a fault on request."""

    def __init__(self, means: Tensor, fault: str = "") -> None:
        self.means = means
        self.fault = fault
        self.answers: dict[int, Tensor] = {}
        self.n_calls = 0

    def size(self) -> Size:
        n = self.means.numel()
        if self.fault == "negative":
            return Size(n_params=-n, n_stored=n)
        if self.fault == "numpy":
            n = np.int64(n)  # type: ignore[assignment]  # as the size of an array may be
        return Size(n_params=n, n_stored=n - 1 if self.fault == "size" else n)

    def __call__(self, X: Tensor, /) -> Tensor:
        if self.fault == "paint":
            X[:] = 0
        flat = X.flatten(1).float()
        if self.fault == "batch" and len(flat) > 1:
            flat = flat - flat.mean(0)
        if self.fault == "place":
            flat[len(flat) // 2 :] = 0
        if self.fault == "last" and len(flat) > 1:
            flat[-1] = 0
        if self.fault == "company" and len(flat.unique(dim=0)) < len(flat):
            flat = flat - flat.mean(0)
        self.n_calls += 1
        if self.fault == "call" and self.n_calls == 1:
            compute(0.8)
        scores = -torch.cdist(flat, self.means)
        if self.fault == "masked":
            scores[:, 0] = -torch.inf
        if self.fault == "answers" and len(X) > 1:
            return self.answers.setdefault(X.data_ptr(), scores)
        return scores


class KeptMean(Mean):
    """The same with a state, which on request has a number too few, or an array twice."""

    def state(self) -> dict[str, Tensor]:
        if self.fault == "tied":
            return {"means": self.means, "again": self.means}
        return {"means": self.means.flatten()[1:] if self.fault == "state" else self.means}


def compute(seconds: float) -> None:
    """Use CPU time."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        sum(range(1000))


class Late(OneShot):
    """Learns when it is asked for the classifier."""

    def classifier(self) -> Classifier:
        compute(0.8)
        return super().classifier()


@dataclass(frozen=True)
class Faulty:
    """A nearest-mean method whose fault is a class attribute of its subclasses."""

    name: ClassVar[str] = "faulty"
    fault: ClassVar[str] = ""

    def start(self, task: Task, budget: Budget) -> Training:
        if self.fault == "picky":
            raise Skip("made for other images")
        if self.fault == "large" and task.image_shape != (3, 32, 32):
            raise Skip("made for 3x32x32")

        def means() -> Tensor:
            X = task.train.X.flatten(1).float()
            labels = range(task.n_classes)
            return torch.stack([X[task.train.y == label].mean(0) for label in labels])

        def fit() -> Classifier:
            learned = means()
            if self.fault == "thread":
                threading.Thread(target=compute, args=(2.0,), daemon=True).start()
            if self.fault == "child":
                busy = ["-c", "while True: pass"]
                os.spawnv(os.P_NOWAIT, sys.executable, [sys.executable, *busy])  # until check ends
            if self.fault == "folder":
                os.chdir("/")
            if self.fault == "hang":
                while True:
                    time.sleep(0.05)
            if self.fault == "interrupt":
                raise KeyboardInterrupt
            if self.fault == "seed":
                learned = learned + torch.rand(learned.shape)
            if self.fault == "constant":
                learned = learned[:1].expand(len(learned), -1).clone()
            cls = KeptMean if self.fault in ("state", "tied") else Mean
            return cls(learned, self.fault)

        def steps(deadline: object) -> Iterator[Classifier]:
            shared = Mean(means())
            for _ in range(3):
                yield shared
                shared.means = shared.means * 0.5

        if self.fault == "start":
            compute(0.8)
        if self.fault == "classifier":
            return Late(fit)
        return Stepwise(steps) if self.fault == "snapshot" else OneShot(fit)


def faulty(fault: str, name: str = "faulty") -> type[Faulty]:
    body = {"fault": fault, "name": name, "__annotations__": {}}
    return dataclass(frozen=True)(type("Sub", (Faulty,), body))


@pytest.mark.parametrize(
    ("fault", "rule"),
    [
        ("size", "counts its own size"),
        ("negative", "counts its own size"),
        ("state", "counts its own size"),
        ("paint", "leaves the images"),
        ("batch", "scores them"),
        ("place", "scores them"),
        ("interrupt", "scores them"),
        ("seed", "gives the same scores"),
        ("constant", "learns more than chance"),
        ("snapshot", "keeps a snapshot"),
        ("picky", "trains on some"),
        ("answers", "keeps no answers"),
        ("company", "in any place and company"),
        ("start", "learns in advance() alone"),
        ("classifier", "learns in advance() alone"),
        ("call", "learns in advance() alone"),
        ("thread", "computes nothing after"),
        ("child", "computes nothing after"),
        ("folder", "stays in the folder"),
    ],
)
def test_the_contract_finds_a_fault(fault: str, rule: str) -> None:
    assert any(rule in text for text in broken(check(faulty(fault), "1x8x8")))


@pytest.mark.parametrize("kind", ["numpy", "tied"])
def test_a_size_that_a_run_accepts_breaks_no_rule(kind: str) -> None:
    RULES["counts its own size rightly"](faulty(kind), SHAPES[0])


def test_the_last_image_of_a_batch_is_looked_at() -> None:
    with pytest.raises(Broken, match="scored alone gets other scores"):
        trains(faulty("last"), SHAPES[0], TO_THE_END)


def test_a_score_of_minus_infinity_excludes_a_class() -> None:
    texts = broken(check(faulty("masked"), "1x8x8"))
    assert not any("finite" in text for text in texts)


def test_a_sound_method_breaks_no_rule_and_what_is_not_tried_says_why() -> None:
    findings = list(check(faulty("")))
    assert broken(iter(findings)) == []
    (kept,) = [each for each in findings if each.status == "skipped"]
    assert "no state() and restore()" in kept.detail


def test_rules_are_tried_on_images_that_the_method_accepts() -> None:
    findings = list(check(faulty("large")))
    skipped = [each for each in findings if each.detail == "made for 3x32x32"]
    assert ["trains on" in each.rule for each in skipped] == [True] * 3
    assert next(each for each in findings if "learns more" in each.rule).status == "held"
    alone = list(check(faulty("large"), "cifar10"))
    assert not any("8x8" in each.rule for each in alone)
    assert broken(iter(alone)) == []


def test_a_method_that_accepts_nothing_was_never_tried() -> None:
    findings = list(check(faulty("picky")))
    learned = next(each for each in findings if "learns more" in each.rule)
    assert (learned.status, "made for other images" in learned.detail) == ("skipped", True)
    assert any("--like" in text for text in broken(iter(findings)))


def test_a_method_that_hangs_is_bounded_and_its_findings_come_one_by_one() -> None:
    began = time.perf_counter()
    one_by_one = iterate(faulty("hang"), "1x8x8", limit_s=0.5)
    assert next(one_by_one).status == "held"
    rest = list(one_by_one)
    assert time.perf_counter() - began < 60
    (hung,) = broken(iter(rest))
    assert "still running after 0.5 s" in hung
    assert {each.status for each in rest[-11:]} == {"skipped"}


def test_children_of_a_method_are_ended() -> None:
    children: list[subprocess.Popen[bytes]] = []

    @dataclass(frozen=True)
    class Forks(Faulty):
        name: ClassVar[str] = "forks"

        def start(self, task: Task, budget: Budget) -> Training:
            children.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]))
            return super().start(task, budget)

    list(check(Forks, "1x8x8"))
    assert children
    assert {child.wait(10) for child in children} == {-signal.SIGKILL}


@pytest.mark.parametrize(
    ("name", "words"),
    [("a,b", "letters, digits"), ("m[x=1]", "letters, digits"), ("ml-ista", "is the name of")],
)
def test_an_unusable_name_is_a_finding(name: str, words: str) -> None:
    (found,) = [text for text in broken(check(faulty("", name), "1x8x8")) if "a name" in text]
    assert words in found


def test_annotations_that_do_not_resolve_are_a_finding(tmp_path: Path) -> None:
    path = tmp_path / "future.py"
    path.write_text(
        textwrap.dedent("""
        from __future__ import annotations
        from dataclasses import dataclass
        from typing import TYPE_CHECKING, ClassVar
        if TYPE_CHECKING:
            from collections import OrderedDict as Missing

        @dataclass(frozen=True)
        class Future:
            name: ClassVar[str] = "future"
            option: Missing | None = None

            def start(self, task, budget): ...
        """)
    )
    *_, last = check(str(path))
    assert last.status == "broken"
    assert "Missing" in last.detail


def test_check_explains_what_is_not_a_method(tmp_path: Path) -> None:
    class Loose:
        name = "loose"

        def start(self, task: Task) -> None: ...

    (finding,) = check(Loose)  # type: ignore[arg-type]
    assert finding.status == "broken"
    assert "@dataclass(frozen=True)" in finding.detail
    path = tmp_path / "empty.py"
    path.write_text("")
    with pytest.raises(UserError, match="no method in it"):
        list(check(str(path)))


DEADLY = """
import os, re, signal
from ddl_bench import from_function

def fit(X, y):
    print("words")
    os.write(1, b"more words")
    {act}

Deadly = from_function("deadly", fit)
Next = from_function("next", lambda X, y: lambda test: test[:, :3])
"""


@pytest.mark.parametrize(
    ("act", "detail"),
    [
        ("os._exit(0)", "ended with exit code 0"),
        ("os._exit(7)", "ended with exit code 7"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "killed by SIGSEGV"),
        (
            "re.match('(a+)+$', 40 * 'a' + 'b')  # holds the lock of the interpreter",
            "still running",
        ),
    ],
)
def test_a_plugin_that_ends_its_process_is_a_finding(
    act: str, detail: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ddl_bench.contract.check.GRACE_S", 0.5)
    path = tmp_path / "deadly.py"
    path.write_text(DEADLY.format(act=act))
    findings = list(check(str(path), "1x8x8", limit_s=5))
    of_deadly = [each for each in findings if each.rule.startswith("deadly ")]
    assert [each.status for each in of_deadly] == ["held"] * 3 + ["broken"]
    assert "trains on 1x8x8 images" in of_deadly[-1].rule
    assert detail in of_deadly[-1].detail
    of_next = findings[len(of_deadly) :]
    assert of_next[-1].rule == "next keeps a budget in seconds"


def test_a_plugin_that_exits_at_its_import_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "deadly.py"
    path.write_text("import os\nos._exit(0)\n")
    with pytest.raises(UserError, match=r"deadly\.py, line 2: SystemExit: os\._exit\(0\)"):
        list(check(str(path)))


def test_a_plugin_that_kills_its_process_at_import_is_a_finding(tmp_path: Path) -> None:
    path = tmp_path / "deadly.py"
    path.write_text("import os\nos.kill(os.getpid(), 9)\n")
    (finding,) = check(str(path))
    assert (finding.rule, finding.status) == (f"{path} can be imported", "broken")


def test_a_plugin_that_forks_is_checked_once(tmp_path: Path) -> None:
    path = tmp_path / "forks.py"
    path.write_text(f"import os\nos.fork()\n{DEADLY.format(act='os.fork(); return None')}")
    found = check(str(path), "1x8x8")
    assert isinstance(found, list)
    rules = [each.rule for each in found]
    assert len(rules) == len(set(rules)) == 2 * 15


def test_shapes_of_data_sets() -> None:
    assert shape_like("cifar100") == (3, 32, 32)
    assert shape_like("digits") == (1, 8, 8)
    assert shape_like("2x5x7") == (2, 5, 7)
    with pytest.raises(UserError, match="no such data set"):
        shape_like("cifar11")
    with pytest.raises(UserError, match="no such data set"):
        shape_like("0x8x8")


def test_the_command_prints_findings_and_ends_with_1_where_a_rule_is_broken(
    tmp_path: Path,
) -> None:
    path = tmp_path / "picky.py"
    path.write_text(
        textwrap.dedent("""
        from ddl_bench import from_function
        from ddl_bench.api import Skip

        def fit(X, y):
            print("words")
            raise Skip("never")

        Picky = from_function("picky", fit)
        """)
    )
    printed = ddl_bench(["check", path, "--like", "1x8x8"], code=1)
    assert "skipped picky trains on 1x8x8 images and scores them: never" in printed
    assert "broken  picky trains on some of these images" in printed
    command = [sys.executable, "-m", "ddl_bench", "check", str(path), "--like", "1x8x8", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    records = json.loads(done.stdout)
    assert {record["status"] for record in records} == {"held", "skipped", "broken"}
    assert (done.returncode, "words" in done.stderr) == (1, True)


RAISES = """
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Bad:
    name: ClassVar[str] = "bad"

    def start(self, task, budget):
        raise KeyError("no such thing")
"""


def test_one_error_is_told_once(tmp_path: Path) -> None:
    path = tmp_path / "bad.py"
    path.write_text(RAISES)
    findings = list(check(str(path)))
    (told,) = [each for each in findings if "no such thing" in each.detail]
    assert (told.status, told.rule) == ("broken", "bad trains on 1x8x8 images and scores them")
    rest = findings[findings.index(told) + 1 :]
    assert {(each.status, each.detail) for each in rest} == {("skipped", "ended by the same error")}
