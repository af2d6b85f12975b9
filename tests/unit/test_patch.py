"""Tests a patch: an edit without the timeline and the state machine."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest

from gyoza_domain.domain.run import (
    EMPTY_OBJECT,
    LOSSES,
    AttemptResult,
    Change,
    Claim,
    JsonText,
    OpAttempt,
    OpRun,
    Reason,
    ResultSource,
    State,
)
from gyoza_domain.domain.transitions import patch

UPDATED = datetime(2026, 3, 2, 20, 1, tzinfo=UTC)
NOW = UPDATED + timedelta(seconds=5)


def a_run(state: State = State.RUNNING) -> OpRun:
    """A run that failed once and was reopened, so that every field has a value."""
    attempt = OpAttempt(
        number=2,
        state=state,
        is_indexed=state is State.PENDING,
        progress=40,
        first_seq=4,
        last_seq=9,
        started_at=UPDATED - timedelta(minutes=1),
        finished_at=UPDATED if state.is_terminal else None,
        claim=Claim(5, "worker-7", 1),
        result=AttemptResult(JsonText('{"a":1}'), "out of memory", 900),
        result_source=ResultSource.PATCH,
        outputs_bytes=7,
    )
    return OpRun("6f1c2a54-9d1b-4c55-8a39-2f0f5c7be911", UPDATED, UPDATED, attempt, max_attempts=3, version=12)


def with_state(attempt: OpAttempt, state: State, **changes: Any) -> OpAttempt:
    """The attempt that a patch moved to the state. No claim takes it, even if it is PENDING."""
    if state is attempt.state:
        return replace(attempt, **changes)
    return replace(attempt, state=state, is_offered=state is not State.PENDING, is_indexed=False, **changes)


def edited(run: OpRun, attempt: OpAttempt) -> Change:
    """The change to the attempt. The run counts its attempts that are FAILED."""
    failures = run.failures + (attempt.state is State.FAILED) - (run.state is State.FAILED)
    return Change(run, replace(run, attempt=attempt, failures=failures, updated_at=NOW, version=run.version + 1))


@pytest.mark.parametrize("reason", [Reason.LOST, Reason.INTERRUPTED, Reason.TIMED_OUT])
def test_an_attempt_that_a_patch_reopens_counts_as_no_loss(reason: Reason) -> None:
    run = a_run(State.FAILED)
    run = replace(run, failures=2, losses=2, attempt=replace(run.attempt, reason=reason))
    reopened = patch(run, NOW, state=State.RUNNING).after
    assert (reopened.failures, reopened.losses) == (1, 2 - (reason in LOSSES))


@pytest.mark.parametrize(("before", "after"), list(product(State, State)))
def test_the_attempt_follows_the_state_and_only_its_finished_at_moves_with_it(before: State, after: State) -> None:
    run = a_run(before)
    if not after.is_terminal:
        finished_at = None
    elif before.is_terminal:
        finished_at = UPDATED
    else:
        finished_at = NOW
    assert patch(run, NOW, state=after) == edited(run, with_state(run.attempt, after, finished_at=finished_at))


@pytest.mark.parametrize("outputs", ['{"b":2}', "{}"])
@pytest.mark.parametrize("state", list(State))
def test_outputs_are_replaced_whole_and_the_rest_of_the_result_stays(state: State, outputs: str) -> None:
    run = a_run(state)
    result = AttemptResult(JsonText(outputs), "out of memory", 900)
    assert patch(run, NOW, outputs=JsonText(outputs)) == edited(
        run, replace(run.attempt, result=result, result_source=ResultSource.PATCH, outputs_bytes=len(outputs))
    )


def test_outputs_may_come_before_any_result() -> None:
    run = a_run(State.PENDING)
    run = replace(run, attempt=replace(run.attempt, result=None, result_source=None, outputs_bytes=0))
    result = AttemptResult(JsonText('{"b":2}'))
    assert patch(run, NOW, outputs=JsonText('{"b":2}')) == edited(
        run, replace(run.attempt, result=result, result_source=ResultSource.PATCH, outputs_bytes=7)
    )


def ended_run(state: State) -> OpRun:
    """A run whose attempt an event ended. That event holds the result."""
    run = a_run(state)
    return replace(run, attempt=replace(run.attempt, result_source=ResultSource.EVENT))


TERMINAL = [state for state in State if state.is_terminal]
LIVE = [state for state in State if not state.is_terminal]


@pytest.mark.parametrize(("before", "after"), list(product(TERMINAL, LIVE)))
def test_a_run_that_is_reopened_takes_its_result_out_of_the_event_that_ended_it(before: State, after: State) -> None:
    run = ended_run(before)
    attempt = with_state(run.attempt, after, finished_at=None, result_source=ResultSource.PATCH)
    assert patch(run, NOW, state=after) == edited(run, attempt)


@pytest.mark.parametrize(("before", "after"), list(product(TERMINAL, TERMINAL)))
def test_a_run_that_stays_ended_leaves_its_result_with_the_event_that_ended_it(before: State, after: State) -> None:
    run = ended_run(before)
    assert patch(run, NOW, state=after) == edited(run, replace(run.attempt, state=after))


@pytest.mark.parametrize(("before", "after"), list(product(TERMINAL, LIVE)))
def test_a_run_that_is_reopened_without_a_result_still_has_none(before: State, after: State) -> None:
    run = a_run(before)
    run = replace(run, attempt=replace(run.attempt, result=None, result_source=None, outputs_bytes=0))
    assert patch(run, NOW, state=after) == edited(run, with_state(run.attempt, after, finished_at=None))


def test_outputs_of_an_ended_run_take_the_rest_of_its_result_along() -> None:
    run = ended_run(State.FAILED)
    attempt = replace(
        run.attempt,
        result=AttemptResult(JsonText('{"é":1}'), "out of memory", 900),
        result_source=ResultSource.PATCH,
        outputs_bytes=8,
    )
    assert patch(run, NOW, outputs=JsonText('{"é":1}')) == edited(run, attempt)


def test_a_priority_leaves_a_result_that_was_not_loaded_as_it_is() -> None:
    run = ended_run(State.FAILED)
    run = replace(run, attempt=replace(run.attempt, result=None))
    assert patch(run, NOW, priority=3).after.attempt == run.attempt


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
        result_source=ResultSource.PATCH,
        outputs_bytes=2,
    )
    change = patch(run, NOW, state=State.COMPLETED, outputs=EMPTY_OBJECT, priority=0)
    assert change == Change(run, replace(run, attempt=attempt, priority=0, updated_at=NOW, version=run.version + 1))


def test_a_clock_that_went_back_never_lowers_an_instant() -> None:
    run = a_run(State.RUNNING)
    behind = patch(run, UPDATED - timedelta(days=1), state=State.FAILED)
    assert behind == patch(run, UPDATED, state=State.FAILED)
    assert (behind.after.updated_at, behind.after.attempt.finished_at) == (UPDATED, UPDATED)
