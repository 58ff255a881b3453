"""A little of the program that tries to hurt the harness, and what it says."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.faults.__main__ import PARTS, TOGETHER
from tests.faults.commands import Ended, call_action
from tests.faults.hostile import HARMLESS, MARKED, UNDETECTABLE, documented
from tests.faults.tally import Tally, table

pytestmark = pytest.mark.no_cover  # smaller tests cover it


ALONE = [(part,) for part in PARTS if part not in TOGETHER]


@pytest.mark.parametrize("parts", [*ALONE, TOGETHER], ids=" and ".join)
def test_the_harness_survives_a_little_of_each_part(parts: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "tests.faults", "--smoke"]
    for part in parts:
        command += ["--only", part]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr[-2_000:]


def test_what_cannot_be_detected_is_documented() -> None:
    assert sorted(documented()) == sorted(UNDETECTABLE)
    assert not set(UNDETECTABLE) & {*MARKED, *HARMLESS}


def test_each_fault_counts_but_those_that_are_documented() -> None:
    tally = Tally("inputs", tried=3, torn=["a"], undetected=["b", "c"])
    assert tally.faults(["b"]) == ["inputs: torn: a", "inputs: undetected: c"]
    text = table([tally], ["b"])
    assert "undetected: b, c\n\n2 went wrong:\n" in text
    assert "nothing went wrong" in table([Tally("inputs", undetected=["b"])], ["b"])


@pytest.mark.parametrize("line", ["Traceback (most recent call last):", "Aborted."])
def test_an_ugly_end_is_seen(line: str) -> None:
    assert Ended(1, f"words\n{line}\nValueError: no\n", overtime=False).fault()
    assert not Ended(2, "ddl-bench: no such track\n", overtime=False).fault()


def test_a_command_that_computes_too_long_is_endless(tmp_path: Path) -> None:
    def spin() -> None:
        while True:
            pass

    ended = call_action(spin, tmp_path / "log", seconds=60.0, busy_s=1)
    assert (ended.code, ended.fault()) == (-signal.SIGXCPU, "endless")
