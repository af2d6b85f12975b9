"""Peer 1: one FastAPI application on Lambda through Mangum. Its routes are async, so that no thread pool takes part."""

from typing import Annotated, Any

from fastapi import FastAPI, Header, Query, Request
from fastapi.responses import JSONResponse, Response
from mangum import Mangum

from benchmarks.peers import models, storage

app = FastAPI(title="runs")

Prefer = Annotated[str | None, Header()]


@app.exception_handler(storage.Refused)
async def refused(_request: Request, error: storage.Refused) -> JSONResponse:
    return JSONResponse({"detail": str(error)}, error.status)


@app.get("/runs", response_model=models.RunPage)
async def list_runs(limit: Annotated[int, Query(ge=1, le=100)] = 10) -> Any:
    return storage.page(limit)


@app.post("/runs", response_model=models.Run, status_code=201)
async def create_run(body: models.CreateRun, prefer: Prefer = None) -> Any:
    return _answer(storage.create(body), prefer, 201)


@app.get("/runs/{run_id}", response_model=models.Run)
async def get_run(run_id: str) -> Any:
    return storage.get(run_id)


@app.patch("/runs/{run_id}", response_model=models.Run)
async def update_run(run_id: str, body: models.UpdateRun, prefer: Prefer = None) -> Any:
    return _answer(storage.update(run_id, body), prefer)


@app.post("/runs/{run_id}/retry", response_model=models.Run)
async def retry_run(run_id: str, prefer: Prefer = None) -> Any:
    return _answer(storage.append_event(run_id, storage.RETRY), prefer)


@app.post("/runs/{run_id}/cancel", response_model=models.Run)
async def cancel_run(run_id: str, prefer: Prefer = None) -> Any:
    return _answer(storage.append_event(run_id, storage.CANCEL), prefer)


@app.get("/runs/{run_id}/events", response_model=models.EventPage)
async def list_events(run_id: str, after: Annotated[int, Query(ge=-1)] = -1) -> Any:
    return storage.events_after(run_id, after)


@app.post("/runs/{run_id}/events", response_model=models.Run)
async def add_event(run_id: str, body: models.AddEvent, prefer: Prefer = None) -> Any:
    return _answer(storage.append_event(run_id, body), prefer)


@app.get("/runs/{run_id}/attempts", response_model=list[models.Attempt])
async def list_attempts(run_id: str) -> Any:
    return storage.attempts(run_id)


def _answer(run: dict[str, Any], prefer: str | None, status: int = 200) -> Any:
    if prefer != "return=minimal":
        return run
    summary = models.RunSummary.model_validate(run).model_dump_json()
    return Response(summary, status, {"Preference-Applied": prefer}, "application/json")


lambda_handler = Mangum(app, lifespan="off")
