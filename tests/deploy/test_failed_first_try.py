"""Tests the advice after a failed first deployment and about the table that it left."""

from typing import Any

import boto3
import pytest
from botocore.stub import Stubber
from moto import mock_aws

from tools.deploy.failed_first_try import MustBeRemoved, check_first_try

LEFT = "gyoza-RunTable-1ABC"
REMOVAL = (
    f"aws dynamodb update-table --table-name {LEFT} --no-deletion-protection-enabled",
    f"aws dynamodb delete-table --table-name {LEFT}",
)


def make_table(dynamodb: Any, name: str, *, protected: bool = True, items: int = 0) -> None:
    dynamodb.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
        DeletionProtectionEnabled=protected,
    )
    for number in range(items):
        dynamodb.put_item(TableName=name, Item={"pk": {"S": str(number)}})


def check(dynamodb: Any, status: str | None, own_table: str | None = None) -> list[str]:
    cloudformation: Any = boto3.client("cloudformation")
    with Stubber(cloudformation) as stub:
        if status is None:
            stub.add_client_error("describe_stacks", "ValidationError", "Stack with id gyoza does not exist", 400)
        else:
            stack = {"StackName": "gyoza", "StackStatus": status, "CreationTime": "2026-03-02T20:00:00Z"}
            stub.add_response("describe_stacks", {"Stacks": [stack]}, {"StackName": "gyoza"})
        if own_table is not None:
            resource = {
                "LogicalResourceId": "RunTable",
                "PhysicalResourceId": own_table,
                "ResourceType": "AWS::DynamoDB::Table",
                "ResourceStatus": "UPDATE_COMPLETE",
                "Timestamp": "2026-03-02T20:00:00Z",
            }
            stub.add_response("describe_stack_resources", {"StackResources": [resource]}, {"StackName": "gyoza"})
        return check_first_try(cloudformation, dynamodb, "gyoza")


@mock_aws
@pytest.mark.parametrize("status", ["ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "DELETE_FAILED"])
def test_a_dead_stack_and_its_empty_table_are_named_with_the_commands_that_remove_them(status: str) -> None:
    dynamodb: Any = boto3.client("dynamodb")
    make_table(dynamodb, LEFT)
    with pytest.raises(MustBeRemoved) as refusal:
        check(dynamodb, status)
    for command in ("aws cloudformation delete-stack --stack-name gyoza", *REMOVAL):
        assert f"    {command}" in str(refusal.value).splitlines()


@mock_aws
def test_a_table_left_without_a_stack_is_told_and_the_deployment_goes_on() -> None:
    dynamodb: Any = boto3.client("dynamodb")
    make_table(dynamodb, LEFT)
    [advice] = check(dynamodb, None)
    assert [line.strip() for line in advice.splitlines()[1:]] == list(REMOVAL)


@mock_aws
def test_nobody_is_told_to_remove_a_table_that_holds_runs() -> None:
    dynamodb: Any = boto3.client("dynamodb")
    make_table(dynamodb, LEFT, items=1)
    [advice] = check(dynamodb, None)
    assert "holds runs" in advice
    assert "delete-table" not in advice


@mock_aws
def test_the_stacks_own_table_and_those_of_other_stacks_are_no_matter() -> None:
    dynamodb: Any = boto3.client("dynamodb")
    make_table(dynamodb, LEFT, items=1)
    make_table(dynamodb, "gyoza-dev-RunTable-1ABC")
    assert check(dynamodb, "UPDATE_COMPLETE", own_table=LEFT) == []


@mock_aws
def test_a_table_without_protection_is_deleted_by_one_command() -> None:
    dynamodb: Any = boto3.client("dynamodb")
    make_table(dynamodb, LEFT, protected=False)
    [advice] = check(dynamodb, None)
    assert [line.strip() for line in advice.splitlines()[1:]] == [REMOVAL[1]]
