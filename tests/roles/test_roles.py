"""Tests each function's role: it allows exactly the actions of the function and of Lambda itself."""

import re
from typing import Any

import pytest

from testing.cloudformation import load_template, resources_of_type
from tests.roles.recorder import QUEUE, TABLE, TOPICS, Permission
from tests.template.intrinsics import ACCOUNT, REGION, Stack
from tests.template.transformed import transformed

FUNCTIONS = sorted(resources_of_type(load_template(), "AWS::Serverless::Function"))
SCHEDULE_ROLE = "WakeRunsScheduleRole"
BOUNDARY = f"arn:aws:iam::{ACCOUNT}:policy/boundary"

LOG = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/gyoza/gyoza/functions:*"
LOGS: set[Permission] = {("logs:CreateLogStream", LOG), ("logs:PutLogEvents", LOG)}
"""https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-loggroups.html: the group exists already."""

TRACES: set[Permission] = {("xray:PutTelemetryRecords", "*"), ("xray:PutTraceSegments", "*")}
"""https://docs.aws.amazon.com/lambda/latest/dg/services-xray.html. Neither action knows resources:
https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsx-ray.html
"""

STREAM = f"{TABLE}/stream/2026-03-02T20:00:00.000"
MAPPING: set[Permission] = {
    ("dynamodb:DescribeStream", STREAM),
    ("dynamodb:GetRecords", STREAM),
    ("dynamodb:GetShardIterator", STREAM),
    ("dynamodb:ListStreams", STREAM),
    ("sqs:SendMessage", QUEUE),
}
"""https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/iam-policy-example-lamda-process-dynamodb-streams.html
and, for the queue of what is given up, https://docs.aws.amazon.com/lambda/latest/dg/services-dynamodb-errors.html
"""


def role_of(function: str, **parameters: str) -> dict[str, Any]:
    template = transformed(parameters)
    stack = Stack(template, parameters)
    role: dict[str, Any] = stack.properties(
        template["Resources"][function]["Properties"]["Role"]["Fn::GetAtt"].split(".")[0]
    )
    return role


def role_for(function: str, permissions: set[Permission], boundary: dict[str, str]) -> dict[str, Any]:
    """The expected role in the form of ``shape_of``."""
    return {"trusts": "lambda.amazonaws.com", "allows": permissions, **boundary, "name": function}


def shape_of(role: dict[str, Any]) -> dict[str, Any]:
    """The whole role. An unexpected part appears under its own name."""
    rest = dict(role)
    [policy] = rest.pop("Policies")
    trust = rest.pop("AssumeRolePolicyDocument")
    [trusted] = trust["Statement"]
    assert trusted == {"Effect": "Allow", "Principal": trusted["Principal"], "Action": "sts:AssumeRole"}
    allows = [
        (action, resource)
        for statement in policy["PolicyDocument"]["Statement"]
        for action in _many(statement["Action"])
        for resource in _many(statement["Resource"])
    ]
    assert len(allows) == len(set(allows)), "allowed twice"
    assert {frozenset(each) for each in policy["PolicyDocument"]["Statement"]} == {
        frozenset({"Sid", "Effect", "Action", "Resource"})
    }
    assert {each["Effect"] for each in policy["PolicyDocument"]["Statement"]} == {"Allow"}
    return {"trusts": trusted["Principal"]["Service"], "allows": set(allows), "name": policy["PolicyName"], **rest}


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(
    ("parameters", "traces", "boundary"),
    [
        ({}, set(), {}),
        (
            {"Tracing": "Active", "PermissionsBoundaryArn": BOUNDARY},
            TRACES,
            {"PermissionsBoundary": BOUNDARY},
        ),
    ],
    ids=["by default", "traced and bounded"],
)
def test_a_role_allows_what_its_function_and_lambda_do_with_it_and_nothing_else(
    function: str,
    parameters: dict[str, str],
    traces: set[Permission],
    boundary: dict[str, str],
    used: dict[str, set[Permission]],
) -> None:
    expected = used[_folder_of(function)] | LOGS | traces | (MAPPING if function == "PublishEvents" else set())
    assert shape_of(role_of(function, **parameters)) == role_for(function, expected, boundary)


def test_no_two_functions_share_a_role() -> None:
    template = transformed()
    roles = [template["Resources"][name]["Properties"]["Role"]["Fn::GetAtt"] for name in FUNCTIONS]
    assert sorted(roles) == sorted(f"{name}Role.Arn" for name in FUNCTIONS)
    made = [name for name, each in template["Resources"].items() if each["Type"] == "AWS::IAM::Role"]
    assert sorted(made) == sorted([*(f"{name}Role" for name in FUNCTIONS), SCHEDULE_ROLE])


@pytest.mark.parametrize(
    ("parameters", "boundary"), [({}, {}), ({"PermissionsBoundaryArn": BOUNDARY}, {"PermissionsBoundary": BOUNDARY})]
)
def test_a_schedule_of_this_account_may_invoke_its_function_and_nothing_else(
    parameters: dict[str, str], boundary: dict[str, str]
) -> None:
    role = Stack(transformed(parameters), parameters).properties(SCHEDULE_ROLE)
    [trusted] = role.pop("AssumeRolePolicyDocument")["Statement"]
    assert trusted == {
        "Effect": "Allow",
        "Principal": {"Service": "scheduler.amazonaws.com"},
        "Action": "sts:AssumeRole",
        "Condition": {"StringEquals": {"aws:SourceAccount": ACCOUNT}},
    }
    [policy] = role.pop("Policies")
    [statement] = policy["PolicyDocument"]["Statement"]
    assert statement == {
        "Sid": "Invoke",
        "Effect": "Allow",
        "Action": "lambda:InvokeFunction",
        "Resource": "WakeRunsAliaslive",
    }
    assert role == boundary


@pytest.mark.parametrize("function", ["PublishEvents", "RedeliverEvents", "ReplayParkedEvents"])
def test_a_role_publishes_to_the_listed_topics_only(function: str) -> None:
    role = role_of(function, Topics="orders,orders.fifo")
    [denied] = [each for each in role["Policies"][0]["PolicyDocument"]["Statement"] if each["Effect"] == "Deny"]
    assert denied == {
        "Sid": "PublishToNamedTopicsOnly",
        "Effect": "Deny",
        "Action": ["sns:CreateTopic", "sns:Publish", "sns:TagResource"],
        "NotResource": ["arn:*:sns:*:*:*_orders", "arn:*:sns:*:*:*_orders.fifo"],
    }
    [allowed] = [
        each for each in role["Policies"][0]["PolicyDocument"]["Statement"] if each["Sid"] == "PublishToOwnTopics"
    ]
    assert (allowed["Action"], allowed["Resource"]) == (denied["Action"], TOPICS)


def _many(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def _folder_of(function: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", function).lower()
