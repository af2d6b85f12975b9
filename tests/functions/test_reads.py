"""Tests answers that take several reads with a write between them: each shows one version of the run."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from botocore.client import BaseClient

from testing.gateway import Answer, Gateway

Request = Callable[[Gateway, str], Answer]

READS: dict[str, Request] = {
    "the run": lambda api, run_id: api.get(f"/runs/{run_id}"),
    "its attempts": lambda api, run_id: api.get(f"/runs/{run_id}/attempts"),
    "the list": lambda api, _: api.get("/runs", limit=1, **{"expand[]": "events"}),
}


def started(api: Gateway, run_id: str) -> Answer:
    return api.event(run_id, "STARTED", minimal=True, payload={"worker_id": "worker-1"})


def completed(api: Gateway, run_id: str) -> Answer:
    return api.event(run_id, "COMPLETED", minimal=True, payload={"outputs": {"a": 1}})


def patched(api: Gateway, run_id: str) -> Answer:
    """A completed run whose outputs were patched later."""
    started(api, run_id)
    completed(api, run_id)
    return api.patch(f"/runs/{run_id}", {"outputs": {"b": 1}})


WRITES: dict[str, tuple[Request, Request]] = {
    "a claim": (
        lambda api, run_id: api.event(run_id, "ASSIGNED", minimal=True, payload={"worker_id": "worker-1"}),
        lambda api, run_id: api.event(run_id, "STARTED", minimal=True, payload={"worker_id": "worker-2"}),
    ),
    "a completion": (started, completed),
    "a failure and its retry": (
        started,
        lambda api, run_id: api.event(run_id, "FAILED", minimal=True, payload={"error_message": "no"}),
    ),
    "outputs patched again": (patched, lambda api, run_id: api.patch(f"/runs/{run_id}", {"outputs": {"c": 2}})),
}
"""The preparation of each write, and the write."""


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("write", WRITES)
def test_an_answer_never_mixes_two_versions_of_a_run(
    api: Gateway, monkeypatch: pytest.MonkeyPatch, write: str, read: str
) -> None:
    """A read of a single call leaves no place for a write. The test checks that it is one call."""
    lead_up, change = WRITES[write]
    run_id = api.create(retry_policy={"max_attempts": 2})["id"]
    lead_up(api, run_id)
    with counted(monkeypatch) as dynamodb:
        READS[read](api, run_id)
    position, calls = 1, dynamodb.calls
    assert calls == (7 if read == "the list" else 1)
    while position < calls:
        run_id = api.create(retry_policy={"max_attempts": 2})["id"]
        lead_up(api, run_id)
        with counted(monkeypatch) as dynamodb:
            before = READS[read](api, run_id)
        calls = dynamodb.calls
        with counted(monkeypatch, position, partial(change, api, run_id)) as dynamodb:
            between = READS[read](api, run_id)
        assert dynamodb.calls >= calls
        assert run_id in between.text
        assert between in (before, READS[read](api, run_id))
        position += 1


@dataclass
class DynamoDB:
    calls: int = 0


@contextmanager
def counted(
    monkeypatch: pytest.MonkeyPatch, position: int = -1, write: Callable[[], Answer] | None = None
) -> Iterator[DynamoDB]:
    """Count DynamoDB's calls, and make a write after the first ``position`` of them."""
    dynamodb = DynamoDB()
    real = BaseClient._make_api_call  # type: ignore[attr-defined]

    def call(client: BaseClient, name: str, params: dict[str, Any]) -> Any:
        dynamodb.calls += 1
        if write is not None and dynamodb.calls == position + 1:
            assert write().status == 200
        return real(client, name, params)

    with monkeypatch.context() as patch:
        patch.setattr(BaseClient, "_make_api_call", call)
        yield dynamodb
