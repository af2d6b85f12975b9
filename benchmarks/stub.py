"""Runs a DynamoDB endpoint in a thread: `/record/<name>` forwards to the engine, `/replay/<name>` repeats its answers.

It repeats the answers of each operation in turn, so that every run of a handler gets the same bytes.
"""

import json
import os
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import urlsplit

_KEPT_HEADERS = ("Content-Type", "x-amz-crc32", "x-amzn-RequestId")


class Call(NamedTuple):
    operation: str
    parameters: dict[str, Any]
    answer: bytes


@dataclass
class Recording:
    calls: list[Call] = field(default_factory=list)
    replayed: Counter[str] = field(default_factory=Counter)

    def next_answer(self, operation: str) -> bytes:
        answers = [call.answer for call in self.calls if call.operation == operation]
        self.replayed[operation] += 1
        if not answers:
            return b"HTTP/1.1 500 Never recorded\r\nContent-Length: 0\r\n\r\n"
        return answers[(self.replayed[operation] - 1) % len(answers)]


class Stub(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, engine_url: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.engine = urlsplit(engine_url).netloc
        self.recordings = defaultdict[str, Recording](Recording)

    def url(self, mode: str, name: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{mode}/{name}"

    def serve(self) -> None:
        """Serve on every CPU except the last, which is for the measured process."""
        allowed = os.sched_getaffinity(0)
        os.sched_setaffinity(0, allowed - {max(allowed)} or allowed)
        self.serve_forever()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Stub

    def do_POST(self) -> None:
        mode, name = self.path.strip("/").split("/")
        body = self.rfile.read(int(self.headers["Content-Length"]))
        operation = self.headers["X-Amz-Target"].partition(".")[2]
        recording = self.server.recordings[name]
        if mode == "record":
            recording.calls.append(Call(operation, json.loads(body), self._forwarded(body)))
            self.wfile.write(recording.calls[-1].answer)
        else:
            self.wfile.write(recording.next_answer(operation))

    def _forwarded(self, body: bytes) -> bytes:
        connection = HTTPConnection(self.server.engine)
        headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
        connection.request("POST", "/", body, headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        kept = [f"{name}: {answer.headers[name]}" for name in _KEPT_HEADERS if name in answer.headers]
        head = [f"HTTP/1.1 {answer.status} {answer.reason}", *kept, f"Content-Length: {len(content)}"]
        return "\r\n".join([*head, "", ""]).encode("latin-1") + content

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def stub_endpoint(engine_url: str) -> Iterator[Stub]:
    """Run the endpoint in front of the engine while the block runs."""
    with Stub(engine_url) as stub:
        thread = threading.Thread(target=stub.serve, daemon=True)
        thread.start()
        try:
            yield stub
        finally:
            stub.shutdown()
            thread.join()
