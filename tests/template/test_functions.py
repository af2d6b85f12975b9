"""Tests that each route and each task has one function, one folder and one role."""

import re

from gyoza_domain.runs.saving import CONFLICT_DEADLINE_S
from testing.cloudformation import ROOT, load_template, resources_of_type
from tests.template.transformed import transformed

ROUTES = {
    "CreateRun": ("POST", "/runs"),
    "ListRuns": ("GET", "/runs"),
    "ClaimRun": ("POST", "/runs/claim"),
    "GetRun": ("GET", "/runs/{id}"),
    "UpdateRun": ("PATCH", "/runs/{id}"),
    "RetryRun": ("POST", "/runs/{id}/retry"),
    "CancelRun": ("POST", "/runs/{id}/cancel"),
    "AddEvent": ("POST", "/runs/{id}/events"),
    "HeartbeatRun": ("POST", "/runs/{id}/heartbeat"),
    "ListEvents": ("GET", "/runs/{id}/events"),
    "ListAttempts": ("GET", "/runs/{id}/attempts"),
    "ListDefinitions": ("GET", "/definitions"),
    "CreateDefinition": ("POST", "/definitions"),
    "GetDefinition": ("GET", "/definitions/{name}"),
    "PutDefinition": ("PUT", "/definitions/{name}"),
    "DeleteDefinition": ("DELETE", "/definitions/{name}"),
    "ListDefinitionVersions": ("GET", "/definitions/{name}/versions"),
    "CreateRunFromDefinition": ("POST", "/definitions/{name}/runs"),
}

TASKS = {"PublishEvents", "RedeliverEvents", "ReplayParkedEvents", "WakeRuns"}
"""The functions without a route."""

TEMPLATE = load_template()
FUNCTIONS = resources_of_type(TEMPLATE, "AWS::Serverless::Function")


def test_each_route_has_a_function_and_no_function_has_another() -> None:
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
    # A requirements.txt in the folder would make `sam build` ask for the interpreter that Lambda runs.
    folders = {path for path in ROOT.glob("functions/*") if path.is_dir()}
    files = {file for folder in folders for file in folder.iterdir() if file.name != "__pycache__"}
    assert files == {folder / "app.py" for folder in folders}


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


def test_lists_read_as_many_shards_as_their_parameter_says_and_creations_write_to_as_many_as_theirs() -> None:
    variables = {name: function.get("Environment", {}).get("Variables", {}) for name, function in FUNCTIONS.items()}
    shards = {
        name: (values.get("GYOZA_INDEX_SHARDS_READ"), values.get("GYOZA_INDEX_SHARDS"))
        for name, values in variables.items()
        if "GYOZA_INDEX_SHARDS_READ" in values or "GYOZA_INDEX_SHARDS" in values
    }
    assert shards == {
        "ListRuns": ({"Ref": "IndexShardsRead"}, None),
        "CreateRun": (None, {"Ref": "IndexShards"}),
        "CreateRunFromDefinition": (None, {"Ref": "IndexShards"}),
    }


def test_a_creation_knows_which_topics_runs_may_name() -> None:
    variables = {name: function.get("Environment", {}).get("Variables", {}) for name, function in FUNCTIONS.items()}
    topics = {name: values["GYOZA_TOPICS"] for name, values in variables.items() if "GYOZA_TOPICS" in values}
    names = ["CreateRun", "PutDefinition", "CreateDefinition", "CreateRunFromDefinition"]
    assert topics == {name: {"Ref": "Topics"} for name in names}
    assert TEMPLATE["Parameters"]["Topics"]["Default"] == "any"


def test_each_function_that_may_end_a_run_knows_how_long_runs_are_kept() -> None:
    variables = {name: function.get("Environment", {}).get("Variables", {}) for name, function in FUNCTIONS.items()}
    days = {
        name for name, values in variables.items() if values.get("GYOZA_RETENTION_DAYS") == {"Ref": "RetentionDays"}
    }
    assert days >= {"AddEvent", "CancelRun", "ClaimRun", "UpdateRun"}
    assert not days & {"CreateRun", "GetRun", "HeartbeatRun", "ListAttempts", "ListEvents", "ListRuns", "RetryRun"}
    assert TEMPLATE["Parameters"]["RetentionDays"]["Default"] == 0


def test_publishing_shares_the_concurrency_of_the_account_unless_some_is_reserved() -> None:
    reserved = {
        name: each["ReservedConcurrentExecutions"] for name, each in FUNCTIONS.items() if "Reserved" in str(each)
    }
    value = {"Fn::If": ["ReservesPushConcurrency", {"Ref": "PushConcurrency"}, {"Ref": "AWS::NoValue"}]}
    assert reserved == {"PublishEvents": value}
    assert TEMPLATE["Parameters"]["PushConcurrency"]["Default"] == ""


def test_every_parameter_has_a_label_in_one_group_and_a_description() -> None:
    interface = TEMPLATE["Metadata"]["AWS::CloudFormation::Interface"]
    grouped = [name for group in interface["ParameterGroups"] for name in group["Parameters"]]
    assert sorted(grouped) == sorted(interface["ParameterLabels"]) == sorted(TEMPLATE["Parameters"])
    assert not [name for name, each in TEMPLATE["Parameters"].items() if not each["Description"]]


def test_the_outputs_name_the_key_and_the_usage_plan_that_sam_makes() -> None:
    made = transformed()["Resources"]
    outputs = {name: TEMPLATE["Outputs"][name]["Value"]["Ref"] for name in ("ApiKeyId", "UsagePlanId")}
    types = {name: made[resource]["Type"] for name, resource in outputs.items()}
    assert types == {"ApiKeyId": "AWS::ApiGateway::ApiKey", "UsagePlanId": "AWS::ApiGateway::UsagePlan"}


def _snake_case(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
