"""Downloads: whole, right, over https, resumed where they broke off, and told in one line."""

import errno
import hashlib
import http.server
import io
import os
import shutil
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ddl_bench.data import download
from ddl_bench.data.cifar import CIFAR10, CIFAR100
from ddl_bench.data.download import Meter, RemoteFile, fetch
from ddl_bench.data.mnist import FASHION_MNIST, MNIST
from ddl_bench.data.svhn import SVHN
from ddl_bench.errors import UserError

CONTENT = bytes(range(256)) * 2000
Answer = Callable[["Handler"], None]


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers as the test says, by path."""

    answers: dict[str, Answer]
    asked: list[tuple[str, str]]

    def do_GET(self) -> None:
        name = self.path.strip("/")
        self.asked.append((name, self.headers.get("Range", "")))
        self.answers[name](self)

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""

    def send(self, content: bytes, n_claimed: int, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(n_claimed))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)


class Server:
    """A web server of this test alone."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.answers: dict[str, Answer] = {}
        self.asked: list[tuple[str, str]] = []

    def file(self, *names: str, content: bytes = CONTENT) -> RemoteFile:
        """A file that is to be had at these names."""
        digest = hashlib.sha256(content).hexdigest()
        urls = tuple(f"{self.url}/{name}" for name in names)
        return RemoteFile(name="sub/data.bin", sha256=digest, n_bytes=len(content), urls=urls)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(download, "SCHEMES", ("http",))
    monkeypatch.setattr(download, "PAUSE_S", 0.0)
    monkeypatch.setattr(download, "TIMEOUT_S", 0.3)
    monkeypatch.setenv("no_proxy", "*")

    class OwnHandler(Handler):
        """Answers for this server alone."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), OwnHandler) as listening:
        listening.daemon_threads = True
        made = Server(f"http://127.0.0.1:{listening.server_port}")
        OwnHandler.answers = made.answers
        OwnHandler.asked = made.asked
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield made
        listening.shutdown()
        thread.join()


def whole(handler: Handler) -> None:
    handler.send(CONTENT, len(CONTENT))


def missing(handler: Handler) -> None:
    handler.send(b"no such page", 12, status=404)


def other(handler: Handler) -> None:
    handler.send(CONTENT[::-1], len(CONTENT))


def endless(handler: Handler) -> None:
    handler.send(2 * CONTENT, 2 * len(CONTENT))


def silent(handler: Handler) -> None:
    time.sleep(0.6)


def breaking(handler: Handler) -> None:
    """Send a third of what is asked for, then hang up."""
    asked = handler.headers.get("Range", "")
    start = int(asked.removeprefix("bytes=").removesuffix("-") or 0)
    rest = CONTENT[start:]
    status = 200
    headers = {}
    if start:
        status = 206
        headers["Content_Range"] = f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}"
    handler.send(rest[: len(CONTENT) // 3 + 1], len(rest), status, **headers)


def moved(url: str) -> Answer:
    def answer(handler: Handler) -> None:
        handler.send(b"", 0, status=302, Location=url)

    return answer


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file()]


def test_a_whole_file_lies_where_it_belongs_and_nothing_beside_it(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.answers["a"] = whole
    path = tmp_path / "sub" / "data.bin"
    fetch(path, server.file("a"))
    assert path.read_bytes() == CONTENT
    assert leftovers(tmp_path) == ["data.bin"]
    assert capsys.readouterr().err == ""  # it was quick
    unchecked = tmp_path / "plain"
    unchecked.touch()
    assert path.stat().st_mode == unchecked.stat().st_mode  # others may read it


def test_mirrors_are_tried_in_turn_and_each_fault_is_named(server: Server, tmp_path: Path) -> None:
    server.answers |= {
        "missing": missing,
        "other": other,
        "endless": endless,
        "silent": silent,
        "good": whole,
    }
    path = tmp_path / "data.bin"
    fetch(path, server.file("missing", "other", "good", "silent"))
    assert path.read_bytes() == CONTENT
    assert [name for name, _ in server.asked] == ["missing", "other", "good"]
    path.write_bytes(b"old")
    file = server.file("missing", "other", "endless", "silent")
    with pytest.raises(UserError) as raised:
        fetch(path, file)
    text = str(raised.value)
    assert text.startswith("download of sub/data.bin failed: 127.0.0.1:")
    reversed_sum = hashlib.sha256(CONTENT[::-1]).hexdigest()
    for part in (
        "HTTP 404 Not Found",
        f"a file with the SHA-256 {reversed_sum[:16]}...",
        "more than 512,000 bytes",
        "timed out",
        f"put a file of 512,000 bytes with the SHA-256 {file.sha256} at {path}",
    ):
        assert part in text
    assert "\n" not in text
    assert path.read_bytes() == b"old"
    assert leftovers(tmp_path) == ["data.bin"]


def test_a_transfer_that_breaks_off_goes_on_where_it_was(server: Server, tmp_path: Path) -> None:
    server.answers["a"] = breaking
    fetch(tmp_path / "data.bin", server.file("a"))
    assert (tmp_path / "data.bin").read_bytes() == CONTENT
    third = len(CONTENT) // 3 + 1
    asked = [wanted for _, wanted in server.asked]
    assert asked == ["", f"bytes={third}-", f"bytes={2 * third}-"]


def test_a_server_that_knows_no_ranges_sends_the_file_anew(server: Server, tmp_path: Path) -> None:
    def twice(handler: Handler) -> None:
        n_sent = 1000 if len(server.asked) == 1 else len(CONTENT)
        handler.send(CONTENT[:n_sent], len(CONTENT))

    server.answers["a"] = twice
    fetch(tmp_path / "data.bin", server.file("a"))
    assert (tmp_path / "data.bin").read_bytes() == CONTENT
    assert len(server.asked) == 2


def test_a_server_that_trickles_is_given_up(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trickle(handler: Handler) -> None:
        handler.send(b"", len(CONTENT))
        for _ in range(50):
            try:
                handler.wfile.write(b"x")
            except OSError:
                return
            time.sleep(0.02)

    monkeypatch.setattr(download, "SLOW_AFTER_S", 0.1)
    server.answers["a"] = trickle
    with pytest.raises(UserError, match="slower than 1 kB/s"):
        fetch(tmp_path / "data.bin", server.file("a"))


@pytest.mark.parametrize("scheme", ["http", "file", "ftp", "data"])
def test_nothing_but_https_is_opened(
    scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "PAUSE_S", 0.0)
    secret = tmp_path / "secret"
    secret.write_bytes(CONTENT)
    url = f"{scheme}://{secret}"
    file = RemoteFile(name="a", sha256=hashlib.sha256(CONTENT).hexdigest(), n_bytes=1, urls=(url,))
    with pytest.raises(UserError, match=f"unknown url type: {scheme}"):
        fetch(tmp_path / "a", file)
    assert not (tmp_path / "a").exists()


def test_a_certificate_must_be_vouched_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("openssl, which makes the certificate, is not installed")
    key = tmp_path / "key.pem"
    certificate = tmp_path / "certificate.pem"
    command = (
        f"{program} req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost "
        f"-addext subjectAltName=DNS:localhost -keyout {key} -out {certificate}"
    )
    subprocess.run(command.split(), check=True, capture_output=True)
    monkeypatch.setattr(download, "PAUSE_S", 0.0)
    monkeypatch.setenv("no_proxy", "*")

    class Whole(Handler):
        answers = {"a": whole}  # noqa: RUF012
        asked = []  # noqa: RUF012

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with http.server.HTTPServer(("127.0.0.1", 0), Whole) as listening:
        listening.handle_error = lambda *_: None  # type: ignore[method-assign]  # it is expected
        listening.socket = context.wrap_socket(listening.socket, server_side=True)
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        server = Server(f"https://localhost:{listening.server_port}")
        try:
            with pytest.raises(UserError, match="certificate verify failed"):
                fetch(tmp_path / "data.bin", server.file("a"))
            monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
            fetch(tmp_path / "data.bin", server.file("a"))
        finally:
            listening.shutdown()
            thread.join()
    assert (tmp_path / "data.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("scheme", ["https", "file", "ftp"])
def test_a_redirect_stays_within_the_allowed_schemes(
    scheme: str, server: Server, tmp_path: Path
) -> None:
    server.answers |= {"a": moved(f"{scheme}://127.0.0.1/b"), "b": whole}
    with pytest.raises(UserError, match="failed"):
        fetch(tmp_path / "data.bin", server.file("a"))
    server.answers["a"] = moved(f"{server.url}/b")
    fetch(tmp_path / "data.bin", server.file("a"))
    assert (tmp_path / "data.bin").read_bytes() == CONTENT


def test_two_downloads_of_one_file_at_once(server: Server, tmp_path: Path) -> None:
    both = threading.Barrier(2, timeout=5)

    def slowly(handler: Handler) -> None:
        handler.send(CONTENT[:1000], len(CONTENT))
        both.wait()
        handler.wfile.write(CONTENT[1000:])

    server.answers["a"] = slowly
    path = tmp_path / "data.bin"
    threads = [threading.Thread(target=fetch, args=(path, server.file("a"))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_bytes() == CONTENT
    assert leftovers(tmp_path) == ["data.bin"]
    assert len(server.asked) == 2


def test_what_a_killed_process_left_is_swept_and_a_living_one_is_not(
    server: Server, tmp_path: Path
) -> None:
    server.answers["a"] = whole
    old = tmp_path / ".data.bin.killed.part"
    new = tmp_path / ".data.bin.alive.part"
    for part in (old, new):
        part.write_bytes(b"some")
    long_ago = time.time() - 2 * download.ABANDONED_AFTER_S
    os.utime(old, (long_ago, long_ago))
    fetch(tmp_path / "data.bin", server.file("a"))
    assert sorted(leftovers(tmp_path)) == [".data.bin.alive.part", "data.bin"]


def test_a_full_disk_is_named_and_no_mirror_is_blamed(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(io.BufferedRandom):
        def write(self, data: Any, /) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def opened(path: Path, mode: str) -> io.BufferedRandom:
        return Full(io.FileIO(path, mode))

    monkeypatch.setattr(Path, "open", opened)
    server.answers["a"] = whole
    with pytest.raises(UserError, match="cannot write: No space left on device"):
        fetch(tmp_path / "data.bin", server.file("a"))
    assert leftovers(tmp_path) == []


def test_a_stop_leaves_nothing_behind(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(self: Meter, n_done: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Meter, "show", stop)
    server.answers["a"] = whole
    with pytest.raises(KeyboardInterrupt):
        fetch(tmp_path / "data.bin", server.file("a"))
    assert leftovers(tmp_path) == []


class Terminal(io.StringIO):
    """Standard error of a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_the_time_that_is_left_is_shown_after_two_seconds(
    stream: type[io.StringIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    written = stream()
    monkeypatch.setattr(sys, "stderr", written)
    file = RemoteFile(name="sub/big.bin", sha256="", n_bytes=100_000_000, urls=())
    meter = Meter(file)
    meter.show(0)
    assert written.getvalue() == ""
    now[0] += 4.0
    meter.show(20_000_000)
    assert "ddl-bench: big.bin: 20.0 of 100.0 MB, 16 s left" in written.getvalue()
    now[0] += 1.0
    meter.show(25_000_000)
    assert ("25.0 of" in written.getvalue()) == written.isatty()
    meter.clear()
    assert written.getvalue().endswith("\r\033[K" if written.isatty() else "left\n")
    monkeypatch.setattr(sys, "stderr", None)
    now[0] += 60.0
    meter.show(30_000_000)  # there is nothing to write to


def test_the_published_files_come_by_https_with_a_sum_each() -> None:
    files = [*MNIST, *FASHION_MNIST, *SVHN, CIFAR10.file, CIFAR100.file]
    assert download.SCHEMES == ("https",)
    for file in files:
        assert file.urls
        assert file.n_bytes > 4000
        assert not Path(file.name).is_absolute()
        for url in file.urls:
            assert url.startswith("https://")
            assert url.endswith("/" + Path(file.name).name)
    sums = [file.sha256 for file in files]
    sums += [*CIFAR10.sha256s.values(), *CIFAR100.sha256s.values()]
    assert all(len(bytes.fromhex(each)) == 32 for each in sums)
    assert len(set(sums)) == len(sums) == 22
