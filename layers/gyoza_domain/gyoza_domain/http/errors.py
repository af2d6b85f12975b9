"""Errors as answers: one shape, one table of status and code."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..domain import errors

STATUS_AND_CODE: Mapping[type[errors.GyozaError], tuple[int, str]] = {
    errors.RunNotFound: (404, "run_not_found"),
    errors.RunLocked: (400, "run_locked"),
    errors.InvalidTransition: (400, "invalid_transition"),
    errors.RetryBudgetSpent: (400, "retry_budget_spent"),
    errors.InvalidState: (400, "invalid_state"),
    errors.InvalidFilter: (400, "invalid_filter"),
    errors.InvalidCursor: (400, "invalid_cursor"),
    errors.IdempotencyKeyReused: (422, "idempotency_key_reused"),
    errors.StaleAttempt: (409, "stale_attempt"),
    errors.RunBusy: (409, "run_busy"),
    errors.StorageUnavailable: (503, "unavailable"),
    errors.OutcomeUnknown: (503, "unavailable"),
    errors.UnreadableRun: (503, "unavailable"),
}
"""Status and stable code of every error that is raised (contract, section 3)."""


class RequestError(Exception):
    """A request the edge itself refuses, before anything is read or written."""

    def __init__(self, status: int, code: str, detail: str | Sequence[Mapping[str, Any]]) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.detail = detail


def does_not_fit(loc: Sequence[str | int], msg: str, type_: str) -> RequestError:
    """422 for one field."""
    return RequestError(422, "validation_error", [{"loc": list(loc), "msg": msg, "type": type_}])


def too_large(loc: Sequence[str | int], limit_bytes: int) -> RequestError:
    """413 for a document above its limit."""
    return RequestError(
        413, "too_large", f"{'.'.join(map(str, loc))} is larger than {limit_bytes} bytes as compact UTF-8 JSON"
    )
