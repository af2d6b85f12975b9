"""PATCH /runs/{id} as a rule: an edit past the timeline and the state machine."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from gyoza_domain.domain.run import (
    EMPTY_OBJECT,
    PATCHED,
    AttemptResult,
    Change,
    Claim,
    JsonText,
    OpAttempt,
    OpRun,
    State,
)
from gyoza_domain.domain.transitions import patch

UPDATED = datetime(2026, 3, 2, 20, 1, tzinfo=UTC)
NOW = UPDATED + timedelta(seconds=5)


def a_run(state: State = State.RUNNING) -> OpRun:
    """A run that was failed once and reopened since, so that every field holds something."""
    attempt = OpAttempt(
        number=2,
        state=state,
        progress=40,
        first_seq=4,
        last_seq=9,
        started_at=UPDATED - timedelta(minutes=1),
        finished_at=UPDATED if state.is_terminal else None,
        claim=Claim(5, "worker-7", 1),
        result=AttemptResult(JsonText('{"a":1}'), "out of memory", 900),
        result_source=8,
    )
    return OpRun("6f1c2a54-9d1b-4c55-8a39-2f0f5c7be911", UPDATED, UPDATED, attempt, max_attempts=3, version=12)


def edited(run: OpRun, attempt: OpAttempt) -> Change:
    return Change(run, replace(run, attempt=attempt, updated_at=NOW, version=run.version + 1))


@pytest.mark.parametrize(("before", "after"), list(product(State, State)))
def test_the_attempt_follows_the_state_and_only_its_finished_at_moves_with_it(before: State, after: State) -> None:
    run = a_run(before)
    if not after.is_terminal:
        finished_at = None
    elif before.is_terminal:
        finished_at = UPDATED
    else:
        finished_at = NOW
    assert patch(run, NOW, state=after) == edited(run, replace(run.attempt, state=after, finished_at=finished_at))


@pytest.mark.parametrize("outputs", ['{"b":2}', "{}"])
@pytest.mark.parametrize("state", list(State))
def test_outputs_are_replaced_whole_and_the_rest_of_the_result_stays(state: State, outputs: str) -> None:
    run = a_run(state)
    result = AttemptResult(JsonText(outputs), "out of memory", 900)
    assert patch(run, NOW, outputs=JsonText(outputs)) == edited(
        run, replace(run.attempt, result=result, result_source=PATCHED)
    )


def test_outputs_may_come_before_any_result() -> None:
    run = a_run(State.PENDING)
    run = replace(run, attempt=replace(run.attempt, result=None, result_source=None))
    result = AttemptResult(JsonText('{"b":2}'))
    assert patch(run, NOW, outputs=JsonText('{"b":2}')) == edited(
        run, replace(run.attempt, result=result, result_source=PATCHED)
    )


@pytest.mark.parametrize("priority", [0, 9999])
def test_priority_is_the_run_s_own(priority: int) -> None:
    run = a_run()
    after = replace(run, priority=priority, updated_at=NOW, version=run.version + 1)
    assert patch(run, NOW, priority=priority) == Change(run, after)


def test_all_three_are_one_change() -> None:
    run = a_run(State.RUNNING)
    attempt = replace(
        run.attempt,
        state=State.COMPLETED,
        finished_at=NOW,
        result=AttemptResult(EMPTY_OBJECT, "out of memory", 900),
        result_source=PATCHED,
    )
    change = patch(run, NOW, state=State.COMPLETED, outputs=EMPTY_OBJECT, priority=0)
    assert change == Change(run, replace(run, attempt=attempt, priority=0, updated_at=NOW, version=run.version + 1))


def test_a_clock_that_went_back_never_lowers_an_instant() -> None:
    run = a_run(State.RUNNING)
    behind = patch(run, UPDATED - timedelta(days=1), state=State.FAILED)
    assert behind == patch(run, UPDATED, state=State.FAILED)
    assert (behind.after.updated_at, behind.after.attempt.finished_at) == (UPDATED, UPDATED)
