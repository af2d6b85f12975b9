"""Lets a test act between the calls of the handlers, where another request may come first."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from gyoza_domain.bootstrap import clients


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
    """Call ``act`` once, after the decision of the block's request and before its write."""
    written: list[str] = []

    def once(operation: str, _: dict[str, Any]) -> None:
        if operation in {"TransactWriteItems", "UpdateItem"} and not written:
            written.append(operation)
            act()

    with before_calls(once):
        yield
    assert written, "nothing was written"
