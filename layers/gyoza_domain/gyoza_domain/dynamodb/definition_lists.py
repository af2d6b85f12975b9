"""Implements DefinitionLists on the table of ``keys``."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..definitions.ports import DefinitionPage
from ..domain.definition import Definition
from ..domain.errors import InvalidCursor
from ..runs.pausing import Pauses
from ..runs.ports import Clock
from . import keys
from .attributes import Item, UnreadableItem, text
from .client_errors import translated_read
from .definition_items import name_key, version_from, version_key
from .table_reader import TableReader

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


class DynamoDBDefinitionLists:
    def __init__(self, client: "DynamoDBClient", table: str, clock: Clock) -> None:
        self._client = client
        self._table = table
        self._clock = clock
        self._reader = TableReader(client, table, clock)

    def page(self, limit: int, after: str | None, *, backwards: bool) -> DefinitionPage:
        if after is not None:
            self._check_cursor(after)
        listed = self._names(limit + 1, after, backwards=backwards)
        shown = listed[:limit]
        found = self._versions(shown)
        rows: list[Definition] = []
        unreadable = 0
        for name, version in shown:
            item = found.get((name, version))
            if item is None:
                continue
            try:
                rows.append(version_from(item).definition)
            except UnreadableItem:
                unreadable += 1
        return DefinitionPage(rows, shown[-1][0] if len(listed) > limit else None, unreadable)

    def _check_cursor(self, name: str) -> None:
        with translated_read():
            answer = self._client.get_item(TableName=self._table, Key=name_key(name), ConsistentRead=True)
        if "Item" not in answer:
            raise InvalidCursor(f"The cursor '{name}' names no definition")

    def _names(self, limit: int, after: str | None, *, backwards: bool) -> list[tuple[str, str]]:
        """Names, each with the version that was put last, as the index shows them."""
        values: dict[str, Any] = {":hash": {"S": keys.DEFINITIONS}}
        condition = "index_op_definition = :hash"
        if after is not None:
            condition += f" AND created_key {'<' if backwards else '>'} :after"
            values[":after"] = {"S": after}
        with translated_read():
            answer = self._client.query(
                TableName=self._table,
                IndexName=keys.BY_OP_DEFINITION,
                KeyConditionExpression=condition,
                ExpressionAttributeValues=values,
                ScanIndexForward=not backwards,
                Limit=limit,
            )
        return [(text(entry, "created_key"), text(entry, "state")) for entry in answer["Items"]]

    def _versions(self, wanted: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Item]:
        """The VERSION items, by reads of half a unit, which may trail as the index does.

        Those that are missing are read again consistently. One that is missing when the time is up is left out.
        """
        found: dict[tuple[str, str], Item] = {}
        pauses = Pauses(self._clock)
        consistent = False
        while missing := [each for each in wanted if each not in found]:
            for item in self._reader.batch([version_key(*each) for each in missing], consistent=consistent):
                found[keys.name_of_pk(text(item, "pk")), keys.version_of_sk(text(item, "sk"))] = dict(item)
            if len(found) < len(wanted) and not pauses.has_paused():
                break
            consistent = True
        return found
