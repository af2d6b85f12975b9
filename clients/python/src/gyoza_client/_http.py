"""Knows the HTTP library, beside ``_deadlines.py`` alone. It turns a Send into an Answer or a Lost."""

import os
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final, Generic, TypeVar

import httpx2

from gyoza_client._steps import CLOSED, Answer, Lost, Send

T = TypeVar("T")

_NEVER_SENT: Final = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.ProxyError)
"""The errors that are raised before the first byte of a request is written."""


class HttpTransport:
    """Sends over connections that it keeps. Threads may share it; a process that was forked opens its own.

    The time-out of a request bounds all of it but the look-up of the host's addresses, which is the system's.
    """

    def __init__(self, url: str, api_key: str, *, is_loopback: bool) -> None:
        self._url = url
        self._deadline = _Deadline()
        self._client = _MadeOnUse(lambda: self._new_client(_settings(url, api_key, is_loopback=is_loopback)))

    def send(self, step: Send) -> Answer | Lost:
        client = self._client.get()
        if client is None:
            return CLOSED
        self._deadline.at = time.monotonic() + step.timeout_s
        try:
            response = client.request(**_request(self._url, step))
        except (httpx2.HTTPError, RuntimeError) as error:
            return _lost(step, error, is_closed=self._client.has_ended)
        return _answer(response)

    def close(self) -> None:
        if (made := self._client.end()) is not None:
            made.close()

    def _new_client(self, settings: dict[str, Any]) -> httpx2.Client:
        from gyoza_client._deadlines import bounded  # noqa: PLC0415 - it loads what only a request needs

        return bounded(httpx2.Client(**settings), self._deadline.seconds_left)


class _Deadline(threading.local):
    """The instant, by ``time.monotonic``, at which the request of this thread is over."""

    at: float = 0.0

    def seconds_left(self) -> float:
        return self.at - time.monotonic()


class AsyncHttpTransport:
    """Sends over connections that it keeps, in one event loop of asyncio."""

    def __init__(self, url: str, api_key: str, *, is_loopback: bool) -> None:
        self._url = url
        self._client = _MadeOnUse(lambda: httpx2.AsyncClient(**_settings(url, api_key, is_loopback=is_loopback)))

    async def send(self, step: Send) -> Answer | Lost:
        import asyncio  # noqa: PLC0415 - a program without asyncio does not pay for it

        client = self._client.get()
        if client is None:
            return CLOSED
        try:
            async with asyncio.timeout(step.timeout_s):
                response = await client.request(**_request(self._url, step))
        except (TimeoutError, httpx2.HTTPError, RuntimeError) as error:
            return _lost(step, error, is_closed=self._client.has_ended)
        return _answer(response)

    async def close(self) -> None:
        if (made := self._client.end()) is not None:
            await made.aclose()


class _MadeOnUse(Generic[T]):
    """A value that each process makes when it first asks: the certificates of this machine take 50 ms to load."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._by_process: dict[int, _Made[T]] = {}
        """A forked process neither uses nor drops what its parent made: sockets, and locks that may be held."""
        self.has_ended = False

    def get(self) -> T | None:
        """The value of this process, or None after the end."""
        own = self._of_this_process()
        with own.lock:
            if own.value is None and not self.has_ended:
                own.value = self._make()
            return None if self.has_ended else own.value

    def end(self) -> T | None:
        """The value of this process if it was made, for its owner to close."""
        own = self._of_this_process()
        with own.lock:
            self.has_ended = True
            return own.value

    def _of_this_process(self) -> "_Made[T]":
        return self._by_process.setdefault(os.getpid(), _Made())  # One step, whatever the threads do.


class _Made(Generic[T]):
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.value: T | None = None


def _settings(url: str, api_key: str, *, is_loopback: bool) -> dict[str, Any]:
    return {
        "headers": {"X-API-Key": api_key, "User-Agent": "gyoza-client"},
        # An address without TLS needs no certificates.
        "verify": True if url.startswith("https:") else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
        # No proxy that the environment names stands between this machine and itself.
        "trust_env": not is_loopback,
        "limits": httpx2.Limits(max_connections=None, max_keepalive_connections=20),
    }


def _request(url: str, step: Send) -> dict[str, Any]:
    return {
        "method": step.method,
        "url": url + step.path,
        # An empty query would remove the one that the path may have.
        "params": list(step.query) or None,
        "headers": dict(step.headers),
        "content": step.body,
        "timeout": step.timeout_s,
    }


def _answer(response: httpx2.Response) -> Answer:
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Answer(response.status_code, headers, response.content)


def _lost(step: Send, error: Exception, *, is_closed: bool) -> Lost:
    """The failure of a request. Raises a RuntimeError again, unless the end of the client is its cause."""
    maybe_done = not isinstance(error, (*_NEVER_SENT, RuntimeError))
    if is_closed:
        return replace(CLOSED, maybe_done=maybe_done)
    if isinstance(error, RuntimeError):
        raise error
    if isinstance(error, TimeoutError | httpx2.TimeoutException):
        return Lost(f"the answer took longer than {step.timeout_s:g} s", maybe_done)
    return Lost(str(error) or type(error).__name__, maybe_done)
