"""A DynamoDB endpoint that answers from memory, in a process of its own: `python -m benchmarks.stub_endpoint`.

A request's path names a recording. `/record/<name>/` forwards to the engine and keeps what it answered.
`/replay/<name>/` answers with what was kept: the operations of a recording in a circle, each kind in its own, so that
every run of the same handler meets the same bytes. An operation that was never recorded is 500.
`GET /calls/<name>` tells the recorded calls as JSON, `GET /count/<name>` how many were replayed.
"""

import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

from benchmarks.places import ROOT

_KEPT_HEADERS = ("Content-Type", "x-amz-crc32", "x-amzn-RequestId")


@dataclass(frozen=True)
class Call:
    operation: str
    parameters: dict[str, Any]
    status: int
    headers: dict[str, str]
    body: bytes


@dataclass
class Recording:
    calls: list[Call] = field(default_factory=list)
    replayed: Counter[str] = field(default_factory=Counter)

    def next_answer(self, operation: str) -> Call | None:
        answers = [call for call in self.calls if call.operation == operation]
        if not answers:
            return None
        self.replayed[operation] += 1
        return answers[(self.replayed[operation] - 1) % len(answers)]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    recordings: dict[str, Recording] = {}  # noqa: RUF012 - one server a process
    engine_host = ""
    lock = threading.Lock()

    def do_POST(self) -> None:
        mode, name = self.path.strip("/").split("/")
        body = self.rfile.read(int(self.headers["Content-Length"]))
        operation = self.headers["X-Amz-Target"].partition(".")[2]
        with self.lock:
            recording = self.recordings.setdefault(name, Recording())
        if mode == "record":
            answer = self._forwarded(operation, body)
            with self.lock:
                recording.calls.append(answer)
        else:
            with self.lock:
                found = recording.next_answer(operation)
            if found is None:
                self._send(500, {}, b'{"__type":"NeverRecorded"}')
                return
            answer = found
        self._send(answer.status, answer.headers, answer.body)

    def do_GET(self) -> None:
        what, name = self.path.strip("/").split("/")
        with self.lock:
            recording = self.recordings.get(name, Recording())
            told: Any = (
                [[call.operation, call.parameters] for call in recording.calls]
                if what == "calls"
                else recording.replayed.total()
            )
        self._send(200, {}, json.dumps(told).encode())

    def _forwarded(self, operation: str, body: bytes) -> Call:
        connection = HTTPConnection(self.engine_host)
        headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
        connection.request("POST", "/", body, headers)
        answer = connection.getresponse()
        kept = {name: answer.headers[name] for name in _KEPT_HEADERS if name in answer.headers}
        call = Call(operation, json.loads(body), answer.status, kept, answer.read())
        connection.close()
        return call

    def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        lines = [f"{name}: {value}" for name, value in {**headers, "Content-Length": str(len(body))}.items()]
        head = "\r\n".join([f"HTTP/1.1 {status} OK", *lines, "", ""])
        self.wfile.write(head.encode("latin-1") + body)

    def log_message(self, *_: object) -> None:
        pass


@dataclass(frozen=True)
class Stub:
    """The endpoint as the driver sees it."""

    url: str

    def recording_url(self, name: str) -> str:
        return f"{self.url}/record/{name}"

    def replay_url(self, name: str) -> str:
        return f"{self.url}/replay/{name}"

    def calls(self, name: str) -> list[tuple[str, dict[str, Any]]]:
        """Operations and parameters as the recorded handler sent them, in order."""
        return [(operation, parameters) for operation, parameters in self._get(f"calls/{name}")]

    def replayed(self, name: str) -> int:
        count: int = self._get(f"count/{name}")
        return count

    def _get(self, path: str) -> Any:
        with urlopen(f"{self.url}/{path}") as answer:
            return json.load(answer)


@contextmanager
def stub_endpoint(engine_url: str) -> Iterator[Stub]:
    """The endpoint, in front of the engine, while the block runs."""
    command = [sys.executable, "-m", "benchmarks.stub_endpoint", engine_url]
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield Stub(process.stdout.readline().strip())
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def main() -> None:
    _Handler.engine_host = urlsplit(sys.argv[1]).netloc
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
