"""Knows the HTTP library, beside ``_deadlines.py`` alone. It turns a Send into an Answer or a Lost."""

import ssl
import threading
import time
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

import httpx2

from gyoza_client._steps import Answer, Lost, Send

T = TypeVar("T")

_NEVER_SENT: Final = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.ProxyError)
"""The errors that are raised before the first byte of a request is written."""


class HttpTransport:
    """Sends over connections that it keeps. Threads may share it.

    The time-out of a request bounds all of it but the look-up of the host's addresses, which is the system's.
    """

    def __init__(self, url: str, api_key: str, *, is_loopback: bool) -> None:
        self._url = url
        self._deadline = _Deadline()
        self._client = _MadeOnUse(lambda: self._new_client(_settings(url, api_key, is_loopback=is_loopback)))

    def send(self, step: Send) -> Answer | Lost:
        client = self._client.get()
        self._deadline.at = time.monotonic() + step.timeout_s
        try:
            response = client.request(**_request(self._url, step))
        except httpx2.TimeoutException as error:
            return _late(step, error)
        except httpx2.HTTPError as error:
            return _lost(error)
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

        try:
            async with asyncio.timeout(step.timeout_s):
                response = await self._client.get().request(**_request(self._url, step))
        except (TimeoutError, httpx2.TimeoutException) as error:
            return _late(step, error)
        except httpx2.HTTPError as error:
            return _lost(error)
        return _answer(response)

    async def close(self) -> None:
        if (made := self._client.end()) is not None:
            await made.aclose()


class _MadeOnUse(Generic[T]):
    """A value that is made when it is first asked for: the certificates of this machine take 50 ms to load."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._made: list[T] = []
        self._has_ended = False

    def get(self) -> T:
        """The value. Raises RuntimeError after the end."""
        with self._lock:
            if self._has_ended:
                raise RuntimeError("The client is closed")
            if not self._made:
                self._made.append(self._make())
            return self._made[0]

    def end(self) -> T | None:
        """The value if it was made, for its owner to close."""
        with self._lock:
            self._has_ended = True
            return self._made[0] if self._made else None


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


def _late(step: Send, error: Exception) -> Lost:
    return Lost(f"the answer took longer than {step.timeout_s:g} s", maybe_done=not isinstance(error, _NEVER_SENT))


def _lost(error: httpx2.HTTPError) -> Lost:
    return Lost(str(error) or type(error).__name__, maybe_done=not isinstance(error, _NEVER_SENT))
