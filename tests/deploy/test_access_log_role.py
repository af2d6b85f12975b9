"""Tests the account's role for access logs: it is found or made, and never replaced."""

import json
from typing import Any

import boto3
import pytest
from botocore.stub import ANY, Stubber

from tools.deploy.access_log_role import ROLE, ensure_access_log_role

ARN = f"arn:aws:iam::123456789012:role/{ROLE}"
OTHER = "arn:aws:iam::123456789012:role/somebody-elses"
MADE = {
    "Role": {
        "Path": "/",
        "RoleName": ROLE,
        "RoleId": "AROA1234567890EXAMPLE",
        "Arn": ARN,
        "CreateDate": "2026-03-02T20:00:00Z",
    }
}
SET = {"patchOperations": [{"op": "replace", "path": "/cloudwatchRoleArn", "value": ARN}]}
ATTACHED = {
    "RoleName": ROLE,
    "PolicyArn": "arn:aws:iam::aws:policy/service-role/AmazonAPIGatewayPushToCloudWatchLogs",
}


class Account:
    """Two clients that answer the prepared calls, in their order, and refuse any other."""

    def __init__(self) -> None:
        self.apigateway: Any = boto3.client("apigateway")
        self.iam: Any = boto3.client("iam")
        self.gateway_stub = Stubber(self.apigateway)
        self.iam_stub = Stubber(self.iam)
        self.pauses: list[float] = []

    def ensure(self) -> str:
        with self.gateway_stub, self.iam_stub:
            said = ensure_access_log_role(self.apigateway, self.iam, sleep=self.pauses.append)
        self.gateway_stub.assert_no_pending_responses()
        self.iam_stub.assert_no_pending_responses()
        return said

    def role_can_be_made(self) -> None:
        self.iam_stub.add_response(
            "create_role", MADE, dict.fromkeys(("RoleName", "AssumeRolePolicyDocument", "Description"), ANY)
        )
        self.iam_stub.add_response("attach_role_policy", {}, ATTACHED)


@pytest.fixture
def account() -> Account:
    return Account()


def test_a_role_that_is_set_is_left_as_it_is(account: Account) -> None:
    account.gateway_stub.add_response("get_account", {"cloudwatchRoleArn": OTHER}, {})
    assert account.ensure() == f"Access logs: the account's role is {OTHER}; left as it is"


def test_a_missing_role_is_made_and_set_once_the_gateway_knows_it(account: Account) -> None:
    account.gateway_stub.add_response("get_account", {}, {})
    account.role_can_be_made()
    for _ in range(2):
        account.gateway_stub.add_client_error(
            "update_account", "BadRequestException", "The role ARN does not have ...", 400
        )
    account.gateway_stub.add_response("update_account", {"cloudwatchRoleArn": ARN}, SET)
    assert ARN in account.ensure()
    assert account.pauses == [3.0, 3.0]


def test_a_role_of_an_earlier_try_is_taken(account: Account) -> None:
    account.gateway_stub.add_response("get_account", {}, {})
    account.iam_stub.add_client_error("create_role", "EntityAlreadyExists", http_status_code=409)
    account.iam_stub.add_response("get_role", MADE, {"RoleName": ROLE})
    account.iam_stub.add_response("attach_role_policy", {}, ATTACHED)
    account.gateway_stub.add_response("update_account", {"cloudwatchRoleArn": ARN}, SET)
    assert ARN in account.ensure()


def test_a_deployer_who_may_not_look_hears_so_and_nothing_is_made(account: Account) -> None:
    account.gateway_stub.add_client_error("get_account", "AccessDeniedException", http_status_code=403)
    said = account.ensure()
    assert "not allowed to see" in said
    assert "AccessLogs=false" in said


@pytest.mark.parametrize("refused", ["create_role", "attach_role_policy", "update_account"])
def test_a_deployer_who_may_not_set_hears_so(account: Account, refused: str) -> None:
    account.gateway_stub.add_response("get_account", {}, {})
    if refused == "create_role":
        account.iam_stub.add_client_error("create_role", "AccessDenied", http_status_code=403)
    elif refused == "attach_role_policy":
        account.iam_stub.add_response("create_role", MADE)
        account.iam_stub.add_client_error("attach_role_policy", "AccessDenied", http_status_code=403)
    else:
        account.role_can_be_made()
        account.gateway_stub.add_client_error("update_account", "AccessDeniedException", http_status_code=403)
    said = account.ensure()
    assert "setting one is not allowed" in said
    assert "AccessLogs=false" in said


def test_only_api_gateway_may_take_the_role(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[dict[str, Any]] = []

    def create_role(**options: Any) -> dict[str, Any]:
        made.append(options)
        return MADE

    monkeypatch.setattr(account.iam, "create_role", create_role)
    account.gateway_stub.add_response("get_account", {}, {})
    account.iam_stub.add_response("attach_role_policy", {}, ATTACHED)
    account.gateway_stub.add_response("update_account", {"cloudwatchRoleArn": ARN}, SET)
    account.ensure()
    [statement] = json.loads(made[0]["AssumeRolePolicyDocument"])["Statement"]
    assert statement == {
        "Effect": "Allow",
        "Principal": {"Service": "apigateway.amazonaws.com"},
        "Action": "sts:AssumeRole",
    }
