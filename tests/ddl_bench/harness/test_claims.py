"""Claims: one runner for each cell, whatever clocks, containers, kills and pauses do."""

import errno
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from ddl_bench.errors import UserError
from ddl_bench.harness import claims, cores
from ddl_bench.harness.claims import Claim, claim, holder, this_process

HOUR_S = 3600.0


@pytest.fixture
def work(tmp_path: Path) -> Path:
    return tmp_path


def foreign(work: Path, *, age_s: float, **changes: object) -> Path:
    """Write the claim of a runner on another machine, whose last sign of life is so old."""
    path = work / "cell.claim.1"
    content = {**this_process(), "place": "elsewhere", "host": "elsewhere", "token": "x", **changes}
    path.write_text(json.dumps(content))
    when = claims.clock_of(work) - age_s
    os.utime(path, (when, when))
    return path


def test_a_claim_keeps_others_off_until_it_is_released(work: Path) -> None:
    first = claim(work, "cell")
    assert first is not None
    assert claim(work, "cell") is None
    assert holder(work, "cell") == f"process {os.getpid()} on {os.uname().nodename}"
    first.release()
    assert holder(work, "cell") == ""
    second = claim(work, "cell")
    assert second is not None
    assert second.is_held()
    assert not first.is_held(), "the second file has the name of the first"
    first.release()
    assert second.is_held(), "a claim that is over releases nothing of its successor"


@pytest.mark.parametrize("shift_s", [-HOUR_S, HOUR_S], ids=["behind", "ahead"])
def test_the_clock_of_this_machine_does_not_matter(
    work: Path, shift_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign(work, age_s=60)
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + shift_s)
    assert claim(work, "cell") is None


def test_a_foreign_runner_without_a_sign_of_life_is_overruled_and_notices(work: Path) -> None:
    stopped = Claim(foreign(work, age_s=claims.STALE_AFTER_S - 10), token="x")
    assert stopped.is_held()
    assert claim(work, "cell") is None
    foreign(work, age_s=claims.STALE_AFTER_S + 10)
    successor = claim(work, "cell")
    assert successor is not None
    assert not stopped.is_held()
    successor.release()
    assert not stopped.is_held()
    assert not list(work.glob("cell.claim.*"))


def test_a_rival_that_withdraws_overrules_nobody(work: Path) -> None:
    mine = claim(work, "cell")
    assert mine is not None
    rival = mine.path.with_name("cell.claim.2")
    rival.touch()
    threading.Timer(0.1, rival.unlink).start()
    assert mine.is_held()


def test_a_release_leaves_the_claims_of_rivals_that_are_about_to_withdraw(work: Path) -> None:
    dead = foreign(work, age_s=HOUR_S)
    mine = claim(work, "cell")
    assert mine is not None
    assert mine.path.name == "cell.claim.2"
    dead.write_text(json.dumps(this_process()))  # a rival that listed the claims before
    mine.release()
    assert dead.exists()
    assert not mine.path.exists()


def test_who_is_overruled_leaves_no_claim_behind(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "WITHDRAWN_WITHIN_S", 0.0)
    mine = claim(work, "cell")
    assert mine is not None
    higher = mine.path.with_name("cell.claim.2")
    higher.touch()
    assert not mine.is_held()
    mine.release()
    assert higher.exists()
    assert not mine.path.exists()


def test_a_claim_holds_while_the_clock_cannot_be_read(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A runner in another container, of the same number, has taken the probe away."""
    foreign(work, age_s=60)
    touch = Path.touch

    def gone(path: Path) -> None:
        if not path.name.startswith(".clock."):
            touch(path)

    monkeypatch.setattr(Path, "touch", gone)
    assert claim(work, "cell") is None
    assert holder(work, "cell")


def test_a_claim_from_the_future_is_respected(work: Path) -> None:
    foreign(work, age_s=-HOUR_S)
    assert claim(work, "cell") is None


def test_containers_with_one_host_name_are_told_apart(work: Path) -> None:
    """The same process number and machine name, in another namespace of processes."""
    foreign(work, age_s=0, host=os.uname().nodename, pid=2**22 + 1)
    assert claim(work, "cell") is None, "not a process of ours that is gone"


def test_a_runner_that_is_gone_or_a_zombie_holds_nothing(work: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    born = claims.born_at(process.pid)
    content = {**this_process(), "pid": process.pid, "born": born, "token": "x"}
    (work / "cell.claim.1").write_text(json.dumps(content))
    deadline = time.time() + 20
    while not Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].startswith(" Z"):
        assert time.time() < deadline
        time.sleep(0.01)
    taken = claim(work, "cell")
    assert taken is not None, "a zombie"
    taken.release()
    process.wait()
    (work / "cell.claim.1").write_text(json.dumps(content))
    assert claim(work, "cell") is not None, "nobody"


@pytest.mark.parametrize("content", ["", "{}", "[]", "null", '{"pid": 1', "\x00" * 30])
def test_a_damaged_claim_counts_for_seconds_alone(work: Path, content: str) -> None:
    path = work / "cell.claim.1"
    path.write_text(content)
    assert claim(work, "cell") is None, "somebody may be about to write it"
    old = claims.clock_of(work) - claims.UNWRITTEN_FOR_S - 1
    os.utime(path, (old, old))
    assert claim(work, "cell") is not None


@pytest.mark.parametrize("kind", ["folder", "pipe", "loop", "nested", "pid"])
def test_what_is_no_claim_holds_nothing(work: Path, kind: str) -> None:
    path = work / "cell.claim.1"
    match kind:
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "loop":
            path.symlink_to(path)
        case "nested":
            path.write_text("[" * 100_000)
        case "pid":
            path.write_text(json.dumps({**this_process(), "pid": "\x00", "token": "x"}))
    old = claims.clock_of(work) - claims.UNWRITTEN_FOR_S - 1
    os.utime(path, (old, old), follow_symlinks=False)
    assert holder(work, "cell") == ""
    taken = claim(work, "cell")
    assert taken is not None
    taken.release()
    assert not (work / "cell.claim.2").exists()


def test_a_folder_that_has_gone_is_one_line(work: Path) -> None:
    taken = claim(work, "cell")
    assert taken is not None
    taken.path.unlink()
    taken.keep_fresh()
    work.rmdir()
    with pytest.raises(UserError, match="cannot write there; the rows"):
        claim(work, "cell")


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from ddl_bench.errors import UserError
from ddl_bench.harness.claims import claim
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
try:
    claim(Path(sys.argv[1]), "cell")
except UserError as error:
    sys.exit(f"one line: {error}")
"""


def test_a_full_disk_leaves_no_claim_behind(work: Path) -> None:
    command = [sys.executable, "-c", FULL_DISK, str(work)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.stderr.startswith("one line: ")
    assert not list(work.glob("cell.claim.*"))


def test_other_names_are_no_claims(work: Path) -> None:
    for name in ("cell.claim.x", "cell.claim.", "cell.claim.-1"):
        (work / name).touch()
    assert claim(work, "cell") is not None


RIVAL = """
import os, sys, time
from pathlib import Path
from ddl_bench.harness.claims import claim
work, n_rounds = Path(sys.argv[1]), int(sys.argv[2])
for turn in range(n_rounds):
    taken = claim(work, "cell")
    if taken is None:
        continue
    with (work / "holders").open("a") as file:
        file.write(f"+ {os.getpid()}\\n")
        file.flush()
        os.sched_yield()
        file.write(f"- {os.getpid()}\\n")
        file.flush()
    taken.release()
"""


def test_of_four_rivals_never_two_hold(work: Path) -> None:
    command = [sys.executable, "-c", RIVAL, str(work), "800"]
    rivals = [subprocess.Popen(command) for _ in range(4)]
    assert [rival.wait(120) for rival in rivals] == [0, 0, 0, 0]
    lines = (work / "holders").read_text().splitlines()
    marks = Counter(line[0] for line in lines)
    assert marks["+"] == marks["-"] > 50
    for entered, left in zip(lines[::2], lines[1::2], strict=True):
        assert (entered[0], left[0]) == ("+", "-"), "two held at once"
        assert entered[1:] == left[1:]


TAKE = """
import sys
from ddl_bench.harness import cores
taken = cores.take([0, 1], 1, sys.argv[1])
print(taken and taken.cores, flush=True)
sys.stdin.read()
"""


def other_process(device: str) -> "subprocess.Popen[str]":
    """Start a process that takes a core and keeps it until its input is closed."""
    command = [sys.executable, "-c", TAKE, device]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_runners_of_one_machine_take_different_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    first = cores.take([0, 1], 1)
    assert first is not None
    assert first.cores == [0]
    with other_process("cpu") as rival:
        assert rival.stdout is not None
        assert rival.stdout.readline() == "[1]\n"
        assert cores.take([0, 1], 1) is None
        assert cores.take([0, 1], 2) is None
        if cores.LOCKS.exists():
            assert cores.users([1]) == [rival.pid]
            assert cores.users([0, 1]) == sorted([os.getpid(), rival.pid])
        rival.kill()
        rival.wait()
        second = cores.take([0, 1], 1)
    assert second is not None, "a killed runner leaves no lock behind"
    assert second.cores == [1]
    second.release()
    first.release()
    both = cores.take([0, 1], 2)
    assert both is not None
    both.release()


def test_a_gpu_is_taken_by_one_runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    first = cores.take([0, 1], 1, "cuda:1")
    assert first is not None
    with other_process("cuda:1") as rival:
        assert rival.stdout is not None
        assert rival.stdout.readline() == "None\n"
        assert rival.stdin is not None
        rival.stdin.close()
    first.release()


def test_any_user_can_lock_a_file_whoever_made_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = os.umask(0o077)
    try:
        taken = cores.take([0], 1)
    finally:
        os.umask(before)
    assert taken is not None
    taken.release()
    path = cores.path_of("core-0")
    assert path.stat().st_mode & 0o777 == 0o644
    assert path.parent.stat().st_mode & 0o1777 == 0o1777


def test_a_core_of_which_nothing_is_known_is_not_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(cores, "MADE_WITHIN_S", 0.05)
    first = cores.take([0], 1)
    assert first is not None
    first.release()
    open_shared = cores.open_shared
    n_refused = 0

    def refuse(path: Path) -> int:
        nonlocal n_refused
        if path.name == "core-1":
            n_refused += 1
            raise PermissionError(13, "Permission denied")
        return open_shared(path)

    monkeypatch.setattr(cores, "open_shared", refuse)
    with pytest.raises(UserError, match="core-1: cannot be opened, so it is not known"):
        cores.take([0, 1], 2)
    assert n_refused > 1, "another user may be just making it"
    monkeypatch.setattr(cores, "open_shared", open_shared)
    again = cores.take([0, 1], 2)
    assert again is not None, "the first core was let go"
    again.release()


def test_without_a_folder_for_locks_all_cores_are_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / cores.FOLDER).write_text("a file where the folder should be")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    taken = cores.take([0, 1], 2)
    assert taken is not None
    assert taken.cores == [0, 1]


def test_what_was_trained_counts_also_where_the_folder_of_claims_is_deleted(work: Path) -> None:
    folder = work / "claims"
    folder.mkdir()
    mine = claim(folder, "cell")
    assert mine is not None
    assert not mine.is_lost()
    mine.path.unlink()
    assert mine.is_lost(), "another runner may hold the cell"
    folder.rmdir()
    assert not mine.is_lost()


def test_where_files_cannot_be_locked_every_core_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.EBADF, "Bad file descriptor")

    monkeypatch.setattr("fcntl.flock", refuse)
    for _ in range(2):
        taken = cores.take([0], 1)
        assert taken is not None
        assert (taken.cores, taken.descriptors) == ([0], [])
