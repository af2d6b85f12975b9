"""Reads pages of run ids from the indexes.

One partition of an index takes 1,000 writes a second, so each index is spread over shards. A page queries every shard
once and merges the answers by ``created_key``. A shard may stop early, at its share of the entries that a request may
read. It may hold more runs beyond that key, so the page ends at the nearest such stop: the horizon.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..domain.run import State
from ..runs.views import Direction, RunQuery
from . import keys
from .client_errors import translated_read

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

MAX_ENTRIES_A_REQUEST = 2_000
"""The most index entries that a request reads, over all shards (docs/openapi.yaml, listRuns)."""


@dataclass(frozen=True, slots=True)
class IndexPage:
    """Run ids in the direction of the query, and the run id that is the next page's cursor; None on the last page."""

    run_ids: Sequence[str]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class _ShardAnswer:
    created_keys: list[str]
    stopped_at: str | None
    """The last key that the query looked at; None if the shard holds no more."""


class RunIndex:
    """Reads the four indexes of lists. ``shards`` is the greatest number of shards that creations ever wrote to."""

    def __init__(self, client: "DynamoDBClient", table: str, shards: int) -> None:
        self._client = client
        self._table = table
        self._shards = shards

    def page(self, query: RunQuery, cursor_key: str | None) -> IndexPage:
        """The page right behind ``cursor_key``, a created_key; the first page if it is None."""
        older = query.direction is Direction.OLDER
        low, high = keys.created_bounds(
            query.created_from,
            query.created_to,
            above=None if older else cursor_key,
            below=cursor_key if older else None,
        )
        if low > high:
            return IndexPage([], None)
        plan = _plan(query)
        answers = [self._ask(plan, shard, (low, high), query) for shard in range(self._shards)]
        return _merge(answers, query.limit, newest_first=older)

    def _ask(self, plan: "_Plan", shard: int, bounds: tuple[str, str], query: RunQuery) -> _ShardAnswer:
        filters = {name: keys.index_hash_key(value, shard) for name, value in plan.index_filters.items()}
        filters |= plan.plain_filters
        hash_key = keys.HASH_KEY_OF_INDEX[plan.index]
        names = {f"#{name}": name for name in ("created_key", hash_key, *filters)}
        request: dict[str, Any] = {
            "TableName": self._table,
            "IndexName": plan.index,
            "KeyConditionExpression": f"#{hash_key} = :hash AND #created_key BETWEEN :low AND :high",
            "ProjectionExpression": "#created_key",
            "ExpressionAttributeNames": names,
            "ExpressionAttributeValues": {
                ":hash": {"S": keys.index_hash_key(plan.value, shard)},
                ":low": {"S": bounds[0]},
                ":high": {"S": bounds[1]},
                **{f":{name}": {"S": value} for name, value in filters.items()},
            },
            "ScanIndexForward": query.direction is Direction.NEWER,
            "Limit": min(query.limit + 1, MAX_ENTRIES_A_REQUEST // self._shards),
        }
        if filters:
            request["FilterExpression"] = " AND ".join(f"#{name} = :{name}" for name in filters)
            request["Limit"] = MAX_ENTRIES_A_REQUEST // self._shards
        with translated_read():
            answer = self._client.query(**request)
        stop = answer.get("LastEvaluatedKey")
        return _ShardAnswer(
            [item["created_key"]["S"] for item in answer["Items"]], stop["created_key"]["S"] if stop else None
        )


@dataclass(frozen=True, slots=True)
class _Plan:
    """The index that a query reads, the value of its hash key, and the filters on its entries."""

    index: str
    value: str
    index_filters: dict[str, str]
    """Maps the hash key of another index to the required value, without the shard, which is the entry's own."""
    plain_filters: dict[str, str]


def _plan(query: RunQuery) -> _Plan:
    """Chooses the most selective index: few runs are live at any time, while images and definitions accumulate."""
    live = query.state is not None and not query.state.is_terminal
    hashed: list[tuple[str, str]] = []
    if query.op_definition is not None:
        hashed.append((keys.BY_OP_DEFINITION, keys.digest(query.op_definition)))
    if query.image is not None:
        hashed.append((keys.BY_IMAGE, keys.digest(query.image)))
    if query.state is not None and (live or not hashed):
        return _Plan(keys.BY_STATE, query.state, _index_filters(hashed), {})
    if not hashed:
        return _Plan(keys.BY_CREATED, "", {}, {})
    (index, value), *others = hashed
    return _Plan(index, value, _index_filters(others), _state_filter(query.state))


def _index_filters(values: list[tuple[str, str]]) -> dict[str, str]:
    return {keys.HASH_KEY_OF_INDEX[index]: value for index, value in values}


def _state_filter(state: State | None) -> dict[str, str]:
    return {} if state is None else {"state": state}


def _merge(answers: Sequence[_ShardAnswer], limit: int, *, newest_first: bool) -> IndexPage:
    stops = [answer.stopped_at for answer in answers if answer.stopped_at is not None]
    horizon = (max(stops) if newest_first else min(stops)) if stops else None
    found = sorted((key for answer in answers for key in answer.created_keys), reverse=newest_first)
    if horizon is not None:
        found = [key for key in found if (key >= horizon if newest_first else key <= horizon)]
    if len(found) > limit:
        return IndexPage([keys.run_id_of(key) for key in found[:limit]], keys.run_id_of(found[limit - 1]))
    return IndexPage([keys.run_id_of(key) for key in found], keys.run_id_of(horizon) if horizon else None)
