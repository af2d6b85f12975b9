"""Plays three runs through the client that openapi-generator wrote, and prints the results as JSON."""

import json
import os
from collections.abc import Callable
from uuid import UUID, uuid4

from generated_client import (
    AddEventRequest,
    ApiClient,
    ApiException,
    AssignedEvent,
    AttributesValue,
    CancelledEvent,
    CancelRequest,
    CapacityRequest,
    ClaimRequest,
    CompletedEvent,
    CompletedEventPayload,
    Configuration,
    ConstraintsRequest,
    CreateDefinitionRequest,
    CreateRunRequest,
    DefinitionsApi,
    ErrorEvent,
    EventDeliveryRequest,
    EventsApi,
    FailedEvent,
    FailedEventPayload,
    HeartbeatRequest,
    InfoEvent,
    InputSpecRequest,
    PostedMsg,
    ProgressEvent,
    PutDefinitionRequest,
    RetriedEvent,
    RetryPolicyRequest,
    RunFromDefinitionRequest,
    RunsApi,
    StartedEvent,
    StartedEventPayload,
    StateFilter,
    UpdateRunRequest,
)

seen: list[tuple[str, object]] = []


def see(step: str, value: object) -> None:
    seen.append((step, value))


def code_of(error: ApiException) -> str:
    return str(json.loads(error.body)["code"])


def main() -> None:
    client = ApiClient(Configuration(host=os.environ["GYOZA_URL"], api_key={"api_key": os.environ["GYOZA_API_KEY"]}))
    runs, events = RunsApi(client), EventsApi(client)
    image = f"example/{uuid4()}"

    def post(run_id: UUID, event: object, prefer: str | None = None) -> str:
        try:
            answer = events.add_event(run_id, AddEventRequest(event), prefer=prefer).actual_instance
        except ApiException as error:
            return code_of(error)
        return f"{type(answer).__name__} {answer.state.value}"

    attributes = {"team": "ä", "tier": 2, "urgent": True}
    body = CreateRunRequest(
        image=image,
        priority=7,
        inputs={"widths": [320, 640]},
        constraints=ConstraintsRequest(cpu=2, ram_mb=None),
        retry_policy=RetryPolicyRequest(max_attempts=2),
        event_delivery=EventDeliveryRequest(
            topic="clients", attributes={name: AttributesValue(value) for name, value in attributes.items()}
        ),
    )
    run, again = (runs.create_run(body, idempotency_key="create " + image).actual_instance for _ in range(2))
    see("create", run.state)
    see("inputs", run.inputs)
    see("attributes", run.event_delivery.to_dict()["attributes"])
    see("create again", again.id == run.id)

    started = StartedEvent(type="STARTED", payload=StartedEventPayload(worker_id="w"), attempt=1)
    see("ASSIGNED", post(run.id, AssignedEvent(type="ASSIGNED")))
    see("STARTED", post(run.id, started))
    see("INFO", post(run.id, InfoEvent(type="INFO", msg=PostedMsg("hello"))))
    see("ERROR", post(run.id, ErrorEvent(type="ERROR", msg=PostedMsg(404))))
    see("PROGRESS", post(run.id, ProgressEvent(type="PROGRESS", msg=40), prefer="return=minimal"))
    failure = FailedEventPayload(error_message="disk full")
    see("FAILED", post(run.id, FailedEvent(type="FAILED", payload=failure)))
    see("STARTED late", post(run.id, started))
    started.attempt = 2
    see("STARTED again", post(run.id, started))
    done = CompletedEventPayload(outputs={"answer": 42})
    see("COMPLETED", post(run.id, CompletedEvent(type="COMPLETED", payload=done)))

    see("get", runs.get_run(run.id).outputs)
    see("events", [event.type for event in events.list_events(run.id, after_seq=-1).events])
    part = events.list_events(run.id, after=0, limit=1)
    see("events in part", [[event.type for event in part.events], part.has_more, part.state])
    see("attempts", [attempt.state for attempt in runs.list_attempts(run.id)])
    see("patch", runs.update_run(run.id, UpdateRunRequest(priority=9)).actual_instance.priority)
    try:
        runs.cancel_run(run.id)
    except ApiException as error:
        see("cancel too late", code_of(error))

    other = runs.create_run(CreateRunRequest(image=image)).actual_instance
    see("priority", other.priority)
    see("cancel", runs.cancel_run(other.id).actual_instance.state)
    see("retry", runs.retry_run(other.id).actual_instance.state)
    see("ASSIGNED", post(other.id, AssignedEvent(type="ASSIGNED")))
    see("RETRIED", post(other.id, RetriedEvent(type="RETRIED")))
    see("CANCELLED", post(other.id, CancelledEvent(type="CANCELLED")))

    play_a_claimed_run(runs, events, image, post)
    play_a_definition(DefinitionsApi(client))
    read_lists(runs, image, run.id)
    ask_for_an_unknown_run(runs)


def ask_for_an_unknown_run(runs: RunsApi) -> None:
    try:
        runs.get_run(uuid4())
    except ApiException as error:
        see("unknown", code_of(error))


def play_a_claimed_run(runs: RunsApi, events: EventsApi, image: str, post: Callable[..., str]) -> None:
    """A run that a worker claims, and that the worker is asked to stop."""

    def beat(worker_id: str) -> object:
        try:
            lease = events.heartbeat_run(run.id, HeartbeatRequest(attempt=1, worker_id=worker_id))
        except ApiException as error:
            return code_of(error)
        return [lease.state.value, lease.lease_s, lease.cancel_by is not None]

    queue = str(uuid4())
    waiting = runs.create_run(CreateRunRequest(image=image, queue=queue)).actual_instance
    body = ClaimRequest(worker_id="w", queues=[queue], capacity=CapacityRequest(cpu=4, ram_mb=None), lease_s=60)
    run, again = (events.claim_run(body, idempotency_key="claim " + image).actual_instance for _ in range(2))
    see("claim", [run.state, run.lease_s, run.id == waiting.id])
    see("claim again", again.id == run.id)
    see("claim in vain", events.claim_run(body))
    see("heartbeat", beat("w"))
    see("heartbeat of another", beat("x"))
    started = StartedEvent(type="STARTED", payload=StartedEventPayload(worker_id="w"))
    see("start without an attempt", post(run.id, started))
    started.attempt = run.current_attempt
    see("start", post(run.id, started))
    asked = runs.cancel_run(run.id, cancel_request=CancelRequest(mode="ask", grace_s=30)).actual_instance
    see("ask", [asked.cancel_by is not None, asked.cancel.outcome])
    see("heartbeat asked", beat("w"))
    see("stop", post(run.id, CancelledEvent(type="CANCELLED", attempt=1), prefer="return=minimal"))
    see("heartbeat late", beat("w"))
    whole, [attempt] = runs.get_run(run.id), runs.list_attempts(run.id)
    see("outcome", [whole.cancel.outcome, attempt.assigned_at is not None, whole.execution_summary.reason])


def play_a_definition(definitions: DefinitionsApi) -> None:
    name = f"play-{uuid4()}"
    body = CreateDefinitionRequest(name=name, version="1.0.0", image="busybox:1")
    made = definitions.create_definition(body, idempotency_key=f"define {name}")
    see("define", [made.version, made.revision])
    specs = {"text": InputSpecRequest(type="string"), "width": InputSpecRequest(type="int", default=640)}
    put = PutDefinitionRequest(version="1.0.0", image="busybox:1", input_specs=specs)
    see("define again", definitions.put_definition(name, put, if_match="*").revision)
    shown = definitions.get_definition(name, version="1.0.0").input_specs["width"].to_dict()
    see("definition", {"default": None} | shown)
    request = RunFromDefinitionRequest(inputs={"text": "ä"})
    run = definitions.create_run_from_definition(
        name, idempotency_key=f"run {name}", run_from_definition_request=request
    ).actual_instance
    see("run from a definition", [run.state, run.inputs, run.op_revision])
    try:
        wrong = RunFromDefinitionRequest(inputs={"colour": "blue"})
        definitions.create_run_from_definition(name, run_from_definition_request=wrong)
    except ApiException as error:
        see("wrong inputs", [fault["type"] for fault in json.loads(error.body)["detail"]])
    see("definitions", definitions.list_definitions(limit=100).data[0].version != "")
    see("versions", [row.version for row in definitions.list_definition_versions(name).data])
    definitions.delete_definition(name)
    try:
        definitions.get_definition(name)
    except ApiException as error:
        see("deleted", code_of(error))


def read_lists(runs: RunsApi, image: str, run_id: UUID) -> None:
    for step, fields in (("list", None), ("summaries", "summary")):
        page = runs.list_runs(image=image, state=StateFilter.COMPLETED, created_gte=0, fields=fields)
        rows = [row.actual_instance for row in page.data]
        see(step, [(row.id == run_id, type(row).__name__) for row in rows])


if __name__ == "__main__":
    main()
    print(json.dumps(seen))
