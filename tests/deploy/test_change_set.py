"""Tests which change sets are executed and which are refused because they remove the table."""

import json
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from tools.deploy.change_set import TableWouldBeLost, check_change_set, ready_change_sets

ARN = "arn:aws:cloudformation:us-east-1:123456789012:changeSet/samcli-deploy1/6f1c2a54"
Json = dict[str, Any]


def change(action: str, logical_id: str = "RunTable", replacement: str | None = None, *details: Json) -> Json:
    of_resource: Json = {
        "Action": action,
        "LogicalResourceId": logical_id,
        "PhysicalResourceId": f"gyoza-{logical_id}-1",
        "ResourceType": "AWS::DynamoDB::Table",
        "Details": list(details),
    }
    if replacement is not None:
        of_resource["Replacement"] = replacement
    return {"Type": "Resource", "ResourceChange": of_resource}


def detail(name: str, recreation: str) -> Json:
    return {"Target": {"Attribute": "Properties", "Name": name, "RequiresRecreation": recreation}}


def template(**types: str) -> Json:
    definitions = [{"AttributeName": name, "AttributeType": type_} for name, type_ in types.items()]
    return {
        "TemplateBody": json.dumps({"Resources": {"RunTable": {"Properties": {"AttributeDefinitions": definitions}}}})
    }


def check(changes: list[Json], before: Json | None = None, after: Json | None = None) -> None:
    client: Any = boto3.client("cloudformation")
    with Stubber(client) as stub:
        # The changes come in two pages, because the decisive one may be on the second.
        other = [change("Modify", "CreateRun", "False")]
        stub.add_response("describe_change_set", {"Changes": other, "NextToken": "more"}, {"ChangeSetName": ARN})
        stub.add_response("describe_change_set", {"Changes": changes}, {"ChangeSetName": ARN, "NextToken": "more"})
        if before is not None and after is not None:
            stub.add_response("get_template", before, {"StackName": "gyoza", "TemplateStage": "Processed"})
            stub.add_response("get_template", after, {"ChangeSetName": ARN, "TemplateStage": "Processed"})
        check_change_set(client, "gyoza", ARN)
        stub.assert_no_pending_responses()


@pytest.mark.parametrize(
    "changes",
    [
        [],
        [change("Add")],
        [change("Modify", "RunTable", "False", detail("GlobalSecondaryIndexes", "Never"))],
        [change("Modify", "ParkedEvents", "True", detail("FifoQueue", "Always"))],
        [change("Remove", "CreateRunVersionaaaaaaaaaa")],
    ],
)
def test_a_change_set_that_keeps_the_table_passes(changes: list[Json]) -> None:
    check(changes)


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ([change("Remove")], "the template has no table"),
        ([change("Modify", "RunTable", "True", detail("KeySchema", "Always"))], "because of KeySchema"),
        ([change("Modify", "RunTable", "Conditional", detail("TableName", "Conditionally"))], "because of TableName"),
    ],
)
def test_a_change_set_that_takes_the_table_from_its_stack_is_refused(changes: list[Json], cause: str) -> None:
    with pytest.raises(TableWouldBeLost, match=cause):
        check(changes)


NEW_ATTRIBUTES = change("Modify", "RunTable", "Conditional", detail("AttributeDefinitions", "Conditionally"))


def test_a_new_index_keeps_the_table_although_cloudformation_is_not_sure() -> None:
    check([NEW_ATTRIBUTES], template(pk="S"), template(pk="S", due="S"))


def test_another_type_of_an_attribute_is_refused() -> None:
    with pytest.raises(TableWouldBeLost, match="because of AttributeDefinitions"):
        check([NEW_ATTRIBUTES], template(pk="S", due="S"), template(pk="S", due="N"))


def test_a_change_set_without_changes_is_not_ready() -> None:
    client: Any = boto3.client("cloudformation")
    with Stubber(client) as stub:
        summaries = [
            {"ChangeSetId": ARN, "ExecutionStatus": "AVAILABLE"},
            {"ChangeSetId": ARN + "-empty", "ExecutionStatus": "UNAVAILABLE"},
        ]
        stub.add_response("list_change_sets", {"Summaries": summaries}, {"StackName": "gyoza"})
        assert ready_change_sets(client, "gyoza") == {ARN}


def test_a_stack_that_does_not_exist_has_no_change_set() -> None:
    client: Any = boto3.client("cloudformation")
    with Stubber(client) as stub:
        stub.add_client_error("list_change_sets", "ValidationError", "Stack [gyoza] does not exist", 400)
        assert ready_change_sets(client, "gyoza") == set()
