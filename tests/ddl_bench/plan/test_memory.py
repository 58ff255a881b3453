"""What plans remember of methods: it spares an import, and never outlives what it follows from."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from ddl_bench.plan import memory as memories
from ddl_bench.plan.expansion import Overrides, plan
from ddl_bench.plan.memory import Memory
from ddl_bench.registry import METHODS
from tests.conftest import PLUGINS, ROOT


@pytest.fixture
def without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process that has not imported torch."""
    monkeypatch.delitem(sys.modules, "torch")


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of a few sources that stands in the place of the project; returns its folder."""
    folder = tmp_path / "installed"
    package = folder / "baselines"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "method.py").write_text("ANSWER = 1\n")
    (folder / "library-1.0.dist-info").mkdir()
    monkeypatch.setattr(memories, "OURS", frozenset({"baselines"}))
    monkeypatch.setattr(memories, "sources_of", lambda name: sorted((folder / name).rglob("*.py")))
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    entry = EntryPoint("mine", "baselines.method:Mine", METHODS)
    monkeypatch.setattr(memories, "entries", lambda _: {"mine": entry})
    return folder


def asked(path: Path, folder: Path, question: object = 1, answer: str = "answer") -> bool:
    """Ask as a plan does and save; returns whether the class was asked."""
    calls = []

    def ask_class() -> str:
        calls.append(1)
        return answer

    memory = Memory(path)
    given = memory.ask("mine", question, ask_class)
    memory.note_sources("mine", (folder / "baselines").rglob("*.py"))
    memory.save()
    assert given == "answer"
    return bool(calls)


CHANGES: dict[str, Callable[[Path], object]] = {
    "a source changes": lambda folder: (folder / "baselines" / "method.py").write_text("A = 2\n"),
    "a source is new": lambda folder: (folder / "baselines" / "other.py").write_text(""),
    "a source is gone": lambda folder: (folder / "baselines" / "__init__.py").unlink(),
    "a source is renamed": lambda folder: (folder / "baselines" / "method.py").rename(
        folder / "baselines" / "way.py"
    ),
    "a library is upgraded": lambda folder: (folder / "library-1.0.dist-info").rename(
        folder / "library-1.1.dist-info"
    ),
    "a module hides a library": lambda folder: (folder / "numpy.py").write_text(""),
    "a package is new": lambda folder: (folder / "package").mkdir(),
}


@pytest.mark.usefixtures("without_torch")
def test_an_answer_is_remembered(tmp_path: Path, installed: Path) -> None:
    path = tmp_path / "methods.json"
    assert asked(path, installed)
    assert not asked(path, installed)
    assert asked(path, installed, question=2)
    assert not asked(path, installed, question=1)
    assert asked(path, installed, question=1.0)
    assert asked(path, installed, question=True)
    os.utime(installed / "baselines" / "method.py")
    assert not asked(path, installed)


@pytest.mark.usefixtures("without_torch")
@pytest.mark.parametrize("change", CHANGES)
def test_no_answer_outlives_what_it_follows_from(
    tmp_path: Path, installed: Path, change: str
) -> None:
    path = tmp_path / "methods.json"
    assert asked(path, installed)
    CHANGES[change](installed)
    assert asked(path, installed)
    assert not asked(path, installed)


@pytest.mark.usefixtures("without_torch")
def test_another_python_or_another_class_of_the_name_is_asked(
    tmp_path: Path, installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "methods.json"
    assert asked(path, installed)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "version", "4.0")
        assert asked(path, installed)
    entry = EntryPoint("mine", "baselines.method:Other", METHODS)
    monkeypatch.setattr(memories, "entries", lambda _: {"mine": entry})
    assert asked(path, installed)


@pytest.mark.usefixtures("without_torch")
def test_an_edit_during_the_plan_is_not_remembered(tmp_path: Path, installed: Path) -> None:
    path = tmp_path / "methods.json"
    memory = Memory(path)
    memory.ask("mine", 1, lambda: "answer")
    memory.note_sources("mine", [])
    (installed / "baselines" / "method.py").write_text("ANSWER = 3\n")
    memory.save()
    assert not path.exists()


@pytest.mark.usefixtures("without_torch")
@pytest.mark.parametrize("sources", [None, ["/elsewhere/library.py"]])
def test_a_method_that_rests_on_other_sources_is_not_remembered(
    tmp_path: Path, installed: Path, sources: list[str] | None
) -> None:
    path = tmp_path / "methods.json"
    memory = Memory(path)
    memory.ask("mine", 1, lambda: "answer")
    if sources is not None:
        memory.note_sources("mine", map(Path, sources))
    memory.save()
    assert asked(path, installed)


@pytest.mark.usefixtures("without_torch", "installed")
def test_what_a_class_refuses_is_not_remembered(tmp_path: Path) -> None:
    path = tmp_path / "methods.json"

    def refuse() -> object:
        raise ImportError("no such library")

    for _ in range(2):
        memory = Memory(path)
        memory.note_sources("mine", [])
        with pytest.raises(ImportError):
            memory.ask("mine", 1, refuse)
        memory.save()
    assert not path.exists()


@pytest.mark.usefixtures("without_torch")
@pytest.mark.parametrize("content", ["", "[]", "{}", "[" * 100_000, '{"installation": 1}'])
def test_a_damaged_file_is_taken_as_empty(tmp_path: Path, installed: Path, content: str) -> None:
    path = tmp_path / "methods.json"
    path.write_text(content)
    assert asked(path, installed)
    assert not asked(path, installed)
    whole = json.loads(path.read_text())
    path.write_text(json.dumps(whole | {"answers": {"mine": 3}}))
    assert asked(path, installed)


@pytest.mark.usefixtures("without_torch")
def test_other_methods_are_always_asked(
    tmp_path: Path, installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "methods.json"
    entry = EntryPoint("mine", "foreign.method:Mine", METHODS)
    monkeypatch.setattr(memories, "entries", lambda _: {"mine": entry})
    assert asked(path, installed)
    assert asked(path, installed)


def test_a_process_with_torch_asks_the_classes_that_it_has(tmp_path: Path, installed: Path) -> None:
    path = tmp_path / "methods.json"
    assert asked(path, installed)
    assert not path.exists()


def test_a_plan_with_plugins_asks_every_class(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> Any:
        raise AssertionError("remembered")

    memory = Memory()
    monkeypatch.setattr(memory, "ask", refuse)
    options: dict[str, Any] = {"methods": "nearest-mean", "seeds": 0}
    with pytest.raises(AssertionError, match="remembered"):
        plan("quick", Overrides.of(**options), memory)
    assert plan("quick", Overrides.of(**options, plugins=PLUGINS / "naps.py"), memory)


PLAN = """\
import json, sys
from pathlib import Path
from ddl_bench.plan.expansion import Overrides, plan
from ddl_bench.plan.memory import Memory
from ddl_bench.registry import METHODS
memory = Memory(Path(sys.argv[1]))
options = Overrides.of(methods=["nearest-mean", "logistic"], seeds=range(2))
cells = plan("quick", options, memory)
memory.save()
print(json.dumps([[cell.model_dump_json() for cell in cells], "torch" in sys.modules]))
"""


def planned(path: Path, folder: Path) -> tuple[list[str], bool]:
    """Plan in a fresh process; returns the cells, and whether it has imported torch."""
    command = [sys.executable, "-c", PLAN, str(path)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    cells, has_torch = json.loads(done.stdout)
    return cells, has_torch


def test_a_plan_is_the_same_without_the_classes(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    for package in ("baselines", "ddl_bench", "detrame"):
        shutil.copytree(ROOT / package, copy / package)
    path = tmp_path / "methods.json"
    cells, has_torch = planned(path, copy)
    assert has_torch
    assert planned(path, copy) == (cells, False)
    source = copy / "baselines" / "features" / "readout.py"
    source.write_text(source.read_text().replace("ABSENT = ", "ABSENT = 2 * "))
    changed, has_torch = planned(path, copy)
    assert has_torch
    assert changed != cells
    assert planned(path, copy) == (changed, False)
