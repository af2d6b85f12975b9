"""Implements RunStore on the table of ``keys``."""

from dataclasses import replace
from typing import TYPE_CHECKING

from ..domain.errors import OutcomeUnknown, UnreadableRun
from ..domain.run import Change, OpRun, RunSpec
from ..runs.pausing import Pauses
from ..runs.ports import (
    ChangedMeanwhile,
    Clock,
    Extent,
    IdempotencyKey,
    KeyUse,
    KeyUsed,
    Loaded,
    NotWritten,
    Overloaded,
)
from . import codec, keys
from .attributes import UnreadableItem
from .client_errors import NoAnswer, WriteConflict, WriteThrottled, translated_write
from .settling import settled
from .snapshot import head_of_run, read_snapshot
from .table_reader import ItemKey, TableReader
from .transactions import creation, writes_of

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import TransactWriteItemTypeDef


class DynamoDBRunStore:
    def __init__(self, client: "DynamoDBClient", table: str, clock: Clock) -> None:
        self._client = client
        self._table = table
        self._reader = TableReader(client, table, clock)

    def add(self, run: OpRun, spec: RunSpec, key: IdempotencyKey | None = None) -> None:
        unknown = OutcomeUnknown(None, is_keyed=key is not None)
        try:
            self._transact(creation(self._table, run, spec, key))
        except NoAnswer as error:
            raise unknown from error
        except (WriteConflict, WriteThrottled) as refusal:
            if isinstance(refusal, WriteConflict):
                _raise_if_used(refusal, run.id, key)
                is_there = bool(refusal.items) and refusal.items[0] is not None
                if key is None and is_there:
                    # No other request knows the run's id, so an earlier sending of this creation stands.
                    return
            raise _not_written(run.id, refusal, unknown) from None

    def load(self, run_id: str, extent: Extent, pauses: Pauses, *, at_least: int = 0) -> Loaded:
        read = settled(lambda: read_snapshot(self._reader, run_id, extent, at_least=at_least), run_id, pauses)
        return Loaded(read.run, read.view, origin=read)

    def save(self, change: Change, loaded: Loaded, key: IdempotencyKey | None = None) -> None:
        run_id = change.after.id
        writes = writes_of(self._table, change, loaded.origin, key)
        unknown = OutcomeUnknown(run_id, is_keyed=key is not None)
        try:
            self._transact(writes)
        except NoAnswer as error:
            raise unknown from error
        except (WriteConflict, WriteThrottled) as refusal:
            if isinstance(refusal, WriteConflict):
                _raise_if_used(refusal, run_id, key)
                _raise_if_unreadable(refusal, run_id)
            if refusal.was_resent and key is None:
                # The first sending may still take effect. Another transaction would then have the effect a second time.
                raise unknown from None
            raise _not_written(run_id, refusal, unknown) from None

    def load_with_key(self, run_id: str, key: IdempotencyKey, pauses: Pauses) -> tuple[Loaded, KeyUse | None]:
        def read() -> tuple[Loaded, KeyUse | None]:
            head_item, key_item = self._reader.items_at_one_instant(wanted)
            head = head_of_run(head_item, run_id)
            use = None if key_item is None else codec.key_use_from(key_item)
            # The run has reached this version, even if another read shows an older one.
            return Loaded(head.run), use and replace(use, version=head.run.version)

        wanted = [ItemKey(run_id, keys.HEAD), ItemKey(run_id, keys.idempotency_sk(key.digest))]
        return settled(read, run_id, pauses)

    def _transact(self, writes: "list[TransactWriteItemTypeDef]") -> None:
        with translated_write():
            self._client.transact_write_items(TransactItems=writes)


def _not_written(run_id: str, refusal: WriteConflict | WriteThrottled, unknown: OutcomeUnknown) -> NotWritten:
    """The reason to try again. Its refusal says whether an earlier sending may stand."""
    reason = ChangedMeanwhile(run_id) if isinstance(refusal, WriteConflict) else Overloaded()
    if refusal.was_resent:
        reason.refusal = unknown
    return reason


def _raise_if_used(conflict: WriteConflict, run_id: str, key: IdempotencyKey | None) -> None:
    """Raise KeyUsed or UnreadableRun if the condition failed on the second write, the key."""
    used = conflict.items[1] if key is not None and len(conflict.items) > 1 else None
    if used is None:
        return
    try:
        use = codec.key_use_from(used)
    except UnreadableItem as unreadable:
        raise UnreadableRun(run_id) from unreadable
    raise KeyUsed(use) from None


def _raise_if_unreadable(conflict: WriteConflict, run_id: str) -> None:
    """UnreadableRun, if the run is as it was read and the condition on an item beside HEAD is what failed.

    No sending of the same write can have an effect then, because the item keeps its schema until HEAD changes.
    """
    head, *others = conflict.items or [None]
    if head is None and any(item is not None for item in others):
        raise UnreadableRun(run_id) from None
