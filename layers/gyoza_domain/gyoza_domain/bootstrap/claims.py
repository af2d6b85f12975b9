"""Builds the objects that only claims use, beside those of ``api``."""

from functools import cache

from ..claiming.memory import SpentEntries
from ..claiming.ports import ClaimIndex, ClaimKeys
from ..dynamodb.claim_index import DynamoDBClaimIndex
from ..dynamodb.claim_keys import DynamoDBClaimKeys
from .clients import dynamodb, table


@cache
def claim_index() -> ClaimIndex:
    return DynamoDBClaimIndex(dynamodb(), table())


@cache
def claim_keys() -> ClaimKeys:
    return DynamoDBClaimKeys(dynamodb(), table())


@cache
def spent_entries() -> SpentEntries:
    """The entries of the index that this process found spent."""
    return SpentEntries()
