"""Translates DynamoDB's errors into the adapter's own. No other module does.

The position of a cancellation reason names the write that failed. An error that this module does not name is a defect
and passes through.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as BotoConnectionError

from ..domain.errors import StorageUnavailable
from .settling import NotThereYet

CONFLICT_REASONS = frozenset({"ConditionalCheckFailed", "TransactionConflict"})
"""Reasons of a cancelled transaction that another request's write caused. This transaction wrote nothing."""

BUSY_REASONS = frozenset({"ThrottlingError", "ProvisionedThroughputExceeded"})
"""Reasons of a cancelled transaction that load caused."""

THROTTLING_CODES = frozenset({"ProvisionedThroughputExceededException", "RequestLimitExceeded", "ThrottlingException"})
"""Codes of a request that DynamoDB refuses because of load. This sending wrote nothing."""

UNKNOWN_CODES = frozenset({"InternalServerError", "ServiceUnavailable", "TransactionInProgressException"})
"""Codes that do not tell whether a write took effect."""


class WriteConflict(Exception):
    """Another write was faster.

    ``items`` holds, for each write, the item that its failed condition returned, or None. It is empty if a transaction
    was in flight.
    ``was_resent`` is true if the client had sent the same write before; that sending may still arrive.
    """

    def __init__(self, items: Sequence[dict[str, Any] | None], *, was_resent: bool) -> None:
        super().__init__("the condition of a write failed")
        self.items = items
        self.was_resent = was_resent


class WriteThrottled(Exception):
    """DynamoDB refused a write because of load. ``was_resent`` has the meaning it has in WriteConflict."""

    def __init__(self, *, was_resent: bool) -> None:
        super().__init__("the write was throttled")
        self.was_resent = was_resent


class NoAnswer(Exception):
    """A write was sent, and no answer tells whether it took effect."""


@contextmanager
def translated_read() -> Iterator[None]:
    """Raise StorageUnavailable, and NotThereYet for a transaction in flight, in place of botocore's errors."""
    try:
        yield
    except ClientError as error:
        code = error.response["Error"]["Code"]
        reasons = _reason_codes(error)
        if reasons and reasons <= CONFLICT_REASONS:
            raise NotThereYet("a transaction is in flight") from None
        if code in THROTTLING_CODES | UNKNOWN_CODES or (reasons and reasons <= CONFLICT_REASONS | BUSY_REASONS):
            raise StorageUnavailable from error
        raise
    except (BotoConnectionError, HTTPClientError) as error:
        raise StorageUnavailable from error


@contextmanager
def translated_write() -> Iterator[None]:
    """Raise WriteConflict, WriteThrottled and NoAnswer in place of botocore's errors."""
    try:
        yield
    except ClientError as error:
        code = error.response["Error"]["Code"]
        reasons = _reason_codes(error)
        was_resent = error.response.get("ResponseMetadata", {}).get("RetryAttempts", 0) > 0
        if reasons and reasons <= CONFLICT_REASONS:
            raise WriteConflict([reason.get("Item") for reason in _reasons(error)], was_resent=was_resent) from None
        if code == "TransactionConflictException":
            raise WriteConflict([], was_resent=was_resent) from None
        if code == "ConditionalCheckFailedException":
            raise WriteConflict([error.response.get("Item")], was_resent=was_resent) from None  # type: ignore[list-item]
        if code in THROTTLING_CODES or (reasons and reasons <= CONFLICT_REASONS | BUSY_REASONS):
            raise WriteThrottled(was_resent=was_resent) from error
        if code in UNKNOWN_CODES:
            raise NoAnswer from error
        raise
    except (BotoConnectionError, HTTPClientError) as error:
        raise NoAnswer from error


def _reasons(error: ClientError) -> list[dict[str, Any]]:
    """The cancellation reasons of a transaction, one for each of its items; empty for other errors."""
    reasons: list[dict[str, Any]] = error.response.get("CancellationReasons", [])  # type: ignore[assignment]
    return reasons


def _reason_codes(error: ClientError) -> set[str]:
    return {reason.get("Code", "None") for reason in _reasons(error)} - {"None"}
