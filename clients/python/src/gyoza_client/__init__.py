"""A client of the gyoza run API: `GyozaClient`, and `AsyncGyozaClient` for asyncio."""

from typing import TYPE_CHECKING, Any

from gyoza_client._errors import (
    ApiError,
    AttemptRequired,
    BadRequest,
    ConfigurationError,
    Conflict,
    DefinitionBusy,
    DefinitionNotFound,
    Forbidden,
    GyozaError,
    IdempotencyKeyReused,
    InternalError,
    InvalidCursor,
    InvalidFilter,
    InvalidInputs,
    InvalidState,
    InvalidTransition,
    JobCancelled,
    LeaseLost,
    NoAnswer,
    NotClaimant,
    NotFound,
    NotLeased,
    NotYet,
    PreconditionFailed,
    QuotaExceeded,
    RateLimited,
    Refused,
    RetryBudgetSpent,
    RunBusy,
    RunCancelled,
    RunExpired,
    RunFailed,
    RunLocked,
    RunNotFound,
    ServerError,
    StaleAttempt,
    Throttled,
    TooLarge,
    Unavailable,
    UnexpectedAnswer,
    ValidationFailed,
    WaitTimeout,
)
from gyoza_client._models import (
    Attempt,
    Cancel,
    Constraints,
    Definition,
    DefinitionRow,
    Event,
    EventDelivery,
    EventPage,
    EventType,
    ExecutionSummary,
    Heartbeat,
    InputSpec,
    InputType,
    Misfit,
    Page,
    RetryPolicy,
    Run,
    RunMinimal,
    RunSummary,
    State,
)
from gyoza_client._steps import Answer
from gyoza_client._sync import GyozaClient, Pager

if TYPE_CHECKING:
    from gyoza_client._async import AsyncGyozaClient, AsyncPager
    from gyoza_client._work import Job, Jobs

__all__ = [
    "Answer",
    "ApiError",
    "AsyncGyozaClient",
    "AsyncPager",
    "Attempt",
    "AttemptRequired",
    "BadRequest",
    "Cancel",
    "ConfigurationError",
    "Conflict",
    "Constraints",
    "Definition",
    "DefinitionBusy",
    "DefinitionNotFound",
    "DefinitionRow",
    "Event",
    "EventDelivery",
    "EventPage",
    "EventType",
    "ExecutionSummary",
    "Forbidden",
    "GyozaClient",
    "GyozaError",
    "Heartbeat",
    "IdempotencyKeyReused",
    "InputSpec",
    "InputType",
    "InternalError",
    "InvalidCursor",
    "InvalidFilter",
    "InvalidInputs",
    "InvalidState",
    "InvalidTransition",
    "Job",
    "JobCancelled",
    "Jobs",
    "LeaseLost",
    "Misfit",
    "NoAnswer",
    "NotClaimant",
    "NotFound",
    "NotLeased",
    "NotYet",
    "Page",
    "Pager",
    "PreconditionFailed",
    "QuotaExceeded",
    "RateLimited",
    "Refused",
    "RetryBudgetSpent",
    "RetryPolicy",
    "Run",
    "RunBusy",
    "RunCancelled",
    "RunExpired",
    "RunFailed",
    "RunLocked",
    "RunMinimal",
    "RunNotFound",
    "RunSummary",
    "ServerError",
    "StaleAttempt",
    "State",
    "Throttled",
    "TooLarge",
    "Unavailable",
    "UnexpectedAnswer",
    "ValidationFailed",
    "WaitTimeout",
]


__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Load what only some programs need: the client for asyncio, with asyncio, and the jobs of workers."""
    if name in ("AsyncGyozaClient", "AsyncPager"):
        from gyoza_client import _async  # noqa: PLC0415

        return getattr(_async, name)
    if name in ("Job", "Jobs"):
        from gyoza_client import _work  # noqa: PLC0415

        return getattr(_work, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
