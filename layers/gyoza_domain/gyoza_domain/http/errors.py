"""Maps each error to its status and code, and builds the errors of requests that do not fit their schema.

An error's answer stays below 64 KB: it lists at most 20 misfits and repeats at most 200 characters of any text. The
faults of inputs alone may be 200, in 256 KB.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..domain import errors
from ..domain.errors import shortened

STATUS_AND_CODE: Mapping[type[errors.GyozaError], tuple[int, str]] = {
    errors.RunNotFound: (404, "run_not_found"),
    errors.RunExpired: (410, "run_expired"),
    errors.RunLocked: (400, "run_locked"),
    errors.InvalidTransition: (400, "invalid_transition"),
    errors.RetryBudgetSpent: (400, "retry_budget_spent"),
    errors.AttemptRequired: (400, "attempt_required"),
    errors.NotYet: (400, "not_yet"),
    errors.NotLeased: (400, "not_leased"),
    errors.InvalidState: (400, "invalid_state"),
    errors.InvalidFilter: (400, "invalid_filter"),
    errors.InvalidCursor: (400, "invalid_cursor"),
    errors.DefinitionNotFound: (404, "definition_not_found"),
    errors.InvalidInputs: (400, "invalid_inputs"),
    errors.InputsTooLarge: (413, "too_large"),
    errors.TopicNotAllowed: (422, "validation_error"),
    errors.PreconditionFailed: (412, "precondition_failed"),
    errors.IdempotencyKeyReused: (422, "idempotency_key_reused"),
    errors.StaleAttempt: (409, "stale_attempt"),
    errors.NotClaimant: (409, "not_claimant"),
    errors.RunBusy: (409, "run_busy"),
    errors.DefinitionBusy: (409, "definition_busy"),
    errors.StorageUnavailable: (503, "unavailable"),
    errors.OutcomeUnknown: (503, "unavailable"),
    errors.UnreadableRun: (503, "unavailable"),
    errors.UnreadableDefinition: (503, "unavailable"),
}
"""The status and the stable code of every error that is raised. docs/openapi.yaml lists the same."""

MAX_MISFITS = 20
"""The most misfits that an answer lists (docs/openapi.yaml, ValidationError). One entry more counts the rest."""

MAX_INPUT_FAULTS = 200
"""The most faults of inputs that an answer lists (docs/openapi.yaml, InvalidInputsError). One more counts the rest."""

MAX_INPUT_FAULTS_BYTES = 255_000
"""The most bytes of their list, so that the answer stays below 256 KB."""

MAX_SENTENCE_CHARACTERS = 400
"""The longest text of an error. It has room for our longest text with 200 characters of the request in it."""

Misfit = Mapping[str, Any]
"""One part of a request that does not fit, with ``loc`` (its place), ``msg`` and ``type``."""


class RequestError(Exception):
    """A request that the HTTP layer refuses before anything is read or written.

    ``detail`` is the sentence or the list of misfits that the answer shows.
    """

    def __init__(self, status: int, code: str, detail: str | Sequence[Misfit]) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.detail = detail


def misfit(loc: Sequence[str | int], msg: str, type_: str) -> Misfit:
    """A misfit. Its place repeats at most 200 characters of each name; ``msg`` must not repeat more either."""
    return {"loc": [shortened(part) if isinstance(part, str) else part for part in loc], "msg": msg, "type": type_}


def misfits_error(misfits: Sequence[Misfit], *, left_out: int = 0) -> RequestError:
    """The 422 for one or more misfits. ``left_out`` counts those that the caller found but did not pass.

    The answer lists at most 20 misfits. One more entry counts the rest.
    """
    shown = list(misfits[:MAX_MISFITS])
    beyond = len(misfits) - len(shown) + left_out
    if beyond:
        shown.append(misfit(misfits[0]["loc"][:1], f"{beyond} more do not fit", "too_many_misfits"))
    return RequestError(422, "validation_error", shown)


def misfit_error(loc: Sequence[str | int], msg: str, type_: str) -> RequestError:
    """The 422 for one misfit."""
    return misfits_error([misfit(loc, msg, type_)])


def too_large_error(loc: Sequence[str | int], limit_bytes: int) -> RequestError:
    """The 413 for a document that is larger than its limit."""
    return RequestError(
        413, "too_large", f"{'.'.join(map(str, loc))} is larger than {limit_bytes} bytes as compact UTF-8 JSON"
    )


def detail_of(error: errors.GyozaError) -> str | Sequence[Misfit]:
    """The detail of an error's answer: a list where the error concerns parts of the request, else a sentence."""
    if isinstance(error, errors.IdempotencyKeyReused):
        return [misfit(["header", "Idempotency-Key"], str(error), STATUS_AND_CODE[type(error)][1])]
    if isinstance(error, errors.TopicNotAllowed):
        return [misfit(["body", "event_delivery", "topic"], str(error), "topic_not_allowed")]
    if isinstance(error, errors.InvalidInputs):
        return _input_misfits(error.faults)
    return shortened(str(error), MAX_SENTENCE_CHARACTERS)


def _input_misfits(faults: Sequence[errors.InputFault]) -> Sequence[Misfit]:
    shown: list[Misfit] = []
    size = 0
    for fault in faults[:MAX_INPUT_FAULTS]:
        entry = misfit(["body", "inputs", fault.name[: errors.MAX_REPEATED_CHARACTERS]], fault.text, fault.type)
        size += len(json.dumps(entry, ensure_ascii=False).encode()) + 2
        if size > MAX_INPUT_FAULTS_BYTES:
            break
        shown.append(entry)
    if len(faults) > len(shown):
        shown.append(misfit(["body", "inputs"], f"{len(faults) - len(shown)} more do not fit", "too_many_misfits"))
    return shown
