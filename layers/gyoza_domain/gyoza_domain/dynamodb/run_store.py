"""Implements RunStore on the table of ``keys``."""

from dataclasses import replace
from typing import TYPE_CHECKING

from ..domain.errors import OutcomeUnknown, RunExpired, UnreadableRun
from ..domain.run import Change, Lease, OpRun, Removal, RunSpec
from ..runs.pausing import Pauses
from ..runs.ports import (
    ChangedMeanwhile,
    ClaimKey,
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
from .attributes import StoredItem, UnreadableItem, integer, text
from .claim_keys import claim_use_from
from .client_errors import NoAnswer, WriteConflict, WriteThrottled, translated_write
from .head import is_deleted
from .settling import settled
from .snapshot import Snapshot, head_of_run, read_snapshot, run_with_lease
from .table_reader import ItemKey, TableReader
from .transactions import creation, removal_of, renewal_of, writes_of

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import TransactWriteItemTypeDef


class DynamoDBRunStore:
    def __init__(self, client: "DynamoDBClient", table: str, clock: Clock) -> None:
        self._client = client
        self._table = table
        self._clock = clock
        self._reader = TableReader(client, table, clock)

    def add(self, run: OpRun, spec: RunSpec, key: IdempotencyKey | None = None) -> None:
        unknown = OutcomeUnknown(None, is_keyed=key is not None)
        try:
            self._transact(creation(self._table, run, spec, key))
        except NoAnswer as error:
            raise unknown from error
        except (WriteConflict, WriteThrottled) as refusal:
            if isinstance(refusal, WriteConflict):
                earlier = refusal.items[0] if refusal.items else None
                if earlier is not None and is_deleted(earlier):
                    raise RunExpired from None
                _raise_if_used(refusal, run.id, key)
                if key is None and earlier is not None:
                    # No other request knows the run's id, so an earlier sending of this creation stands.
                    return
            raise _not_written(run.id, refusal, unknown) from None

    def load(self, run_id: str, extent: Extent, pauses: Pauses | None = None, *, at_least: int = 0) -> Loaded:
        pauses = pauses or Pauses(self._clock)
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

    def load_with_key(
        self, run_id: str, key: IdempotencyKey, pauses: Pauses, *, with_lease: bool = False
    ) -> tuple[Loaded, KeyUse | None]:
        def read() -> tuple[Loaded, KeyUse | None]:
            head_item, key_item, *beat_items = self._reader.items_at_one_instant(wanted)
            head = head_of_run(head_item, run_id)
            run = run_with_lease(head.run, head, beat_items[0]) if beat_items else head.run
            use = None if key_item is None else codec.key_use_from(key_item)
            # The run has reached this version, even if another read shows an older one.
            return Loaded(run), use and replace(use, version=run.version)

        sks = [keys.HEAD, keys.idempotency_sk(key.digest), *([keys.BEAT] if with_lease else [])]
        wanted = [ItemKey(run_id, sk) for sk in sks]
        return settled(read, run_id, pauses)

    def renew(self, loaded: Loaded, lease: Lease) -> Lease:
        read: Snapshot = loaded.origin
        run_id, beat = read.run.id, read.items[keys.BEAT]
        values = codec.renewal_attributes(beat, lease, self._clock.now())
        try:
            with translated_write():
                self._client.update_item(**renewal_of(self._table, run_id, read.run.attempt.number, values))
        except (NoAnswer, WriteThrottled) as error:
            raise Overloaded from error
        except WriteConflict as conflict:
            latest = conflict.items[0] if conflict.items else None
            if latest is None or not _is_of_lease(latest, read.run):
                raise ChangedMeanwhile(run_id) from None
            # Another renewal was faster and went further.
            return codec.lease_from(latest)
        return lease

    def remove(self, removal: Removal) -> None:
        run = removal.run
        unknown = OutcomeUnknown(run.id, is_keyed=False)
        try:
            self._transact([removal_of(self._table, run, self._clock.now())])
        except NoAnswer as error:
            raise unknown from error
        except (WriteConflict, WriteThrottled) as refusal:
            raise _not_written(run.id, refusal, unknown) from None

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
        use = claim_use_from(used) if isinstance(key, ClaimKey) else codec.key_use_from(used)
    except UnreadableItem as unreadable:
        raise UnreadableRun(run_id) from unreadable
    raise KeyUsed(use) from None


def _is_of_lease(beat: StoredItem, run: OpRun) -> bool:
    """True if the BEAT is of the run's current attempt and of the same worker."""
    lease = run.attempt.lease
    return (
        lease is not None
        and integer(beat, "attempt") == run.attempt.number
        and text(beat, "worker_id") == lease.worker_id
    )


def _raise_if_unreadable(conflict: WriteConflict, run_id: str) -> None:
    """UnreadableRun, if the run is as it was read and the condition on an item beside HEAD is what failed.

    No sending of the same write can have an effect then, because the item keeps its schema until HEAD changes.
    """
    head, *others = conflict.items or [None]
    if head is None and any(item is not None for item in others):
        raise UnreadableRun(run_id) from None
