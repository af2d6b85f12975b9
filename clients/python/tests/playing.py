"""Plays an operation without I/O: replies come from a list, and the clock moves by the pauses alone."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from gyoza_client._calling import Caller, Limits
from gyoza_client._operations import Operations
from gyoza_client._steps import Answer, Item, Lost, Operation, Send, Sleep, Stream

T = TypeVar("T")


def answer(body: Any = None, status: int = 200, **headers: str) -> Answer:
    content = b"" if body is None else json.dumps(body).encode()
    return Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, content)


LOST = Lost("the connection broke", maybe_done=True)
NEVER_SENT = Lost("no connection", maybe_done=False)


@dataclass
class Play:
    """Records what the operations of one test sent and how long they slept. The random number is always 1."""

    limits: Limits = field(default_factory=Limits)
    clock: float = 0.0
    sent: list[Send] = field(default_factory=list)
    slept: list[float] = field(default_factory=list)
    seconds_a_request: float = 0.0

    @property
    def operations(self) -> Operations:
        return Operations(Caller(self.limits, now=lambda: self.clock, random=lambda: 1.0))

    def result(self, operation: Operation[T], replies: Iterable[Answer | Lost]) -> T:
        """The result. Fails if the operation sends more or fewer requests than there are replies."""
        left = iter(replies)
        reply: Answer | Lost | None = None
        while True:
            try:
                step = operation.send(reply)
            except StopIteration as end:
                assert next(left, None) is None, "fewer requests than replies"
                result: T = end.value
                return result
            reply = self._do(step, left)

    def items(self, stream: Stream[T], replies: Iterable[Answer | Lost]) -> list[T]:
        left = iter(replies)
        items: list[T] = []
        reply: Answer | Lost | None = None
        while True:
            try:
                step = stream.send(reply)
            except StopIteration:
                assert next(left, None) is None, "fewer requests than replies"
                return items
            if isinstance(step, Item):
                items.append(step.value)
                reply = None
            else:
                reply = self._do(step, left)

    def bodies(self) -> list[Any]:
        return [None if step.body is None else json.loads(step.body) for step in self.sent]

    def _do(self, step: Send | Sleep, left: Any) -> Answer | Lost | None:
        if isinstance(step, Sleep):
            self.slept.append(step.seconds)
            self.clock += step.seconds
            return None
        self.sent.append(step)
        self.clock += self.seconds_a_request
        reply: Answer | Lost | None = next(left, None)
        assert reply is not None, f"more requests than replies: {step}"
        return reply
