"""Tests the commands of docs/push.md."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

from gyoza_domain.domain.run import State
from gyoza_domain.messaging.sns import FIFO_ATTRIBUTES

PAGE = (Path(__file__).resolve().parents[2] / "docs/push.md").read_text()
TOPIC_ARN = "arn:aws:sns:us-east-1:000000000000:gyoza_orders.fifo"
QUEUE_ARN = "arn:aws:sqs:us-east-1:000000000000:mine.fifo"


def test_the_documented_topic_has_the_attributes_that_the_function_gives_a_topic() -> None:
    found = re.search(r"aws sns create-topic .*?--attributes (\S+?)\)", PAGE, re.DOTALL)
    assert found is not None
    attributes = dict(pair.split("=") for pair in found[1].split(","))
    assert attributes == FIFO_ATTRIBUTES


def test_the_documented_policy_lets_sns_send_from_the_topic_to_the_queue_and_nobody_else() -> None:
    found = re.search(r"python3 -c '\n(.*?)' \"\$TOPIC_ARN\" \"\$QUEUE_ARN\"", PAGE, re.DOTALL)
    assert found is not None
    printed = subprocess.run(
        [sys.executable, "-c", found[1], TOPIC_ARN, QUEUE_ARN], capture_output=True, text=True, check=True
    ).stdout
    [statement] = json.loads(json.loads(printed)["Policy"])["Statement"]
    assert statement == {
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": QUEUE_ARN,
        "Condition": {"ArnEquals": {"aws:SourceArn": TOPIC_ARN}},
    }


def test_the_documented_subscription_filters_on_the_terminal_states() -> None:
    found = re.search(r"aws sns subscribe .*?--attributes ('.*?')", PAGE, re.DOTALL)
    assert found is not None
    attributes = json.loads(shlex.split(found[1])[0])
    assert attributes["RawMessageDelivery"] == "true"
    assert json.loads(attributes["FilterPolicy"]) == {"state": [state for state in State if state.is_terminal]}
