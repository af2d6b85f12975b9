"""The client for asyncio. It runs the operations of the other client."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from types import TracebackType
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, Self, TypeVar

from gyoza_client._client import Client, shown_as
from gyoza_client._configuration import Address
from gyoza_client._http import AsyncHttpTransport
from gyoza_client._operations import Listing, Operations
from gyoza_client._steps import Answer, Item, Lost, Operation, Reply, Send, Sleep, Stream

P = ParamSpec("P")
T = TypeVar("T")
G = TypeVar("G")


class AsyncTransport(Protocol):
    async def send(self, step: Send) -> Answer | Lost: ...

    async def close(self) -> None: ...


class AsyncPager(Generic[T, G]):
    """A list: iterate over its rows, or over its ``pages()``, with ``async for``. Each iteration begins anew."""

    def __init__(self, driver: "AsyncDriver", listing: Listing[T, G]) -> None:
        self._driver = driver
        self._listing = listing

    async def __aiter__(self) -> AsyncIterator[T]:
        async for page in self.pages():
            for row in self._listing.rows(page):
                yield row

    def pages(self) -> AsyncIterator[G]:
        """Yield the pages. Lists of runs and of definitions leave empty pages out."""
        return self._driver.stream(self._listing.walk())


class AsyncDriver:
    """Does what operations ask for."""

    def __init__(self, transport: AsyncTransport, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self.transport = transport
        self._sleep = sleep

    async def run(self, operation: Operation[T]) -> T:
        reply: Reply = None
        try:
            while True:
                reply = await self.do(operation.send(reply))
        except StopIteration as end:
            result: T = end.value
            return result
        finally:
            operation.close()

    async def stream(self, stream: Stream[T]) -> AsyncIterator[T]:
        reply: Reply = None
        try:
            while True:
                step = stream.send(reply)
                if isinstance(step, Item):
                    yield step.value
                    reply = None
                else:
                    reply = await self.do(step)
        except StopIteration:
            return
        finally:
            stream.close()

    async def do(self, step: Send | Sleep) -> Reply:
        if isinstance(step, Sleep):
            await self._sleep(step.seconds)
            return None
        return await self.transport.send(step)


def _call(
    operation: Callable[Concatenate[Operations, P], Operation[T]],
) -> "Callable[Concatenate[AsyncGyozaClient, P], Coroutine[Any, Any, T]]":
    @shown_as(operation)
    async def method(self: "AsyncGyozaClient", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._core.driver.run(operation(self._core.operations, *args, **kwargs))

    return method


def _pager(
    listing: Callable[Concatenate[Operations, P], Listing[T, G]],
) -> "Callable[Concatenate[AsyncGyozaClient, P], AsyncPager[T, G]]":
    @shown_as(listing, AsyncPager)
    def method(self: "AsyncGyozaClient", /, *args: P.args, **kwargs: P.kwargs) -> AsyncPager[T, G]:
        return AsyncPager(self._core.driver, listing(self._core.operations, *args, **kwargs))

    return method


def _stream(
    stream: Callable[Concatenate[Operations, P], Stream[T]],
) -> "Callable[Concatenate[AsyncGyozaClient, P], AsyncIterator[T]]":
    @shown_as(stream, AsyncIterator)
    def method(self: "AsyncGyozaClient", /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[T]:
        return self._core.driver.stream(stream(self._core.operations, *args, **kwargs))

    return method


class AsyncGyozaClient(Client[AsyncDriver]):
    """A client of one deployment, for one event loop of asyncio; its tasks may share it.

    Without ``url`` and ``api_key`` both come from the environment, a profile or the local stack that runs in this
    folder. ``timeout`` bounds the wait for one answer and ``call_timeout`` a call with its repeats, in seconds.
    """

    @staticmethod
    def _new_driver(address: Address) -> AsyncDriver:
        return AsyncDriver(AsyncHttpTransport(address.url, address.api_key, is_loopback=address.is_loopback))

    create_run = _call(Operations.create_run)
    get_run = _call(Operations.get_run)
    list_runs = _pager(Operations.list_runs)
    list_run_summaries = _pager(Operations.list_run_summaries)
    update_run = _call(Operations.update_run)
    retry_run = _call(Operations.retry_run)
    cancel_run = _call(Operations.cancel_run)
    add_event = _call(Operations.add_event)
    report_event = _call(Operations.report_event)
    list_events = _pager(Operations.list_events)
    list_attempts = _pager(Operations.list_attempts)
    heartbeat = _call(Operations.heartbeat)
    claim_run = _call(Operations.claim_run)
    get_definition = _call(Operations.get_definition)
    list_definitions = _pager(Operations.list_definitions)
    list_definition_versions = _pager(Operations.list_definition_versions)
    upsert_definition = _call(Operations.upsert_definition)
    create_definition = _call(Operations.create_definition)
    delete_definition = _call(Operations.delete_definition)
    create_run_from_definition = _call(Operations.create_run_from_definition)
    watch = _stream(Operations.watch)
    wait = _call(Operations.wait)
    run = _call(Operations.run)
    as_completed = _stream(Operations.as_completed)
    request = _call(Operations.request)

    async def close(self) -> None:
        await self._core.driver.transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
