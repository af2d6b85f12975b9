"""RunStore on the table of ``keys``."""

from typing import TYPE_CHECKING

from ..domain.errors import StorageUnavailable
from ..domain.run import Change, OpRun, RunSpec
from ..runs.ports import ChangedMeanwhile, IdempotencyKey, KeyUsed, Loaded
from . import codec, keys
from .client_errors import WriteConflict, translated
from .snapshot import SETTLE_TRIES, around_head, result_of
from .table_reader import ItemKey, TableReader
from .transactions import as_returned, creation, writes_of

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import TransactWriteItemTypeDef


class DynamoDBRunStore:
    def __init__(self, client: "DynamoDBClient", table: str) -> None:
        self._client = client
        self._table = table
        self._reader = TableReader(client, table)

    def add(self, run: OpRun, spec: RunSpec, key: IdempotencyKey | None = None) -> None:
        for _ in range(SETTLE_TRIES):
            try:
                self._write(creation(self._table, run, spec, key))
            except WriteConflict as conflict:
                # Either the key is used, or a repeat is being written at this moment.
                _raise_if_used(conflict, key)
            else:
                return
        raise StorageUnavailable

    def save(self, change: Change, key: IdempotencyKey | None = None) -> None:
        try:
            self._write(writes_of(self._table, change, key))
        except WriteConflict as conflict:
            _raise_if_used(conflict, key)
            if conflict.was_resent and key is None:
                # Should the first sending arrive after all, a new decision would have its effect a second time.
                raise StorageUnavailable from None
            head = conflict.items[0] if conflict.items else None
            raise ChangedMeanwhile(None if head is None else as_returned(head, change.before)) from None

    def _write(self, writes: "list[TransactWriteItemTypeDef]") -> None:
        with translated():
            self._client.transact_write_items(TransactItems=writes)

    def fingerprint_of(self, run_id: str, key: IdempotencyKey) -> str | None:
        item = self._reader.item(ItemKey(run_id, keys.idempotency_sk(key.digest)))
        return None if item is None else codec.fingerprint_from(item)

    def load(self, run_id: str, *, with_spec: bool = False, with_result: bool = False) -> Loaded:
        found = around_head(self._reader, run_id, with_spec=with_spec)
        run = found.run()
        if with_result or not run.state.is_terminal:
            run = found.run(result_of(self._reader, found, ()))
        return Loaded(run, codec.spec_from(found.spec) if with_spec else None)


def _raise_if_used(conflict: WriteConflict, key: IdempotencyKey | None) -> None:
    """KeyUsed, where the condition on the key, the second write, is what failed."""
    used = conflict.items[1] if key is not None and len(conflict.items) > 1 else None
    if used is not None:
        raise KeyUsed(codec.fingerprint_from(used)) from None
