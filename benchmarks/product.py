"""Provides the parts of the product that the benchmark needs. No other module here imports the product."""

import os
from collections.abc import Iterable
from dataclasses import replace
from uuid import UUID

from gyoza_domain.bootstrap import api, clients
from gyoza_domain.domain.run import OpRun, RunSpec, State
from gyoza_domain.dynamodb.outbox import DynamoDBOutbox
from gyoza_domain.publishing.ports import EventRange
from gyoza_domain.runs.pausing import Pauses
from gyoza_domain.runs.ports import Extent
from testing.engine import counted
from testing.seeding import running, seeded_run, store_events, store_runs


def store_running(number: int, image: str, events: int, msg: str) -> str:
    """Store a running run with so many events, without the API. Returns its id."""
    run = running(seeded_run(number, events=events))
    store_runs([(run, RunSpec(image))])
    store_events(run, msg=msg)
    return run.id


def store_series(runs: Iterable[tuple[int, str, str, str | None]]) -> None:
    """Store runs without the API, each as number, state, image and definition. The number is its second of creation."""
    shards = int(os.environ["GYOZA_INDEX_SHARDS"])

    def stored(number: int, state: str, image: str, definition: str | None) -> tuple[OpRun, RunSpec]:
        run = seeded_run(number, state=State(state))
        return replace(run, shard=UUID(run.id).int % shards), RunSpec(image, op_definition=definition)

    store_runs(stored(*run) for run in runs)


def push_read_units(run_id: str) -> float:
    """The read units of pushing the first event of a run that is new to the process."""
    created_at = api.store().load(run_id, Extent.SMALL, Pauses(api.clock())).run.created_at
    with counted() as usage:
        DynamoDBOutbox(clients.dynamodb(), clients.table(), api.clock()).read([EventRange(run_id, created_at, 0, 0)])
    return usage.read_units
