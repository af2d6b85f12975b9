"""Runs handlers of this process on DynamoDB Local, with new tables and a count of their cost."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import boto3

from gyoza_domain.bootstrap import api, claims, clients, definitions, waking
from testing.capacity import Usage, item_bytes, measured, read_units
from testing.dynamodb_local import dynamodb_local
from testing.table import create_table, forget_clients

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


@contextmanager
def engine() -> Iterator["DynamoDBClient"]:
    """Run DynamoDB Local during the block. New clients use it, and handlers use an empty table."""
    with dynamodb_local() as url:
        os.environ["AWS_ENDPOINT_URL_DYNAMODB"] = url
        forget_clients()
        try:
            client = boto3.client("dynamodb")
            new_table(client)
            yield client
        finally:
            del os.environ["AWS_ENDPOINT_URL_DYNAMODB"]
            forget_clients()


def new_table(client: "DynamoDBClient") -> str:
    """Create the table of the template and use it from now on. Returns its name."""
    name = f"runs-{uuid4()}"
    create_table(client, name)
    use_table(name)
    return name


def use_table(name: str) -> None:
    """Let the next requests use this table, through the same client."""
    os.environ["GYOZA_TABLE"] = name
    parts = (api.store, api.reader, api.lists, waking.passing_waker)
    of_claims = (claims.claim_index, claims.claim_keys, claims.spent_entries)
    of_definitions = (definitions.definitions, definitions.definition_lists, definitions.creation_keys)
    for part in (*parts, *of_claims, *of_definitions):
        part.cache_clear()


@contextmanager
def counted() -> Iterator[Usage]:
    """Count the calls and units of the handlers while the block runs.

    A query of an index also pays for entries that its filter leaves out. The engine's figures are used for these
    queries.
    """
    events = clients.dynamodb().meta.events
    with measured() as usage:

        def ask(params: dict[str, Any], **_: object) -> None:
            if "IndexName" in params:
                params["ReturnConsumedCapacity"] = "TOTAL"

        def correct(parsed: dict[str, Any], **_: object) -> None:
            if "ConsumedCapacity" in parsed:
                seen = read_units(sum(map(item_bytes, parsed["Items"])), consistent=False)
                usage.read_units += parsed["ConsumedCapacity"]["CapacityUnits"] - seen

        events.register("provide-client-params.dynamodb.Query", ask)
        events.register("after-call.dynamodb.Query", correct)
        try:
            yield usage
        finally:
            events.unregister("provide-client-params.dynamodb.Query", ask)
            events.unregister("after-call.dynamodb.Query", correct)
