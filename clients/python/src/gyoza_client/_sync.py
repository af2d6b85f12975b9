"""The client whose calls block."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Protocol, Self, TypeVar

from gyoza_client._calling import Caller, Limits
from gyoza_client._client import Client, Core, shown_as
from gyoza_client._configuration import Address
from gyoza_client._http import HttpTransport
from gyoza_client._operations import Listing, Operations
from gyoza_client._steps import Answer, Item, Lost, Operation, Reply, Send, Sleep, Stream

if TYPE_CHECKING:
    from gyoza_client._work import Jobs

P = ParamSpec("P")
T = TypeVar("T")
G = TypeVar("G")


class Transport(Protocol):
    def send(self, step: Send) -> Answer | Lost: ...

    def close(self) -> None: ...


class Pager(Generic[T, G]):
    """A list: iterate over its rows, or over its ``pages()``. Each iteration begins anew."""

    def __init__(self, driver: "Driver", listing: Listing[T, G]) -> None:
        self._driver = driver
        self._listing = listing

    def __iter__(self) -> Iterator[T]:
        for page in self.pages():
            yield from self._listing.rows(page)

    def pages(self) -> Iterator[G]:
        """Yield the pages. Lists of runs and of definitions leave empty pages out."""
        return self._driver.stream(self._listing.walk())


class Driver:
    """Does what operations ask for."""

    def __init__(self, transport: Transport, sleep: Callable[[float], None] = time.sleep) -> None:
        self.transport = transport
        self._sleep = sleep

    def run(self, operation: Operation[T]) -> T:
        reply: Reply = None
        try:
            while True:
                reply = self.do(operation.send(reply))
        except StopIteration as end:
            result: T = end.value
            return result
        finally:
            operation.close()

    def stream(self, stream: Stream[T]) -> Iterator[T]:
        reply: Reply = None
        try:
            while True:
                step = stream.send(reply)
                if isinstance(step, Item):
                    yield step.value
                    reply = None
                else:
                    reply = self.do(step)
        except StopIteration:
            return
        finally:
            stream.close()

    def do(self, step: Send | Sleep) -> Reply:
        """Take one step. Drivers that add something to each step override it."""
        if isinstance(step, Sleep):
            self._sleep(step.seconds)
            return None
        return self.transport.send(step)


def _call(
    operation: Callable[Concatenate[Operations, P], Operation[T]],
) -> "Callable[Concatenate[GyozaClient, P], T]":
    @shown_as(operation)
    def method(self: "GyozaClient", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._core.driver.run(operation(self._core.operations, *args, **kwargs))

    return method


def _pager(
    listing: Callable[Concatenate[Operations, P], Listing[T, G]],
) -> "Callable[Concatenate[GyozaClient, P], Pager[T, G]]":
    @shown_as(listing, Pager)
    def method(self: "GyozaClient", /, *args: P.args, **kwargs: P.kwargs) -> Pager[T, G]:
        return Pager(self._core.driver, listing(self._core.operations, *args, **kwargs))

    return method


def _stream(
    stream: Callable[Concatenate[Operations, P], Stream[T]],
) -> "Callable[Concatenate[GyozaClient, P], Iterator[T]]":
    @shown_as(stream, Iterator)
    def method(self: "GyozaClient", /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        return self._core.driver.stream(stream(self._core.operations, *args, **kwargs))

    return method


class GyozaClient(Client[Driver]):
    """A client of one deployment. Threads may share it.

    Without ``url`` and ``api_key`` both come from the environment, a profile or the local stack that runs in this
    folder. ``timeout`` bounds the wait for one answer and ``call_timeout`` a call with its repeats, in seconds.
    """

    @staticmethod
    def _new_driver(address: Address) -> Driver:
        return Driver(HttpTransport(address.url, address.api_key, is_loopback=address.is_loopback))

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

    def work(
        self,
        *,
        queues: Sequence[str] | None = None,
        capacity: Mapping[str, Any] | None = None,
        lease_s: int = 90,
        worker_id: str | None = None,
        max_jobs: int | None = None,
        idle_s: float | None = None,
        grace_s: float = 20.0,
    ) -> "Jobs":
        """The jobs of a worker: ``for job in client.work(queues=["q"]): with job: ...``.

        It claims run after run and never ends by itself, except after ``max_jobs`` jobs, or once no run was found for
        ``idle_s`` seconds. It pauses as the server says while there is no work, and outlasts a server that does not
        answer. Raises ApiError if the server refuses its claims. ``worker_id`` names one worker that does one job at a
        time; each call makes a name of its own by default.

        SIGTERM ends the loop after the current job. A job that goes on for ``grace_s`` seconds after it is left by
        SystemExit, and so FAILED with the reason ``interrupted``. This needs the main thread, and that nobody else
        handles SIGTERM; ``stop()`` of the result ends the loop too.
        """
        from gyoza_client._work import Jobs  # noqa: PLC0415 - most programs are no workers

        return Jobs(
            self,
            queues=queues,
            capacity=capacity,
            lease_s=lease_s,
            worker_id=worker_id,
            max_jobs=max_jobs,
            idle_s=idle_s,
            grace_s=grace_s,
        )

    def close(self) -> None:
        self._core.driver.transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def core_of(client: GyozaClient) -> Core[Driver]:
    """The parts of a client, for the workers and the commands of this package."""
    return client._core


def client_of(core: Core[Driver]) -> GyozaClient:
    """A client of these parts. It shares the connections of its driver."""
    client = object.__new__(GyozaClient)
    client._core = core
    return client


def own_connections(client: GyozaClient, limits: Limits) -> GyozaClient:
    """A client of the same address that shares nothing with this one and is closed by itself."""
    address = client._core.address
    return client_of(Core(address, GyozaClient._new_driver(address), Caller(limits)))
