"""What DynamoDB answers with, as our errors."""

from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectTimeoutError, EndpointConnectionError, ReadTimeoutError

from gyoza_domain.domain.errors import StorageUnavailable
from gyoza_domain.dynamodb import client_errors
from gyoza_domain.dynamodb.client_errors import WriteConflict, translated


def client_error(code: str, reasons: list[dict[str, Any]] | None = None) -> ClientError:
    response: dict[str, Any] = {"Error": {"Code": code, "Message": "arn:aws:dynamodb:eu-central-1:123:table/runs"}}
    if reasons is not None:
        response["CancellationReasons"] = reasons
    return ClientError(response, "TransactWriteItems")  # type: ignore[arg-type]


def cancelled(*codes: str) -> ClientError:
    return client_error("TransactionCanceledException", [{"Code": code} for code in codes])


def raised_for(error: Exception) -> BaseException:
    with pytest.raises(Exception) as caught, translated():  # noqa: PT011 - any error is what is asked for
        raise error
    return caught.value


@pytest.mark.parametrize("code", sorted(client_errors.BUSY_CODES))
def test_a_code_that_tells_of_load_is_unavailable(code: str) -> None:
    assert isinstance(raised_for(client_error(code)), StorageUnavailable)


@pytest.mark.parametrize("reason", sorted(client_errors.CONFLICT_REASONS))
def test_a_reason_behind_which_another_write_stands_is_a_conflict(reason: str) -> None:
    conflict = raised_for(cancelled(reason, "None"))
    assert isinstance(conflict, WriteConflict)
    assert conflict.items == [None, None]


def test_a_conflict_outside_a_transaction_is_one_too() -> None:
    conflict = raised_for(client_error("TransactionConflictException"))
    assert isinstance(conflict, WriteConflict)
    assert conflict.items == []


def test_a_conflict_hands_on_what_each_failed_condition_returned() -> None:
    item = {"version": {"N": "7"}}
    reasons: list[dict[str, Any]] = [
        {"Code": "ConditionalCheckFailed", "Item": item},
        {"Code": "None"},
        {"Code": "TransactionConflict"},
    ]
    conflict = raised_for(client_error("TransactionCanceledException", reasons))
    assert isinstance(conflict, WriteConflict)
    assert conflict.items == [item, None, None]


@pytest.mark.parametrize("busy", sorted(client_errors.BUSY_REASONS))
@pytest.mark.parametrize("other", ["None", *sorted(client_errors.CONFLICT_REASONS)])
def test_a_reason_that_tells_of_load_outweighs_a_conflict(busy: str, other: str) -> None:
    assert isinstance(raised_for(cancelled(other, busy)), StorageUnavailable)


@pytest.mark.parametrize(
    "error",
    [
        cancelled("ValidationError", "None"),
        cancelled("ConditionalCheckFailed", "ItemCollectionSizeLimitExceeded"),
        cancelled("ThrottlingError", "ValidationError"),
        cancelled("None"),
        cancelled(),
        client_error("TransactionCanceledException"),
        client_error("ValidationException"),
        client_error("ResourceNotFoundException"),
        client_error("AccessDeniedException"),
        client_error("ConditionalCheckFailedException"),
        KeyError("pk"),
    ],
    ids=repr,
)
def test_what_is_named_nowhere_is_a_defect_and_passes_through(error: Exception) -> None:
    assert raised_for(error) is error


@pytest.mark.parametrize(
    "error",
    [
        EndpointConnectionError(endpoint_url="https://dynamodb"),
        ConnectTimeoutError(endpoint_url="https://dynamodb"),
        ReadTimeoutError(endpoint_url="https://dynamodb"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_table_out_of_reach_is_unavailable(error: Exception) -> None:
    assert isinstance(raised_for(error), StorageUnavailable)


@pytest.mark.parametrize("error", [client_error("ThrottlingException"), cancelled("ThrottlingError")])
def test_an_answer_to_the_client_carries_nothing_of_dynamodb_s_text(error: ClientError) -> None:
    assert str(raised_for(error)) == "The service is busy; send the request again"


def test_what_succeeds_passes() -> None:
    with translated():
        done = True
    assert done
