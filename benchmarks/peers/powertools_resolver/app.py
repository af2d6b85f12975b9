"""Peer 2: one Lambda function for all routes, with Powertools' resolver and its validation."""

from typing import Annotated, Any

from aws_lambda_powertools.event_handler import APIGatewayRestResolver, Response
from aws_lambda_powertools.event_handler.openapi.params import Query
from aws_lambda_powertools.utilities.typing import LambdaContext

from benchmarks.peers import models, storage

app = APIGatewayRestResolver(enable_validation=True)


@app.exception_handler(storage.Refused)
def refused(error: storage.Refused) -> Response[dict[str, str]]:
    return Response(error.status, "application/json", {"detail": str(error)})


@app.get("/runs")
def list_runs(limit: Annotated[int, Query(ge=1, le=100)] = 10) -> models.RunPage:
    return models.RunPage.model_validate(storage.page(limit))


@app.post("/runs")
def create_run(body: models.CreateRun) -> Response[models.Run | models.RunSummary]:
    return _answer(storage.create(body), 201)


@app.get("/runs/<run_id>")
def get_run(run_id: str) -> models.Run:
    return models.Run.model_validate(storage.get(run_id))


@app.patch("/runs/<run_id>")
def update_run(run_id: str, body: models.UpdateRun) -> Response[models.Run | models.RunSummary]:
    return _answer(storage.update(run_id, body))


@app.post("/runs/<run_id>/retry")
def retry_run(run_id: str) -> Response[models.Run | models.RunSummary]:
    return _answer(storage.append_event(run_id, storage.RETRY))


@app.post("/runs/<run_id>/cancel")
def cancel_run(run_id: str) -> Response[models.Run | models.RunSummary]:
    return _answer(storage.append_event(run_id, storage.CANCEL))


@app.get("/runs/<run_id>/events")
def list_events(run_id: str, after: Annotated[int, Query(ge=-1)] = -1) -> models.EventPage:
    return models.EventPage.model_validate(storage.events_after(run_id, after))


@app.post("/runs/<run_id>/events")
def add_event(run_id: str, body: models.AddEvent) -> Response[models.Run | models.RunSummary]:
    return _answer(storage.append_event(run_id, body))


@app.get("/runs/<run_id>/attempts")
def list_attempts(run_id: str) -> list[models.Attempt]:
    return [models.Attempt.model_validate(attempt) for attempt in storage.attempts(run_id)]


def _answer(run: dict[str, Any], status: int = 200) -> Response[models.Run | models.RunSummary]:
    if app.current_event.headers.get("prefer") == "return=minimal":
        headers: dict[str, str | list[str]] = {"Preference-Applied": "return=minimal"}
        return Response(status, "application/json", models.RunSummary.model_validate(run), headers)
    return Response(status, "application/json", models.Run.model_validate(run))


def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    return app.resolve(event, context)
