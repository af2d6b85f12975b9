"""Checks the stream of the publishing function, and the signals of its failures."""

import json
from typing import Any

from gyoza_domain.publishing.redelivery import MAX_REQUEST_S
from gyoza_domain.publishing.sending import MAX_CALL_S
from testing.cloudformation import load_template, resources_of_type
from tools.push import FUNCTION_LIMIT_S

TEMPLATE = load_template()
FUNCTIONS = resources_of_type(TEMPLATE, "AWS::Serverless::Function")
MAPPING: dict[str, Any] = FUNCTIONS["PublishEvents"]["Events"]["Stream"]["Properties"]
QUEUE = {"Fn::GetAtt": "ParkedEvents.Arn"}
STREAM_KEEPS_S = 24 * 3600


def test_the_stream_is_read_from_its_beginning_and_as_long_as_it_keeps_records() -> None:
    assert MAPPING["Stream"] == {"Fn::GetAtt": "RunTable.StreamArn"}
    assert MAPPING["StartingPosition"] == "TRIM_HORIZON"
    assert MAPPING["MaximumRetryAttempts"] == -1
    assert MAPPING["MaximumRecordAgeInSeconds"] == STREAM_KEEPS_S - 3600


def test_failures_are_reported_by_record_and_batches_that_are_given_up_go_to_the_queue() -> None:
    assert MAPPING["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert MAPPING["BisectBatchOnFunctionError"] is True
    assert MAPPING["DestinationConfig"] == {"OnFailure": {"Type": "SQS", "Destination": QUEUE}}


def test_only_heads_of_runs_with_an_event_delivery_invoke_the_function() -> None:
    patterns = [json.loads(each["Pattern"]) for each in MAPPING["FilterCriteria"]["Filters"]]
    assert patterns == [
        {
            "eventName": ["INSERT", "MODIFY"],
            "dynamodb": {
                "Keys": {"sk": {"S": ["HEAD"]}},
                "NewImage": {"delivers": {"BOOL": [{"exists": True}]}},
            },
        }
    ]


def test_there_is_time_for_a_slow_call_and_for_others_before_it() -> None:
    assert FUNCTIONS["PublishEvents"]["Timeout"] >= 3 * MAX_CALL_S


def test_an_operator_waits_as_long_as_the_functions_may_run_and_they_end_before() -> None:
    timeouts = {name: FUNCTIONS[name]["Timeout"] for name in ("RedeliverEvents", "ReplayParkedEvents")}
    assert timeouts == dict.fromkeys(timeouts, FUNCTION_LIMIT_S)
    assert MAX_REQUEST_S + 2 * MAX_CALL_S < FUNCTION_LIMIT_S <= 300


def test_no_replay_meets_a_parked_event_twice() -> None:
    queue = resources_of_type(TEMPLATE, "AWS::SQS::Queue")["ParkedEvents"]
    assert queue["VisibilityTimeout"] > FUNCTIONS["ReplayParkedEvents"]["Timeout"]
    assert queue["MessageRetentionPeriod"] == 14 * STREAM_KEEPS_S
    assert queue["SqsManagedSseEnabled"] is True


def test_a_function_publishes_to_topics_of_this_stack_only() -> None:
    prefix = {"Fn::Sub": "arn:${AWS::Partition}:sns:${AWS::Region}:${AWS::AccountId}:${AWS::StackName}_"}
    for name in ("PublishEvents", "RedeliverEvents", "ReplayParkedEvents"):
        assert FUNCTIONS[name]["Environment"]["Variables"]["GYOZA_TOPIC_ARN_PREFIX"] == prefix
