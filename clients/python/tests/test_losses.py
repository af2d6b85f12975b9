"""Tests that no loss on the way creates a run twice or not at all, with the client as it is shipped.

The API runs on DynamoDB Local in a process of its own. Two of five requests lose their connection before it.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest

from gyoza_client import AsyncGyozaClient, GyozaClient, NoAnswer, Run
from testing.http_api import ServedApi
from testing.lossy_proxy import LossyProxy

LOSS = 0.4
CREATIONS = 1_000
THREADS = 16

Create = Callable[[LossyProxy, ServedApi, str, int], list[str]]
"""Creates as many runs of an image, each with its number as its input. Returns the ids that the answers named."""


def with_threads(proxy: LossyProxy, api: ServedApi, image: str, count: int) -> list[str]:
    with GyozaClient(proxy.url, api.api_key) as client, ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(lambda number: create(client, image, number), range(count)))


def create(client: GyozaClient, image: str, number: int, note: Callable[[str | None], Any] = id) -> str:
    """A call that gave up is made again with its key, which is noted."""
    key = None
    while True:
        try:
            return client.create_run(image, {"number": number}, idempotency_key=key).id
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
