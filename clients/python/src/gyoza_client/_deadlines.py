"""Bounds the whole of a blocking request, on every connection of an HTTP client.

httpx2 bounds each read and each write alone. It does not pass the network backend on that httpcore2 takes, so `bounded`
sets it, by names that are private to both.
"""

import socket
import ssl
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Final

import httpcore2
import httpx2

SecondsLeft = Callable[[], float]
"""Returns the seconds that the request of the calling thread has left, negative after its end."""

_WRITE_BYTES: Final = 16_384
"""One record of TLS. After so many bytes of a request the time that is left is looked at again."""

_SHORTEST_CONNECT_S: Final = 1.0
"""The least time for one of several addresses of a host, if so much is left."""


def bounded(client: httpx2.Client, seconds_left: SecondsLeft) -> httpx2.Client:
    """The client, whose requests from then on raise TimeoutException when no second is left.

    It is left as it is by a release that lacks one of the private names: each read and each write is bounded there.
    """
    internals: Any = client
    with suppress(AttributeError):
        transports = [internals._transport, *internals._mounts.values()]
        pools = [transport._pool for transport in transports if transport is not None]
        if all(hasattr(pool, "_network_backend") for pool in pools):
            for pool in pools:
                pool._network_backend = _BoundedBackend(seconds_left)
    return client


class _BoundedBackend(httpcore2.NetworkBackend):
    """Opens connections that keep the deadline. The time-outs that httpcore2 gives are longer, and passed over."""

    def __init__(self, seconds_left: SecondsLeft) -> None:
        self._seconds_left = seconds_left
        self._backend = httpcore2.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        """Connect to the first address of the host that answers. The addresses share the time that is left."""
        addresses = _addresses(host, port)
        while True:
            left = _positive(self._seconds_left(), httpcore2.ConnectTimeout)
            share = min(left, max(left / len(addresses), _SHORTEST_CONNECT_S))
            try:
                stream = self._backend.connect_tcp(addresses.pop(0), port, share, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                if not addresses:
                    raise
            else:
                return _BoundedStream(stream, self._seconds_left)


class _BoundedStream(httpcore2.NetworkStream):
    """A connection that keeps the deadline of the thread that uses it."""

    def __init__(self, stream: httpcore2.NetworkStream, seconds_left: SecondsLeft) -> None:
        self._stream = stream
        self._seconds_left = seconds_left

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
        return self._stream.read(max_bytes, _positive(self._seconds_left(), httpcore2.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        for start in range(0, len(buffer), _WRITE_BYTES):
            part = buffer[start : start + _WRITE_BYTES]
            self._stream.write(part, _positive(self._seconds_left(), httpcore2.WriteTimeout))

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002
    ) -> httpcore2.NetworkStream:
        left = _positive(self._seconds_left(), httpcore2.ConnectTimeout)
        return _BoundedStream(self._stream.start_tls(ssl_context, server_hostname, left), self._seconds_left)

    def close(self) -> None:
        """Close the connection. A thread that waits for bytes of it goes on at once."""
        connection = self._stream.get_extra_info("socket")
        if isinstance(connection, socket.socket):
            with suppress(OSError):
                socket.socket.shutdown(connection, socket.SHUT_RDWR)  # The method of an SSLSocket also ends its TLS.
        self._stream.close()

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _positive(seconds: float, late: type[httpcore2.TimeoutException]) -> float:
    if seconds <= 0:
        raise late("timed out")
    return seconds


def _addresses(host: str, port: int) -> list[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise httpcore2.ConnectError(str(error)) from error
    return [str(address[0]) for *_, address in found]
