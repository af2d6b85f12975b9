"""Checks the schedule of the timer and its function."""

from typing import Any

from gyoza_domain.bootstrap import clients
from gyoza_domain.waking.sweep import RESERVE_S, THREADS
from testing.cloudformation import load_template, resources_of_type
from tests.template.intrinsics import ACCOUNT, Stack
from tests.template.transformed import transformed

TEMPLATE = load_template()
WAKE_RUNS: dict[str, Any] = resources_of_type(TEMPLATE, "AWS::Serverless::Function")["WakeRuns"]
ONCE = {"MaximumEventAgeInSeconds": 60, "MaximumRetryAttempts": 0}


def schedule(**parameters: str) -> dict[str, Any]:
    template = transformed(parameters)
    [name] = [name for name, each in template["Resources"].items() if each["Type"] == "AWS::Scheduler::Schedule"]
    return Stack(template, parameters).properties(name)


def test_a_schedule_invokes_the_newest_version_each_minute_and_repeats_nothing() -> None:
    assert schedule() == {
        "Description": "Wakes the runs that are due",
        "ScheduleExpression": "rate(1 minute)",
        "FlexibleTimeWindow": {"Mode": "OFF"},
        "State": "ENABLED",
        "Target": {
            "Arn": "WakeRunsAliaslive",
            "RoleArn": f"arn:aws:iam::{ACCOUNT}:role/WakeRunsScheduleRole",
            "RetryPolicy": ONCE,
        },
    }


def test_lambda_repeats_no_invocation_either() -> None:
    assert WAKE_RUNS["EventInvokeConfig"] == ONCE


def test_an_operator_can_stop_the_schedule() -> None:
    assert schedule(Timer="DISABLED")["State"] == "DISABLED"


def test_a_sweep_that_meets_a_slow_call_ends_before_its_timeout() -> None:
    connect_and_read_s, tries = 1 + 5, 3
    assert tries * connect_and_read_s < RESERVE_S < WAKE_RUNS["Timeout"] / 2


def test_each_thread_of_a_sweep_has_a_connection() -> None:
    config: Any = clients.dynamodb().meta.config
    assert config.max_pool_connections >= THREADS


def test_the_timer_knows_how_long_the_deployment_keeps_runs() -> None:
    assert WAKE_RUNS["Environment"]["Variables"] == {"GYOZA_RETENTION_DAYS": {"Ref": "RetentionDays"}}
    assert TEMPLATE["Parameters"]["RetentionDays"]["Default"] == 0
