"""Calls the run API for the demo."""

import json
import urllib.request
from typing import Any

from .stack import Endpoint

_REQUEST_LIMIT_S = 30

Json = dict[str, Any]


class RunClient:
    """Makes calls that must succeed. Any other answer raises urllib.error.HTTPError."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    def create(self, **body: Any) -> Json:
        return self._call("POST", "/runs", body)

    def define(self, name: str, **body: Any) -> Json:
        """The definition after the put of a version."""
        return self._call("PUT", f"/definitions/{name}", body)

    def create_from(self, name: str, **body: Any) -> Json:
        return self._call("POST", f"/definitions/{name}/runs", body)

    def run(self, run_id: str) -> Json:
        return self._call("GET", f"/runs/{run_id}")

    def events(self, run_id: str, attempt: int, after: int) -> list[Json]:
        """The events of an attempt with an id above ``after`` (-1 for all), at most 1,000."""
        events: list[Json] = self._call("GET", f"/runs/{run_id}/events?attempt={attempt}&after={after}")["events"]
        return events

    def _call(self, method: str, path: str, body: Json | None = None) -> Json:
        request = urllib.request.Request(
            self._endpoint.url + path,
            None if body is None else json.dumps(body).encode(),
            {"X-API-Key": self._endpoint.api_key, "Content-Type": "application/json"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=_REQUEST_LIMIT_S) as response:
            answer: Json = json.load(response)
            return answer
