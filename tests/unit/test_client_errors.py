"""Tests the translation of DynamoDB's errors."""

from contextlib import AbstractContextManager
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectTimeoutError, EndpointConnectionError, ReadTimeoutError

from gyoza_domain.domain.errors import StorageUnavailable
from gyoza_domain.dynamodb.client_errors import (
    BUSY_REASONS,
    CONFLICT_REASONS,
    THROTTLING_CODES,
    UNKNOWN_CODES,
    NoAnswer,
    WriteConflict,
    WriteThrottled,
    translated_read,
    translated_write,
)
from gyoza_domain.dynamodb.settling import NotThereYet

ARN = "arn:aws:dynamodb:eu-central-1:123:table/runs"


def client_error(code: str, reasons: list[dict[str, Any]] | None = None, *, resent: int = 0) -> ClientError:
    """An error of the client, which had sent the request ``resent`` times before."""
    response: dict[str, Any] = {
        "Error": {"Code": code, "Message": ARN},
        "ResponseMetadata": {"RetryAttempts": resent},
    }
    if reasons is not None:
        response["CancellationReasons"] = reasons
    return ClientError(response, "TransactWriteItems")  # type: ignore[arg-type]


def cancelled(*codes: str, resent: int = 0) -> ClientError:
    return client_error("TransactionCanceledException", [{"Code": code} for code in codes], resent=resent)


def raised_for(error: Exception, seam: AbstractContextManager[None]) -> BaseException:
    with pytest.raises(Exception) as caught, seam:  # noqa: PT011 - any error is what is asked for
        raise error
    return caught.value


def of_read(error: Exception) -> BaseException:
    return raised_for(error, translated_read())


def of_write(error: Exception) -> BaseException:
    return raised_for(error, translated_write())


OUT_OF_REACH = [
    EndpointConnectionError(endpoint_url=ARN),
    ConnectTimeoutError(endpoint_url=ARN),
    ReadTimeoutError(endpoint_url=ARN),
]

# -- reads


@pytest.mark.parametrize("code", sorted(THROTTLING_CODES | UNKNOWN_CODES))
def test_a_read_that_the_table_does_not_take_is_unavailable(code: str) -> None:
    assert isinstance(of_read(client_error(code)), StorageUnavailable)


@pytest.mark.parametrize("reason", sorted(CONFLICT_REASONS))
def test_a_read_at_one_instant_that_meets_a_transaction_in_flight_is_not_there_yet(reason: str) -> None:
    assert isinstance(of_read(cancelled("None", reason)), NotThereYet)


@pytest.mark.parametrize("busy", sorted(BUSY_REASONS))
@pytest.mark.parametrize("other", ["None", *sorted(CONFLICT_REASONS)])
def test_load_outweighs_a_conflict_among_the_reasons_of_a_read(busy: str, other: str) -> None:
    assert isinstance(of_read(cancelled(other, busy)), StorageUnavailable)


@pytest.mark.parametrize("error", OUT_OF_REACH, ids=lambda error: type(error).__name__)
def test_a_read_that_gets_no_answer_is_unavailable(error: Exception) -> None:
    assert isinstance(of_read(error), StorageUnavailable)


# -- writes


@pytest.mark.parametrize("reason", sorted(CONFLICT_REASONS))
def test_a_reason_behind_which_another_write_stands_is_a_conflict(reason: str) -> None:
    conflict = of_write(cancelled(reason, "None"))
    assert isinstance(conflict, WriteConflict)
    assert conflict.items == [None, None]


def test_a_conflict_outside_a_transaction_is_one_too() -> None:
    conflict = of_write(client_error("TransactionConflictException"))
    assert isinstance(conflict, WriteConflict)
    assert conflict.items == []


@pytest.mark.parametrize("item", [None, {"version": {"N": "7"}}])
def test_a_failed_condition_outside_a_transaction_hands_on_what_it_returned(item: dict[str, Any] | None) -> None:
    error = client_error("ConditionalCheckFailedException")
    response: dict[str, Any] = error.response  # type: ignore[assignment]
    response |= {} if item is None else {"Item": item}
    conflict = of_write(error)
    assert isinstance(conflict, WriteConflict)
    assert conflict.items == [item]


def test_a_failed_condition_of_a_read_is_a_defect() -> None:
    error = client_error("ConditionalCheckFailedException")
    assert of_read(error) is error


def test_a_conflict_hands_on_what_each_failed_condition_returned() -> None:
    item = {"version": {"N": "7"}}
    reasons: list[dict[str, Any]] = [
        {"Code": "ConditionalCheckFailed", "Item": item},
        {"Code": "None"},
        {"Code": "TransactionConflict"},
    ]
    conflict = of_write(client_error("TransactionCanceledException", reasons))
    assert isinstance(conflict, WriteConflict)
    assert conflict.items == [item, None, None]


@pytest.mark.parametrize("code", sorted(THROTTLING_CODES))
def test_a_write_that_is_refused_for_load_is_throttled(code: str) -> None:
    assert isinstance(of_write(client_error(code)), WriteThrottled)


@pytest.mark.parametrize("busy", sorted(BUSY_REASONS))
@pytest.mark.parametrize("other", ["None", *sorted(CONFLICT_REASONS)])
def test_load_outweighs_a_conflict_among_the_reasons_of_a_write(busy: str, other: str) -> None:
    assert isinstance(of_write(cancelled(other, busy)), WriteThrottled)


REFUSALS = [
    ("TransactionConflictException", None),
    ("ConditionalCheckFailedException", None),
    ("TransactionCanceledException", "ConditionalCheckFailed"),
    ("TransactionCanceledException", "ThrottlingError"),
    ("ThrottlingException", None),
]


@pytest.mark.parametrize(("code", "reason"), REFUSALS)
@pytest.mark.parametrize(("resent", "was_resent"), [(0, False), (1, True), (3, True)])
def test_a_refused_write_tells_whether_an_earlier_sending_may_still_arrive(
    code: str, reason: str | None, resent: int, was_resent: bool
) -> None:
    reasons = None if reason is None else [{"Code": reason}]
    refusal = of_write(client_error(code, reasons, resent=resent))
    assert isinstance(refusal, WriteConflict | WriteThrottled)
    assert refusal.was_resent is was_resent


@pytest.mark.parametrize(("code", "reason"), REFUSALS)
def test_a_refused_write_without_a_count_of_its_sendings_was_sent_once(code: str, reason: str | None) -> None:
    error = client_error(code, None if reason is None else [{"Code": reason}])
    del error.response["ResponseMetadata"]
    refusal = of_write(error)
    assert isinstance(refusal, WriteConflict | WriteThrottled)
    assert not refusal.was_resent


@pytest.mark.parametrize("code", sorted(UNKNOWN_CODES))
def test_a_write_may_stand_though_the_table_failed(code: str) -> None:
    assert isinstance(of_write(client_error(code)), NoAnswer)


@pytest.mark.parametrize("error", OUT_OF_REACH, ids=lambda error: type(error).__name__)
def test_a_write_may_stand_though_no_answer_came(error: Exception) -> None:
    assert isinstance(of_write(error), NoAnswer)


# -- both

DEFECTS = [
    cancelled("ValidationError", "None"),
    cancelled("ConditionalCheckFailed", "ItemCollectionSizeLimitExceeded"),
    cancelled("None"),
    cancelled(),
    client_error("TransactionCanceledException"),
    client_error("ValidationException"),
    client_error("ResourceNotFoundException"),
    client_error("AccessDeniedException"),
    KeyError("pk"),
]


@pytest.mark.parametrize("seam", [translated_read, translated_write])
@pytest.mark.parametrize("error", DEFECTS, ids=repr)
def test_an_error_that_is_named_nowhere_is_a_defect_and_passes_through(error: Exception, seam: Any) -> None:
    assert raised_for(error, seam()) is error


@pytest.mark.parametrize("seam", [translated_read, translated_write])
def test_load_beside_a_defect_is_a_defect(seam: Any) -> None:
    error = cancelled("ThrottlingError", "ValidationError")
    assert raised_for(error, seam()) is error


TRANSLATED = [
    client_error("ThrottlingException"),
    client_error("InternalServerError"),
    cancelled("ThrottlingError"),
    cancelled("TransactionConflict"),
    *OUT_OF_REACH,
]


@pytest.mark.parametrize("error", TRANSLATED, ids=repr)
@pytest.mark.parametrize("seam", [translated_read, translated_write])
def test_a_translated_error_carries_nothing_of_dynamodb_s_text(error: Exception, seam: Any) -> None:
    assert ARN in str(error)
    assert ARN not in str(raised_for(error, seam()))


@pytest.mark.parametrize("seam", [translated_read, translated_write])
def test_a_call_without_an_error_passes(seam: Any) -> None:
    with seam():
        done = True
    assert done
