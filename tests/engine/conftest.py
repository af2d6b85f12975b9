"""Makes every test of this folder run on DynamoDB Local."""

import time

import pytest

from gyoza_domain.bootstrap import clients
from testing.gateway import Gateway
from testing.timed_runs import TestClock

LONGEST_PAUSE_S = 0.02


@pytest.fixture
def api(engine_api: Gateway) -> Gateway:
    return engine_api


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> TestClock:
    """The clock of the test and of the handlers. Their pauses, and those of botocore, are short and do not move it."""
    clock, sleep = TestClock(), time.sleep
    monkeypatch.setattr(clients.SystemClock, "now", lambda _: clock.now())
    monkeypatch.setattr(clients.SystemClock, "monotonic", lambda _: clock.monotonic())
    monkeypatch.setattr(time, "sleep", lambda seconds: sleep(min(seconds, LONGEST_PAUSE_S)))
    return clock
