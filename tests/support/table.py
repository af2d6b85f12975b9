"""The table of template.yaml, made where a test wants it: one truth for keys and indexes."""

from typing import TYPE_CHECKING, Any

from tests.template.cloudformation import load_template, resources_of_type

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


def table_properties() -> dict[str, Any]:
    """What of the template's table an engine on this machine takes."""
    (properties,) = resources_of_type(load_template(), "AWS::DynamoDB::Table").values()
    names = ("AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes", "BillingMode")
    return {name: properties[name] for name in names}


def create_table(client: "DynamoDBClient", name: str) -> None:
    client.create_table(TableName=name, **table_properties())
