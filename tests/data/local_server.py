"""A real HTTP server on this machine that can misbehave in every way that hosts do."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import sleep  # tests replace the one in the module
from typing import Any


class Server(ThreadingHTTPServer):
    """Serves ``files``; cuts the connection after ``cut`` bytes as often as ``cuts`` says.

    ``pace`` is the number of bytes per twentieth of a second, and ``tricks`` answers a path in another way.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.tricks: dict[str, Callable[[Handler], None]] = {}
        self.cuts, self.cut = 0, 0
        self.pace = 0
        self.ranges = True
        self.asked: list[tuple[str, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no news."""


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.asked.append((self.path, asked))
        name = self.path.lstrip("/")
        if name in self.server.tricks:
            self.server.tricks[name](self)
            return
        content = self.server.files.get(name)
        if content is None:
            self.send_error(404)
            return
        begin = 0
        if asked and self.server.ranges:
            begin = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])  # type: ignore[index]
            if begin >= len(content):
                self.send_error(416)
                return
        body = content[begin:]
        self.begin(206 if begin else 200, {"Content-Length": str(len(body))})
        if self.server.cuts:
            self.server.cuts -= 1
            body = body[: self.server.cut]
            self.close_connection = True
        pace = self.server.pace or len(body) or 1
        for position in range(0, len(body), pace):
            self.wfile.write(body[position : position + pace])
            if self.server.pace:
                sleep(0.05)

    def begin(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        pass


def status(code: int) -> Callable[[Handler], None]:
    return lambda handler: handler.send_error(code)


def redirect(to: str) -> Callable[[Handler], None]:
    return lambda handler: handler.begin(302, {"Location": to, "Content-Length": "0"})


def silence(handler: Handler) -> None:
    """Promise bytes, and send none until the client hangs up."""
    handler.begin(200, {"Content-Length": "1000"})
    handler.wfile.flush()
    handler.connection.recv(1)


def drip(handler: Handler) -> None:
    """Send a byte now and then, so that no single wait is long."""
    handler.begin(200, {"Content-Length": "1000000"})
    for _ in range(1000):
        handler.wfile.write(b"x")
        sleep(0.02)


def endless(handler: Handler) -> None:
    """Send for ever, without saying how much."""
    handler.begin(200, {})
    while True:
        handler.wfile.write(bytes(1 << 16))


@contextmanager
def serving() -> Iterator[Server]:
    with Server() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield server
        server.shutdown()
