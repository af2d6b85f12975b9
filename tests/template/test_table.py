"""Tests the properties of the table that the code and the operators rely on."""

from typing import Any

from testing.cloudformation import load_template, resources_of_type

TEMPLATE = load_template()
TABLE: dict[str, Any] = resources_of_type(TEMPLATE, "AWS::DynamoDB::Table")["RunTable"]


def test_the_indexes_of_lists_sort_by_creation_and_carry_what_the_other_filters_compare() -> None:
    indexes = {
        index["IndexName"]: (_keys(index), index["Projection"].get("NonKeyAttributes"))
        for index in TABLE["GlobalSecondaryIndexes"]
    }
    assert indexes == {
        "by_created": (("index_all", "created_key"), None),
        "by_state": (("index_state", "created_key"), ["index_image", "index_op_definition"]),
        "by_image": (("index_image", "created_key"), ["state", "index_op_definition"]),
        "by_op_definition": (("index_op_definition", "created_key"), ["state", "index_image"]),
        # For time and for claims (docs/adr/0009-indexes-for-time-and-claims.md).
        "by_due": (("due_shard", "due_at"), None),
        "claimable": (("claim_queue", "claim_order"), ["claim_needs"]),
    }


def test_every_key_attribute_is_text_and_no_other_is_declared() -> None:
    schemas = [TABLE, *TABLE["GlobalSecondaryIndexes"]]
    declared = {each["AttributeName"]: each["AttributeType"] for each in TABLE["AttributeDefinitions"]}
    assert declared == dict.fromkeys({name for schema in schemas for name in _keys(schema)}, "S")


def test_the_table_can_be_restored_is_encrypted_and_outlives_its_stack() -> None:
    assert TABLE["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert TABLE["SSESpecification"] == {"SSEEnabled": True}
    assert TABLE["DeletionProtectionEnabled"] == {"Ref": "DeletionProtection"}
    assert TEMPLATE["Parameters"]["DeletionProtection"]["Default"] == "true"
    assert TEMPLATE["Resources"]["RunTable"]["DeletionPolicy"] == "Retain"
    assert TEMPLATE["Resources"]["RunTable"]["UpdateReplacePolicy"] == "Retain"


def test_the_stream_shows_an_item_before_and_after_and_expiry_is_on() -> None:
    assert TABLE["StreamSpecification"] == {"StreamViewType": "NEW_AND_OLD_IMAGES"}
    assert TABLE["TimeToLiveSpecification"] == {"AttributeName": "expires_at", "Enabled": True}


def _keys(schema: dict[str, Any]) -> tuple[str, str]:
    by_type = {key["KeyType"]: key["AttributeName"] for key in schema["KeySchema"]}
    return by_type["HASH"], by_type["RANGE"]
