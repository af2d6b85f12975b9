"""Tests the events that an answer shows, at the limits of their number and size."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from gyoza_domain.domain.run import Event, EventType, JsonText, OpAttempt, OpRun, RunSpec, State
from gyoza_domain.domain.transitions import MANUAL_RETRY, EventDraft, append_event, patch
from gyoza_domain.runs.views import (
    MAX_EVENT_BYTES,
    MAX_EVENTS_OF_RUN,
    RunView,
    events_within_size,
    newest_events,
)

T0 = datetime(2026, 3, 2, 20, 0, tzinfo=UTC)
SPEC = RunSpec("busybox:1")
RUN = OpRun("6f1c2a54-9d1b-4c55-8a39-2f0f5c7be911", T0, T0, OpAttempt(1), max_attempts=2)


def an_event(seq: int, size: int = 2) -> Event:
    """An event with so many bytes of text."""
    return Event(seq, seq, 1, EventType.INFO, T0, State.PENDING, msg="x" * (size - 2))


def events(*sizes: int) -> list[Event]:
    return [an_event(seq, size) for seq, size in enumerate(sizes)]


def seqs(shown: Sequence[Event]) -> list[int]:
    return [event.seq for event in shown]


FULL, HALF = MAX_EVENT_BYTES, MAX_EVENT_BYTES // 2


@pytest.mark.parametrize(
    ("sizes", "shown"),
    [
        ([], []),
        ([2, 2, 2], [0, 1, 2]),
        ([HALF, HALF], [0, 1]),
        ([HALF, HALF + 1], [0]),
        ([FULL], [0]),
        ([FULL + 1], []),
        ([FULL, 2], [0]),
        ([FULL - 2, 2, 2], [0, 1]),
        ([2, FULL, 2], [0]),
    ],
)
def test_events_are_shown_up_to_the_first_that_would_pass_the_size_of_an_answer(
    sizes: list[int], shown: list[int]
) -> None:
    assert seqs(list(events_within_size(events(*sizes)))) == shown


def test_events_beyond_the_size_of_an_answer_are_not_even_taken() -> None:
    taken: list[int] = []

    def source() -> Iterator[Event]:
        for event in events(FULL, 2, 2, 2):
            taken.append(event.seq)
            yield event

    assert seqs(list(events_within_size(source()))) == [0]
    assert taken == [0, 1]


@pytest.mark.parametrize(
    "event",
    [
        an_event(0, 13),
        replace(an_event(0), payload=JsonText('{"a":"12345"}')),
        replace(an_event(0), outputs=JsonText('{"a":"123"}')),
        replace(an_event(0), error_message="12345678901"),
        replace(an_event(0), error_message="éééééx"),
        replace(an_event(0), msg=12345678901),
    ],
)
def test_the_size_of_an_event_is_that_of_all_its_texts_in_utf_8(event: Event) -> None:
    assert event.text_bytes == 13


@pytest.mark.parametrize(
    ("count", "shown"),
    [(0, range(0)), (99, range(99)), (100, range(100)), (101, range(1, 101)), (250, range(150, 250))],
)
def test_a_run_shows_its_newest_hundred_events(count: int, shown: range) -> None:
    assert seqs(newest_events(events(*[2] * count))) == list(shown)


@pytest.mark.parametrize(
    ("sizes", "shown"),
    [([HALF, HALF], [0, 1]), ([HALF + 1, HALF], [1]), ([2, FULL], [1]), ([2, FULL - 2, 2], [1, 2]), ([FULL, 2], [1])],
)
def test_a_run_shows_of_its_events_the_newest_that_an_answer_holds(sizes: list[int], shown: list[int]) -> None:
    assert seqs(newest_events(events(*sizes))) == shown


# -- the answer to a change


def a_view(*sizes: int) -> RunView:
    shown = events(*sizes)
    return RunView(replace(RUN, attempt=OpAttempt(1, last_seq=len(shown) - 1)), SPEC, newest_events(shown))


def test_an_event_comes_behind_those_that_were_read() -> None:
    view = a_view(2, 2)
    change = append_event(view.run, EventDraft(EventType.INFO, "hello"), T0)
    assert view.after(change) == RunView(change.after, SPEC, [*view.events, *change.events])


def test_the_hundred_and_first_event_takes_the_oldest_off_the_answer() -> None:
    view = a_view(*[2] * MAX_EVENTS_OF_RUN)
    after = view.after(append_event(view.run, EventDraft(EventType.INFO), T0))
    assert seqs(after.events) == list(range(1, MAX_EVENTS_OF_RUN + 1))


@pytest.mark.parametrize(("msg", "shown"), [("", [0, 1, 2]), ("x", [1, 2])])
def test_an_event_that_would_pass_the_size_takes_the_oldest_off_the_answer(msg: str, shown: list[int]) -> None:
    view = a_view(HALF, HALF - 2)
    assert seqs(view.events) == [0, 1]
    assert seqs(view.after(append_event(view.run, EventDraft(EventType.INFO, msg), T0)).events) == shown


@pytest.mark.parametrize(
    ("draft", "types"),
    [
        (EventDraft(EventType.FAILED), [EventType.RETRIED]),
        (MANUAL_RETRY, [EventType.RETRIED]),
    ],
    ids=["an automatic retry", "a retry"],
)
def test_an_attempt_that_begins_shows_none_of_the_events_before_it(draft: EventDraft, types: list[EventType]) -> None:
    view = a_view(2, 2)
    run = replace(view.run, attempt=replace(view.run.attempt, state=State.RUNNING))
    change = append_event(run, draft, T0)
    after = replace(view, run=run).after(change)
    assert (after.run, [event.type for event in after.events]) == (change.after, types)
    assert after.events == [change.events[-1]]


def test_a_patch_leaves_the_events_as_they_were_read() -> None:
    view = a_view(2, 2)
    change = patch(view.run, T0, priority=9)
    assert view.after(change) == replace(view, run=change.after)
