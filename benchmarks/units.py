"""Calls and units of requests: `tests.support.capacity`, with index queries as the engine itself counts them.

A query of an index is paid by the entries it looks at, whole, which its answer does not tell. The engine does.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from gyoza_domain.bootstrap import clients
from tests.support.capacity import Usage, item_bytes, measured, read_units


@dataclass
class Cost:
    """What one or more requests used."""

    calls: list[str] = field(default_factory=list)
    read_units: float = 0.0
    write_units: int = 0

    @property
    def units(self) -> float:
        """Both kinds together, as a write unit is five times a read unit's price."""
        return 5 * self.write_units + self.read_units


@contextmanager
def counted() -> Iterator[Cost]:
    """Complete once the block is left."""
    cost = Cost()
    corrections: list[float] = []
    events = clients.dynamodb().meta.events
    ask, correct = _index_queries(corrections)
    events.register("provide-client-params.dynamodb.Query", ask)
    events.register("after-call.dynamodb.Query", correct)
    try:
        with measured() as usage:
            yield cost
    finally:
        events.unregister("provide-client-params.dynamodb.Query", ask)
        events.unregister("after-call.dynamodb.Query", correct)
        _fill(cost, usage, sum(corrections))


def _fill(cost: Cost, usage: Usage, correction: float) -> None:
    cost.calls, cost.write_units = usage.calls, usage.write_units
    cost.read_units = usage.read_units + correction


def _index_queries(corrections: list[float]) -> tuple[Callable[..., None], Callable[..., None]]:
    """Two hooks: one asks the engine for its count, one notes by how much that differs from the answer's items."""

    def ask(params: dict[str, Any], **_: object) -> None:
        if "IndexName" in params:
            params["ReturnConsumedCapacity"] = "TOTAL"

    def correct(parsed: dict[str, Any], **_: object) -> None:
        if "ConsumedCapacity" in parsed:
            seen = read_units(sum(item_bytes(item) for item in parsed["Items"]), consistent=False)
            corrections.append(parsed["ConsumedCapacity"]["CapacityUnits"] - seen)

    return ask, correct
