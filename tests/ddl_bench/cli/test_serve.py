"""A page that follows a run: who may see it, and when it is made again."""

import json
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest

from ddl_bench import registry
from ddl_bench.cli.serve import HOST, Followed, Server, page_maker
from ddl_bench.errors import UserError
from tests.conftest import make_cell, put

RIGHT = np.arange(20) < 15


def made(run: Path, stamp: str) -> str:
    """Make a page that names its rows; none without a row."""
    n_rows = len(list((run / "cells").glob("*.json")))
    return f"<p>{n_rows} rows, {stamp}</p>" if n_rows else ""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "cells").mkdir()
    return tmp_path


@pytest.fixture
def server(run: Path) -> Iterator[Server]:
    with Server(Followed(run, made), 0) as started:
        thread = threading.Thread(target=started.serve_forever, args=(0.01,))
        thread.start()
        yield started
        started.shutdown()
        thread.join()


def ask(server: Server, path: str, *, host: str | None = None, verb: str = "GET") -> HTTPResponse:
    """Ask a server; the answer is read."""
    connection = HTTPConnection(HOST, server.server_port, timeout=10)
    headers = {} if host is None else {"Host": host}
    connection.request(verb, path, headers=headers)
    answer = connection.getresponse()
    answer.text = answer.read().decode()  # type: ignore[attr-defined]
    connection.close()
    return answer


def text_of(answer: HTTPResponse) -> str:
    """Return the body of an answer."""
    return str(vars(answer)["text"])


def test_only_who_knows_the_address_sees_the_page(server: Server, run: Path) -> None:
    put(run, make_cell("a"), RIGHT)
    assert "1 rows" in text_of(ask(server, f"/{server.token}/"))
    for path in ("/", "/x/", f"/{server.token[:-1]}/", f"/{server.token}", "*", "/%00/state"):
        assert ask(server, path).status == 404
    for rest in ("../cells", "cells/x.json", "state/", "?x"):
        assert ask(server, f"/{server.token}/{rest}").status == 404
    assert ask(server, f"/{server.token}/", host="evil.example").status == 404
    assert ask(server, f"/{server.token}/", host=f"localhost:{server.server_port}").status == 200


def test_it_listens_on_the_loopback_alone_and_tokens_differ(server: Server, run: Path) -> None:
    assert server.server_address[0] == "127.0.0.1"
    with Server(Followed(run, made), 0) as other:
        assert other.token != server.token
    assert len(server.token) >= 32


@pytest.mark.parametrize("verb", ["POST", "PUT", "DELETE", "PATCH"])
def test_nothing_can_be_changed(server: Server, verb: str) -> None:
    assert ask(server, f"/{server.token}/", verb=verb).status == 501


def test_headers_keep_the_page_to_itself(server: Server, run: Path) -> None:
    put(run, make_cell("a"), RIGHT)
    answer = ask(server, f"/{server.token}/")
    assert answer.getheader("Cache-Control") == "no-store"
    assert answer.getheader("Referrer-Policy") == "no-referrer"
    assert answer.getheader("Access-Control-Allow-Origin") is None


def test_the_page_follows_the_rows(server: Server, run: Path) -> None:
    assert "No run has ended yet" in text_of(ask(server, f"/{server.token}/"))
    before = json.loads(text_of(ask(server, f"/{server.token}/state")))
    put(run, make_cell("a"), RIGHT)
    after = json.loads(text_of(ask(server, f"/{server.token}/state")))
    assert after["stamp"] != before["stamp"]
    assert after["text"] == "1 done"
    assert f"1 rows, {after['stamp']}" in text_of(ask(server, f"/{server.token}/"))


def test_the_page_is_made_once_for_the_same_rows(run: Path) -> None:
    put(run, make_cell("a"), RIGHT)
    stamps = []

    def counted(run: Path, stamp: str) -> str:
        stamps.append(stamp)
        return made(run, stamp)

    followed = Followed(run, counted)
    assert followed.page() == followed.page()
    assert len(stamps) == 1
    put(run, make_cell("b"), RIGHT)
    assert "2 rows" in followed.page()


def test_a_browser_that_leaves_is_no_error(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(run, make_cell("a"), RIGHT)
    is_asked = threading.Event()
    has_left = threading.Event()
    errors: list[object] = []

    def slow(run: Path, stamp: str) -> str:
        is_asked.set()
        has_left.wait(10)
        return made(run, stamp) * 100_000

    monkeypatch.setattr(Server, "daemon_threads", False)  # so that the server waits for the answer
    monkeypatch.setattr(Server, "handle_error", lambda *_: errors.append(sys.exc_info()[1]))
    with Server(Followed(run, slow), 0) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        with socket.create_connection((HOST, server.server_port)) as browser:
            request = f"GET /{server.token}/ HTTP/1.1\r\nHost: {HOST}:{server.server_port}\r\n\r\n"
            browser.sendall(request.encode())
            is_asked.wait(10)
            browser.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        has_left.set()
        server.shutdown()
        thread.join()
    assert errors == []


def test_a_page_that_cannot_be_made_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("broken", "no_such_module:make", registry.PAGES)
    monkeypatch.setattr(registry, "entries", lambda group: {"broken": entry})
    with pytest.raises(UserError, match="--serve: No module named 'no_such_module'; install ddl-b"):
        page_maker()


def test_the_command_prints_an_address_and_ends_at_ctrl_c(run: Path) -> None:
    put(run, make_cell("sdl"), RIGHT)
    words = ["report", "--run", str(run), "--serve", "--json"]
    command = [sys.executable, "-m", "ddl_bench", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(3)]
        url = json.loads("".join(lines))["url"]
        _, _, address, token, _ = url.split("/")
        connection = HTTPConnection(address, timeout=60)
        connection.request("GET", f"/{token}/")
        page = connection.getresponse().read().decode()
        connection.close()
        process.send_signal(signal.SIGINT)
        process.wait(30)
    assert 'data-stamp="1-' in page
    assert "sdl" in page
    assert process.returncode == 130
    assert not (run / "report").exists()
