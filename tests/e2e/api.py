"""An HTTP client that returns every answer, whatever its status."""

import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from email.message import Message
from typing import Any

from local.stack import Endpoint

_REQUEST_LIMIT_S = 60


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Message
    text: str

    @property
    def body(self) -> Any:
        return json.loads(self.text)


class Api:
    """Sends requests to a running stack, with the stack's key by default."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint

    def get(self, path: str, **headers: str) -> Answer:
        return self.send("GET", path, None, **headers)

    def post(self, path: str, body: Any = None, **headers: str) -> Answer:
        return self.send("POST", path, None if body is None else json.dumps(body).encode(), **headers)

    def patch(self, path: str, body: Any) -> Answer:
        return self.send("PATCH", path, json.dumps(body).encode())

    def send(self, method: str, path: str, data: bytes | None, *, key: str | None = "", **headers: str) -> Answer:
        """Send a request. ``key`` replaces the stack's API key; None sends no key."""
        sent = {"Content-Type": "application/json", **headers}
        if key is not None:
            sent["X-API-Key"] = key or self.endpoint.api_key
        request = urllib.request.Request(self.endpoint.url + path, data, sent, method=method)
        try:
            with urllib.request.urlopen(request, timeout=_REQUEST_LIMIT_S) as response:
                return Answer(response.status, response.headers, response.read().decode())
        except urllib.error.HTTPError as refusal:
            with refusal:
                return Answer(refusal.code, refusal.headers, refusal.read().decode())

    def new_run(self, **fields: Any) -> str:
        created = self.post("/runs", {"image": "busybox:1", **fields})
        assert created.status == 201, created
        run_id: str = created.body["id"]
        return run_id

    def event(self, run_id: str, event_type: str, **fields: Any) -> Answer:
        return self.post(f"/runs/{run_id}/events", {"type": event_type, **fields})

    def start(self, run_id: str) -> None:
        assert self.event(run_id, "STARTED", payload={"worker_id": "w-1"}).status == 200
