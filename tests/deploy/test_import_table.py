"""Tests how a new stack takes over the table that an earlier stack left."""

import json
from typing import Any

import boto3
from botocore.stub import ANY, Stubber

from testing.cloudformation import load_template
from tools.deploy.environment import Environment
from tools.deploy.import_table import import_table, template_of_the_table

TEMPLATE = load_template()
TABLE = TEMPLATE["Resources"]["RunTable"]
NAMED = {"StackName": "gyoza", "ChangeSetName": "import-the-table"}


def test_the_stack_begins_with_the_table_alone() -> None:
    template = json.loads(json.dumps(template_of_the_table(TEMPLATE)))
    assert template["Resources"] == {"RunTable": TABLE}
    assert set(template) == {"AWSTemplateFormatVersion", "Description", "Parameters", "Resources"}


def test_the_template_keeps_every_parameter_that_the_table_refers_to() -> None:
    text = json.dumps(TABLE)
    assert text.count('"Ref"') == 1
    assert TABLE["Properties"]["DeletionProtectionEnabled"] == {"Ref": "DeletionProtection"}
    # CloudFormation imports a resource only if its deletion policy keeps it.
    assert TABLE["DeletionPolicy"] == "Retain"


def test_the_table_is_imported_by_its_name() -> None:
    client: Any = boto3.client("cloudformation")
    stack = {"StackName": "gyoza", "StackStatus": "IMPORT_COMPLETE", "CreationTime": "2026-03-02T20:00:00Z"}
    imported = {
        "ResourceType": "AWS::DynamoDB::Table",
        "LogicalResourceId": "RunTable",
        "ResourceIdentifier": {"TableName": "gyoza-RunTable-1ABC"},
    }
    with Stubber(client) as stub:
        stub.add_response(
            "create_change_set",
            {},
            NAMED
            | {
                "ChangeSetType": "IMPORT",
                "TemplateBody": ANY,
                "Parameters": [{"ParameterKey": "IndexShards", "ParameterValue": "1"}],
                "ResourcesToImport": [imported],
            },
        )
        stub.add_response("describe_change_set", {"Status": "CREATE_COMPLETE"}, NAMED)
        stub.add_response("execute_change_set", {}, NAMED)
        stub.add_response("describe_stacks", {"Stacks": [stack]}, {"StackName": "gyoza"})
        import_table(client, Environment("default", "gyoza", {"IndexShards": "1"}), TEMPLATE, "gyoza-RunTable-1ABC")
        stub.assert_no_pending_responses()
