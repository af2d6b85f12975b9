"""Tests that every error has a status, a code and a text for clients."""

from datetime import UTC, datetime

import pytest

from gyoza_domain.domain import errors
from gyoza_domain.domain.run import EventType, State
from gyoza_domain.domain.transitions import ALLOWED_IN
from gyoza_domain.http.errors import STATUS_AND_CODE, RequestError, misfit, misfit_error, misfits_error, too_large_error

BASES = {errors.GyozaError, errors.Refused, errors.InvalidRequest}
"""The errors that are never raised themselves."""


def family_of(error: type[errors.GyozaError]) -> set[type[errors.GyozaError]]:
    return {error}.union(*map(family_of, error.__subclasses__()))


def test_every_error_that_can_be_raised_has_a_status_and_no_other_has() -> None:
    assert set(STATUS_AND_CODE) == family_of(errors.GyozaError) - BASES


def test_codes_are_stable_names_and_a_client_tells_apart_all_but_the_unavailable_ones() -> None:
    assert {error.__name__: answer for error, answer in STATUS_AND_CODE.items()} == {
        "RunNotFound": (404, "run_not_found"),
        "RunExpired": (410, "run_expired"),
        "RunLocked": (400, "run_locked"),
        "InvalidTransition": (400, "invalid_transition"),
        "RetryBudgetSpent": (400, "retry_budget_spent"),
        "AttemptRequired": (400, "attempt_required"),
        "NotYet": (400, "not_yet"),
        "NotLeased": (400, "not_leased"),
        "InvalidState": (400, "invalid_state"),
        "InvalidFilter": (400, "invalid_filter"),
        "InvalidCursor": (400, "invalid_cursor"),
        "DefinitionNotFound": (404, "definition_not_found"),
        "InvalidInputs": (400, "invalid_inputs"),
        "InputsTooLarge": (413, "too_large"),
        "TopicNotAllowed": (422, "validation_error"),
        "PreconditionFailed": (412, "precondition_failed"),
        "IdempotencyKeyReused": (422, "idempotency_key_reused"),
        "StaleAttempt": (409, "stale_attempt"),
        "NotClaimant": (409, "not_claimant"),
        "RunBusy": (409, "run_busy"),
        "DefinitionBusy": (409, "definition_busy"),
        "StorageUnavailable": (503, "unavailable"),
        "OutcomeUnknown": (503, "unavailable"),
        "UnreadableRun": (503, "unavailable"),
        "UnreadableDefinition": (503, "unavailable"),
    }


RUN_ID = "6f1c2a54-9d1b-4c55-8a39-2f0f5c7be911"
UNKNOWN = "The service does not know whether the request took effect"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (errors.RunNotFound(RUN_ID), f"OpRun '{RUN_ID}' not found"),
        (errors.DefinitionNotFound("resize"), "Definition 'resize' not found"),
        (errors.DefinitionNotFound("resize", "1.0"), "Version '1.0' of definition 'resize' not found"),
        (
            errors.DefinitionBusy("resize"),
            "Other requests kept changing definition 'resize'. Nothing was written; send the request again",
        ),
        (errors.OutcomeUnknown(None, is_keyed=False, is_repeatable=True), f"{UNKNOWN}; send the request again"),
        (
            errors.RunLocked(State.FAILED, EventType.INFO),
            "The run is locked: it is FAILED and takes no INFO event. To run it again, use POST /runs/{id}/retry",
        ),
        (
            errors.RunLocked(State.COMPLETED, EventType.RETRIED),
            "The run is locked: it is COMPLETED and takes no RETRIED event. To run it again, create a new run",
        ),
        (
            errors.InvalidTransition(State.PENDING, EventType.PROGRESS),
            "A run that is PENDING takes no PROGRESS event. Send STARTED first",
        ),
        (
            errors.InvalidTransition(State.RUNNING, EventType.RETRIED),
            (
                "A run that is RUNNING takes no RETRIED event. To take it from its worker, "
                'send the payload {"force": true} or use POST /runs/{id}/retry'
            ),
        ),
        (
            errors.RetryBudgetSpent(State.FAILED, 3),
            (
                "The run is FAILED and its retry budget of 3 attempts is spent. To retry it anyway, "
                'send the payload {"force": true} or use POST /runs/{id}/retry'
            ),
        ),
        (
            errors.InvalidState("DONE"),
            "Unknown state 'DONE'. Use one of PENDING, ASSIGNED, RUNNING, COMPLETED, FAILED, CANCELLED",
        ),
        (
            errors.IdempotencyKeyReused(),
            "The Idempotency-Key was used before with another body. Send a new request with a new key",
        ),
        (
            errors.StaleAttempt(1, 2),
            "Attempt 1 is not the current one: the run is at attempt 2. Stop the work on it",
        ),
        (
            errors.RunExpired(),
            "The run of this Idempotency-Key was deleted. Send a new request with a new key",
        ),
        (
            errors.AttemptRequired(EventType.PROGRESS, 2),
            (
                "A worker holds a lease on the run, so PROGRESS needs the field attempt: "
                "the number of the attempt that you work on. The run is at attempt 2"
            ),
        ),
        (
            errors.NotYet(datetime(2026, 3, 2, 20, 0, 1, tzinfo=UTC)),
            "The run waits and may not be taken before 2026-03-02T20:00:01.000000Z",
        ),
        (
            errors.NotLeased(State.PENDING),
            (
                "The current attempt has no lease: the run is PENDING. "
                "Claim a run, or send lease_s with ASSIGNED or STARTED"
            ),
        ),
        (
            errors.NotClaimant("worker-8"),
            "Worker 'worker-8' holds the lease of the current attempt. Stop the work on it",
        ),
        (
            errors.RunLocked(State.FAILED, "heartbeat"),
            "The run is locked: it is FAILED and takes no heartbeat event. To run it again, use POST /runs/{id}/retry",
        ),
        (
            errors.RunBusy(RUN_ID),
            f"Other requests kept changing OpRun '{RUN_ID}'. Nothing was written; send the request again",
        ),
        (errors.StorageUnavailable(), "The service is busy and wrote nothing; send the request again"),
        (
            errors.OutcomeUnknown(None, is_keyed=False),
            f"{UNKNOWN}; look in GET /runs whether the run exists before you send the request again",
        ),
        (
            errors.OutcomeUnknown(None, is_keyed=True),
            f"{UNKNOWN}; send the request again with the same Idempotency-Key",
        ),
        (
            errors.OutcomeUnknown(RUN_ID, is_keyed=False),
            f"{UNKNOWN}; read OpRun '{RUN_ID}' and its timeline before you send the request again",
        ),
        (
            errors.OutcomeUnknown(RUN_ID, is_keyed=True),
            f"{UNKNOWN}; send the request again with the same Idempotency-Key",
        ),
        (errors.UnreadableRun(RUN_ID), f"A newer release wrote OpRun '{RUN_ID}'; send the request again"),
    ],
)
def test_the_text_of_an_error_is_a_sentence_fit_for_a_client(error: errors.GyozaError, text: str) -> None:
    assert str(error) == text


@pytest.mark.parametrize("event_type", EventType)
@pytest.mark.parametrize("state", [state for state in State if not state.is_terminal])
def test_an_event_that_a_state_does_not_allow_comes_with_advice(state: State, event_type: EventType) -> None:
    """Each such pair has an advice, and no allowed pair has one."""
    refusal = f"A run that is {state} takes no {event_type} event"
    has_advice = str(errors.InvalidTransition(state, event_type)) != refusal
    assert has_advice is (state not in ALLOWED_IN[event_type])


@pytest.mark.parametrize(
    "error",
    [
        errors.RunNotFound("x" * 1_000),
        errors.InvalidState("x" * 1_000),
        errors.InvalidState("\0" * 1_000),
        errors.StaleAttempt(10**1_000, 2),
        errors.NotClaimant("x" * 1_000),
    ],
)
def test_an_error_repeats_at_most_200_characters_of_a_request(error: errors.GyozaError) -> None:
    assert "…" in str(error)
    assert len(str(error)) <= 300


@pytest.mark.parametrize(("length", "shown"), [(0, ""), (200, "x" * 200), (201, "x" * 199 + "…")])
def test_a_text_is_cut_at_200_characters(length: int, shown: str) -> None:
    assert errors.shortened("x" * length) == shown


def test_misfits_beyond_twenty_are_counted() -> None:
    misfits = [misfit(["body", number], "Field required", "missing") for number in range(25)]
    assert misfits_error(misfits[:20]).detail == misfits[:20]
    for error, beyond in ((misfits_error(misfits), 5), (misfits_error(misfits[:20], left_out=7), 7)):
        last = {"loc": ["body"], "msg": f"{beyond} more do not fit", "type": "too_many_misfits"}
        assert error.detail == [*misfits[:20], last]


def test_a_field_that_does_not_fit_is_422_and_named() -> None:
    error = misfit_error(["query", "limit"], "Input should be an integer", "int_parsing")
    assert as_answered(error) == (
        422,
        "validation_error",
        [{"loc": ["query", "limit"], "msg": "Input should be an integer", "type": "int_parsing"}],
    )


def test_a_document_above_its_limit_is_413_and_named() -> None:
    error = too_large_error(["payload", "outputs"], 262_144)
    assert as_answered(error) == (
        413,
        "too_large",
        "payload.outputs is larger than 262144 bytes as compact UTF-8 JSON",
    )


def as_answered(error: RequestError) -> tuple[int, str, object]:
    return error.status, error.code, error.detail
