"""The client for asyncio. It runs the operations of the other client."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import replace
from types import TracebackType
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, Self, TypeVar

from gyoza_client._calling import Caller, Limits
from gyoza_client._configuration import find_address
from gyoza_client._http import AsyncHttpTransport
from gyoza_client._operations import Listing, Operations
from gyoza_client._signatures import shown_as
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
        """Yields the pages. Lists of runs and of definitions leave empty pages out."""
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
                reply = await self._do(operation.send(reply))
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
                    reply = await self._do(step)
        except StopIteration:
            return
        finally:
            stream.close()

    async def _do(self, step: Send | Sleep) -> Reply:
        if isinstance(step, Sleep):
            await self._sleep(step.seconds)
            return None
        return await self.transport.send(step)


def _call(
    operation: Callable[Concatenate[Operations, P], Operation[T]],
) -> "Callable[Concatenate[AsyncGyozaClient, P], Coroutine[Any, Any, T]]":
    @shown_as(operation)
    async def method(self: "AsyncGyozaClient", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._driver.run(operation(self._operations, *args, **kwargs))

    return method


def _pager(
    listing: Callable[Concatenate[Operations, P], Listing[T, G]],
) -> "Callable[Concatenate[AsyncGyozaClient, P], AsyncPager[T, G]]":
    @shown_as(listing, AsyncPager)
    def method(self: "AsyncGyozaClient", /, *args: P.args, **kwargs: P.kwargs) -> AsyncPager[T, G]:
        return AsyncPager(self._driver, listing(self._operations, *args, **kwargs))

    return method


def _stream(
    stream: Callable[Concatenate[Operations, P], Stream[T]],
) -> "Callable[Concatenate[AsyncGyozaClient, P], AsyncIterator[T]]":
    @shown_as(stream, AsyncIterator)
    def method(self: "AsyncGyozaClient", /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[T]:
        return self._driver.stream(stream(self._operations, *args, **kwargs))

    return method


class AsyncGyozaClient:
    """A client of one deployment, for one event loop of asyncio; its tasks may share it.

    Without ``url`` and ``api_key`` both come from the environment, a profile or the local stack that runs in this
    folder. ``timeout`` bounds the wait for one answer and ``call_timeout`` a call with its repeats, in seconds.
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        profile: str | None = None,
        timeout: float = Limits.timeout,
        call_timeout: float = Limits.call_timeout,
        max_retries: int = Limits.max_retries,
    ) -> None:
        limits = Limits(timeout, call_timeout, max_retries)
        address = find_address(url, api_key, profile)
        self.url = address.url
        self._driver = AsyncDriver(AsyncHttpTransport(address.url, address.api_key, is_loopback=address.is_loopback))
        self._operations = Operations(Caller(limits))

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

    def with_options(
        self, *, timeout: float | None = None, call_timeout: float | None = None, max_retries: int | None = None
    ) -> Self:
        """A client with other limits on the same connections. Closing either closes both."""
        caller = self._operations.caller
        limits = caller.limits
        if timeout is not None:
            limits = replace(limits, timeout=timeout)
        if call_timeout is not None:
            limits = replace(limits, call_timeout=call_timeout)
        if max_retries is not None:
            limits = replace(limits, max_retries=max_retries)
        other = object.__new__(type(self))
        other.__dict__ |= self.__dict__ | {"_operations": Operations(replace(caller, limits=limits))}
        return other

    async def close(self) -> None:
        await self._driver.transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"
