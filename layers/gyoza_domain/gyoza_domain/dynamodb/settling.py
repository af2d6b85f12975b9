"""Repeats a reading that meets half a transaction, after a pause.

DynamoDB applies a transaction item by item, and a query or a batch does not wait for the rest. For some milliseconds a
reader may see HEAD after a transaction and another item before it, or the reverse.
"""

from collections.abc import Callable
from typing import TypeVar

from ..domain.errors import UnreadableRun
from ..runs.pausing import Pauses
from .attributes import UnreadableItem

Value = TypeVar("Value")


class NotThereYet(Exception):
    """The reading did not see an item, or a version of it, that another item promises."""


def settled(read: Callable[[], Value], run_id: str, pauses: Pauses) -> Value:
    """The value of the first reading that sees only whole transactions.

    Raises StorageUnavailable if no reading does within the time, and UnreadableRun.
    """
    while True:
        try:
            return read()
        except NotThereYet:
            pauses.pause()
        except UnreadableItem as unreadable:
            raise UnreadableRun(run_id) from unreadable
