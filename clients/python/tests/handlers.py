"""Lets a server on loopback ask the handlers of the API."""

from typing import Any

from clients.python.tests.scripted_server import Asked, Reply
from testing.gateway import Gateway

_HEADERS = {name.lower(): name for name in ("Idempotency-Key", "Prefer", "If-Match", "If-None-Match")}


def answer_of(api: Gateway, asked: Asked) -> Reply:
    query: dict[str, Any] = {}
    for name, value in asked.query:
        query.setdefault(name, []).append(value)
    headers = {ours: asked.headers[name] for name, ours in _HEADERS.items() if name in asked.headers}
    answer = api.call(asked.method, asked.path, asked.body, query=query, headers=headers)
    return Reply(answer.status, answer.text.encode() or None, answer.headers)
