"""A server on loopback that answers as a test says and records what it was asked."""

import json
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self, cast
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    query: list[tuple[str, str]]
    headers: Mapping[str, str]
    """The names are in lower case."""
    body: Any


@dataclass(frozen=True)
class Reply:
    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


HANG_UP = Reply(0)
"""Close the connection without an answer."""

Script = Callable[[Asked], Reply]


class ScriptedServer:
    """Answers by the replies in the order they were given, and from then on by the last."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.connections = 0
        self._lock = threading.Lock()
        self._script: Script = lambda _asked: Reply(500, {"detail": "unscripted", "code": "internal_error"})
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.owner = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}/live"

    def replies(self, *replies: Reply) -> None:
        left = list(replies)
        self.answers_with(lambda _asked: left.pop(0) if len(left) > 1 else left[0])

    def answers_with(self, script: Script) -> None:
        self._script = script

    def answer(self, asked: Asked) -> Reply:
        with self._lock:
            self.asked.append(asked)
            return self._script(asked)

    def connected(self) -> None:
        with self._lock:
            self.connections += 1

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64
    owner: ScriptedServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Passes over a client that did not wait for its answer."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 10

    def setup(self) -> None:
        super().setup()
        cast(_Server, self.server).owner.connected()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)

    def _serve(self) -> None:
        text = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        url = urlsplit(self.path)
        asked = Asked(
            self.command,
            url.path.removeprefix("/live"),
            parse_qsl(url.query, keep_blank_values=True),
            {name.lower(): value for name, value in self.headers.items()},
            json.loads(text) if text else None,
        )
        reply = cast(_Server, self.server).owner.answer(asked)
        if reply is HANG_UP:
            self.close_connection = True
            return
        body = b"" if reply.body is None else reply.body if isinstance(reply.body, bytes) else _json(reply.body)
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if reply.status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815 - the names that the base class looks up

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


def _json(body: Any) -> bytes:
    return json.dumps(body).encode()
