"""Peer 2: one Lambda function for all routes, with Powertools' resolver and its validation."""

from typing import Annotated, Any

from aws_lambda_powertools.event_handler import APIGatewayRestResolver, Response
from aws_lambda_powertools.event_handler.openapi.params import Query
from aws_lambda_powertools.utilities.typing import LambdaContext

from benchmarks.peers import storage
from benchmarks.peers.models import (
    AddEvent,
    Attempt,
    CreateRun,
    EventPage,
    EventType,
    Run,
    RunPage,
    RunSummary,
    State,
    UpdateRun,
)

app = APIGatewayRestResolver(enable_validation=True)


@app.exception_handler(storage.RunNotFound)
def not_found(error: storage.RunNotFound) -> Response[dict[str, str]]:
    return Response(404, "application/json", {"detail": f"OpRun '{error}' not found"})


@app.exception_handler(storage.NotAllowed)
def not_allowed(error: storage.NotAllowed) -> Response[dict[str, str]]:
    return Response(400, "application/json", {"detail": str(error)})


@app.exception_handler(storage.Conflict)
def conflict(error: storage.Conflict) -> Response[dict[str, str]]:
    return Response(409, "application/json", {"detail": str(error)})


@app.get("/runs")
def list_runs(
    limit: Annotated[int, Query(ge=1, le=100)] = 10,
    starting_after: str | None = None,
    state: State | None = None,
    image: str | None = None,
) -> RunPage:
    return RunPage.model_validate(storage.page(limit, starting_after, state, image))


@app.post("/runs")
def create_run(body: CreateRun) -> Response[Run | RunSummary]:
    return _answer(storage.create(body), 201)


@app.get("/runs/<run_id>")
def get_run(run_id: str) -> Run:
    return Run.model_validate(storage.get(run_id))


@app.patch("/runs/<run_id>")
def update_run(run_id: str, body: UpdateRun) -> Response[Run | RunSummary]:
    return _answer(storage.update(run_id, body))


@app.post("/runs/<run_id>/retry")
def retry_run(run_id: str) -> Response[Run | RunSummary]:
    return _answer(storage.append_event(run_id, AddEvent(type=EventType.RETRIED, msg="Manual retry")))


@app.post("/runs/<run_id>/cancel")
def cancel_run(run_id: str) -> Response[Run | RunSummary]:
    return _answer(storage.append_event(run_id, AddEvent(type=EventType.CANCELLED, msg="Cancelled by user")))


@app.get("/runs/<run_id>/events")
def list_events(run_id: str, after: Annotated[int, Query(ge=-1)] = -1) -> EventPage:
    return EventPage.model_validate(storage.events_after(run_id, after))


@app.post("/runs/<run_id>/events")
def add_event(run_id: str, body: AddEvent) -> Response[Run | RunSummary]:
    return _answer(storage.append_event(run_id, body))


@app.get("/runs/<run_id>/attempts")
def list_attempts(run_id: str) -> list[Attempt]:
    return [Attempt.model_validate(attempt) for attempt in storage.attempts(run_id)]


def _answer(run: dict[str, Any], status: int = 200) -> Response[Run | RunSummary]:
    if app.current_event.headers.get("prefer") == "return=minimal":
        headers: dict[str, str | list[str]] = {"Preference-Applied": "return=minimal"}
        return Response(status, "application/json", RunSummary.model_validate(run), headers)
    return Response(status, "application/json", Run.model_validate(run))


def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    return app.resolve(event, context)
