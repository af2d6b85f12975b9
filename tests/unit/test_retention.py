"""The time that a terminal run is kept."""

from datetime import UTC, datetime, timedelta

import pytest

from gyoza_domain.domain.run import Change, EventType, OpRun, Removal, State, Terms
from gyoza_domain.domain.timers import due_at, wake
from gyoza_domain.domain.transitions import (
    MANUAL_RETRY,
    USER_CANCEL,
    EventDraft,
    append_event,
    ask_cancel,
    claim,
    new_attempt,
    patch,
)

NOW = datetime(2026, 3, 2, 20, 0, tzinfo=UTC)
DAY_S = 86_400
FAILED = EventDraft(EventType.FAILED)


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def a_run(terms: Terms, *, max_attempts: int = 1) -> OpRun:
    return OpRun("6f1c2a54-9d1b-4c55-8a39-2f0f5c7be911", NOW, NOW, new_attempt(terms, NOW), 5, max_attempts, terms)


@pytest.mark.parametrize(
    ("retain_s", "default_retain_s", "is_delivering", "kept_s"),
    [
        (None, None, False, None),
        (None, None, True, None),
        (60, None, False, 60),
        (60, 7, False, 60),
        (0, 7, False, 0),
        (None, 7, False, 7),
        (60, None, True, DAY_S),
        (0, None, True, DAY_S),
        (None, 7, True, DAY_S),
        (2 * DAY_S, None, True, 2 * DAY_S),
    ],
)
def test_a_run_is_kept_as_its_terms_or_else_the_deployment_say_and_a_pushed_one_for_a_day_at_least(
    retain_s: int | None, default_retain_s: int | None, is_delivering: bool, kept_s: int | None
) -> None:
    run = a_run(Terms(retain_s=retain_s, is_delivering=is_delivering))
    ended = append_event(run, USER_CANCEL, later(5), default_retain_s=default_retain_s).after
    expected = None if kept_s is None else later(5 + kept_s)
    assert (ended.expires_at, due_at(ended)) == (expected, expected)


def started(terms: Terms) -> OpRun:
    return append_event(a_run(terms), EventDraft(EventType.STARTED, worker_id="w"), NOW).after


ENDS = {
    "COMPLETED": append_event(started(Terms()), EventDraft(EventType.COMPLETED), NOW, default_retain_s=60),
    "FAILED": append_event(a_run(Terms()), FAILED, NOW, default_retain_s=60),
    "a patch": patch(a_run(Terms()), NOW, state=State.COMPLETED, default_retain_s=60),
    "a cancel that asks": ask_cancel(a_run(Terms()), 5, None, NOW, default_retain_s=60),
    "expiry": wake(a_run(Terms(queue_ttl_s=10)), NOW + timedelta(seconds=10), default_retain_s=60),
    "a lost lease": wake(
        claim(a_run(Terms()), "w", 15, NOW, start=True).after, NOW + timedelta(seconds=15), default_retain_s=60
    ),
}


@pytest.mark.parametrize("change", ENDS.values(), ids=ENDS)
def test_every_end_begins_the_retention(change: Change) -> None:
    assert change.after.expires_at == change.after.updated_at + timedelta(seconds=60)


def test_a_run_is_removed_from_its_instant_on_and_not_before() -> None:
    run = append_event(a_run(Terms(retain_s=60)), USER_CANCEL, NOW).after
    assert wake(run, later(60) - timedelta(microseconds=1)) is None
    assert wake(run, later(60)) == Removal(run)


def test_a_retry_forgets_the_retention_and_the_next_end_begins_it_anew() -> None:
    ended = append_event(a_run(Terms(retain_s=60)), USER_CANCEL, NOW).after
    retried = append_event(ended, MANUAL_RETRY, later(30)).after
    assert (retried.expires_at, wake(retried, later(300))) == (None, None)
    assert append_event(retried, USER_CANCEL, later(40)).after.expires_at == later(100)


def test_an_automatic_retry_begins_no_retention() -> None:
    assert append_event(a_run(Terms(retain_s=60), max_attempts=2), FAILED, NOW).after.expires_at is None


@pytest.mark.parametrize("state", [State.PENDING, State.ASSIGNED, State.RUNNING])
def test_a_patch_that_reopens_a_run_forgets_the_retention(state: State) -> None:
    ended = append_event(a_run(Terms(retain_s=60)), USER_CANCEL, NOW).after
    assert patch(ended, later(1), state=state).after.expires_at is None


@pytest.mark.parametrize("edit", [{"state": State.FAILED}, {"priority": 9}])
def test_a_patch_of_a_run_that_stays_terminal_leaves_the_retention(edit: dict[str, object]) -> None:
    ended = append_event(a_run(Terms(retain_s=60)), USER_CANCEL, NOW).after
    assert patch(ended, later(1), **edit).after.expires_at == later(60)  # type: ignore[arg-type]
