"""Peer 1: one FastAPI application for all routes, on Lambda through Mangum.

The routes are async so that no thread pool stands between them and the one request a worker has.
"""

from typing import Annotated, Any

from fastapi import FastAPI, Header, Query, Request
from fastapi.responses import JSONResponse, Response
from mangum import Mangum

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

app = FastAPI(title="runs")

Prefer = Annotated[str | None, Header()]


@app.exception_handler(storage.RunNotFound)
async def not_found(_request: Request, error: storage.RunNotFound) -> JSONResponse:
    return JSONResponse({"detail": f"OpRun '{error}' not found"}, 404)


@app.exception_handler(storage.NotAllowed)
async def not_allowed(_request: Request, error: storage.NotAllowed) -> JSONResponse:
    return JSONResponse({"detail": str(error)}, 400)


@app.exception_handler(storage.Conflict)
async def conflict(_request: Request, error: storage.Conflict) -> JSONResponse:
    return JSONResponse({"detail": str(error)}, 409)


@app.get("/runs", response_model=RunPage)
async def list_runs(
    limit: Annotated[int, Query(ge=1, le=100)] = 10,
    starting_after: str | None = None,
    state: State | None = None,
    image: str | None = None,
) -> Any:
    return storage.page(limit, starting_after, state, image)


@app.post("/runs", response_model=Run, status_code=201)
async def create_run(body: CreateRun, prefer: Prefer = None) -> Any:
    return _answer(storage.create(body), prefer, 201)


@app.get("/runs/{run_id}", response_model=Run)
async def get_run(run_id: str) -> Any:
    return storage.get(run_id)


@app.patch("/runs/{run_id}", response_model=Run)
async def update_run(run_id: str, body: UpdateRun, prefer: Prefer = None) -> Any:
    return _answer(storage.update(run_id, body), prefer)


@app.post("/runs/{run_id}/retry", response_model=Run)
async def retry_run(run_id: str, prefer: Prefer = None) -> Any:
    return _answer(storage.append_event(run_id, AddEvent(type=EventType.RETRIED, msg="Manual retry")), prefer)


@app.post("/runs/{run_id}/cancel", response_model=Run)
async def cancel_run(run_id: str, prefer: Prefer = None) -> Any:
    return _answer(storage.append_event(run_id, AddEvent(type=EventType.CANCELLED, msg="Cancelled by user")), prefer)


@app.get("/runs/{run_id}/events", response_model=EventPage)
async def list_events(run_id: str, after: Annotated[int, Query(ge=-1)] = -1) -> Any:
    return storage.events_after(run_id, after)


@app.post("/runs/{run_id}/events", response_model=Run)
async def add_event(run_id: str, body: AddEvent, prefer: Prefer = None) -> Any:
    return _answer(storage.append_event(run_id, body), prefer)


@app.get("/runs/{run_id}/attempts", response_model=list[Attempt])
async def list_attempts(run_id: str) -> Any:
    return storage.attempts(run_id)


def _answer(run: dict[str, Any], prefer: str | None, status: int = 200) -> Any:
    if prefer != "return=minimal":
        return run
    summary = RunSummary.model_validate(run).model_dump_json()
    return Response(summary, status, {"Preference-Applied": prefer}, "application/json")


lambda_handler = Mangum(app, lifespan="off")
