"""Builds the objects that the routes use."""

import os
from collections.abc import Sequence
from functools import cache
from uuid import UUID, uuid4

from ..domain.run import Change, OpRun, RunSpec
from ..dynamodb.run_lists import DynamoDBRunLists
from ..dynamodb.run_reader import DynamoDBRunReader
from ..dynamodb.run_store import DynamoDBRunStore
from ..runs.ports import Clock, IdempotencyKey, IdSource, Loaded, RunLists, RunReader, RunStore
from .clients import SystemClock, dynamodb, table
from .metrics import count_created, count_ended

_DAY_S = 86_400


class RandomIds:
    """UUIDs from the operating system's random source, which a snapshot does not clone."""

    def __init__(self, shards: int) -> None:
        self._shards = shards

    def new_run_id(self) -> str:
        return str(uuid4())

    def run_id_for(self, key: IdempotencyKey) -> str:
        return str(UUID(hex=key.digest, version=4))

    def shard_of(self, run_id: str) -> int:
        return UUID(run_id).int % self._shards


class CountedRunStore(DynamoDBRunStore):
    """Counts the runs that are created and that end, whoever ends them, once their write is known to stand."""

    def add(self, run: OpRun, spec: RunSpec, key: IdempotencyKey | None = None) -> None:
        super().add(run, spec, key)
        count_created()

    def save(self, change: Change, loaded: Loaded, key: IdempotencyKey | None = None) -> None:
        super().save(change, loaded, key)
        if change.ends_run:
            count_ended(change.after)


@cache
def store() -> RunStore:
    return CountedRunStore(dynamodb(), table(), clock())


@cache
def reader() -> RunReader:
    return DynamoDBRunReader(dynamodb(), table(), clock())


@cache
def lists() -> RunLists:
    return DynamoDBRunLists(dynamodb(), table(), clock(), shards=int(os.environ["GYOZA_INDEX_SHARDS_READ"]))


@cache
def clock() -> Clock:
    return SystemClock()


@cache
def ids() -> IdSource:
    return RandomIds(int(os.environ["GYOZA_INDEX_SHARDS"]))


def allowed_topics() -> Sequence[str] | None:
    """The topics that a run's events may go to; None allows any.

    ``GYOZA_TOPICS`` lists them, separated by commas. The value ``any``, an empty value and no value allow any topic.
    """
    names = os.environ.get("GYOZA_TOPICS", "").strip()
    if names in {"", "any"}:
        return None
    return [name.strip() for name in names.split(",") if name.strip()]


def default_retain_s() -> int | None:
    """The time that a terminal run is kept if its request did not say it, in seconds; None keeps it for ever.

    ``GYOZA_RETENTION_DAYS`` has it in days. The value 0 and no value stand for ever.
    """
    return int(os.environ.get("GYOZA_RETENTION_DAYS") or 0) * _DAY_S or None
