"""Tests pages of run ids: the choice of the index, and the merge of the shards' answers."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

import pytest

from gyoza_domain.domain.run import State
from gyoza_domain.dynamodb import keys
from gyoza_domain.dynamodb.run_index import MAX_ENTRIES_A_REQUEST, IndexPage, RunIndex
from gyoza_domain.runs.views import Direction, RunQuery

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

T0 = datetime(2026, 3, 2, 20, 0, tzinfo=UTC)
SHARDS = 2

ShardAnswer = tuple[list[int], int | None]
"""The entries of a shard's answer, and its last key if the shard has more."""


def run_id(number: int) -> str:
    return f"6f1c2a54-9d1b-4c55-8a39-{number:012d}"


def created_key(number: int) -> str:
    """The created_key of the run with that number. A higher number is a younger run."""
    return keys.created_key(T0 + timedelta(seconds=number), run_id(number))


def runs(*numbers: int) -> list[str]:
    return [run_id(number) for number in numbers]


class PreparedShards:
    """Gives each shard's query the prepared answer and keeps the queries."""

    def __init__(self, answers: Mapping[int, ShardAnswer]) -> None:
        self.answers = answers
        self.requests: list[dict[str, Any]] = []

    def query(self, **request: Any) -> dict[str, Any]:
        self.requests.append(request)
        shard = int(request["ExpressionAttributeValues"][":hash"]["S"].rpartition("#")[2])
        numbers, stop = self.answers.get(shard, ([], None))
        answer: dict[str, Any] = {"Items": [{"created_key": {"S": created_key(number)}} for number in numbers]}
        if stop is not None:
            answer["LastEvaluatedKey"] = {"created_key": {"S": created_key(stop)}}
        return answer


def page_of(query: RunQuery, answers: Mapping[int, ShardAnswer], cursor: int | None = None) -> IndexPage:
    return index_of(PreparedShards(answers)).page(query, None if cursor is None else created_key(cursor))


def index_of(client: PreparedShards, shards: int = SHARDS) -> RunIndex:
    return RunIndex(cast("DynamoDBClient", client), "runs", shards)


@pytest.mark.parametrize(
    ("limit", "answers", "page"),
    [
        pytest.param(3, {}, IndexPage([], None), id="nothing there"),
        pytest.param(
            3, {0: ([9, 7, 5], None), 1: ([8], None)}, IndexPage(runs(9, 8, 7), run_id(7)), id="more than the limit"
        ),
        pytest.param(4, {0: ([9, 7, 5], None), 1: ([8], None)}, IndexPage(runs(9, 8, 7, 5), None), id="just the limit"),
        pytest.param(9, {0: ([9], None), 1: ([8], None)}, IndexPage(runs(9, 8), None), id="less than the limit"),
        pytest.param(
            9,
            {0: ([9, 5], 5), 1: ([8, 4, 3], None)},
            IndexPage(runs(9, 8, 5), run_id(5)),
            id="beyond a stop another shard's entries are not shown yet",
        ),
        pytest.param(
            9,
            {0: ([9, 5], 4), 1: ([8, 6, 3], None)},
            IndexPage(runs(9, 8, 6, 5), run_id(4)),
            id="a stop lies where the shard looked last, whether that matched or not",
        ),
        pytest.param(
            9,
            {0: ([9, 5], 5), 1: ([8, 7], 6)},
            IndexPage(runs(9, 8, 7), run_id(6)),
            id="of two stops the nearer one counts",
        ),
        pytest.param(
            9, {0: ([], 6), 1: ([8, 3], None)}, IndexPage(runs(8), run_id(6)), id="a shard that met nothing yet"
        ),
        pytest.param(9, {0: ([], 6), 1: ([], 7)}, IndexPage([], run_id(7)), id="an empty page with more behind it"),
        pytest.param(
            2,
            {0: ([9, 5], 5), 1: ([8, 7], None)},
            IndexPage(runs(9, 8), run_id(8)),
            id="the limit comes before the stop",
        ),
        pytest.param(
            3,
            {0: ([9, 5], 5), 1: ([8, 4], None)},
            IndexPage(runs(9, 8, 5), run_id(5)),
            id="the limit comes with the stop",
        ),
    ],
)
def test_shards_are_merged_newest_first_as_far_as_all_of_them_have_looked(
    limit: int, answers: Mapping[int, ShardAnswer], page: IndexPage
) -> None:
    assert page_of(RunQuery(limit), answers) == page


@pytest.mark.parametrize(
    ("limit", "answers", "page"),
    [
        pytest.param(
            3, {0: ([1, 3, 5], None), 1: ([2], None)}, IndexPage(runs(1, 2, 3), run_id(3)), id="more than the limit"
        ),
        pytest.param(4, {0: ([1, 3, 5], None), 1: ([2], None)}, IndexPage(runs(1, 2, 3, 5), None), id="just the limit"),
        pytest.param(
            9,
            {0: ([1, 5], 5), 1: ([2, 6, 7], None)},
            IndexPage(runs(1, 2, 5), run_id(5)),
            id="beyond a stop another shard's entries are not shown yet",
        ),
        pytest.param(
            9, {0: ([1, 5], 5), 1: ([2, 3], 4)}, IndexPage(runs(1, 2, 3), run_id(4)), id="of two stops the nearer"
        ),
        pytest.param(9, {0: ([], 6), 1: ([], 7)}, IndexPage([], run_id(6)), id="an empty page with more behind it"),
    ],
)
def test_towards_newer_runs_the_page_grows_upwards(
    limit: int, answers: Mapping[int, ShardAnswer], page: IndexPage
) -> None:
    assert page_of(RunQuery(limit, Direction.NEWER), answers, cursor=0) == page


IMAGE_HASH, DEFINITION_HASH = keys.digest("busybox:1"), keys.digest("resize")

Asked = tuple[str, str, dict[str, str]]
"""The index, its hash key without the shard, and the filters on its entries."""


@pytest.mark.parametrize(
    ("query", "asked"),
    [
        pytest.param(RunQuery(10), ("by_created", "", {}), id="no filter"),
        pytest.param(RunQuery(10, created_from=T0, created_to=T0), ("by_created", "", {}), id="creation time"),
        pytest.param(RunQuery(10, state=State.RUNNING), ("by_state", "RUNNING#", {}), id="state"),
        pytest.param(RunQuery(10, state=State.FAILED), ("by_state", "FAILED#", {}), id="terminal state"),
        pytest.param(RunQuery(10, image="busybox:1"), ("by_image", f"{IMAGE_HASH}#", {}), id="image"),
        pytest.param(
            RunQuery(10, op_definition="resize"), ("by_op_definition", f"{DEFINITION_HASH}#", {}), id="op_definition"
        ),
        pytest.param(
            RunQuery(10, state=State.PENDING, image="busybox:1"),
            ("by_state", "PENDING#", {"index_image": f"{IMAGE_HASH}#"}),
            id="live runs are few: their state leads",
        ),
        pytest.param(
            RunQuery(10, state=State.COMPLETED, image="busybox:1"),
            ("by_image", f"{IMAGE_HASH}#", {"state": "COMPLETED"}),
            id="terminal runs pile up: the image leads",
        ),
        pytest.param(
            RunQuery(10, image="busybox:1", op_definition="resize"),
            ("by_op_definition", f"{DEFINITION_HASH}#", {"index_image": f"{IMAGE_HASH}#"}),
            id="image and op_definition",
        ),
        pytest.param(
            RunQuery(10, state=State.RUNNING, image="busybox:1", op_definition="resize"),
            ("by_state", "RUNNING#", {"index_op_definition": f"{DEFINITION_HASH}#", "index_image": f"{IMAGE_HASH}#"}),
            id="all three, live",
        ),
        pytest.param(
            RunQuery(10, state=State.CANCELLED, image="busybox:1", op_definition="resize"),
            ("by_op_definition", f"{DEFINITION_HASH}#", {"state": "CANCELLED", "index_image": f"{IMAGE_HASH}#"}),
            id="all three, terminal",
        ),
    ],
)
def test_the_most_selective_index_leads_and_every_shard_is_asked_once(query: RunQuery, asked: Asked) -> None:
    client = PreparedShards({})
    index_of(client).page(query, None)
    index, hash_key, filters = asked
    assert [as_asked(request, tuple(filters)) for request in client.requests] == [
        (index, f"{hash_key}{shard}", {name: with_shard(value, shard) for name, value in filters.items()})
        for shard in range(SHARDS)
    ]


def as_asked(request: dict[str, Any], filters: tuple[str, ...]) -> Asked:
    values = {name: value["S"] for name, value in request["ExpressionAttributeValues"].items()}
    assert set(values) == {":hash", ":low", ":high", *(f":{name}" for name in filters)}
    assert request.get("FilterExpression", "").count(" = ") == len(filters)
    return request["IndexName"], values[":hash"], {name: values[f":{name}"] for name in filters}


def with_shard(value: str, shard: int) -> str:
    return f"{value}{shard}" if value.endswith("#") else value


def test_without_filters_on_its_entries_a_shard_reads_one_entry_more_than_the_page() -> None:
    client = PreparedShards({})
    index_of(client).page(RunQuery(10, image="busybox:1"), None)
    assert [request["Limit"] for request in client.requests] == [11, 11]


@pytest.mark.parametrize("query", [RunQuery(100), RunQuery(100, state=State.FAILED, image="busybox:1")])
def test_no_list_reads_more_entries_than_a_request_may_however_many_shards_there_are(query: RunQuery) -> None:
    client = PreparedShards({})
    index_of(client, shards=64).page(query, None)
    assert len(client.requests) == 64
    assert sum(request["Limit"] for request in client.requests) <= MAX_ENTRIES_A_REQUEST


def test_with_filters_the_shards_share_the_entries_a_request_may_read() -> None:
    client = PreparedShards({})
    index_of(client).page(RunQuery(10, state=State.FAILED, image="busybox:1"), None)
    assert sum(request["Limit"] for request in client.requests) == MAX_ENTRIES_A_REQUEST == 2_000


@pytest.mark.parametrize(
    ("query", "cursor", "within", "beyond"),
    [
        (RunQuery(10), None, [1, 5, 9], []),
        (RunQuery(10), 5, [1, 4], [5, 6]),
        (RunQuery(10, Direction.NEWER), 5, [6, 9], [4, 5]),
        (RunQuery(10, created_from=T0 + timedelta(seconds=5)), None, [5, 9], [4]),
        (RunQuery(10, created_to=T0 + timedelta(seconds=5)), 4, [1, 3], [4, 5]),
        (RunQuery(10, Direction.NEWER, created_to=T0 + timedelta(seconds=5)), 4, [5], [4, 6]),
    ],
)
def test_a_page_begins_right_behind_its_cursor_within_the_time_asked_for(
    query: RunQuery, cursor: int | None, within: list[int], beyond: list[int]
) -> None:
    client = PreparedShards({})
    index_of(client).page(query, None if cursor is None else created_key(cursor))
    for request in client.requests:
        values = request["ExpressionAttributeValues"]
        low, high = values[":low"]["S"], values[":high"]["S"]
        assert all(low <= created_key(number) <= high for number in within)
        assert not any(low <= created_key(number) <= high for number in beyond)
        assert request["ScanIndexForward"] is (query.direction is Direction.NEWER)


@pytest.mark.parametrize(
    ("query", "cursor"),
    [
        (RunQuery(10, created_from=T0 + timedelta(seconds=5), created_to=T0), None),
        (RunQuery(10, created_from=T0 + timedelta(seconds=5)), 4),
        (RunQuery(10, Direction.NEWER, created_to=T0), 4),
    ],
)
def test_a_page_that_can_hold_nothing_asks_nothing(query: RunQuery, cursor: int | None) -> None:
    client = PreparedShards({0: ([9], None)})
    page = index_of(client).page(query, None if cursor is None else created_key(cursor))
    assert page == IndexPage([], None)
    assert client.requests == []
