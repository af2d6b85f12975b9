"""The product's handlers in this process, on DynamoDB Local and tables of their own."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from uuid import uuid4

import boto3

from gyoza_domain.bootstrap import api
from tests.support.dynamodb_local import dynamodb_local
from tests.support.table import create_table, forget_clients

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


@contextmanager
def engine() -> Iterator["DynamoDBClient"]:
    """DynamoDB Local, for every client made while the block runs."""
    with dynamodb_local() as url:
        before = os.environ.get("AWS_ENDPOINT_URL_DYNAMODB")
        os.environ["AWS_ENDPOINT_URL_DYNAMODB"] = url
        forget_clients()
        try:
            yield boto3.client("dynamodb")
        finally:
            if before is None:
                del os.environ["AWS_ENDPOINT_URL_DYNAMODB"]
            else:
                os.environ["AWS_ENDPOINT_URL_DYNAMODB"] = before
            forget_clients()


def new_table(client: "DynamoDBClient") -> str:
    """A table as the template has it, in use from now on."""
    name = f"runs-{uuid4()}"
    create_table(client, name)
    use_table(name)
    return name


def use_table(name: str) -> None:
    """The next requests meet this table, through the client that there is."""
    os.environ["GYOZA_TABLE"] = name
    for part in (api.store, api.reader, api.lists):
        part.cache_clear()
