"""Tests lists, and what follows runs to their end."""

from datetime import UTC, datetime
from typing import Any

import pytest

from clients.python.tests.examples import (
    OTHER_ID,
    RUN_ID,
    claimed_json,
    definition_json,
    error_json,
    event_json,
    events_json,
    list_json,
    row_json,
    run_json,
    summary_json,
)
from clients.python.tests.playing import LOST, Play, answer
from gyoza_client import (
    EventType,
    NoAnswer,
    Run,
    RunCancelled,
    RunFailed,
    RunNotFound,
    State,
    UnexpectedAnswer,
    WaitTimeout,
)
from gyoza_client._calling import Limits
from gyoza_client._steps import Answer, Lost


@pytest.fixture
def play() -> Play:
    return Play()


def run_of(**fields: Any) -> Run:
    return Run.parse(run_json(**fields))


def ids(*numbers: int) -> list[str]:
    return [f"6f1c2a54-9d1b-4c55-8a39-{number:012}" for number in numbers]


# Lists


def test_a_list_goes_on_from_the_cursor_and_passes_pages_that_match_nothing(play: Play) -> None:
    one, two = ids(1, 2)
    listing = play.operations.list_runs(state=State.FAILED, limit=1)
    replies = [
        answer(list_json(row_json(id=one), next_cursor=one)),
        answer(list_json(next_cursor="between")),
        answer(list_json(row_json(id=two))),
    ]
    pages = play.items(listing.walk(), replies)
    assert [[run.id for run in page.data] for page in pages] == [[one], [two]]
    assert [dict(step.query).get("starting_after") for step in play.sent] == [None, one, "between"]
    assert all(dict(step.query).items() >= {"state": "FAILED", "limit": "1"}.items() for step in play.sent)


def test_a_list_before_a_run_goes_on_to_newer_ones(play: Play) -> None:
    one, two = ids(1, 2)
    listing = play.operations.list_runs(ending_before=run_of(id=one))
    play.items(listing.walk(), [answer(list_json(row_json(), next_cursor=two)), answer(list_json())])
    assert [step.query for step in play.sent] == [(("ending_before", one),), (("ending_before", two),)]


def test_each_walk_of_a_list_begins_anew(play: Play) -> None:
    listing = play.operations.list_definitions()
    for _ in range(2):
        replies = [
            answer(list_json(definition_json(), next_cursor="resize", url="/definitions")),
            answer(list_json(url="/definitions")),
        ]
        play.items(listing.walk(), replies)
    assert [step.query for step in play.sent] == [(), (("starting_after", "resize"),)] * 2


def test_filters_have_the_names_of_the_query(play: Play) -> None:
    at = datetime(2026, 3, 2, 20, 0, 1, 42000, UTC)
    listing = play.operations.list_runs(
        op_definition="resize",
        image="a b",
        created_gte=at,
        created_gt=1,
        created_lte=2,
        created_lt=3,
        expand=["events"],
    )
    play.items(listing.walk(), [answer(list_json())])
    assert play.sent[0].query == (
        ("op_definition", "resize"),
        ("image", "a b"),
        ("created[gte]", "1772481601"),
        ("created[gt]", "1"),
        ("created[lte]", "2"),
        ("created[lt]", "3"),
        ("expand[]", "events"),
    )


def test_events_in_pages_stay_in_the_attempt_that_was_current_at_first(play: Play) -> None:
    replies = [answer(events_json(0, 1, has_more=True, attempt=2)), answer(events_json(2, attempt=2))]
    pages = play.items(play.operations.list_events(RUN_ID, limit=2).walk(), replies)
    assert [event.seq for page in pages for event in page.events] == [0, 1, 2]
    assert dict(play.sent[1].query) == {"after": "1", "attempt": "2", "limit": "2"}


def test_events_across_attempts_go_on_by_seq(play: Play) -> None:
    replies = [answer(events_json(5, 6, has_more=True)), answer(events_json(7))]
    play.items(play.operations.list_events(RUN_ID, after_seq=4).walk(), replies)
    assert [dict(step.query) for step in play.sent] == [{"after_seq": "4"}, {"after_seq": "6"}]


def test_a_page_of_events_without_events_says_how_the_run_stands(play: Play) -> None:
    [page] = play.items(play.operations.list_events(RUN_ID).walk(), [answer(events_json(state="PENDING"))])
    assert (page.state, page.events) == (State.PENDING, ())


def test_attempts_go_on_by_the_header_link(play: Play) -> None:
    def attempt(number: int) -> dict[str, Any]:
        return run_json() | {"op_run_id": RUN_ID, "attempt": number, "assigned_at": None}

    replies = [
        answer([attempt(1)], link='<attempts?limit=1&after=1>; rel="next"'),
        answer([attempt(2)]),
    ]
    pages = play.items(play.operations.list_attempts(RUN_ID, limit=1).walk(), replies)
    assert [each.attempt for page in pages for each in page] == [1, 2]
    assert [dict(step.query) for step in play.sent] == [{"limit": "1"}, {"limit": "1", "after": "1"}]


def test_attempts_that_are_no_array_are_an_unexpected_answer(play: Play) -> None:
    with pytest.raises(UnexpectedAnswer):
        play.items(play.operations.list_attempts(RUN_ID).walk(), [answer({})])


# Watching


def test_a_watch_yields_every_event_once_across_attempts_until_the_end(play: Play) -> None:
    replies: list[Answer | Lost] = [
        answer(events_json(0, 1)),
        LOST,
        answer(events_json(2, 3, has_more=True, state="FAILED", attempt=2)),
        answer(events_json(4, state="PENDING", attempt=2)),
        answer(events_json(5, state="COMPLETED", attempt=2)),
    ]
    events = play.items(play.operations.watch(RUN_ID), replies)
    assert [event.seq for event in events] == [0, 1, 2, 3, 4, 5]
    assert [dict(step.query)["after_seq"] for step in play.sent] == ["-1", "1", "1", "3", "4"]


@pytest.mark.parametrize("seen", range(-1, 6))
def test_a_watch_resumed_at_any_seq_neither_repeats_nor_misses_an_event(play: Play, seen: int) -> None:
    rest = [seq for seq in range(6) if seq > seen]
    events = play.items(play.operations.watch(RUN_ID, seen), [answer(events_json(*rest, state="COMPLETED"))])
    assert [event.seq for event in events] == rest
    assert dict(play.sent[0].query) == {"after_seq": str(seen)}


def test_a_watch_pauses_half_a_second_while_events_come_and_up_to_five_while_quiet(play: Play) -> None:
    quiet = [answer(events_json())] * 8
    replies = [answer(events_json(0)), *quiet, answer(events_json(1)), answer(events_json(state="CANCELLED"))]
    play.items(play.operations.watch(RUN_ID), replies)
    assert play.slept[:3] == [0.5, 0.75, 1.125]
    assert play.slept[6:] == [5.0, 5.0, 5.0, 0.5]


def test_a_watch_of_an_ended_run_ends(play: Play) -> None:
    assert play.items(play.operations.watch(run_of(), 7), [answer(events_json(state="FAILED"))]) == []


# Waiting


@pytest.mark.parametrize("state", ["COMPLETED", "FAILED", "CANCELLED"])
def test_wait_returns_the_run_whatever_its_end(play: Play, state: str) -> None:
    replies = [
        answer(run_json("RUNNING", last_seq=4)),
        answer(events_json()),
        answer(events_json(5, state=state)),
        answer(run_json(state)),
    ]
    run = play.result(play.operations.wait(RUN_ID), replies)
    assert run.state == state
    assert [dict(step.query) for step in play.sent] == [{}, *[{"after_seq": "4", "limit": "1"}] * 2, {}]


def test_wait_goes_on_with_a_run_that_was_retried_meanwhile(play: Play) -> None:
    replies = [
        answer(run_json("RUNNING")),
        answer(events_json(state="FAILED")),
        answer(run_json("PENDING")),
        answer(events_json(state="COMPLETED")),
        answer(run_json("COMPLETED")),
    ]
    assert play.result(play.operations.wait(RUN_ID), replies).state == State.COMPLETED


def test_wait_ends_at_its_timeout_with_the_run_as_it_stands(play: Play) -> None:
    replies = [
        answer(run_json("PENDING")),
        answer(events_json(state="RUNNING")),
        answer(events_json(state="RUNNING")),
        answer(run_json("RUNNING", progress=40)),
    ]
    with pytest.raises(WaitTimeout, match="it is RUNNING") as late:
        play.result(play.operations.wait(RUN_ID, timeout=1.0), replies)
    assert late.value.run.progress == 40
    assert play.clock == 1.0


def test_wait_ends_at_its_timeout_while_nothing_answers() -> None:
    play = Play(Limits(max_retries=0))
    replies: list[Answer | Lost] = [answer(run_json("RUNNING")), LOST]
    with pytest.raises(WaitTimeout):
        play.result(play.operations.wait(RUN_ID, timeout=0.25), replies)


def test_wait_without_answers_before_its_timeout_says_so() -> None:
    play = Play(Limits(max_retries=0))
    with pytest.raises(NoAnswer):
        play.result(play.operations.wait(RUN_ID, timeout=9), [answer(run_json("RUNNING")), LOST])


def test_run_creates_waits_and_returns_the_completed_run(play: Play) -> None:
    replies = [answer(run_json()), answer(run_json("COMPLETED", outputs={"answer": 42}))]
    run = play.result(play.operations.run("busybox:1", {"n": 1}, priority=7, idempotency_key="k"), replies)
    assert run.outputs == {"answer": 42}
    assert play.bodies() == [{"image": "busybox:1", "inputs": {"n": 1}, "priority": 7}, None]


@pytest.mark.parametrize(("state", "error"), [("FAILED", RunFailed), ("CANCELLED", RunCancelled)])
def test_run_raises_with_the_run_that_did_not_complete(
    play: Play, state: str, error: type[RunFailed] | type[RunCancelled]
) -> None:
    summary = run_json()["execution_summary"] | {"error_message": "disk full"}
    replies = [answer(run_json()), answer(run_json(state, execution_summary=summary))]
    with pytest.raises(error, match=RUN_ID) as ended:
        play.result(play.operations.run("busybox:1"), replies)
    assert isinstance(ended.value, RunFailed | RunCancelled)
    assert ended.value.run.state == state
    assert ("disk full" in str(ended.value)) == (error is RunFailed)


# Several runs


def test_as_completed_polls_a_page_for_all_and_reads_those_that_ended(play: Play) -> None:
    one, two = ids(1, 2)
    replies = [
        answer(list_json(summary_json("RUNNING", id=two), summary_json("COMPLETED", id=one))),
        answer(run_json("COMPLETED", id=one)),
        answer(list_json(summary_json("FAILED", id=two))),
        answer(run_json("FAILED", id=two)),
    ]
    ended = play.items(play.operations.as_completed([run_of(id=one), run_of(id=two)]), replies)
    assert [(run.id, run.state) for run in ended] == [(one, "COMPLETED"), (two, "FAILED")]
    assert dict(play.sent[0].query) == {
        "fields": "summary",
        "limit": "100",
        "created[gte]": "1772481601",
        "created[lte]": "1772481602",
    }


def test_as_completed_reads_runs_by_id_first_and_yields_what_has_ended_once(play: Play) -> None:
    replies = [answer(run_json("COMPLETED")), answer(run_json("COMPLETED", id=OTHER_ID))]
    ended = play.items(play.operations.as_completed([RUN_ID, OTHER_ID, RUN_ID]), replies)
    assert [run.id for run in ended] == [RUN_ID, OTHER_ID]
    assert play.slept == []


def test_as_completed_asks_for_a_run_that_no_page_shows(play: Play) -> None:
    replies = [answer(list_json()), answer(run_json("RUNNING")), answer(list_json()), answer(run_json("COMPLETED"))]
    assert [run.state for run in play.items(play.operations.as_completed([run_of()]), replies)] == ["COMPLETED"]
    replies = [answer(list_json()), answer(error_json("run_not_found"), 404)]
    with pytest.raises(RunNotFound):
        play.items(play.operations.as_completed([run_of()]), replies)


def test_as_completed_reads_few_pages_for_few_runs(play: Play) -> None:
    replies = [
        answer(list_json(summary_json(id=OTHER_ID), next_cursor=OTHER_ID)),
        answer(run_json("COMPLETED")),
    ]
    assert len(play.items(play.operations.as_completed([run_of()]), replies)) == 1


def test_as_completed_ends_at_its_timeout(play: Play) -> None:
    replies = [answer(list_json(summary_json("RUNNING")))] * 2
    with pytest.raises(WaitTimeout):
        play.items(play.operations.as_completed([run_of()], timeout=1.0), replies)
    assert play.clock == 1.0


# Claims and definitions


def test_a_claim_without_a_run_asks_again_as_the_server_says_and_ends_in_time(play: Play) -> None:
    none = answer(None, 204, retry_after="3")
    claim = play.operations.claim_run("w", queues=["a"], capacity={"cpu": 2}, lease_s=30, start=True, wait_s=8)
    assert play.result(claim, [none, none, none]) is None
    assert play.slept == [3.0, 3.0]
    assert play.bodies()[0] == {"worker_id": "w", "queues": ["a"], "capacity": {"cpu": 2}, "lease_s": 30, "start": True}
    run = play.result(play.operations.claim_run("w"), [answer(claimed_json("w"))])
    assert run is not None
    assert run.lease_s == 90


def test_a_put_sends_the_precondition_and_the_fields_that_were_given(play: Play) -> None:
    etag = '"resize/1/3"'
    read = play.result(play.operations.get_definition("resize", version="1+b"), [answer(definition_json(), etag=etag)])
    assert play.sent[0].query == (("version", "1+b"),)
    put = play.operations.upsert_definition(
        "resize", version="1", image="busybox:2", input_specs=read.input_specs, if_match=read
    )
    play.result(put, [answer(definition_json(), etag=etag)])
    assert play.sent[1].headers["If-Match"] == etag
    assert play.bodies()[1] == {
        "version": "1",
        "image": "busybox:2",
        "input_specs": {"n": {"type": "int", "required": True, "default": None, "description": ""}},
    }


# Answers of later releases


def test_a_later_releases_field_is_in_raw_and_its_states_and_types_are_strings(play: Play) -> None:
    event = event_json(0, type="PAUSED", state="ASLEEP")
    reply = answer(run_json("ASLEEP", colour="red", events=[event]))
    run = play.result(play.operations.get_run(RUN_ID), [reply])
    assert run.raw["colour"] == "red"
    assert (run.state, run.events[0].type) == ("ASLEEP", "PAUSED")
    assert not run.is_terminal
    assert not isinstance(run.state, State)


def test_a_known_state_is_a_member_and_a_string(play: Play) -> None:
    run = play.result(play.operations.get_run(RUN_ID), [answer(run_json("RUNNING", events=[event_json(0)]))])
    assert run.state is State.RUNNING
    assert run.state == "RUNNING"
    assert run.events[0].type is EventType.INFO
    assert run.created_at == datetime(2026, 3, 2, 20, 0, 1, 42000, UTC)
