"""Walks the indexes page by page, over any runs, shards and filters, with few entries a request."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from gyoza_domain.domain.run import State
from gyoza_domain.dynamodb import keys, run_index
from gyoza_domain.dynamodb.run_index import RunIndex
from gyoza_domain.runs.views import Direction, RunQuery

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

T0 = datetime(2026, 3, 2, 20, 0, tzinfo=UTC)
STATES = [State.PENDING, State.RUNNING, State.COMPLETED]
IMAGES = ["busybox:1", "busybox:2"]
DEFINITIONS = [None, "resize"]


@dataclass(frozen=True)
class Run:
    """A run as the indexes list it."""

    number: int
    second: int
    shard: int
    state: State
    image: str
    op_definition: str | None

    @property
    def id(self) -> str:
        return f"6f1c2a54-9d1b-4c55-8a39-{self.number:012d}"

    @property
    def created_at(self) -> datetime:
        return T0 + timedelta(seconds=self.second)

    @property
    def entry(self) -> dict[str, str]:
        """The attributes that HEAD shows the indexes."""
        entry = {
            "created_key": keys.created_key(self.created_at, self.id),
            "state": str(self.state),
            "index_all": keys.index_hash_key("", self.shard),
            "index_state": keys.index_hash_key(self.state, self.shard),
            "index_image": keys.index_hash_key(keys.digest(self.image), self.shard),
        }
        if self.op_definition is not None:
            entry["index_op_definition"] = keys.index_hash_key(keys.digest(self.op_definition), self.shard)
        return entry

    def matches(self, query: RunQuery) -> bool:
        return (
            query.state in {None, self.state}
            and query.image in {None, self.image}
            and query.op_definition in {None, self.op_definition}
            and (query.created_from is None or query.created_from <= self.created_at)
            and (query.created_to is None or self.created_at <= query.created_to)
        )


class IndexesInMemory:
    """Plays DynamoDB's Query on an index. The limit counts the entries before the filter."""

    def __init__(self, runs: list[Run]) -> None:
        self._entries = [run.entry for run in runs]

    def query(self, **request: Any) -> dict[str, Any]:
        values = {name[1:]: value["S"] for name, value in request["ExpressionAttributeValues"].items()}
        hash_key, low, high = values.pop("hash"), values.pop("low"), values.pop("high")
        hash_name = keys.HASH_KEY_OF_INDEX[request["IndexName"]]
        in_range = [
            entry for entry in self._entries if entry.get(hash_name) == hash_key and low <= entry["created_key"] <= high
        ]
        in_range.sort(key=lambda entry: entry["created_key"], reverse=not request["ScanIndexForward"])
        looked_at = in_range[: request["Limit"]]
        left = [entry for entry in looked_at if all(entry.get(name) == value for name, value in values.items())]
        answer: dict[str, Any] = {"Items": [{"created_key": {"S": entry["created_key"]}} for entry in left]}
        if len(looked_at) == request["Limit"]:
            answer["LastEvaluatedKey"] = {"created_key": {"S": looked_at[-1]["created_key"]}}
        return answer


@st.composite
def some_runs(draw: st.DrawFn) -> tuple[list[Run], int]:
    """Draws runs, several of them at one instant, and their number of shards."""
    shards = draw(st.integers(1, 4))
    attributes = st.tuples(
        st.integers(0, 6),
        st.integers(0, shards - 1),
        st.sampled_from(STATES),
        st.sampled_from(IMAGES),
        st.sampled_from(DEFINITIONS),
    )
    drawn = draw(st.lists(attributes, min_size=1, max_size=25))
    return [Run(number, *rest) for number, rest in enumerate(drawn)], shards


seconds = st.none() | st.integers(0, 6).map(lambda second: T0 + timedelta(seconds=second))

queries = st.builds(
    RunQuery,
    limit=st.integers(1, 8),
    direction=st.sampled_from(Direction),
    state=st.none() | st.sampled_from(STATES),
    image=st.none() | st.sampled_from(IMAGES),
    op_definition=st.sampled_from(DEFINITIONS),
    created_from=seconds,
    created_to=seconds,
)


@given(runs_and_shards=some_runs(), query=queries, entries_a_shard=st.integers(1, 5), data=st.data())
def test_a_walk_meets_exactly_the_matching_runs_behind_its_cursor_in_order_and_once(
    runs_and_shards: tuple[list[Run], int], query: RunQuery, entries_a_shard: int, data: st.DataObject
) -> None:
    runs, shards = runs_and_shards
    index = RunIndex(cast("DynamoDBClient", IndexesInMemory(runs)), "runs", shards)
    key_of = {run.id: run.entry["created_key"] for run in runs}
    older = query.direction is Direction.OLDER
    start = data.draw(st.none() | st.sampled_from(sorted(key_of)), label="cursor")

    found: list[str] = []
    cursor = start
    with patch.object(run_index, "MAX_ENTRIES_A_REQUEST", shards * entries_a_shard):
        for _ in range(2 * len(runs) + 2):
            page = index.page(query, None if cursor is None else key_of[cursor])
            assert len(page.run_ids) <= query.limit
            found += page.run_ids
            cursor = page.next_cursor
            if cursor is None:
                break

    in_order = sorted(runs, key=lambda run: key_of[run.id], reverse=older)
    behind = [
        run
        for run in in_order
        if start is None or (key_of[run.id] < key_of[start] if older else key_of[run.id] > key_of[start])
    ]
    assert cursor is None
    assert found == [run.id for run in behind if run.matches(query)]
