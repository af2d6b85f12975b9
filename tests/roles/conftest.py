"""Plays every function on moto through all its work and records its AWS calls."""

import sys
from collections.abc import Mapping
from typing import Any

import boto3
import pytest
from botocore.client import BaseClient
from moto import mock_aws

from gyoza_domain.waking import sweep
from tests.roles.playing import TABLE_NAME, play
from tests.roles.recorder import Permission, Recorder, RecordingGateway
from tests.template.intrinsics import ACCOUNT, REGION, STACK


@pytest.fixture(scope="session")
def used() -> dict[str, set[Permission]]:
    """The permissions that each function has used, by the name of its folder."""
    real = BaseClient._make_api_call  # type: ignore[attr-defined]
    with mock_aws(), pytest.MonkeyPatch.context() as patch:
        patch.setenv("GYOZA_TABLE", TABLE_NAME)
        patch.setenv("GYOZA_TOPIC_ARN_PREFIX", f"arn:aws:sns:{REGION}:{ACCOUNT}:{STACK}_")
        patch.setenv("GYOZA_PARKED_QUEUE_URL", boto3.client("sqs").create_queue(QueueName="ParkedEvents")["QueueUrl"])
        # moto loses writes of several threads.
        patch.setattr(sweep, "THREADS", 1)
        recorder = Recorder(real)

        def record(client: BaseClient, operation: str, params: Mapping[str, Any]) -> Any:
            return recorder.record(client, operation, params)

        patch.setattr(BaseClient, "_make_api_call", record)
        _forget_everything()
        play(RecordingGateway(recorder), recorder)
    _forget_everything()
    return recorder.used


def _forget_everything() -> None:
    """Forget each client and every object that holds one, in all modules of ``bootstrap``."""
    for name, module in list(sys.modules.items()):
        if name.startswith("gyoza_domain.bootstrap"):
            for member in vars(module).values():
                if hasattr(member, "cache_clear"):
                    member.cache_clear()
