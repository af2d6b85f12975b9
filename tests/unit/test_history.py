"""Tests the checker of histories: it accepts right histories and names each contradiction."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from testing.gateway import Answer
from tests.support.history import Exchange, Final, problems, the_winner

RUN = "6f1c2a54-9d1b-4c55-8a39-2f0f5c7be911"
NO_SUMMARY = {"worker_id": None, "gpu_id": None, "duration_ms": None, "error_message": None, "reason": None}


def at(second: int) -> str:
    instant = datetime(2026, 3, 2, 20, 0, tzinfo=UTC) + timedelta(seconds=second)
    return instant.isoformat(timespec="microseconds").replace("+00:00", "Z")


def event(seq: int, id_: int, attempt: int, type_: str, msg: Any = "", **payload: Any) -> dict[str, Any]:
    return {
        "id": id_,
        "seq": seq,
        "attempt": attempt,
        "type": type_,
        "t": at(seq + 1),
        "msg": msg,
        "state": "CANCELLED",
        "payload": payload,
    }


EVENTS = [
    event(0, 0, 1, "STARTED", worker_id="a", gpu_id=3, mark="m1"),
    event(1, 1, 1, "PROGRESS", 40, mark="m2"),
    event(2, 2, 1, "FAILED", error_message="no", mark="m3"),
    event(3, 0, 2, "RETRIED", "Automatic retry"),
    event(4, 1, 2, "INFO", "hello", mark="m4"),
    event(5, 2, 2, "CANCELLED", "Cancelled by user"),
]


def attempt(number: int, **fields: Any) -> dict[str, Any]:
    events = [event for event in EVENTS if event["attempt"] == number]
    shown = {"attempt": number, "outputs": {}, "events": events, "event_count": len(events)}
    return shown | {"progress": 0, "assigned_at": None, "started_at": None, "execution_summary": NO_SUMMARY} | fields


FINAL = Final(
    run={
        "state": "CANCELLED",
        "progress": 0,
        "priority": 7,
        "outputs": {},
        "current_attempt": 2,
        "event_count": 3,
        "last_seq": 5,
        "execution_summary": NO_SUMMARY,
        "events": EVENTS[3:],
        "retry_policy": {"max_attempts": 2},
        "updated_at": at(6),
    },
    events=EVENTS,
    attempts=[
        attempt(
            1,
            state="FAILED",
            progress=40,
            started_at=at(1),
            finished_at=at(3),
            execution_summary=NO_SUMMARY | {"worker_id": "a", "gpu_id": 3, "duration_ms": 2000, "error_message": "no"},
        ),
        attempt(2, state="CANCELLED", finished_at=at(6)),
    ],
)


def exchange(
    number: int, path: str, body: Any, last_seq: int, *, method: str = "POST", key: str | None = None, status: int = 200
) -> Exchange:
    answer = {"last_seq": last_seq, "updated_at": at(last_seq + 1)} if status == 200 else {"code": "run_locked"}
    return Exchange(number, 1, method, f"/runs/{RUN}{path}", body, key, number, number + 0.5, status, answer)


def posted(number: int, event: dict[str, Any], last_seq: int, **fields: Any) -> Exchange:
    body = {name: event[name] for name in ("type", "msg", "payload")}
    return exchange(number, "/events", body, last_seq, **fields)


HISTORY = [
    posted(1, EVENTS[0], 0, key="k"),
    posted(2, EVENTS[1], 1),
    posted(3, EVENTS[2], 3),
    exchange(4, "", {"priority": 7}, 3, method="PATCH"),
    posted(5, EVENTS[4], 4),
    exchange(6, "/cancel", None, 5),
    exchange(7, "/cancel", None, 5, status=400),
]


def test_a_right_history_has_no_problems() -> None:
    assert problems(HISTORY, FINAL) == []


def without(seq: int) -> Final:
    """The timeline without one event, with the later numbers moved up."""
    left = [event for event in EVENTS if event["seq"] != seq]
    return replace(FINAL, events=[event | {"seq": position} for position, event in enumerate(left)])


def with_event(position: int, **fields: Any) -> Final:
    return replace(FINAL, events=[*EVENTS[:position], EVENTS[position] | fields, *EVENTS[position + 1 :]])


def with_run(**fields: Any) -> Final:
    return replace(FINAL, run={**FINAL.run, **fields})


def doubled(seq: int) -> Final:
    events = [*EVENTS[: seq + 1], *EVENTS[seq:]]
    return replace(FINAL, events=[event | {"seq": position} for position, event in enumerate(events)])


@pytest.mark.parametrize(
    ("final", "problem"),
    [
        (without(4), "m4: lost, 1 answers tell of it and the timeline has 0"),
        (without(5), "cancel: lost, 1 answers tell of it and the timeline has 0"),
        (without(3), "event 3 is no automatic retry, though the budget allowed one"),
        (replace(FINAL, events=EVENTS[:3]), "the timeline ends with a failure whose automatic retry is missing"),
        (doubled(1), "m2: doubled, at most 1 can have been written and the timeline has 2"),
        (doubled(5), "cancel: doubled, at most 1 can have been written and the timeline has 2"),
        (doubled(3), "event 4 is RETRIED on a run that is PENDING"),
        (with_event(4, payload={"mark": "m9"}), "m9: in the timeline, though nobody asked for it"),
        (with_event(4, payload={}), "unmarked INFO: in the timeline, though nobody asked for it"),
        (with_event(4, msg="hallo"), "event 4 is not what was posted"),
        (with_event(4, seq=5), "the seqs are not 0 to 5: 5 stands where 4 should"),
        (with_event(4, id=2), "the ids of attempt 2 are not 0 to 2: 2 stands where 1 should"),
        (with_event(4, attempt=1), "event 4 (INFO) is of attempt 1, the one before of 2"),
        (with_event(4, t=at(0)), "event 4 is older than the one before it"),
        (with_event(4, state="PENDING"), "event 4 was read with state PENDING, not the run's CANCELLED"),
        (with_event(1, type="ASSIGNED"), "event 1 is ASSIGNED on a run that is RUNNING"),
        (with_event(4, type="PROGRESS", msg=5), "event 4 is PROGRESS on a run that is PENDING"),
        (with_run(state="RUNNING"), 'the run has state "RUNNING", the timeline says "CANCELLED"'),
        (with_run(progress=40), "the run has progress 40, the timeline says 0"),
        (with_run(last_seq=6), "the run has last_seq 6, the timeline says 5"),
        (with_run(event_count=6), "the run has event_count 6, the timeline says 3"),
        (with_run(current_attempt=1), "the run has current_attempt 1, the timeline says 2"),
        (with_run(events=EVENTS[4:]), "the run has events"),
        (with_run(updated_at=at(5)), "the run was updated at"),
        (with_run(priority=5), "the priority is 5, last set to one of [7]"),
        (replace(FINAL, attempts=FINAL.attempts[:1]), "there are 1 attempts, not 2"),
        (replace(FINAL, attempts=[attempt(1, state="FAILED", finished_at=None)]), "attempt 1 has finished_at null"),
    ],
)
def test_a_wrong_final_state_is_named(final: Final, problem: str) -> None:
    assert any(found.startswith(problem) for found in problems(HISTORY, final)), problems(HISTORY, final)


@pytest.mark.parametrize(
    ("history", "problem"),
    [
        (HISTORY[1:], "m1: in the timeline, though nobody asked for it"),
        (HISTORY[:5] + HISTORY[6:], "cancel: doubled, at most 0 can have been written and the timeline has 1"),
        ([*HISTORY, exchange(8, "/retry", None, 6)], "retry: lost, 1 answers tell of it and the timeline has 0"),
        ([*HISTORY, posted(8, EVENTS[0], 5, key="k")], "m1: 2 answers under one idempotency key"),
        ([*HISTORY[:4], posted(5, EVENTS[4], 3), *HISTORY[5:]], "m4: the answer ends at 3, before its own event 4"),
        ([*HISTORY[:5], exchange(6, "/cancel", None, 4)], "cancel: an answer ends at 4, before its own event 5"),
        ([*HISTORY, exchange(8, "", None, 4, method="GET")], "an answer showed 4 as the last event after 5"),
        (
            [replace(HISTORY[0], started_s=9.0, ended_s=10.0), *HISTORY[1:]],
            "event 0 was written after 4 had been answered",
        ),
    ],
)
def test_a_wrong_answer_is_named(history: list[Exchange], problem: str) -> None:
    assert any(found.startswith(problem) for found in problems(history, FINAL)), problems(history, FINAL)


def unavailable(exchange: Exchange) -> Exchange:
    return replace(exchange, status=503, answer={"code": "unavailable"})


@pytest.mark.parametrize("key", [None, "k4"])
@pytest.mark.parametrize("final", [FINAL, without(4)], ids=["stood", "did not stand"])
def test_a_lost_answer_leaves_open_whether_the_write_stands(key: str | None, final: Final) -> None:
    history = [*HISTORY[:4], unavailable(posted(5, EVENTS[4], 4, key=key)), *HISTORY[5:]]
    assert not [found for found in problems(history, final) if found.startswith("m4")]


def test_a_request_sent_again_may_be_there_twice_only_without_a_key() -> None:
    def of_m4(key: str | None) -> list[str]:
        sent = posted(5, EVENTS[4], 4, key=key)
        history = [*HISTORY[:4], unavailable(sent), replace(sent, sending=2), *HISTORY[5:]]
        return [found for found in problems(history, doubled(4)) if found.startswith("m4")]

    assert of_m4(None) == []
    assert of_m4("k4") == ["m4: doubled, at most 1 can have been written and the timeline has 2"]


def test_a_replay_may_be_all_that_tells_of_an_effect() -> None:
    """The service itself may find by the key that its write took effect although the answer was lost."""
    assert problems([replace(HISTORY[0], is_replay=True), *HISTORY[1:]], FINAL) == []


def test_an_edit_of_the_state_is_placed_by_its_answer() -> None:
    edit = exchange(9, "", {"state": "COMPLETED", "outputs": {"a": 1}}, 5, method="PATCH")
    edit = replace(edit, answer={"last_seq": 5, "updated_at": at(9)})
    events = [event | {"state": "COMPLETED"} for event in EVENTS]
    changed = {"state": "COMPLETED", "outputs": {"a": 1}}
    final = Final(
        run={**FINAL.run, **changed, "events": events[3:], "updated_at": at(9)},
        events=events,
        attempts=[
            {**FINAL.attempts[0], "events": events[:3]},
            {**FINAL.attempts[1], **changed, "events": events[3:]},
        ],
    )
    assert problems([*HISTORY, edit], final) == []
    with pytest.raises(ValueError, match="cannot be placed"):
        problems([*HISTORY, unavailable(edit)], final)


def answers(*statuses: int) -> list[Answer]:
    return [Answer(status, {}, "") for status in statuses]


def test_one_winner_is_found() -> None:
    assert the_winner(answers(400, 200, 400)) == 1


@pytest.mark.parametrize("statuses", [(200, 200), (400, 400), (200, 409)])
def test_any_other_outcome_of_a_race_is_refused(statuses: tuple[int, ...]) -> None:
    with pytest.raises(AssertionError):
        the_winner(answers(*statuses))
