"""One route or one task, one function, one folder, one policy."""

import re
from typing import Any

import pytest

from gyoza_domain.runs.saving import CONFLICT_DEADLINE_S
from tests.template.cloudformation import ROOT, load_template, resources_of_type

TABLE = {"Fn::GetAtt": "RunTable.Arn"}
INDEXES = [
    {"Fn::Sub": "${RunTable.Arn}/index/" + name} for name in ("by_created", "by_state", "by_image", "by_op_definition")
]

ROUTES = {
    "CreateRun": ("POST", "/runs"),
    "ListRuns": ("GET", "/runs"),
    "GetRun": ("GET", "/runs/{id}"),
    "UpdateRun": ("PATCH", "/runs/{id}"),
    "RetryRun": ("POST", "/runs/{id}/retry"),
    "CancelRun": ("POST", "/runs/{id}/cancel"),
    "AddEvent": ("POST", "/runs/{id}/events"),
    "ListEvents": ("GET", "/runs/{id}/events"),
    "ListAttempts": ("GET", "/runs/{id}/attempts"),
}

TASKS = {"PublishEvents", "RedeliverEvents", "ReplayParkedEvents"}
"""Functions that are no route."""

TOPICS = {"Fn::Sub": "arn:${AWS::Partition}:sns:${AWS::Region}:${AWS::AccountId}:${AWS::StackName}_*"}
QUEUE = {"Fn::GetAtt": "ParkedEvents.Arn"}

READ = {"dynamodb:GetItem", "dynamodb:Query"}
WRITE = {"dynamodb:PutItem", "dynamodb:UpdateItem"}
PUBLISH = {"sns:CreateTopic", "sns:Publish"}
ALLOWED: dict[str, list[tuple[set[str], Any]]] = {
    "CreateRun": [(READ | {"dynamodb:PutItem"}, TABLE)],
    "ListRuns": [({"dynamodb:Query"}, INDEXES), (READ | {"dynamodb:BatchGetItem"}, TABLE)],
    "GetRun": [(READ, TABLE)],
    "UpdateRun": [(READ | WRITE, TABLE)],
    "RetryRun": [(READ | WRITE, TABLE)],
    "CancelRun": [(READ | WRITE, TABLE)],
    "AddEvent": [(READ | WRITE, TABLE)],
    "ListEvents": [(READ, TABLE)],
    "ListAttempts": [({"dynamodb:BatchGetItem", "dynamodb:Query"}, TABLE)],
    "PublishEvents": [({"dynamodb:BatchGetItem"}, TABLE), (PUBLISH, TOPICS), ({"sqs:SendMessage"}, QUEUE)],
    "RedeliverEvents": [({"dynamodb:BatchGetItem", "dynamodb:GetItem"}, TABLE), (PUBLISH, TOPICS)],
    "ReplayParkedEvents": [
        ({"dynamodb:BatchGetItem", "dynamodb:GetItem"}, TABLE),
        (PUBLISH, TOPICS),
        ({"sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:ReceiveMessage"}, QUEUE),
    ],
}

TEMPLATE = load_template()
FUNCTIONS = resources_of_type(TEMPLATE, "AWS::Serverless::Function")


def test_each_route_of_the_contract_has_a_function_and_no_function_has_another() -> None:
    routes = {
        name: [(event["Properties"]["Method"], event["Properties"]["Path"]) for event in function["Events"].values()]
        for name, function in FUNCTIONS.items()
        if name not in TASKS
    }
    assert routes == {name: [route] for name, route in ROUTES.items()}


def test_each_function_has_a_folder_of_its_name_and_no_folder_is_left_over() -> None:
    code = {name: function["CodeUri"] for name, function in FUNCTIONS.items()}
    assert code == {name: f"functions/{_snake_case(name)}" for name in FUNCTIONS}
    assert {f"functions/{handler.parent.name}" for handler in ROOT.glob("functions/*/app.py")} == set(code.values())


def test_a_function_folder_holds_one_file() -> None:
    # A requirements.txt in it would make `sam build` ask for the interpreter that Lambda runs.
    folders = {path for path in ROOT.glob("functions/*") if path.is_dir()}
    files = {file for folder in folders for file in folder.iterdir() if file.name != "__pycache__"}
    assert files == {folder / "app.py" for folder in folders}


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_a_policy_allows_exactly_what_its_function_does(name: str) -> None:
    statements = [statement for policy in FUNCTIONS[name]["Policies"] for statement in policy["Statement"]]
    allowed = [(set(statement["Action"]), statement["Resource"]) for statement in statements]
    assert allowed == ALLOWED[name]
    assert {statement["Effect"] for statement in statements} == {"Allow"}


def test_every_route_answers_before_the_gateway_gives_up() -> None:
    gateway_limit_s, slowest_call_s = 29, 3 * 5
    assert CONFLICT_DEADLINE_S + slowest_call_s < TEMPLATE["Globals"]["Function"]["Timeout"] < gateway_limit_s
    assert not [name for name in ROUTES if "Timeout" in FUNCTIONS[name]]


def test_functions_run_on_arm64_behind_an_alias_that_follows_every_property() -> None:
    common = TEMPLATE["Globals"]["Function"]
    assert common["Runtime"] == "python3.13"
    assert common["Architectures"] == ["arm64"]
    assert common["AutoPublishAlias"] == "live"
    assert common["AutoPublishAliasAllProperties"] is True
    assert common["SnapStart"] == {"ApplyOn": {"Ref": "SnapStart"}}
    assert TEMPLATE["Parameters"]["SnapStart"]["Default"] == "None"


def _snake_case(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
