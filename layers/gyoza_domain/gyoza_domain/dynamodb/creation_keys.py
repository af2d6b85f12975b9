"""Implements CreationKeys: looks for the run that an idempotency key created, before its repeat is refused."""

from typing import TYPE_CHECKING

from ..domain.errors import RunExpired
from ..runs.pausing import Pauses
from ..runs.ports import Clock, IdempotencyKey, KeyUse
from . import codec, keys
from .head import is_deleted
from .settling import NotThereYet, settled
from .table_reader import ItemKey, TableReader

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


class DynamoDBCreationKeys:
    def __init__(self, client: "DynamoDBClient", table: str, clock: Clock) -> None:
        self._reader = TableReader(client, table, clock)
        self._clock = clock

    def use_of(self, run_id: str, key: IdempotencyKey) -> KeyUse | None:
        wanted = [ItemKey(run_id, keys.HEAD), ItemKey(run_id, keys.idempotency_sk(key.digest))]

        def read() -> KeyUse | None:
            head, use = self._reader.items_at_one_instant(wanted)
            if head is None:
                return None
            if is_deleted(head):
                raise RunExpired
            if use is None:
                raise NotThereYet(wanted[1].sk)
            return codec.key_use_from(use)

        return settled(read, run_id, Pauses(self._clock))
