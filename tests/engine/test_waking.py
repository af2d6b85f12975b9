"""Sweeps and claims that look in passing, on DynamoDB Local."""

import json
from datetime import timedelta
from typing import Any

import pytest

from functions.wake_runs.app import lambda_handler
from gyoza_domain.bootstrap import api, clients, waking
from gyoza_domain.domain.errors import NotLeased, RunLocked, StaleAttempt
from gyoza_domain.domain.run import EventType, Reason, State, Terms
from gyoza_domain.dynamodb import keys
from gyoza_domain.waking.commands import Deed
from gyoza_domain.waking.sweep import SweepReport
from testing.capacity import measured
from testing.cloudformation import ROOT
from testing.gateway import Gateway
from testing.timed_runs import TestClock, TimedRuns
from tests.support.push import Context


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> TestClock:
    """The clock of the test and of the store."""
    clock = TestClock()
    monkeypatch.setattr(clients.SystemClock, "now", lambda _: clock.now())
    monkeypatch.setattr(clients.SystemClock, "monotonic", lambda _: clock.monotonic())
    return clock


@pytest.fixture
def runs(engine_api: Gateway, clock: TestClock) -> TimedRuns:
    assert engine_api
    return TimedRuns(api.store(), clock)


def sweep() -> SweepReport:
    return waking.new_sweep().sweep(lambda: 60.0)


def test_an_idle_sweep_makes_its_few_calls_and_nothing_else(runs: TimedRuns, clock: TestClock) -> None:
    for _ in range(3):
        runs.create()
        runs.post(runs.started(), EventType.COMPLETED)
    runs.started(lease_s=60, terms=Terms(attempt_timeout_s=600))
    sweep()
    clock.advance(30)
    with measured() as usage:
        report = sweep()
    assert report == SweepReport()
    assert sorted(usage.calls) == ["Query"] * 5 + ["UpdateItem"]
    assert usage.items_read == 0


def test_the_handler_answers_and_counts_what_it_woke(
    runs: TimedRuns, clock: TestClock, capsys: pytest.CaptureFixture[str]
) -> None:
    runs.started(lease_s=15)
    clock.advance(20)
    sample = json.loads((ROOT / "events/wake_runs.scheduled.json").read_text())
    assert lambda_handler(sample, Context()) == {"woken": {"lost": 1}, "overdue_s": 0.0, "deleted_items": 0}
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (told["OverdueSeconds"], told["LostRuns"], told["service"]) == ([0.0], [1.0], "gyoza")
    [declared] = told["_aws"]["CloudWatchMetrics"]
    assert declared["Namespace"] == "gyoza"
    assert declared["Dimensions"] == [["service"]]
    assert {each["Name"] for each in declared["Metrics"]} == {"OverdueSeconds", "LostRuns"}


def test_a_lost_run_begins_again_and_its_worker_is_fenced(runs: TimedRuns, clock: TestClock) -> None:
    run_id = runs.started(lease_s=15, max_attempts=2)
    clock.advance(14.9)
    assert sweep().deeds == {}
    clock.advance(0.1)
    assert sweep().deeds == {Deed.LOST: 1}
    run = runs.get(run_id)
    assert (run.state, run.attempt.number, run.losses, run.attempt.lease) == (State.PENDING, 2, 1, None)
    with pytest.raises(StaleAttempt):
        runs.beat(run_id, 1)
    with pytest.raises(NotLeased):
        runs.beat(run_id, 2)
    assert sweep().deeds == {}


def test_a_living_run_never_reaches_the_timer_at_a_beat_of_a_third_of_its_lease(
    runs: TimedRuns, clock: TestClock
) -> None:
    run_id = runs.started(lease_s=60)
    for _ in range(30):
        clock.advance(20)
        assert sweep().deeds == {}
        runs.beat(run_id, 1)
    assert runs.get(run_id).state is State.RUNNING


def test_an_unreadable_run_that_is_due_first_does_not_stop_the_others(
    runs: TimedRuns, clock: TestClock, capsys: pytest.CaptureFixture[str]
) -> None:
    unreadable = runs.started(lease_s=15)
    clock.advance(5)
    others = [runs.started(lease_s=15) for _ in range(5)]
    as_it_was = _set_schema(unreadable, "999")
    clock.advance(300)
    answer = lambda_handler({}, Context())
    assert answer == {"woken": {"lost": 5, "unwakeable": 1}, "overdue_s": 290.0, "deleted_items": 0}
    assert "UnwakeableRuns" in capsys.readouterr().out
    assert {runs.get(run_id).state for run_id in others} == {State.FAILED}
    assert sweep().deeds == {}
    seen = []
    for _ in range(16):
        clock.advance(60)
        seen.append(sweep().deeds[Deed.UNWAKEABLE])
    assert seen == [1, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0]
    _set_schema(unreadable, as_it_was)
    clock.advance(16 * 60)
    assert sweep().deeds == {Deed.LOST: 1}
    assert runs.get(unreadable).attempt.reason is Reason.LOST


def _set_schema(run_id: str, schema: str) -> str:
    """Make HEAD look as if a release with that schema had written it. Returns the schema that it had."""
    old: Any = clients.dynamodb().update_item(
        TableName=clients.table(),
        Key={"pk": {"S": keys.run_pk(run_id)}, "sk": {"S": keys.HEAD}},
        UpdateExpression="SET #schema = :schema",
        ExpressionAttributeNames={"#schema": "schema"},
        ExpressionAttributeValues={":schema": {"N": schema}},
        ReturnValues="UPDATED_OLD",
    )
    text: str = old["Attributes"]["schema"]["N"]
    return text


def test_leases_of_a_standstill_get_one_lease_more_and_then_end(runs: TimedRuns, clock: TestClock) -> None:
    ended_before = runs.started(lease_s=15)
    clock.advance(20)
    runs_in_standstill = [runs.started(lease_s=60) for _ in range(3)]
    waking._due_index().note_sweep(clock.now())
    clock.advance(240)
    assert sweep().deeds == {Deed.LOST: 1, Deed.SPARED: 3}
    assert runs.get(ended_before).state is State.FAILED
    beating, *silent = runs_in_standstill
    clock.advance(59)
    runs.beat(beating, 1)
    assert sweep().deeds == {}
    clock.advance(1)
    assert sweep().deeds == {Deed.LOST: 2}
    assert {runs.get(run_id).state for run_id in silent} == {State.FAILED}
    assert runs.get(beating).state is State.RUNNING


def test_a_claim_wakes_in_passing_while_sweeps_run(runs: TimedRuns, clock: TestClock) -> None:
    lost = [runs.started(lease_s=15, max_attempts=2) for _ in range(8)]
    sweep()
    clock.advance(16)
    passing = waking.passing_waker()
    woken = passing.wake_in_passing()
    assert 1 <= woken <= 5
    assert passing.wake_in_passing() == 0
    while sum(runs.get(run_id).attempt.number == 2 for run_id in lost) < 8:
        clock.advance(5)
        passing.wake_in_passing()
    assert clock.monotonic() < 60


def test_a_claim_wakes_nothing_once_the_sweeps_have_stopped(runs: TimedRuns, clock: TestClock) -> None:
    run_id = runs.started(lease_s=15, max_attempts=2)
    sweep()
    clock.advance(181)
    with measured() as usage:
        assert waking.passing_waker().wake_in_passing() == 0
    assert usage.calls == ["GetItem"]
    assert runs.get(run_id).attempt.number == 1


@pytest.mark.parametrize("beats_first", [True, False], ids=["the heartbeat", "the sweep"])
def test_of_a_heartbeat_and_a_sweep_the_first_decides(runs: TimedRuns, clock: TestClock, beats_first: bool) -> None:
    """The heartbeat is held between its reading and its write, or comes between those of the sweep."""
    run_id = runs.started(lease_s=15)
    clock.advance(16)
    results: list[Any] = []

    def once(action: Any) -> Any:
        def hook(**_: object) -> None:
            if not results:
                results.append(None)
                results.append(action())

        return hook

    events = clients.dynamodb().meta.events
    if beats_first:
        event, hook = "before-call.dynamodb.TransactWriteItems", once(lambda: runs.beat(run_id, 1))
    else:
        event, hook = "before-call.dynamodb.UpdateItem", once(sweep)
    events.register(event, hook)
    try:
        if beats_first:
            assert sweep().deeds == {Deed.NOTHING: 1}
        else:
            with pytest.raises(RunLocked):
                runs.beat(run_id, 1)
    finally:
        events.unregister(event, hook)
    run = runs.get(run_id)
    if beats_first:
        assert run.state is State.RUNNING
        assert run.attempt.lease == results[1]
        assert results[1].until == clock.now() + timedelta(seconds=15)
    else:
        assert results[1].deeds == {Deed.LOST: 1}
        assert run.state is State.FAILED
