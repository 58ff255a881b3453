"""Odd surroundings of the command line: locales, homes, closed streams, names, read-only folders.

Each command ends with a result or with one clear line.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ddl_bench.cli.caches import PRIVATE, provide_caches
from ddl_bench.errors import UserError
from tests.conftest import ROOT, ddl_bench

pytestmark = pytest.mark.no_cover  # smaller tests cover it

RUN = ROOT / "docs" / "results" / "quick"
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
POSIX = {**ASCII, "LC_ALL": "POSIX", "PYTHONIOENCODING": "ascii"}
HOMELESS = {"HOME": "/dev/null", "XDG_CACHE_HOME": "/dev/null", "XDG_CONFIG_HOME": "/dev/null"}
NOT_UTF8 = os.fsdecode(b"name-\xff")


def start(
    arguments: list[str], redirections: str = "", **environment: str
) -> "subprocess.CompletedProcess[bytes]":
    """Run the command line through a shell, in an environment that differs."""
    command = ["sh", "-c", f'exec "$@" {redirections}', "sh", sys.executable, "-m", "ddl_bench"]
    return subprocess.run(
        [*command, *arguments], env={**os.environ, **environment}, capture_output=True
    )


@pytest.mark.parametrize("environment", [ASCII, POSIX], ids=["C", "POSIX"])
def test_an_ascii_locale_gives_every_result(environment: dict[str, str], tmp_path: Path) -> None:
    shown = start(["show", "sdl@0", "--run", str(RUN)], **environment)
    assert shown.returncode == 0, shown.stderr
    written = start(["report", "--run", str(RUN), "--out", str(tmp_path)], **environment)
    assert written.returncode == 0, written.stderr
    assert "µs" in (tmp_path / "index.html").read_text(encoding="utf-8")


def test_without_a_home_cells_run_and_the_report_is_written(tmp_path: Path) -> None:
    options = ["--methods", "nearest-mean", "--seeds", "0", "--out", str(tmp_path)]
    ended = start(["run", *options], **HOMELESS)
    assert ended.returncode == 0
    assert (tmp_path / "report" / "index.html").exists()
    assert not ended.stderr


@pytest.mark.parametrize("redirections", [">&- 2>&-", "<&- >&- 2>&-", ">/dev/full 2>/dev/full"])
def test_closed_and_full_streams_change_no_exit_code(redirections: str) -> None:
    assert start(["show", "sdl@0", "--run", str(RUN)], redirections).returncode == 0
    assert start(["show", "none", "--run", str(RUN)], redirections).returncode == 2


def test_closed_streams_get_no_other_file() -> None:
    code = (
        "import os; from ddl_bench.cli.streams import open_closed_streams; "
        "open_closed_streams(); os._exit(os.open('/dev/null', 0))"
    )
    command = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, "-c", code]
    assert subprocess.run(command).returncode >= 3


@pytest.mark.parametrize("verb", ["tracks", "run", "show"])
def test_a_deleted_folder_is_one_line(verb: str, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    script = 'cd "$1"; rmdir "$1"; shift; exec "$@"'
    command = ["sh", "-c", script, "sh", str(gone), sys.executable, "-m", "ddl_bench", verb]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert "the current folder: has gone" in ended.stderr


def test_a_run_folder_whose_name_is_not_utf8_works(tmp_path: Path) -> None:
    run = tmp_path / NOT_UTF8
    shutil.copytree(RUN / "cells", run / "cells")
    compared = start(["compare", "sdl", "spams", "--run", str(run)])
    assert compared.returncode == 0, compared.stderr
    ended = start(["report", "--run", str(run)])
    assert ended.returncode == 0, ended.stderr
    assert (run / "report" / "index.html").stat().st_size > 10_000


def test_a_name_that_rows_cannot_hold_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / f"{NOT_UTF8}.npz"
    images = np.zeros((40, 4, 4), np.uint8)
    y = np.arange(40) % 2
    with path.open("wb") as file:
        np.savez(file, x_train=images, y_train=y, x_test=images, y_test=y)
    with pytest.raises(UserError, match="its name is not UTF-8, which no row could hold"):
        ddl_bench(["run", "--methods", "nearest-mean", "--dry-run", "--datasets", path])


def test_a_plugin_whose_name_is_not_utf8_is_read(tmp_path: Path) -> None:
    path = tmp_path / f"{NOT_UTF8}.py"
    path.write_text("x = 1")
    ddl_bench(["run", "--methods", "nearest-mean", "--dry-run", "--plugin", path])


@pytest.mark.parametrize(("statement", "code"), [("", 0), ("no_such_name", 2)])
def test_a_thread_of_a_plugin_keeps_no_command_from_ending(
    statement: str, code: int, tmp_path: Path
) -> None:
    path = tmp_path / "waits.py"
    thread = "threading.Thread(target=time.sleep, args=(600,), name='napper').start()"
    path.write_text(f"import threading, time\n{thread}\n{statement}\n")
    options = ["--dry-run", "--methods", "nearest-mean", "--seeds", "0", "--plugin", str(path)]
    ended = start(["run", *options])
    assert ended.returncode == code
    assert b"threads of a plugin are still running, and are ended: napper" in ended.stderr


@pytest.mark.parametrize("mode", [0o700, 0o777])
def test_caches_go_to_a_private_folder_where_the_home_cannot_be_written(
    mode: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / f"ddl-bench-{os.getuid()}"
    folder.mkdir()
    folder.chmod(mode)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("NUMBA_CACHE_DIR", "")  # so that what was there comes back
    monkeypatch.delenv("NUMBA_CACHE_DIR")
    monkeypatch.setenv("MPLCONFIGDIR", "mine")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    provide_caches()
    assert "NUMBA_CACHE_DIR" not in os.environ
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null/caches")
    provide_caches()
    if mode == PRIVATE:
        assert os.environ["NUMBA_CACHE_DIR"] == str(folder / "numba")
    else:
        assert "NUMBA_CACHE_DIR" not in os.environ, "others could put machine code there"
    assert os.environ["MPLCONFIGDIR"] == "mine"
    os.environ.pop("NUMBA_CACHE_DIR", None)


def test_a_report_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write there: Not a directory"):
        ddl_bench(["report", "--run", RUN, "--out", tmp_path / "file" / "report"])
