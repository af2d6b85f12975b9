"""Builds the objects that the routes of definitions use, beside those of ``api``."""

from functools import cache

from ..definitions.ports import CreationKeys, DefinitionLists, DefinitionStore
from ..dynamodb.creation_keys import DynamoDBCreationKeys
from ..dynamodb.definition_lists import DynamoDBDefinitionLists
from ..dynamodb.definitions import DynamoDBDefinitionStore
from .api import clock
from .clients import dynamodb, table


@cache
def definitions() -> DefinitionStore:
    """The definitions. A process keeps the versions that it has read."""
    return DynamoDBDefinitionStore(dynamodb(), table(), clock())


@cache
def definition_lists() -> DefinitionLists:
    return DynamoDBDefinitionLists(dynamodb(), table(), clock())


@cache
def creation_keys() -> CreationKeys:
    return DynamoDBCreationKeys(dynamodb(), table(), clock())
