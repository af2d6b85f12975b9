"""Tests the proxy that the tests of losses rely on, and the server behind it."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from clients.python.tests.scripted_server import Reply, ScriptedServer
from gyoza_client import Forbidden, GyozaClient, NotFound
from testing.gateway import Gateway
from testing.http_api import API_KEY, ServedApi, served
from testing.lossy_proxy import LossyProxy

REQUESTS = 400


def ask(proxy: LossyProxy, timeout_s: float = 10) -> bool:
    """Whether a request is answered whole."""
    connection = HTTPConnection(urlsplit(proxy.url).netloc, timeout=timeout_s)
    try:
        connection.request("POST", "/live/runs", b"{}")
        answer = connection.getresponse()
        return answer.read() == b'{"answer": 42}'
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def test_it_closes_its_share_half_before_and_half_after_the_server_acts(server: ScriptedServer) -> None:
    server.replies(Reply(200, {"answer": 42}))
    with LossyProxy(server.url, loss=0.4, seed=1) as proxy, ThreadPoolExecutor(4) as pool:
        answered = sum(pool.map(lambda _: ask(proxy), range(REQUESTS)))
    counts = proxy.counts
    assert counts.requests == REQUESTS
    assert answered == REQUESTS - counts.closed
    assert len(server.asked) == REQUESTS - counts.closed_before
    assert 0.3 * REQUESTS < counts.closed < 0.5 * REQUESTS
    assert 0.3 * counts.closed < counts.closed_before < 0.7 * counts.closed


def test_it_refuses_while_it_is_down_and_keeps_its_address(server: ScriptedServer) -> None:
    server.replies(Reply(200, {"answer": 42}))
    with LossyProxy(server.url) as proxy:
        for _ in range(3):
            assert ask(proxy)
            proxy.down()
            assert not ask(proxy)
            proxy.up()
    assert len(server.asked) == 3


def test_it_passes_on_what_it_held(server: ScriptedServer) -> None:
    server.replies(Reply(200, {"answer": 42}))
    with LossyProxy(server.url) as proxy:
        proxy.hold()
        assert not ask(proxy, timeout_s=0.1)
        assert server.asked == []
        threading.Timer(0.1, proxy.up).start()
        assert ask(proxy)
        deadline = time.monotonic() + 10
        while len(server.asked) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(server.asked) == 2


def test_the_api_is_served_to_threads_with_its_key(served_api: ServedApi) -> None:
    queue = f"served-{uuid4()}"
    with GyozaClient(served_api.url, served_api.api_key) as client, ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(lambda n: client.create_run("busybox:1", {"n": n}, queue=queue), range(40)))
        claimed = list(pool.map(lambda n: client.claim_run(f"w{n}-{queue}", queues=[queue], start=True), range(40)))
        assert {run.id for run in runs} == {run.id for run in claimed if run}
        with pytest.raises(NotFound):
            client.request("GET", "/nothing/here")
    with GyozaClient(served_api.url, "another") as stranger, pytest.raises(Forbidden):
        stranger.create_run("busybox:1")


def test_the_handlers_of_this_process_are_served_too(api: Gateway) -> None:
    assert api
    with served(one_at_a_time=True) as server, GyozaClient(server.url, API_KEY) as client:
        with ThreadPoolExecutor(4) as pool:
            made = {run.id for run in pool.map(lambda _: client.create_run("busybox:1"), range(12))}
        assert {run.id for run in client.list_runs()} == made
        assert server.failures == []


@pytest.mark.long
def test_a_lease_of_the_served_api_expires(served_api: ServedApi) -> None:
    queue = f"lease-{uuid4()}"
    with GyozaClient(served_api.url, served_api.api_key) as client:
        run: Any = client.create_run("busybox:1", queue=queue, retry_policy={"max_attempts": 2})
        run = client.claim_run(f"w-{queue}", queues=[queue], lease_s=15, start=True)
        begun = time.monotonic()
        while (seen := client.get_run(run)).current_attempt == 1:
            assert time.monotonic() - begun < 30
            time.sleep(0.5)
        assert time.monotonic() - begun > 14
        assert seen.state == "PENDING"
