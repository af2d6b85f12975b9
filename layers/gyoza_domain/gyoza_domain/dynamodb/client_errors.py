"""The one seam at which DynamoDB's errors become ours.

A failed transaction is read by the position of its cancellation reasons. An error that is named nowhere here is a
defect and passes through.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as BotoConnectionError

from ..domain.errors import StorageUnavailable
from .settling import NotThereYet

CONFLICT_REASONS = frozenset({"ConditionalCheckFailed", "TransactionConflict"})
"""Reasons in a cancelled transaction that another request's write is behind; nothing of ours was written."""

BUSY_REASONS = frozenset({"ThrottlingError", "ProvisionedThroughputExceeded"})
"""Reasons in a cancelled transaction that tell of load."""

THROTTLING_CODES = frozenset({"ProvisionedThroughputExceededException", "RequestLimitExceeded", "ThrottlingException"})
"""Codes of a request that DynamoDB refused for load: this sending wrote nothing."""

UNKNOWN_CODES = frozenset({"InternalServerError", "ServiceUnavailable", "TransactionInProgressException"})
"""Codes that leave open whether a write stands."""


class WriteConflict(Exception):
    """Another write was faster.

    ``items``: for each write of the transaction, the item that its failed condition returned. ``was_resent``: the
    client had sent the same write before; that sending may still arrive.
    """

    def __init__(self, items: Sequence[dict[str, Any] | None], *, was_resent: bool) -> None:
        super().__init__("the condition of a write failed")
        self.items = items
        self.was_resent = was_resent


class WriteThrottled(Exception):
    """DynamoDB refused a write for load. ``was_resent``: as of WriteConflict."""

    def __init__(self, *, was_resent: bool) -> None:
        super().__init__("the write was throttled")
        self.was_resent = was_resent


class NoAnswer(Exception):
    """A write was sent and got no answer, or none that tells whether it stands."""


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
        if code in THROTTLING_CODES or (reasons and reasons <= CONFLICT_REASONS | BUSY_REASONS):
            raise WriteThrottled(was_resent=was_resent) from error
        if code in UNKNOWN_CODES:
            raise NoAnswer from error
        raise
    except (BotoConnectionError, HTTPClientError) as error:
        raise NoAnswer from error


def _reasons(error: ClientError) -> list[dict[str, Any]]:
    """Of a cancelled transaction, a reason for each of its items."""
    reasons: list[dict[str, Any]] = error.response.get("CancellationReasons", [])  # type: ignore[assignment]
    return reasons


def _reason_codes(error: ClientError) -> set[str]:
    return {reason.get("Code", "None") for reason in _reasons(error)} - {"None"}
