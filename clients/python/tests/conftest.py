"""Provides a server whose answers a test scripts, and both clients behind one blocking interface."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from clients.python.tests.scripted_server import ScriptedServer
from gyoza_client import AsyncGyozaClient, AsyncPager, GyozaClient
from testing.gateway import Gateway
from tests.conftest import engine_url, proxy, pytest_itemcollected, pytest_runtest_protocol, served_api
from tests.functions.conftest import gateway, moto_table

__all__ = ["engine_url", "gateway", "proxy", "pytest_itemcollected", "pytest_runtest_protocol", "served_api"]
# `gateway` runs the handlers on one table a module. The rest is as in all tests.

MakeClient = Callable[..., Any]


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


@pytest.fixture
def api(gateway: Gateway) -> Iterator[Gateway]:
    """Runs the handlers on an empty table, for one thread at a time."""
    yield gateway
    moto_table().items.clear()


@pytest.fixture(params=["sync", "async"])
def make_client(request: pytest.FixtureRequest) -> Iterator[MakeClient]:
    """A function that makes a client with the arguments of GyozaClient; each test runs with either client."""
    made: list[Any] = []

    def make(*args: Any, **kwargs: Any) -> Any:
        client = GyozaClient(*args, **kwargs) if request.param == "sync" else Blocking(*args, **kwargs)
        made.append(client)
        return client

    yield make
    for client in made:
        client.close()


@pytest.fixture
def client(make_client: MakeClient, server: ScriptedServer) -> Any:
    return make_client(server.url, "key")


class Blocking:
    """AsyncGyozaClient with the interface of GyozaClient: each call runs an event loop until it is done."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._client = AsyncGyozaClient(*args, **kwargs)
        self._runner = asyncio.Runner()

    def __getattr__(self, name: str) -> Any:
        return self._blocking(getattr(self._client, name))

    def close(self) -> None:
        self._runner.run(self._client.close())
        self._runner.close()

    def _blocking(self, value: Any) -> Any:
        if inspect.iscoroutine(value):
            return self._runner.run(value)
        if isinstance(value, AsyncPager):
            return BlockingPager(self, value)
        if isinstance(value, AsyncIterator):
            return self._walk(value)
        if isinstance(value, AsyncGyozaClient):
            other = object.__new__(Blocking)
            other._client, other._runner = value, self._runner
            return other
        if callable(value):
            return lambda *args, **kwargs: self._blocking(value(*args, **kwargs))
        return value

    def _walk(self, items: AsyncIterator[Any]) -> Iterator[Any]:
        async def step() -> tuple[bool, Any]:
            try:
                return True, await anext(items)
            except StopAsyncIteration:
                return False, None

        while True:
            more, item = self._runner.run(step())
            if not more:
                return
            yield item


class BlockingPager:
    def __init__(self, client: Blocking, pager: AsyncPager[Any, Any]) -> None:
        self._client = client
        self._pager = pager

    def __iter__(self) -> Iterator[Any]:
        return self._client._walk(aiter(self._pager))

    def pages(self) -> Iterator[Any]:
        return self._client._walk(self._pager.pages())
