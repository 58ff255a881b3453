"""Downloads: whole, right, over https alone, and a failure told in one line."""

import errno
import hashlib
import http.server
import io
import os
import shutil
import socket
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
from ddl_bench.data.download import RemoteFile, Target, fetch
from ddl_bench.data.mnist import FASHION_MNIST, MNIST
from ddl_bench.data.svhn import SVHN
from ddl_bench.errors import UserError

CONTENT = bytes(range(256)) * 2000
Answer = Callable[["Handler"], None]


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers as the test says, by path."""

    answers: dict[str, Answer]
    asked: list[str]

    def do_GET(self) -> None:
        name = self.path.strip("/")
        self.asked.append(name)
        self.answers[name](self)

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""

    def send(self, content: bytes, n_claimed: int, status: int = 200, location: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(n_claimed))
        if location:
            self.send_header("Location", location)
        self.end_headers()
        self.wfile.write(content)


class Server:
    """A web server of this test alone."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []

    def file(self, *names: str, content: bytes = CONTENT) -> RemoteFile:
        """A file that is to be had at these names."""
        digest = hashlib.sha256(content).hexdigest()
        urls = tuple(f"{self.url}/{name}" for name in names)
        return RemoteFile(name="sub/data.bin", sha256=digest, n_bytes=len(content), urls=urls)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(download, "SCHEME", "http")
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
    """Send a third of the file, then hang up."""
    handler.send(CONTENT[: len(CONTENT) // 3], len(CONTENT))


def moved(url: str) -> Answer:
    def answer(handler: Handler) -> None:
        handler.send(b"", 0, status=302, location=url)

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
        "breaking": breaking,
        "good": whole,
    }
    path = tmp_path / "data.bin"
    fetch(path, server.file("missing", "other", "good", "silent"))
    assert path.read_bytes() == CONTENT
    assert server.asked == ["missing", "other", "good"]
    path.write_bytes(b"old")
    file = server.file("missing", "other", "endless", "silent", "breaking")
    with pytest.raises(UserError) as raised:
        fetch(path, file)
    text = str(raised.value)
    assert text.startswith("download of sub/data.bin failed: 127.0.0.1:")
    for part in (
        "404 Client Error: Not Found",
        "SHA256 hash of downloaded file (data.bin) does not match",
        "more than 512,000 bytes",
        "timed out",
        "170666 bytes read",
        f"put a file of 512,000 bytes with the SHA-256 {file.sha256} at {path}",
    ):
        assert part in text
    assert "\n" not in text
    assert path.read_bytes() == b"old"
    assert leftovers(tmp_path) == ["data.bin"]


def test_the_one_address_of_a_file_is_tried_again(server: Server, tmp_path: Path) -> None:
    def second(handler: Handler) -> None:
        answer = breaking if len(server.asked) == 1 else whole
        answer(handler)

    server.answers["a"] = second
    fetch(tmp_path / "data.bin", server.file("a"))
    assert (tmp_path / "data.bin").read_bytes() == CONTENT
    assert server.asked == ["a", "a"]


def test_a_host_that_is_not_there_is_named_with_the_reason(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        host = f"127.0.0.1:{listening.getsockname()[1]}"
    with pytest.raises(UserError, match=rf"failed: {host}: \[Errno \d+\] Connection refused; try"):
        fetch(tmp_path / "data.bin", Server(f"https://{host}").file("a"))


def test_a_server_is_asked_for_the_file_as_it_is(server: Server, tmp_path: Path) -> None:
    """A client that takes compressed answers would unpack a .gz file on its way."""

    def compressing(handler: Handler) -> None:
        assert handler.headers["Accept-Encoding"] == "identity"
        assert handler.headers["User-Agent"] == "ddl-bench"
        whole(handler)

    server.answers["a"] = compressing
    fetch(tmp_path / "data.bin", server.file("a"))


@pytest.mark.parametrize("scheme", ["http", "file", "ftp", "data"])
def test_nothing_but_https_is_opened(scheme: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(CONTENT)
    url = f"{scheme}://{secret}"
    file = RemoteFile(name="a", sha256=hashlib.sha256(CONTENT).hexdigest(), n_bytes=1, urls=(url,))
    with pytest.raises(UserError, match=f"expected https, not {scheme}:"):
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
            monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
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
    with pytest.raises(UserError, match=f"expected http, not {scheme}://127.0.0.1/b"):
        fetch(tmp_path / "data.bin", server.file("a"))
    assert leftovers(tmp_path) == []
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


def test_a_full_disk_is_named_and_no_mirror_is_blamed(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Target) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Target, "flush", fail)
    server.answers["a"] = whole
    with pytest.raises(UserError, match="cannot write: No space left on device"):
        fetch(tmp_path / "data.bin", server.file("a"))
    assert leftovers(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_named(server: Server, tmp_path: Path) -> None:
    (tmp_path / "sub").write_bytes(b"")
    with pytest.raises(UserError, match=r"sub/data.bin: cannot write: (Not a dir|File exists)"):
        fetch(tmp_path / "sub" / "data.bin", server.file("a"))


def test_a_stop_leaves_nothing_behind(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(self: Target, chunk: bytes) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(Target, "write", stop)
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
    stream: type[io.StringIO], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    written = stream()
    monkeypatch.setattr(sys, "stderr", written)
    file = RemoteFile(name="sub/big.bin", sha256="", n_bytes=1_000_000, urls=())
    with Target(str(tmp_path / "part"), file) as target:
        target.write(bytes(200_000))
        now[0] += 1.0
        target.write(bytes(200_000))
        assert written.getvalue() == ""
        now[0] += 3.0
        target.write(bytes(200_000))
        assert "ddl-bench: big.bin 0.6/1.0 MB 0:00:0" in written.getvalue()
        now[0] += 1.0
        target.write(bytes(100_000))
        assert ("0.7/1.0 MB" in written.getvalue()) == written.isatty()  # a log gets few lines
    assert written.getvalue().rstrip("\033[?25hl").endswith("\n")
    assert (tmp_path / "part").stat().st_size == 700_000


@pytest.mark.parametrize("stderr", ["none", "closed", "full"])
def test_a_download_needs_no_standard_error(
    stderr: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class FullTerminal(Terminal):
        def write(self, text: str, /) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    streams = {"none": None, "closed": Terminal(), "full": FullTerminal()}
    closed = streams["closed"]
    assert closed is not None
    closed.close()
    monkeypatch.setattr(sys, "stderr", streams[stderr])
    monkeypatch.setattr(download, "SHOW_AFTER_S", 0.0)
    file = RemoteFile(name="big.bin", sha256="", n_bytes=1_000_000, urls=())
    with Target(str(tmp_path / "part"), file) as target:
        target.write(b"some")
        target.write(b"more")
    assert (tmp_path / "part").read_bytes() == b"somemore"


def test_a_command_that_downloads_nothing_imports_no_client(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(CONTENT)
    code = f"""
import sys
from pathlib import Path
from ddl_bench.data.download import RemoteFile
from ddl_bench.data.published import read_published
file = RemoteFile(name="a", sha256="{hashlib.sha256(CONTENT).hexdigest()}", n_bytes=1, urls=())
read_published(Path({str(tmp_path)!r}), file, download=True)
print({{"pooch", "requests"}} & {{*sys.modules}})
"""
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "set()\n"


def test_the_published_files_come_by_https_with_a_sum_each() -> None:
    files = [*MNIST, *FASHION_MNIST, *SVHN, CIFAR10.file, CIFAR100.file]
    assert download.SCHEME == "https"
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
