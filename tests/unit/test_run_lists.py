"""The run that a page of a list begins behind."""

from datetime import UTC, datetime

import pytest

from gyoza_domain.domain.errors import UnreadableRun
from gyoza_domain.domain.run import OpAttempt, OpRun, RunSpec
from gyoza_domain.dynamodb import keys
from gyoza_domain.dynamodb.attributes import Item
from gyoza_domain.dynamodb.head import created_key_of, new_head
from gyoza_domain.dynamodb.run_lists import DynamoDBRunLists
from gyoza_domain.runs.views import Direction, RowShape, RunQuery
from tests.support.memory import TableInMemory

T0 = datetime(2026, 3, 2, 20, 0, tzinfo=UTC)
RUN_ID = "6f1c2a54-9d1b-4c55-8a39-2f0f5c7be911"
OTHER_RUN_ID = "0a1c2a54-9d1b-4c55-8a39-2f0f5c7be911"
HEAD = new_head(OpRun(RUN_ID, T0, T0, OpAttempt(1)), RunSpec("busybox:1"))


class Clock:
    def now(self) -> datetime:
        return T0

    def monotonic(self) -> float:
        return 0.0

    def sleep(self, seconds: float) -> None:
        raise AssertionError(f"a pause of {seconds} s")


@pytest.mark.parametrize("direction", Direction)
@pytest.mark.parametrize(
    "created_key",
    [None, {"N": "1"}, {"S": ""}, {"S": RUN_ID}, {"S": keys.created_key(T0, OTHER_RUN_ID)}],
    ids=["none", "a number", "empty", "without an instant", "of another run"],
)
def test_a_cursor_whose_place_is_malformed_is_unreadable(created_key: Item | None, direction: Direction) -> None:
    table = TableInMemory()
    head = {name: value for name, value in HEAD.items() if name != "created_key"}
    table.items[keys.run_pk(RUN_ID), keys.HEAD] = head if created_key is None else {**head, "created_key": created_key}
    lists = DynamoDBRunLists(table.client, "runs", Clock(), shards=1)
    with pytest.raises(UnreadableRun) as refusal:
        lists.page(RunQuery(10, direction, RUN_ID), RowShape.SUMMARY)
    assert refusal.value.run_id == RUN_ID
    assert table.calls == ["GetItem"]


def test_a_run_has_its_place_whatever_a_newer_release_wrote_beside_it() -> None:
    newer: Item = {"schema": {"N": "2"}, "state": {"S": "PAUSED"}, "version": {"S": "?"}}
    assert created_key_of({**HEAD, **newer}) == keys.created_key(T0, RUN_ID)
