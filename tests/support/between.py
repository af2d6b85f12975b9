"""Lets a test act between the calls of the handlers, where another request may come first."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from gyoza_domain.bootstrap import clients
from gyoza_domain.dynamodb import keys


@contextmanager
def before_calls(act: Callable[[str, dict[str, Any]], None]) -> Iterator[None]:
    """Call ``act`` with each operation and request of the handlers, before anything else stands in its way."""
    client: Any = clients.dynamodb()
    inner = client._make_api_call

    def call(operation: str, request: dict[str, Any]) -> Any:
        act(operation, request)
        return inner(operation, request)

    client._make_api_call = call
    try:
        yield
    finally:
        client._make_api_call = inner


@contextmanager
def before_first_write(act: Callable[[], object]) -> Iterator[None]:
    """Call ``act`` once, after the first decision on a run in the block and before its write."""
    written: list[str] = []

    def once(operation: str, request: dict[str, Any]) -> None:
        # The note of a sweep is an update too, and comes before its decisions.
        is_beat = operation == "UpdateItem" and request["Key"]["sk"]["S"] == keys.BEAT
        if (operation == "TransactWriteItems" or is_beat) and not written:
            written.append(operation)
            act()

    with before_calls(once):
        yield
    assert written, "nothing was written"
