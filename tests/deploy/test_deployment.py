"""Tests the order of a deployment's steps and the findings that stop it before the stack changes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from testing.cloudformation import ROOT, load_template
from tools.deploy import __main__ as deployment
from tools.deploy.change_set import TableWouldBeLost
from tools.deploy.concurrency import concurrency_warning
from tools.deploy.environment import Environment, EnvironmentUnknown, load_environment
from tools.deploy.index_shards import WrongOrder
from tools.deploy.stack import DeployedStack

TEMPLATE = load_template()
PARAMETERS = {"IndexShardsRead": "1", "IndexShards": "1", "AccessLogs": "true"}


class Session:
    """Clients that record the calls and answer nothing."""

    region_name = "us-east-1"

    def __init__(self) -> None:
        self.calls: list[str] = []

    def get_partition_for_region(self, _region: str) -> str:
        return "aws"

    def client(self, _service: str) -> Any:
        session = self

        class Client:
            def __getattr__(self, name: str) -> Callable[..., Any]:
                def call(**options: Any) -> Any:
                    session.calls.append(f"{name} {options.get('EnableTerminationProtection', '')}".strip())
                    return {"Stacks": [{"Outputs": []}]}

                return call

        return Client()


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Session:
    """A session with replaced steps. Each records its name among the calls."""
    session = Session()

    def step(name: str, result: Any = None) -> None:
        def note(*_: Any, **__: Any) -> Any:
            session.calls.append(name)
            return result

        monkeypatch.setattr(deployment, name, note)

    step("ensure_access_log_role", "")
    step("check_first_try", [])
    step("check_change_set")
    step("create_change_set")
    step("execute")
    step("digest_of", "ab" * 32)
    step("concurrency_warning")
    step("deployed_stack", DeployedStack("UPDATE_COMPLETE", PARAMETERS))
    sets = iter([{"old"}, {"old", "new"}])
    monkeypatch.setattr(deployment, "ready_change_sets", lambda *_: next(sets))
    return session


def environment(name: str = "default", **parameters: str) -> Environment:
    return Environment(name, "gyoza", PARAMETERS | parameters)


def test_everything_is_looked_at_before_the_stack_is_changed(session: Session) -> None:
    deployment.deploy(environment(), session)
    assert session.calls == [
        "ensure_access_log_role",
        "check_first_try",
        "deployed_stack",
        "digest_of",
        "create_change_set",
        "check_change_set",
        "execute",
        "update_termination_protection True",
        "describe_stacks",
        "concurrency_warning",
    ]


def test_a_stack_that_can_be_thrown_away_is_not_protected_and_one_without_access_logs_needs_no_role(
    session: Session,
) -> None:
    deployment.deploy(environment("dev", AccessLogs="false"), session)
    assert "execute" in session.calls
    assert "update_termination_protection True" not in session.calls
    assert "ensure_access_log_role" not in session.calls


def test_shards_in_the_wrong_order_make_no_change_set(session: Session) -> None:
    with pytest.raises(WrongOrder):
        deployment.deploy(environment(IndexShardsRead="2", IndexShards="2"), session)
    assert "create_change_set" not in session.calls


def test_a_change_set_that_loses_the_table_is_deleted_and_not_executed(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise TableWouldBeLost

    monkeypatch.setattr(deployment, "check_change_set", refuse)
    with pytest.raises(TableWouldBeLost):
        deployment.deploy(environment(), session)
    assert "delete_change_set" in session.calls
    assert "execute" not in session.calls


def test_a_deployment_gives_every_parameter_so_that_an_earlier_commit_can_be_had_back() -> None:
    for name in ("default", "dev", "local"):
        given = load_environment(name, ROOT / "samconfig.toml", ROOT / "template.yaml").parameters
        assert set(given) == set(TEMPLATE["Parameters"])
    assert given["ThrottleRate"] == "10000"
    assert given["LogLevel"] == TEMPLATE["Parameters"]["LogLevel"]["Default"]


def test_every_environment_tags_what_it_deploys() -> None:
    text = (ROOT / "samconfig.toml").read_text()
    assert text.count('tags = "gyoza:stack=gyoza"') == 2
    assert text.count('tags = "gyoza:stack=gyoza-dev"') == 1


def test_an_unknown_environment_is_named(tmp_path: Path) -> None:
    config = tmp_path / "samconfig.toml"
    config.write_text("version = 0.1\n")
    for name in ("prod", "version"):
        with pytest.raises(EnvironmentUnknown, match=name):
            load_environment(name, config)


@pytest.mark.parametrize(("limit", "warns"), [(10, True), (99, True), (100, False), (1000, False)])
def test_an_account_with_few_executions_at_once_is_told(limit: int, warns: bool) -> None:
    lambda_: Any = boto3.client("lambda")
    with Stubber(lambda_) as stub:
        stub.add_response("get_account_settings", {"AccountLimit": {"ConcurrentExecutions": limit}}, {})
        warning = concurrency_warning(lambda_)
    assert (warning is not None) is warns
    assert warning is None or f"allows {limit} executions" in warning
