"""The one seam where DynamoDB's errors become ours.

A failed transaction is read by the position of its cancellation reasons; whatever is named nowhere here is a defect and
passes through.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as BotoConnectionError

from ..domain.errors import StorageUnavailable

CONFLICT_REASONS = frozenset({"ConditionalCheckFailed", "TransactionConflict"})
"""Reasons in a cancelled transaction that another request's write is behind; nothing of ours was written."""

BUSY_REASONS = frozenset({"ThrottlingError", "ProvisionedThroughputExceeded"})
"""Reasons in a cancelled transaction that tell of load."""

BUSY_CODES = frozenset(
    {
        "InternalServerError",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "ServiceUnavailable",
        "ThrottlingException",
        "TransactionInProgressException",
    }
)
"""Codes that outlast the client's own retries only when DynamoDB cannot take the request now."""


class WriteConflict(Exception):
    """Another write was faster.

    ``items``: for each write of the transaction, what its failed condition returned. ``was_resent``: the client had
    sent the same write before and got no answer; that sending may still arrive.
    """

    def __init__(self, items: Sequence[dict[str, Any] | None], *, was_resent: bool) -> None:
        super().__init__("the condition of a write failed")
        self.items = items
        self.was_resent = was_resent


@contextmanager
def translated() -> Iterator[None]:
    """Raise WriteConflict and StorageUnavailable in place of botocore's errors."""
    try:
        yield
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code == "TransactionCanceledException":
            _translate_cancellation(error)
        if code == "TransactionConflictException":
            raise WriteConflict([], was_resent=_was_resent(error)) from None
        if code in BUSY_CODES:
            raise StorageUnavailable from error
        raise
    except (BotoConnectionError, HTTPClientError) as error:
        raise StorageUnavailable from error


def _translate_cancellation(error: ClientError) -> None:
    reasons: list[dict[str, Any]] = error.response.get("CancellationReasons", [])  # type: ignore[assignment]
    codes = {reason.get("Code", "None") for reason in reasons} - {"None"}
    if codes and codes <= CONFLICT_REASONS:
        items = [reason.get("Item") for reason in reasons]
        raise WriteConflict(items, was_resent=_was_resent(error)) from None
    if codes and codes <= CONFLICT_REASONS | BUSY_REASONS:
        raise StorageUnavailable from error


def _was_resent(error: ClientError) -> bool:
    return error.response.get("ResponseMetadata", {}).get("RetryAttempts", 0) > 0
