"""Plays three runs through the client that openapi-python-client wrote, and prints the results as JSON."""

import json
import os
from uuid import UUID, uuid4

from generated_client import AuthenticatedClient
from generated_client.api.definitions import (
    create_definition,
    create_run_from_definition,
    delete_definition,
    get_definition,
    list_definition_versions,
    list_definitions,
    put_definition,
)
from generated_client.api.events import add_event, claim_run, heartbeat_run, list_events
from generated_client.api.runs import cancel_run, create_run, get_run, list_attempts, list_runs, retry_run, update_run
from generated_client.models import (
    AssignedEvent,
    Attributes,
    CancelledEvent,
    CancelRequest,
    CancelRequestMode,
    CapacityRequest,
    ClaimRequest,
    CompletedEvent,
    CompletedEventPayloadType0,
    ConstraintsRequest,
    CreateDefinitionRequest,
    CreateRunRequest,
    Definition,
    DefinitionList,
    DefinitionVersionList,
    Document,
    ErrorEvent,
    EventDeliveryRequest,
    EventList,
    FailedEvent,
    FailedEventPayloadType0,
    Heartbeat,
    HeartbeatRequest,
    InfoEvent,
    InputSpecRequest,
    InputSpecsRequest,
    InputType,
    ListRunsFields,
    OpRun,
    OpRunMinimal,
    ProgressEvent,
    PutDefinitionRequest,
    RetriedEvent,
    RetryPolicyRequest,
    RunFromDefinitionRequest,
    RunList,
    StartedEvent,
    StartedEventPayload,
    State,
    UpdateRunRequest,
)
from generated_client.types import UNSET

seen: list[tuple[str, object]] = []


def see(step: str, value: object) -> None:
    seen.append((step, value))


def post(client: AuthenticatedClient, run_id: UUID, event: object, prefer: str = "") -> str:
    answer = add_event.sync(run_id, client=client, body=event, prefer=prefer)
    if isinstance(answer, OpRun | OpRunMinimal):
        return f"{type(answer).__name__} {answer.state}"
    return str(answer.code)


def main() -> None:
    client = AuthenticatedClient(
        os.environ["GYOZA_URL"], os.environ["GYOZA_API_KEY"], auth_header_name="X-API-Key", prefix="", timeout=60
    )
    image = f"example/{uuid4()}"
    run_id = play_a_run_that_fails_and_completes(client, image)
    play_a_run_that_is_cancelled_and_given_back(client, image)
    play_a_run_that_is_claimed_and_asked_to_stop(client, image)
    play_a_definition(client)

    for step, fields in (("list", UNSET), ("summaries", ListRunsFields.SUMMARY)):
        page = list_runs.sync(client=client, image=image, state=State.COMPLETED, createdgte=0, fields=fields)
        assert isinstance(page, RunList)
        see(step, [(row.id == run_id, type(row).__name__) for row in page.data])
    see("unknown", get_run.sync(uuid4(), client=client).code)


def play_a_run_that_fails_and_completes(client: AuthenticatedClient, image: str) -> UUID:
    body = CreateRunRequest(
        image=image,
        priority=7,
        inputs=Document.from_dict({"widths": [320, 640]}),
        constraints=ConstraintsRequest(cpu=2, ram_mb=None),
        retry_policy=RetryPolicyRequest(max_attempts=2),
        event_delivery=EventDeliveryRequest(
            topic="clients", attributes=Attributes.from_dict({"team": "ä", "tier": 2, "urgent": True})
        ),
    )
    run, again = (create_run.sync(client=client, body=body, idempotency_key="create " + image) for _ in range(2))
    assert isinstance(run, OpRun)
    assert isinstance(again, OpRun)
    see("create", run.state)
    see("inputs", run.inputs.to_dict())
    see("attributes", run.event_delivery.attributes.to_dict())
    see("create again", again.id == run.id)

    started = StartedEvent(type_="STARTED", payload=StartedEventPayload(worker_id="w"), attempt=1)
    see("ASSIGNED", post(client, run.id, AssignedEvent(type_="ASSIGNED")))
    see("STARTED", post(client, run.id, started))
    see("INFO", post(client, run.id, InfoEvent(type_="INFO", msg="hello")))
    see("ERROR", post(client, run.id, ErrorEvent(type_="ERROR", msg=404)))
    see("PROGRESS", post(client, run.id, ProgressEvent(type_="PROGRESS", msg=40), prefer="return=minimal"))
    failure = FailedEventPayloadType0(error_message="disk full")
    see("FAILED", post(client, run.id, FailedEvent(type_="FAILED", payload=failure)))
    see("STARTED late", post(client, run.id, started))
    started.attempt = 2
    see("STARTED again", post(client, run.id, started))
    done = CompletedEventPayloadType0(outputs=Document.from_dict({"answer": 42}))
    see("COMPLETED", post(client, run.id, CompletedEvent(type_="COMPLETED", payload=done)))

    whole = get_run.sync(run.id, client=client)
    assert isinstance(whole, OpRun)
    see("get", whole.outputs.to_dict())
    events = list_events.sync(run.id, client=client, after_seq=-1)
    assert isinstance(events, EventList)
    see("events", [event.type_ for event in events.events])
    part = list_events.sync(run.id, client=client, after=0, limit=1)
    assert isinstance(part, EventList)
    see("events in part", [[event.type_ for event in part.events], part.has_more, part.state])
    attempts = list_attempts.sync(run.id, client=client)
    assert isinstance(attempts, list)
    see("attempts", [attempt.state for attempt in attempts])
    edited = update_run.sync(run.id, client=client, body=UpdateRunRequest(priority=9))
    assert isinstance(edited, OpRun)
    see("patch", edited.priority)
    see("cancel too late", cancel_run.sync(run.id, client=client).code)

    run_id: UUID = run.id
    return run_id


def play_a_run_that_is_cancelled_and_given_back(client: AuthenticatedClient, image: str) -> None:
    other = create_run.sync(client=client, body=CreateRunRequest(image=image))
    assert isinstance(other, OpRun)
    see("priority", other.priority)
    see("cancel", cancel_run.sync(other.id, client=client).state)
    see("retry", retry_run.sync(other.id, client=client).state)
    see("ASSIGNED", post(client, other.id, AssignedEvent(type_="ASSIGNED")))
    see("RETRIED", post(client, other.id, RetriedEvent(type_="RETRIED")))
    see("CANCELLED", post(client, other.id, CancelledEvent(type_="CANCELLED")))


def beat(client: AuthenticatedClient, run_id: UUID, worker_id: str) -> object:
    answer = heartbeat_run.sync(run_id, client=client, body=HeartbeatRequest(attempt=1, worker_id=worker_id))
    if isinstance(answer, Heartbeat):
        return [answer.state, answer.lease_s, answer.cancel_by is not None]
    return str(answer.code)


def play_a_run_that_is_claimed_and_asked_to_stop(client: AuthenticatedClient, image: str) -> None:
    queue = str(uuid4())
    waiting = create_run.sync(client=client, body=CreateRunRequest(image=image, queue=queue))
    body = ClaimRequest(worker_id="w", queues=[queue], capacity=CapacityRequest(cpu=4, ram_mb=None), lease_s=60)
    run, again = (claim_run.sync(client=client, body=body, idempotency_key="claim " + image) for _ in range(2))
    assert isinstance(run, OpRun)
    assert isinstance(again, OpRun)
    see("claim", [run.state, run.lease_s, run.id == waiting.id])
    see("claim again", again.id == run.id)
    see("claim in vain", claim_run.sync(client=client, body=body))
    see("heartbeat", beat(client, run.id, "w"))
    see("heartbeat of another", beat(client, run.id, "x"))
    started = StartedEvent(type_="STARTED", payload=StartedEventPayload(worker_id="w"))
    see("start without an attempt", post(client, run.id, started))
    started.attempt = run.current_attempt
    see("start", post(client, run.id, started))
    asked = cancel_run.sync(run.id, client=client, body=CancelRequest(mode=CancelRequestMode.ASK, grace_s=30))
    assert isinstance(asked, OpRun)
    see("ask", [asked.cancel_by is not None, asked.cancel.outcome])
    see("heartbeat asked", beat(client, run.id, "w"))
    see("stop", post(client, run.id, CancelledEvent(type_="CANCELLED", attempt=1), prefer="return=minimal"))
    see("heartbeat late", beat(client, run.id, "w"))
    whole = get_run.sync(run.id, client=client)
    assert isinstance(whole, OpRun)
    [attempt] = list_attempts.sync(run.id, client=client)
    see("outcome", [whole.cancel.outcome, attempt.assigned_at is not None, whole.execution_summary.reason])


def play_a_definition(client: AuthenticatedClient) -> None:
    name = f"play-{uuid4()}"
    made = create_definition.sync(
        client=client,
        body=CreateDefinitionRequest(name=name, version="1.0.0", image="busybox:1"),
        idempotency_key=f"define {name}",
    )
    assert isinstance(made, Definition)
    see("define", [made.version, made.revision])
    specs = {
        "text": InputSpecRequest(type_=InputType.STRING),
        "width": InputSpecRequest(type_=InputType.INT, default=640),
    }
    input_specs = InputSpecsRequest()
    input_specs.additional_properties = specs
    changed = put_definition.sync(
        name,
        client=client,
        body=PutDefinitionRequest(version="1.0.0", image="busybox:1", input_specs=input_specs),
        if_match="*",
    )
    assert isinstance(changed, Definition)
    see("define again", changed.revision)
    shown = get_definition.sync(name, client=client, version="1.0.0")
    assert isinstance(shown, Definition)
    see("definition", shown.input_specs["width"].to_dict())
    body = RunFromDefinitionRequest(inputs=Document.from_dict({"text": "ä"}))
    run = create_run_from_definition.sync(name, client=client, body=body, idempotency_key=f"run {name}")
    assert isinstance(run, OpRun)
    see("run from a definition", [run.state, run.inputs.to_dict(), run.op_revision])
    wrong = RunFromDefinitionRequest(inputs=Document.from_dict({"colour": "blue"}))
    see(
        "wrong inputs",
        [fault.type_ for fault in create_run_from_definition.sync(name, client=client, body=wrong).detail],
    )
    page = list_definitions.sync(client=client, limit=100)
    assert isinstance(page, DefinitionList)
    see("definitions", page.data[0].version != "")
    versions = list_definition_versions.sync(name, client=client)
    assert isinstance(versions, DefinitionVersionList)
    see("versions", [row.version for row in versions.data])
    delete_definition.sync_detailed(name, client=client)
    see("deleted", get_definition.sync(name, client=client).code)


if __name__ == "__main__":
    main()
    print(json.dumps(seen))
