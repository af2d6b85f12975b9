"""Lets a scripted server ask the handlers of the API, and plays the worker of a run step by step."""

from collections.abc import Callable
from typing import Any

from clients.python.tests.scripted_server import Asked, Reply, Script
from testing.gateway import Gateway

_PASSED_ON = {name.lower(): name for name in ("Idempotency-Key", "Prefer", "If-Match", "If-None-Match")}

Step = Callable[[str], object]
"""Does something to the run with this id."""


def answer_of(api: Gateway, asked: Asked) -> Reply:
    """The handlers' answer."""
    query: dict[str, Any] = {}
    for name, value in asked.query:
        query.setdefault(name, []).append(value)
    headers = {ours: asked.headers[name] for name, ours in _PASSED_ON.items() if name in asked.headers}
    answer = api.call(asked.method, asked.path, asked.body, query=query, headers=headers)
    return Reply(answer.status, answer.text.encode() or None, answer.headers)


def with_worker(api: Gateway, steps: list[Step]) -> Script:
    """A script that does one of the steps before each question for the events of a run."""
    left = list(steps)

    def script(asked: Asked) -> Reply:
        if left and asked.method == "GET" and asked.path.endswith("/events"):
            left.pop(0)(asked.path.split("/")[2])
        return answer_of(api, asked)

    return script


def event(api: Gateway, type_: str, msg: str | int = "", **payload: Any) -> Step:
    return lambda run_id: api.event(run_id, type_, msg=msg, payload=payload)
