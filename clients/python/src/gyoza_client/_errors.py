"""The errors of the package.

GyozaError
├── ConfigurationError        no address and key, or half of them
├── NoAnswer                  the server did not answer, its repeats included
├── UnexpectedAnswer          an answer that is none of the API's
├── ApiError                  the API refused: status, code, detail, request_id
│   ├── BadRequest            400  InvalidCursor, InvalidFilter, InvalidState, InvalidInputs, InvalidTransition,
│   │                              RunLocked, RetryBudgetSpent, AttemptRequired, NotLeased, NotYet
│   ├── Forbidden             403
│   ├── NotFound              404  RunNotFound, DefinitionNotFound
│   ├── Conflict              409  StaleAttempt, NotClaimant, RunBusy, DefinitionBusy
│   ├── RunExpired            410
│   ├── PreconditionFailed    412
│   ├── TooLarge              413
│   ├── ValidationFailed      422  IdempotencyKeyReused
│   ├── RateLimited           429  Throttled, QuotaExceeded
│   ├── Refused               4xx  by the gateway, before the API
│   └── ServerError           5xx  InternalError, Unavailable
├── RunFailed, RunCancelled   how a run that `run` waited for has ended
├── JobCancelled, LeaseLost   why a job of `work` is to stop
└── WaitTimeout               the run has not ended in time
"""

from collections.abc import Mapping
from typing import Any, Final

from gyoza_client._models import Misfit, Run


class GyozaError(Exception):
    """Whatever this package raises, but for ValueError and TypeError where an argument cannot be sent."""


class ConfigurationError(GyozaError):
    """The address or the key is missing or cannot be used. The text names the source and the remedy."""


class NoAnswer(GyozaError):
    """No answer came within the time of the call and of its repeats, or before the client was closed.

    The server may have done what was asked. A call with the same ``idempotency_key`` finds out, and does it once at
    most.
    """

    def __init__(self, text: str, idempotency_key: str | None = None) -> None:
        super().__init__(text, idempotency_key)
        self.idempotency_key: Final = idempotency_key
        """The key of the call, or None for a call that has none."""

    def __str__(self) -> str:
        return str(self.args[0])


class UnexpectedAnswer(GyozaError):
    """An answer that the API does not give. A proxy or a wrong address is the likely cause."""


class ApiError(GyozaError):
    """The API refused the request."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str | tuple[Misfit, ...],
        request_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> None:
        super().__init__(status, code, detail, request_id, idempotency_key)
        self.status: Final = status
        self.code: Final = code
        """Stable and in lower_snake_case; empty where something before the API answered."""
        self.detail: Final = detail
        """A sentence, or the faults of the request."""
        self.request_id: Final = request_id
        self.idempotency_key: Final = idempotency_key

    @property
    def misfits(self) -> tuple[Misfit, ...]:
        """The faults of the request, each with its place; empty if ``detail`` is a sentence."""
        return () if isinstance(self.detail, str) else self.detail

    def __str__(self) -> str:
        detail = self.detail if isinstance(self.detail, str) else "; ".join(map(_sentence, self.detail))
        return f"{self.status} {self.code}: {detail} (request {self.request_id})"


class BadRequest(ApiError):
    pass


class InvalidCursor(BadRequest):
    pass


class InvalidFilter(BadRequest):
    pass


class InvalidState(BadRequest):
    pass


class InvalidInputs(BadRequest):
    """The definition does not take these inputs. ``detail`` names every fault."""


class InvalidTransition(BadRequest):
    pass


class RunLocked(BadRequest):
    pass


class RetryBudgetSpent(BadRequest):
    pass


class AttemptRequired(BadRequest):
    pass


class NotLeased(BadRequest):
    pass


class NotYet(BadRequest):
    pass


class Forbidden(ApiError):
    pass


class NotFound(ApiError):
    pass


class RunNotFound(NotFound):
    pass


class DefinitionNotFound(NotFound):
    pass


class Conflict(ApiError):
    pass


class StaleAttempt(Conflict):
    """The attempt is over: a later one has begun. Stop the work on it."""


class NotClaimant(Conflict):
    """Another worker holds the lease. Stop the work on the run."""


class RunBusy(Conflict):
    pass


class DefinitionBusy(Conflict):
    pass


class RunExpired(ApiError):
    """The run of this idempotency key was deleted. A new request needs a new key."""


class PreconditionFailed(ApiError):
    pass


class TooLarge(ApiError):
    pass


class ValidationFailed(ApiError):
    pass


class IdempotencyKeyReused(ValidationFailed):
    pass


class RateLimited(ApiError):
    pass


class Throttled(RateLimited):
    pass


class QuotaExceeded(RateLimited):
    pass


class Refused(ApiError):
    pass


class ServerError(ApiError):
    pass


class InternalError(ServerError):
    pass


class Unavailable(ServerError):
    pass


class RunFailed(GyozaError):
    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self.run: Final = run

    def __str__(self) -> str:
        summary = self.run.execution_summary
        return f"Run {self.run.id} failed: {summary.error_message or summary.reason or 'no reason was given'}"


class RunCancelled(GyozaError):
    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self.run: Final = run

    def __str__(self) -> str:
        return f"Run {self.run.id} was cancelled"


class WaitTimeout(GyozaError, TimeoutError):
    """The run has not ended in time. It goes on; ``run`` is the run as it was last read."""

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self.run: Final = run

    def __str__(self) -> str:
        return f"Run {self.run.id} has not ended in time: it is {self.run.state}"


class JobCancelled(GyozaError):
    """Somebody asked for the job's run to be cancelled. Left to itself, it ends the job's block as CANCELLED."""

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self.run: Final = run
        """The run as it was claimed."""

    def __str__(self) -> str:
        return f"Run {self.run.id} is to be cancelled"


class LeaseLost(GyozaError):
    """The job's run is no longer this worker's, or that cannot be found out. Nothing more is reported of it."""

    def __init__(self, run: Run, reason: str) -> None:
        super().__init__(run, reason)
        self.run: Final = run
        """The run as it was claimed."""
        self.reason: Final = reason

    def __str__(self) -> str:
        return f"Attempt {self.run.current_attempt} of run {self.run.id} is no longer this worker's: {self.reason}"


ERRORS_BY_CODE: Final[Mapping[str, type[ApiError]]] = {
    "attempt_required": AttemptRequired,
    "definition_busy": DefinitionBusy,
    "definition_not_found": DefinitionNotFound,
    "forbidden": Forbidden,
    "idempotency_key_reused": IdempotencyKeyReused,
    "internal_error": InternalError,
    "invalid_cursor": InvalidCursor,
    "invalid_filter": InvalidFilter,
    "invalid_inputs": InvalidInputs,
    "invalid_state": InvalidState,
    "invalid_transition": InvalidTransition,
    "not_claimant": NotClaimant,
    "not_found": NotFound,
    "not_leased": NotLeased,
    "not_yet": NotYet,
    "precondition_failed": PreconditionFailed,
    "quota_exceeded": QuotaExceeded,
    "refused": Refused,
    "retry_budget_spent": RetryBudgetSpent,
    "run_busy": RunBusy,
    "run_expired": RunExpired,
    "run_locked": RunLocked,
    "run_not_found": RunNotFound,
    "stale_attempt": StaleAttempt,
    "throttled": Throttled,
    "too_large": TooLarge,
    "unavailable": Unavailable,
    "validation_error": ValidationFailed,
}

_BY_STATUS: Final[Mapping[int, type[ApiError]]] = {
    400: BadRequest,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: RunExpired,
    412: PreconditionFailed,
    413: TooLarge,
    422: ValidationFailed,
    429: RateLimited,
}


def api_error(status: int, body: Any, idempotency_key: str | None) -> ApiError:
    """The error of an answer: by its code, else by its status. ``body`` is None where it is no JSON object."""
    fields = body if isinstance(body, dict) else {}
    code = str(fields.get("code") or "")
    fallback = ServerError if status >= 500 else Refused if status >= 400 else ApiError
    kind = ERRORS_BY_CODE.get(code) or _BY_STATUS.get(status) or fallback
    detail = fields.get("detail") or fields.get("message") or "The answer has no text that the API gives"
    if isinstance(detail, list):
        detail = tuple(Misfit.parse(each) for each in detail)
    return kind(status, code, detail, fields.get("request_id"), idempotency_key)


def _sentence(misfit: Misfit) -> str:
    return f"{'.'.join(map(str, misfit.loc))}: {misfit.msg}"
