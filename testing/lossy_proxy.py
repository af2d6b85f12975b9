"""A proxy on loopback that loses a share of the requests, or all of them while it is down."""

import random
import socket
import struct
import threading
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from types import TracebackType
from typing import BinaryIO, Self
from urllib.parse import urlsplit

_WITHOUT_BODY = (b"204", b"304")


@dataclass
class Counts:
    """The requests that came whole, and those of them whose connection was closed."""

    requests: int = 0
    closed_before: int = 0
    """The server never got the request."""
    closed_after: int = 0
    """The server had acted. The client got none of the answer, or the beginning of it."""

    @property
    def closed(self) -> int:
        return self.closed_before + self.closed_after


class _Fate(Enum):
    PASSED = auto()
    CLOSED_BEFORE = auto()
    CLOSED_AFTER = auto()


class LossyProxy:
    """Stands before an HTTP server while its block runs; ``url`` replaces the server's address.

    ``loss`` is the share of requests whose connection it closes: half of them before the request is passed on, half
    after the server has answered. Some closings are resets. ``loss`` may be changed at any time.
    """

    def __init__(self, server_url: str, *, loss: float = 0.0, seed: int = 0) -> None:
        upstream = urlsplit(server_url)
        assert upstream.hostname is not None
        assert upstream.port is not None
        self._upstream = (upstream.hostname, upstream.port)
        self.loss = loss
        self.counts = Counts()
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._passes = threading.Event()
        self._passes.set()
        self._listener = _bound(0)
        self._port = self._listener.getsockname()[1]
        self._is_listening = False
        self._has_ended = False
        self.url = f"http://127.0.0.1:{self._port}{upstream.path}"

    def __enter__(self) -> Self:
        self.up()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._has_ended = True
        self.down()
        self._listener.close()
        self._passes.set()

    def down(self) -> None:
        """Close every connection and refuse new ones, until ``up``."""
        if self._is_listening:
            self._is_listening = False
            _close(self._listener)
            # It is bound and does not listen: connections are refused, and nobody else gets the port.
            self._listener = _bound(self._port)
        with self._lock:
            for each in self._sockets:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def hold(self) -> None:
        """Take connections and requests but pass nothing on, in neither direction, until ``up``.

        ``up`` then passes on what is held, as a network does that comes back.
        """
        self._passes.clear()

    def up(self) -> None:
        """Undo ``down`` and ``hold``."""
        self._passes.set()
        if not self._is_listening:
            self._is_listening = True
            self._listener.listen(256)
            threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        upstream = socket.socket()
        with self._lock:
            self._sockets |= {client, upstream}
        try:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
            with client.makefile("rb") as requests, upstream.makefile("rb") as answers:
                while (request := _message(requests)) and self._pass(request, client, upstream, answers):
                    pass
        except OSError:
            pass
        finally:
            with self._lock:
                self._sockets -= {client, upstream}
            _close(upstream)
            _close(client)

    def _pass(self, request: bytes, client: socket.socket, upstream: socket.socket, answers: BinaryIO) -> bool:
        """Pass one request and its answer. Returns whether the connection stays open."""
        fate = self._fate()
        self._passes.wait()
        if self._has_ended:
            return False
        if fate is _Fate.CLOSED_BEFORE:
            self._reset_perhaps(client)
            return False
        if upstream.getsockname()[1] == 0:
            upstream.connect(self._upstream)
            upstream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        upstream.sendall(request)
        answer = _message(answers)
        self._passes.wait()
        if fate is _Fate.CLOSED_AFTER:
            client.sendall(answer[: self._part_of(len(answer))])
            self._reset_perhaps(client)
            return False
        client.sendall(answer)
        return bool(answer)

    def _fate(self) -> _Fate:
        with self._lock:
            self.counts.requests += 1
            if self._random.random() >= self.loss:
                return _Fate.PASSED
            if self._random.random() < 0.5:
                self.counts.closed_before += 1
                return _Fate.CLOSED_BEFORE
            self.counts.closed_after += 1
            return _Fate.CLOSED_AFTER

    def _part_of(self, size: int) -> int:
        """Half of the lost answers are lost whole, the others break off."""
        with self._lock:
            return self._random.choice((0, self._random.randrange(max(size, 1))))

    def _reset_perhaps(self, client: socket.socket) -> None:
        with self._lock:
            resets = self._random.random() < 0.5
        if resets:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _bound(port: int) -> socket.socket:
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind(("127.0.0.1", port))
    return bound


def _close(of: socket.socket) -> None:
    """Close a socket, and wake the thread that waits for it."""
    with suppress(OSError):
        of.shutdown(socket.SHUT_RD)
    of.close()


def _message(stream: BinaryIO) -> bytes:
    """The next request or answer, or nothing if the other end closed the connection. Bodies have a Content-Length."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        line = stream.readline()
        if not line:
            return b""
        head += line
    first, *fields = head.split(b"\r\n")
    if first.split(b" ")[1] in _WITHOUT_BODY:
        return head
    sizes = [field.partition(b":")[2] for field in fields if field.lower().startswith(b"content-length:")]
    size = int(sizes[0]) if sizes else 0
    body = stream.read(size)
    return head + body if len(body) == size else b""
