"""Defines the bodies and answers of the peers."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, Field


class State(StrEnum):
    PENDING, ASSIGNED, RUNNING = "PENDING", "ASSIGNED", "RUNNING"
    COMPLETED, FAILED, CANCELLED = "COMPLETED", "FAILED", "CANCELLED"


class EventType(StrEnum):
    ASSIGNED, STARTED, PROGRESS, INFO, ERROR = "ASSIGNED", "STARTED", "PROGRESS", "INFO", "ERROR"
    COMPLETED, FAILED, CANCELLED, RETRIED = "COMPLETED", "FAILED", "CANCELLED", "RETRIED"


class Constraints(BaseModel):
    cpu: Annotated[int, Field(ge=0)] | None = None
    ram_mb: Annotated[int, Field(ge=0)] | None = None
    vram_mb: Annotated[int, Field(ge=0)] | None = None


class RetryPolicy(BaseModel):
    max_attempts: Annotated[int, Field(ge=1, le=100)] = 1


class EventDelivery(BaseModel):
    topic: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,120}(\.fifo)?$")]
    attributes: dict[str, str | float | bool] = Field(default_factory=dict)


class CreateRun(BaseModel, extra="forbid"):
    image: Annotated[str, Field(min_length=1, max_length=512)]
    priority: Annotated[int, Field(ge=0, le=9999)] = 5
    inputs: dict[str, Any] = Field(default_factory=dict)
    constraints: Constraints = Field(default_factory=Constraints)
    retry_policy: RetryPolicy = Field(default_factory=RetryPolicy)
    event_delivery: EventDelivery | None = None


class UpdateRun(BaseModel, extra="forbid"):
    state: State | None = None
    outputs: dict[str, Any] | None = None
    priority: Annotated[int, Field(ge=0, le=9999)] | None = None


class AddEvent(BaseModel, extra="forbid"):
    type: EventType
    msg: str | int = ""
    payload: dict[str, Any] = Field(default_factory=dict)
    attempt: int | None = None


class Event(BaseModel):
    id: int
    seq: int
    attempt: int
    type: EventType
    t: datetime
    msg: str | int
    state: State
    payload: dict[str, Any]


class ExecutionSummary(BaseModel):
    worker_id: str | None = None
    gpu_id: int | None = None
    duration_ms: int | None = None
    error_message: str | None = None


class RunSummary(BaseModel):
    id: str
    state: State
    current_attempt: int
    event_count: int
    last_seq: int
    updated_at: datetime


class RunRow(RunSummary):
    priority: int
    image: str
    inputs: dict[str, Any]
    outputs: dict[str, Any]
    progress: int
    constraints: Constraints
    retry_policy: RetryPolicy
    event_delivery: EventDelivery | None
    op_definition: str | None = None
    execution_summary: ExecutionSummary
    created_at: datetime


class Run(RunRow):
    events: list[Event]


class RunPage(BaseModel):
    object: str = "list"
    data: list[RunRow]
    has_more: bool
    next_cursor: str | None
    url: str = "/runs"


class EventPage(BaseModel):
    events: list[Event]
    has_more: bool = False


class Attempt(BaseModel):
    id: str
    op_run_id: str
    attempt: int
    state: State
    progress: int
    events: list[Event]
    event_count: int
    inputs: dict[str, Any]
    outputs: dict[str, Any]
    execution_summary: ExecutionSummary
    constraints: Constraints
    started_at: datetime | None = None
    finished_at: datetime | None = None
