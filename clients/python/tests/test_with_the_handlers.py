"""Tests both clients against the handlers of the API, behind a server on loopback."""

from typing import Any

import pytest

from clients.python.tests.conftest import MakeClient
from clients.python.tests.handlers import answer_of
from clients.python.tests.scripted_server import HANG_UP, Asked, Reply, ScriptedServer
from gyoza_client import (
    DefinitionNotFound,
    IdempotencyKeyReused,
    InvalidInputs,
    NotClaimant,
    PreconditionFailed,
    RunCancelled,
    RunLocked,
    RunNotFound,
    StaleAttempt,
    State,
    ValidationFailed,
)
from testing.gateway import FUNCTION_OF_ROUTE, Gateway


@pytest.fixture
def handlers(server: ScriptedServer, api: Gateway) -> ScriptedServer:
    """The server, which asks the handlers. It forgets every third answer after the handler acted."""

    def ask(asked: Asked) -> Reply:
        reply = answer_of(api, asked)
        return HANG_UP if len(server.asked) % 3 == 0 else reply

    server.answers_with(ask)
    return server


@pytest.fixture
def client(make_client: MakeClient, handlers: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> Any:
    for module in ("_calling", "_operations"):
        monkeypatch.setattr(f"gyoza_client.{module}._LONGEST_PAUSE_S", 0.01)
    monkeypatch.setattr("gyoza_client._operations._SHORTEST_PAUSE_S", 0.01)
    return make_client(handlers.url, "key")


def test_a_whole_run_is_made_claimed_reported_and_watched(client: Any) -> None:
    created = client.create_run(
        "busybox:1", {"n": 1}, queue="q", priority=7, retry_policy={"max_attempts": 2}, constraints={"cpu": 1}
    )
    assert (created.state, created.priority, created.constraints.cpu) == (State.PENDING, 7, 1)
    claimed = client.claim_run("w1", queues=["q"], capacity={"cpu": 2}, lease_s=60, start=True)
    assert (claimed.id, claimed.state, claimed.lease_s) == (created.id, State.RUNNING, 60)
    with pytest.raises(NotClaimant):
        client.heartbeat(claimed, 1, "w2")
    assert client.heartbeat(claimed, 1, "w1").lease_until >= claimed.lease_until
    assert client.report_event(claimed, "PROGRESS", 40, attempt=1).last_seq == 1
    failed = client.add_event(claimed, "FAILED", payload={"error_message": "disk full"}, attempt=1)
    assert (failed.state, failed.current_attempt) == (State.PENDING, 2)
    with pytest.raises(StaleAttempt):
        client.report_event(claimed, "PROGRESS", 50, attempt=1)
    again = client.claim_run("w1", queues=["q"], start=True)
    client.add_event(again, "COMPLETED", payload={"outputs": {"answer": 42}}, attempt=2)
    ended = client.wait(created, timeout=5)
    assert (ended.outputs, ended.progress) == ({"answer": 42}, 100)
    events = list(client.watch(created))
    assert [event.seq for event in events] == list(range(len(events)))
    assert [event.type for event in events] == ["STARTED", "PROGRESS", "FAILED", "RETRIED", "STARTED", "COMPLETED"]
    assert [event.seq for event in client.watch(created, after_seq=3)] == [4, 5]
    assert [event.type for event in client.list_events(created, attempt=1, limit=1)] == [
        "STARTED",
        "PROGRESS",
        "FAILED",
    ]
    attempts = list(client.list_attempts(created, limit=1))
    assert [(attempt.attempt, attempt.state) for attempt in attempts] == [(1, State.FAILED), (2, State.COMPLETED)]
    assert attempts[0].execution_summary.error_message == "disk full"


def test_lists_are_walked_to_their_end_in_both_directions(client: Any) -> None:
    runs = [client.create_run(f"busybox:{number}") for number in range(5)]
    newest_first = [run.id for run in reversed(runs)]
    assert [run.id for run in client.list_runs(limit=2)] == newest_first
    assert [run.id for run in client.list_run_summaries(limit=2)] == newest_first
    assert [run.id for run in client.list_runs(image="busybox:3", limit=1)] == [runs[3].id]
    before = [[run.id for run in page.data] for page in client.list_runs(limit=2, ending_before=runs[0]).pages()]
    assert before == [newest_first[2:4], newest_first[:2]]


def test_runs_are_yielded_as_they_end(client: Any) -> None:
    runs = [client.create_run("busybox:1") for _ in range(3)]
    client.cancel_run(runs[1])
    client.cancel_run(runs[2])
    walk = client.as_completed(runs)
    first = {next(walk).id, next(walk).id}
    assert first == {runs[1].id, runs[2].id}
    client.cancel_run(runs[0])
    assert [run.id for run in walk] == [runs[0].id]


def test_a_key_makes_one_run_and_refuses_another_body(client: Any) -> None:
    made = {client.create_run("busybox:1", idempotency_key="order 7").id for _ in range(3)}
    assert len(made) == 1
    with pytest.raises(IdempotencyKeyReused):
        client.create_run("busybox:2", idempotency_key="order 7")
    assert len(list(client.list_runs())) == 1


def test_edits_cancels_and_retries_are_answered_with_the_run(client: Any, handlers: ScriptedServer) -> None:
    run = client.create_run("busybox:1")
    while (len(handlers.asked) + 1) % 3 == 0:  # The answer to a PATCH is not forgotten: it would not be sent again.
        client.get_run(run)
    assert client.update_run(run, priority=9).priority == 9
    client.claim_run("w1", start=True)
    assert client.cancel_run(run, mode="ask", grace_s=30).cancel.outcome is None
    assert client.cancel_run(run).state == State.CANCELLED
    with pytest.raises(RunLocked):
        client.cancel_run(run)
    assert client.retry_run(run).current_attempt == 2


def test_refusals_are_errors_with_their_details(client: Any) -> None:
    with pytest.raises(ValidationFailed) as refused:
        client.create_run("")
    assert [misfit.loc for misfit in refused.value.misfits] == [("body", "image")]
    with pytest.raises(RunNotFound):
        client.get_run("6f1c2a54-9d1b-4c55-8a39-2f0f5c7be911")
    assert client.claim_run("w1", queues=["empty"]) is None


def test_a_cancelled_run_is_raised_by_run(client: Any, handlers: ScriptedServer, api: Gateway) -> None:
    script = handlers._script

    def cancel_what_was_created(asked: Asked) -> Reply:
        reply = script(asked)
        if asked.method == "GET" and asked.path.count("/") == 2:
            api.post(f"{asked.path}/cancel")
        return reply

    handlers.answers_with(cancel_what_was_created)
    with pytest.raises(RunCancelled):
        client.run("busybox:1", timeout=10)


@pytest.mark.skipif(("PUT", "/definitions/{name}") not in FUNCTION_OF_ROUTE, reason="the API has no definitions")
def test_a_definition_is_put_run_listed_and_deleted(client: Any) -> None:
    specs = {"width": {"type": "int"}, "quality": {"type": "float", "default": 0.8}}
    first = client.create_definition("resize", version="1", image="resize:1", input_specs=specs, if_none_match="*")
    assert (first.revision, first.input_specs["quality"].default) == (1, 0.8)
    second = client.upsert_definition(
        "resize", version="1", image="resize:2", input_specs=first.input_specs, queue="q", if_match=first
    )
    assert (second.revision, second.image, second.queue) == (2, "resize:2", "q")
    with pytest.raises(PreconditionFailed):
        client.upsert_definition("resize", version="1", image="resize:3", if_match=first)
    client.upsert_definition("resize", version="2+b", image="resize:4")
    assert client.get_definition("resize", version="2+b").image == client.get_definition("resize").image == "resize:4"
    assert [row.version for row in client.list_definition_versions("resize", limit=1)] == ["2+b", "1"]
    assert [row.name for row in client.list_definitions()] == ["resize"]
    with pytest.raises(InvalidInputs) as refused:
        client.create_run_from_definition("resize", {"height": 1}, version="1")
    assert {misfit.type for misfit in refused.value.misfits} == {"missing", "extra_forbidden"}
    run = client.create_run_from_definition("resize", {"width": 640}, version="1", priority=7)
    assert (run.op_definition, run.op_version, run.op_revision, run.priority) == ("resize", "1", 2, 7)
    assert run.inputs == {"width": 640, "quality": 0.8}
    assert [each.id for each in client.list_runs(op_definition="resize")] == [run.id]
    client.delete_definition("resize")
    with pytest.raises(DefinitionNotFound):
        client.get_definition("resize")
    assert client.get_definition("resize", version="1").deleted_at is not None
