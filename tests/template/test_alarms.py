"""Checks the alarms, and that docs/operations.md tells an operator how to react to each."""

import re
from typing import Any

import pytest

from functions.wake_runs.app import METRICS
from gyoza_domain.waking.commands import Deed
from testing.cloudformation import ROOT, load_template, resources_of_type
from tests.template.test_functions import TASKS

TEMPLATE = load_template()
ALARMS = resources_of_type(TEMPLATE, "AWS::CloudWatch::Alarm")
TABLE: dict[str, Any] = resources_of_type(TEMPLATE, "AWS::DynamoDB::Table")["RunTable"]
SECTIONS = dict(
    re.findall(r"^### (\w+)\n(.*?)(?=^##|\Z)", (ROOT / "docs/operations.md").read_text(), re.MULTILINE | re.DOTALL)
)

METRICS_OF_AN_ALARM = 10
"""https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/Create-alarm-on-metric-math-expression.html"""

Watched = tuple[str, str, str]
"""Namespace, metric, and the values of the dimensions."""


def watched(alarm: dict[str, Any]) -> list[Watched]:
    if "MetricName" in alarm:
        return [_watched(alarm)]
    expression, *metrics = alarm["Metrics"]
    assert expression["Expression"] == "SUM(METRICS())"
    assert all(each["ReturnData"] is False for each in metrics)
    return [_watched(each["MetricStat"]["Metric"]) for each in metrics]


def _watched(metric: dict[str, Any]) -> Watched:
    values = [each["Value"] for each in metric["Dimensions"]]
    names = [next(iter(value.values())) if isinstance(value, dict) else value for value in values]
    return metric["Namespace"], metric["MetricName"], " ".join(names)


def test_the_alarms_are_few_and_each_has_a_section_of_its_name() -> None:
    assert len(ALARMS) <= 10
    assert set(SECTIONS) == set(ALARMS)


@pytest.mark.parametrize("name", sorted(ALARMS))
def test_a_section_says_what_the_alarm_means_what_to_run_and_what_to_do(name: str) -> None:
    meaning, command, advice = re.fullmatch(r"\n(.+?)\n\n```sh\n(.+?)```\n\n(.+)", SECTIONS[name], re.DOTALL).groups()  # type: ignore[union-attr]
    assert meaning
    assert advice
    assert command.startswith(("aws ", "START="))


def test_functions_with_a_route_are_watched_by_the_answers_of_the_api() -> None:
    assert watched(ALARMS["ApiFails"]) == [("AWS/ApiGateway", "5XXError", "AWS::StackName live")]


@pytest.mark.parametrize(("name", "metric"), [("TasksFail", "Errors"), ("TasksAreThrottled", "Throttles")])
def test_functions_without_a_route_are_watched_together(name: str, metric: str) -> None:
    assert watched(ALARMS[name]) == [("AWS/Lambda", metric, task) for task in sorted(TASKS)]


@pytest.mark.parametrize(
    ("name", "metric"), [("WritesAreThrottled", "WriteThrottleEvents"), ("ReadsAreThrottled", "ReadThrottleEvents")]
)
def test_the_table_and_each_index_are_watched(name: str, metric: str) -> None:
    indexes = [f"RunTable {index['IndexName']}" for index in TABLE["GlobalSecondaryIndexes"]]
    assert watched(ALARMS[name]) == [("AWS/DynamoDB", metric, each) for each in ["RunTable", *indexes]]


def test_late_and_parked_events_are_watched() -> None:
    assert watched(ALARMS["EventsAreLate"]) == [("AWS/Lambda", "IteratorAge", "PublishEvents")]
    [(namespace, metric, queue)] = watched(ALARMS["EventsAreParked"])
    assert (namespace, metric) == ("AWS/SQS", "ApproximateNumberOfMessagesVisible")
    assert queue == "ParkedEvents.QueueName"


def test_the_timer_is_watched_by_what_its_sweeps_tell_and_by_their_absence() -> None:
    of_stack = "AWS::StackName"
    assert watched(ALARMS["RunsAreOverdue"]) == [("gyoza", "OverdueSeconds", of_stack)]
    assert watched(ALARMS["RunsAreLost"]) == [("gyoza", METRICS[Deed.LOST], of_stack)]
    stands_still = ALARMS["TimerStandsStill"]
    assert watched(stands_still) == [("gyoza", "OverdueSeconds", of_stack)]
    assert stands_still["Statistic"] == "SampleCount"
    assert stands_still["TreatMissingData"] == "breaching"
    assert stands_still["Period"] * stands_still["DatapointsToAlarm"] == 5 * 60


@pytest.mark.parametrize("name", sorted(ALARMS))
def test_an_alarm_takes_few_enough_metrics_and_notifies_the_topic_where_there_is_one(name: str) -> None:
    assert len(watched(ALARMS[name])) < METRICS_OF_AN_ALARM
    assert ALARMS[name]["AlarmActions"] == {"Fn::If": ["NotifiesOfAlarms", [{"Ref": "AlarmTopicArn"}], []]}
    assert TEMPLATE["Resources"][name]["Condition"] == "HasAlarms"


def test_the_documented_price_of_the_alarms_is_that_of_all_metrics_they_watch() -> None:
    metrics = sum(len(watched(alarm)) for alarm in ALARMS.values())
    assert f"{metrics} metrics, {metrics * 0.10:.2f} dollars" in (ROOT / "docs/deploying.md").read_text()
