"""Checks the gateway's settings and its own answers."""

import json
from typing import Any

import pytest

from testing.cloudformation import access_log_setting, load_template, resources_of_type
from tests.template.intrinsics import Stack
from tests.template.transformed import transformed

TEMPLATE = load_template()
API: dict[str, Any] = resources_of_type(TEMPLATE, "AWS::Serverless::Api")["RunApi"]

STATUS_AND_CODE = {
    "INVALID_API_KEY": (403, "forbidden"),
    "ACCESS_DENIED": (403, "forbidden"),
    "MISSING_AUTHENTICATION_TOKEN": (404, "not_found"),
    "RESOURCE_NOT_FOUND": (404, "not_found"),
    "REQUEST_TOO_LARGE": (413, "too_large"),
    "THROTTLED": (429, "throttled"),
    "QUOTA_EXCEEDED": (429, "quota_exceeded"),
    "DEFAULT_4XX": (None, "refused"),
    "DEFAULT_5XX": (None, "internal_error"),
}


def test_every_answer_of_the_gateway_has_its_status() -> None:
    statuses = {name: response.get("StatusCode") for name, response in API["GatewayResponses"].items()}
    assert statuses == {name: status for name, (status, _) in STATUS_AND_CODE.items()}


@pytest.mark.parametrize("name", sorted(STATUS_AND_CODE))
def test_every_answer_of_the_gateway_has_the_error_shape(name: str) -> None:
    [(media_type, text)] = API["GatewayResponses"][name]["ResponseTemplates"].items()
    body = json.loads(text)
    assert media_type == "application/json"
    assert body == {"detail": body["detail"], "code": STATUS_AND_CODE[name][1], "request_id": "$context.requestId"}
    assert "$" not in body["detail"], "the gateway's own error texts tell what is inside"


def test_every_route_needs_a_key_within_a_usage_plan() -> None:
    assert API["Auth"]["ApiKeyRequired"] is True
    assert API["Auth"]["UsagePlan"] == {
        "CreateUsagePlan": "PER_API",
        "Throttle": {"RateLimit": {"Ref": "ThrottleRate"}, "BurstLimit": {"Ref": "ThrottleBurst"}},
        "Quota": {
            "Fn::If": [
                "LimitsRequestsPerDay",
                {"Limit": {"Ref": "QuotaPerDay"}, "Period": "DAY"},
                {"Ref": "AWS::NoValue"},
            ]
        },
    }


@pytest.mark.parametrize(
    ("parameters", "quota"),
    [({}, {}), ({"QuotaPerDay": "5000"}, {"Quota": {"Limit": "5000", "Period": "DAY"}})],
    ids=["by default", "limited"],
)
def test_a_day_s_requests_are_limited_only_if_the_operator_says_so(
    parameters: dict[str, str], quota: dict[str, Any]
) -> None:
    plan = Stack(transformed(parameters), parameters).properties("RunApiUsagePlan")
    assert {name: value for name, value in plan.items() if name == "Quota"} == quota


def test_bodies_reach_the_functions_byte_for_byte() -> None:
    assert API["BinaryMediaTypes"] == ["*~1*"]


def test_an_access_log_line_is_json_and_holds_no_key() -> None:
    line = json.loads(access_log_setting(TEMPLATE)["Format"])
    assert line["request_id"] == "$context.requestId"
    assert "$context.identity.apiKey" not in line.values()


def test_a_stack_without_access_logs_needs_no_role_of_the_account() -> None:
    assert API["AccessLogSetting"]["Fn::If"][0::2] == ["WritesAccessLogs", {"Ref": "AWS::NoValue"}]
    assert TEMPLATE["Resources"]["AccessLogGroup"]["Condition"] == "WritesAccessLogs"
    assert not resources_of_type(TEMPLATE, "AWS::ApiGateway::Account")


def test_logs_are_kept_for_the_days_asked_for() -> None:
    groups = resources_of_type(TEMPLATE, "AWS::Logs::LogGroup")
    assert set(groups) == {"FunctionLogs", "AccessLogGroup"}
    assert all(group["RetentionInDays"] == {"Ref": "LogRetentionDays"} for group in groups.values())


def test_functions_log_json_into_one_group_at_one_level_and_lambda_only_its_warnings() -> None:
    common = TEMPLATE["Globals"]["Function"]
    assert common["LoggingConfig"] == {
        "LogGroup": {"Ref": "FunctionLogs"},
        "LogFormat": "JSON",
        "SystemLogLevel": "WARN",
        "ApplicationLogLevel": {"Ref": "LogLevel"},
    }
    # Lambda's log level outweighs the logger's own, so a second level would have no effect.
    assert common["Environment"]["Variables"]["POWERTOOLS_LOG_LEVEL"] == {"Ref": "LogLevel"}
    assert common["Environment"]["Variables"]["POWERTOOLS_SERVICE_NAME"] == {"Ref": "AWS::StackName"}
