"""Writes many items to the table through the codec, without the API."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any
from uuid import UUID

import boto3

from gyoza_domain.domain.run import Event, EventType, OpAttempt, OpRun, RunSpec, State
from gyoza_domain.dynamodb import codec
from gyoza_domain.dynamodb.head import new_head

BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)
SHARDS = 4


def seeded_run(
    number: int, *, created_at: datetime | None = None, state: State = State.PENDING, events: int = 0
) -> OpRun:
    """The run with that number in a series of runs. Each is created a second after the one before."""
    at = BEGINNING + timedelta(seconds=number) if created_at is None else created_at
    run_id = str(UUID(int=number + 1))
    attempt = OpAttempt(1, state=state, last_seq=events - 1)
    return OpRun(run_id, at, at, attempt, shard=UUID(run_id).int % SHARDS)


def store_runs(runs: Iterable[tuple[OpRun, RunSpec]]) -> None:
    _store(item for run, spec in runs for item in (new_head(run, spec), *codec.spec_items(run.id, spec)))


def store_events(run: OpRun, *, msg: str = "", count: int | None = None) -> None:
    """Store INFO events for the attempt of a seeded run."""
    total = run.attempt.event_count if count is None else count
    _store(
        codec.event_item(run.id, Event(seq, seq, 1, EventType.INFO, run.created_at, run.state, msg))
        for seq in range(total)
    )


def running(run: OpRun) -> OpRun:
    return replace(run, attempt=replace(run.attempt, state=State.RUNNING, started_at=run.created_at))


def _store(items: Iterator[dict[str, Any]]) -> None:
    client, table = boto3.client("dynamodb"), os.environ["GYOZA_TABLE"]
    while batch := list(islice(items, 25)):
        answer = client.batch_write_item(RequestItems={table: [{"PutRequest": {"Item": item}} for item in batch]})
        assert not answer["UnprocessedItems"]
