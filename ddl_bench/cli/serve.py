"""Serve the page of a run to browsers of this machine, while the run may still be going on.

The server listens on the loopback interface alone, answers at an address with a random part, and
changes nothing. A page of another site cannot ask it: it would have to know the random part, and
requests under another host name, by which such pages get around the browser's rules, are refused.
"""

import json
import secrets
import sys
from collections.abc import Callable
from contextlib import suppress
from hmac import compare_digest
from html import escape
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock

from rich.console import Console
from rich.text import Text

from ddl_bench import registry
from ddl_bench.cli.output import emit
from ddl_bench.cli.report import open_in_browser
from ddl_bench.cli.status import headline
from ddl_bench.errors import UserError
from ddl_bench.files import brief, explained
from ddl_bench.harness.status import read_status

HOST = "127.0.0.1"
TOKEN_BYTES = 24
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
NOTHING_YET = """<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>{name}</title>
<meta http-equiv="refresh" content="3"><main><h1>{name}</h1>
<p>No run has ended yet. {text}</p></main></html>"""

MakePage = Callable[[Path, str], str]


class Followed:
    """A run folder and its page, which is made again once there are new rows."""

    def __init__(self, run: Path, make_page: MakePage) -> None:
        self.run = run
        self._make_page = make_page
        self._lock = Lock()
        self._page = ""
        self._stamp = ""

    def stamp(self) -> str:
        """Return a text that changes with the rows: their number, and when one was written last."""
        folder = self.run / "cells"
        with explained(folder):
            changed_ns = [path.stat().st_mtime_ns for path in folder.glob("*.json")]
        return f"{len(changed_ns)}-{max(changed_ns, default=0)}"

    def text(self) -> str:
        """Say how far the run is: "2 running, 12 done; about 3 minutes left"."""
        status = read_status(self.run)
        _, _, counts = Text.from_markup(headline(status)).plain.partition(": ")
        return counts

    def state(self) -> str:
        """Return how far the run is, as JSON."""
        return json.dumps({"stamp": self.stamp(), "text": self.text()})

    def page(self) -> str:
        """Return the page of the rows as they are now."""
        with self._lock:
            stamp = self.stamp()
            if stamp != self._stamp:
                self._page = self._make_page(self.run, stamp)
                self._stamp = stamp
            page = self._page
        return page or NOTHING_YET.format(name=escape(self.run.name), text=escape(self.text()))


class Server(ThreadingHTTPServer):
    """A server of one page, at an address that nobody can guess."""

    daemon_threads = True

    def __init__(self, followed: Followed, port: int) -> None:
        self.followed = followed
        self.token = secrets.token_urlsafe(TOKEN_BYTES)
        super().__init__((HOST, port), Handler)

    @property
    def url(self) -> str:
        """Return the address of the page."""
        return f"http://{HOST}:{self.server_port}/{self.token}/"


class Handler(BaseHTTPRequestHandler):
    """Answer requests for the page, and for how far the run is; refuse all others."""

    server: Server

    def handle(self) -> None:
        """Answer a browser for as long as it is there."""
        with suppress(ConnectionError):
            super().handle()

    def do_GET(self) -> None:
        """Answer a request."""
        token, slash, rest = self.path.removeprefix("/").partition("/")
        hosts = (f"{HOST}:{self.server.server_port}", f"localhost:{self.server.server_port}")
        is_known = compare_digest(token.encode(), self.server.token.encode())
        if self.headers.get("Host") not in hosts or not is_known:
            self.send_error(HTTPStatus.NOT_FOUND)
        elif slash and not rest:
            self.answer("text/html; charset=utf-8", self.server.followed.page)
        elif rest == "state":
            self.answer("application/json", self.server.followed.state)
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    def answer(self, kind: str, make: Callable[[], str]) -> None:
        """Send a text, or why there is none."""
        try:
            content = make().encode("utf-8", "backslashreplace")
        except UserError as error:
            self.send_error(HTTPStatus.SERVICE_UNAVAILABLE, explain=str(error))
            return
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: object) -> None:
        """Keep the terminal quiet."""


def page_maker() -> MakePage:
    """Return the function that makes a page. Raises UserError where no package has one."""
    problem = "no installed package makes pages"
    for entry in registry.entries(registry.PAGES).values():
        try:
            make_page: MakePage = registry.load_entry(entry)
            return make_page
        except ImportError as error:
            problem = brief(error)
    raise UserError(f"--serve: {problem}; install ddl-bench again")


def serve_page(
    console: Console, run: Path, port: int, *, open_page: bool = False, as_json: bool
) -> None:
    """Serve the page of a run folder until the user ends it.

    Parameters
    ----------
    console
        Where the address is printed.
    run
        The run folder.
    port
        0 takes a free one.
    open_page
        Show it in the browser.
    as_json
        Print the address as JSON.
    """
    followed = Followed(run, page_maker())
    followed.text()  # raises where there is no such folder
    try:
        server = Server(followed, port)
    except OSError as error:
        raise UserError(f"--port {port}: cannot listen there: {error.strerror}") from None
    with server:
        if as_json:
            emit({"url": server.url})
            sys.stdout.flush()  # a program that reads it waits for no more
        else:
            console.print(server.url, soft_wrap=True, highlight=False)
            console.print(f"follows {run}; Ctrl-C ends it", soft_wrap=True, highlight=False)
        if open_page:
            open_in_browser(server.url, server.url)
        server.serve_forever(poll_interval=0.2)
