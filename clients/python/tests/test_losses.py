"""Tests that no loss on the way does anything twice or not at all, with the client as it is shipped.

The API runs on DynamoDB Local in a process of its own. Two of five requests lose their connection before it.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from uuid import uuid4

import pytest

from gyoza_client import AsyncGyozaClient, GyozaClient, NoAnswer, Run
from testing.http_api import ServedApi
from testing.lossy_proxy import LossyProxy

T = TypeVar("T")

LOSS = 0.4
CREATIONS = 1_000
RUNS = 80
THREADS = 16

Create = Callable[[LossyProxy, ServedApi, str, int], list[str]]
"""Creates as many runs of an image, each with its number as its input. Returns the ids that the answers named."""


def with_threads(proxy: LossyProxy, api: ServedApi, image: str, count: int) -> list[str]:
    with GyozaClient(proxy.url, api.api_key) as client, ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(lambda number: create(client, image, number), range(count)))


def create(client: GyozaClient, image: str, number: int, note: Callable[[str | None], Any] = id) -> str:
    return until_answered(lambda key: client.create_run(image, {"number": number}, idempotency_key=key), note).id


def until_answered(call: Callable[[str | None], T], note: Callable[[str | None], Any] = id) -> T:
    """A call that gives up is made again with its key, which is noted."""
    key = None
    while True:
        try:
            return call(key)
        except NoAnswer as gave_up:
            key = gave_up.idempotency_key
            note(key)


def with_tasks(proxy: LossyProxy, api: ServedApi, image: str, count: int) -> list[str]:
    async def create(client: AsyncGyozaClient, number: int) -> str:
        key = None
        while True:
            try:
                return (await client.create_run(image, {"number": number}, idempotency_key=key)).id
            except NoAnswer as gave_up:
                key = gave_up.idempotency_key

    async def create_all() -> list[str]:
        async with AsyncGyozaClient(proxy.url, api.api_key) as client:
            turns = asyncio.Semaphore(THREADS)

            async def in_turn(number: int) -> str:
                async with turns:
                    return await create(client, number)

            return await asyncio.gather(*(in_turn(number) for number in range(count)))

    return asyncio.run(create_all())


def made_of(api: ServedApi, image: str) -> list[Run]:
    """The runs of the image, asked for without the proxy."""
    with GyozaClient(api.url, api.api_key) as client:
        return list(client.list_runs(image=image, limit=100))


@pytest.mark.long
@pytest.mark.parametrize("create_runs", [with_threads, with_tasks])
def test_a_thousand_creations_make_a_thousand_runs(
    create_runs: Create, served_api: ServedApi, proxy: LossyProxy
) -> None:
    image, proxy.loss = f"losses/{uuid4()}:1", LOSS
    ids = create_runs(proxy, served_api, image, CREATIONS)
    made = made_of(served_api, image)
    assert Counter(run.id for run in made) == Counter(ids)
    assert sorted(run.inputs["number"] for run in made) == list(range(CREATIONS))
    counts = proxy.counts
    print(f"\n{CREATIONS} creations: {counts}")
    assert counts.closed > 0.35 * counts.requests
    assert counts.closed_before > 0.4 * counts.closed
    # Each of these was created by a request whose answer the client never saw whole.
    assert counts.closed_after > 0.4 * counts.closed


def test_a_call_that_gave_up_finds_its_run_by_its_key(served_api: ServedApi, proxy: LossyProxy) -> None:
    image, proxy.loss = f"losses/{uuid4()}:1", LOSS
    keys: list[str | None] = []
    with GyozaClient(proxy.url, served_api.api_key, max_retries=0) as client:
        ids = [create(client, image, number, keys.append) for number in range(40)]
    assert len(keys) == proxy.counts.closed > 0
    assert Counter(run.id for run in made_of(served_api, image)) == Counter(ids)


@pytest.mark.long
def test_whole_runs_end_once_and_their_events_are_in_order(served_api: ServedApi, proxy: LossyProxy) -> None:
    image, queue, proxy.loss = f"losses/{uuid4()}:1", f"losses-{uuid4()}", LOSS
    with GyozaClient(served_api.url, served_api.api_key) as client:
        runs = [client.create_run(image, {"number": number}, queue=queue).id for number in range(RUNS)]
    with GyozaClient(proxy.url, served_api.api_key) as client, ThreadPoolExecutor(THREADS) as pool:
        workers = [pool.submit(work, client, queue, f"worker-{number}-{queue}") for number in range(THREADS)]
        ended = until_answered(lambda _: list(client.as_completed(runs)))
        done = [run_id for worker in workers for run_id in worker.result()]
    assert Counter(run.id for run in ended) == Counter(runs) == Counter(done)
    with GyozaClient(served_api.url, served_api.api_key) as client:
        for run in ended:
            assert run.outputs == {"double": 2 * run.inputs["number"]}
            events = [(event.seq, event.attempt, event.type) for event in client.list_events(run)]
            assert events == [(0, 1, "STARTED"), (1, 1, "PROGRESS"), (2, 1, "COMPLETED")]
    print(f"\n{RUNS} runs: {proxy.counts}")
    assert proxy.counts.closed_after > 0.1 * proxy.counts.requests


def work(client: GyozaClient, queue: str, worker_id: str) -> list[str]:
    """Do runs until none is left. Returns their ids."""

    def claim(key: str | None) -> Run | None:
        return client.claim_run(worker_id, queues=[queue], start=True, idempotency_key=key)

    def report(run: Run, type_: str, msg: int, outputs: Any = None) -> None:
        payload = None if outputs is None else {"outputs": outputs}
        until_answered(lambda key: client.report_event(run, type_, msg, payload, attempt=1, idempotency_key=key))

    done = []
    while run := until_answered(claim):
        report(run, "PROGRESS", 50)
        report(run, "COMPLETED", 100, {"double": 2 * run.inputs["number"]})
        done.append(run.id)
    return done
