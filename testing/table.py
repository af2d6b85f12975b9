"""Creates the table of template.yaml for tests, with the same keys and indexes."""

from typing import TYPE_CHECKING, Any

from gyoza_domain.bootstrap import api, claims, clients, definitions, push, waking
from testing.cloudformation import load_template, resources_of_type

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


def table_properties() -> dict[str, Any]:
    """The properties of the template's table that a local engine accepts."""
    (properties,) = resources_of_type(load_template(), "AWS::DynamoDB::Table").values()
    names = ("AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes", "BillingMode")
    return {name: properties[name] for name in names}


def create_table(client: "DynamoDBClient", name: str, *, with_stream: bool = False) -> None:
    """Create the table. ``with_stream`` adds the template's stream, which keeps every write; most tests do without."""
    stream: dict[str, Any] = {}
    if with_stream:
        (properties,) = resources_of_type(load_template(), "AWS::DynamoDB::Table").values()
        stream = {"StreamSpecification": {"StreamEnabled": True, **properties["StreamSpecification"]}}
    client.create_table(TableName=name, **table_properties(), **stream)


def forget_clients() -> None:
    """Let the next request use the table and the engine in the environment."""
    parts = (api.store, api.reader, api.lists, clients.dynamodb, push.outbox, push.delivery, waking.passing_waker)
    of_claims = (claims.claim_index, claims.claim_keys, claims.spent_entries)
    of_definitions = (definitions.definitions, definitions.definition_lists, definitions.creation_keys)
    for part in (*parts, *of_claims, *of_definitions):
        part.cache_clear()
