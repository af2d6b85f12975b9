"""Serves the handlers of the API over HTTP on loopback, with the real clock and with sweeps.

    python -m testing.http_api [--engine URL] [--sweep-every SECONDS]

It starts a DynamoDB Local of its own, or uses the one at URL, creates a table there, prints the address of the API and
serves until its standard input ends. Every request needs the header `X-API-Key: test-key`.
"""

import argparse
import os
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from testing.environment import ENVIRONMENT

os.environ |= ENVIRONMENT

import boto3

from gyoza_domain.bootstrap import waking
from testing.dynamodb_local import dynamodb_local
from testing.engine import new_table
from testing.gateway import FUNCTION_OF_ROUTE, Answer, Gateway, resource_of
from testing.table import forget_clients

API_KEY = "test-key"

_STAGE = "/live"
_ROOT = Path(__file__).resolve().parents[1]
_LONGEST_REQUEST_S = 29.0
_FORBIDDEN = '{"detail":"A valid X-API-Key header is required","code":"forbidden"}'
_NOT_FOUND = '{"detail":"There is no such path or method","code":"not_found"}'
_FAILED = '{"detail":"Internal server error","code":"internal_error"}'


class HttpApi(ThreadingHTTPServer):
    """Gives each connection a thread. ``failures`` holds what handlers and sweeps have raised."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def __init__(self, *, one_at_a_time: bool = False) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}{_STAGE}"
        self.failures: list[Exception] = []
        self._gateway = Gateway()
        self._turn: AbstractContextManager[Any] = threading.Lock() if one_at_a_time else nullcontext()

    def answer(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Answer:
        url = urlsplit(target)
        path = url.path.removeprefix(_STAGE)
        if not url.path.startswith(f"{_STAGE}/") or (method, resource_of(method, path)) not in FUNCTION_OF_ROUTE:
            return Answer(404, {}, _NOT_FOUND)
        if {name.lower(): value for name, value in headers.items()}.get("x-api-key") != API_KEY:
            return Answer(403, {}, _FORBIDDEN)
        query: dict[str, list[str]] = {}
        for name, value in parse_qsl(url.query, keep_blank_values=True):
            query.setdefault(name, []).append(value)
        try:
            text: str | bytes | None = body.decode() if body else None
        except UnicodeDecodeError:
            text = body
        answered = self._done(lambda: self._gateway.call(method, path, text, query={**query}, headers=headers))
        return answered or Answer(502, {}, _FAILED)

    def sweep(self) -> None:
        """Wake what is due, as the timer does."""
        self._done(lambda: waking.new_sweep().sweep(lambda: 60.0))

    def _done(self, deed: Callable[[], Any]) -> Any:
        try:
            with self._turn:
                return deed()
        except Exception as error:  # noqa: BLE001 - a test reads them all
            traceback.print_exception(error)
            self.failures.append(error)
            return None


@contextmanager
def served(*, sweep_every_s: float | None = None, one_at_a_time: bool = False) -> Iterator[HttpApi]:
    """Serve the handlers of this process, on its table, while the block runs.

    moto needs ``one_at_a_time``, because it loses writes of several threads. For the same reason sweeps on moto need
    ``gyoza_domain.waking.sweep.THREADS`` to be 1. ``sweep_every_s`` is the pause between two sweeps; None is no sweep.
    """
    ended = threading.Event()

    def sweep() -> None:
        while sweep_every_s is not None and not ended.wait(sweep_every_s):
            server.sweep()

    with HttpApi(one_at_a_time=one_at_a_time) as server:
        threads = [threading.Thread(target=server.serve_forever, args=(0.02,)), threading.Thread(target=sweep)]
        for thread in threads:
            thread.start()
        try:
            yield server
        finally:
            ended.set()
            server.shutdown()
            for thread in threads:
                thread.join()


@dataclass(frozen=True)
class ServedApi:
    """An API that a process of its own serves."""

    url: str
    api_key: str
    pid: int


@contextmanager
def served_by_a_process(engine_url: str, *, sweep_every_s: float | None = 1.0) -> Iterator[ServedApi]:
    """Serve the API on a new table of the engine, from a process of its own, while the block runs."""
    command = [sys.executable, "-m", "testing.http_api", "--engine", engine_url]
    if sweep_every_s is not None:
        command += ["--sweep-every", str(sweep_every_s)]
    paths = os.pathsep.join([str(_ROOT), str(_ROOT / "layers/gyoza_domain")])
    environment = {**os.environ, **ENVIRONMENT, "PYTHONPATH": paths}
    with subprocess.Popen(
        command, cwd=_ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            url = process.stdout.readline().strip()
            assert url, "the server ended before it served"
            yield ServedApi(url, API_KEY, process.pid)
        finally:
            process.stdin.close()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: HttpApi

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        begun = time.monotonic()
        answer = self.server.answer(self.command, self.path, dict(self.headers.items()), body)
        if time.monotonic() - begun > _LONGEST_REQUEST_S:
            answer = Answer(504, {}, _FAILED)
        self.send_response(answer.status)
        for name, value in {"Content-Type": "application/json", **answer.headers}.items():
            self.send_header(name, value)
        content = answer.text.encode()
        if answer.status != 204:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815 - the names that the base class looks up

    def handle(self) -> None:
        try:
            super().handle()
        except ConnectionError:
            self.close_connection = True

    def finish(self) -> None:
        try:
            super().finish()
        except (ConnectionError, ValueError):
            self.connection.close()

    def log_message(self, *_: object) -> None:
        pass


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m testing.http_api", description="Serves the API on loopback.")
    parser.add_argument("--engine", metavar="URL", help="a DynamoDB Local that runs; without it one is started")
    parser.add_argument("--sweep-every", metavar="SECONDS", type=float, help="the pause between two sweeps")
    arguments = parser.parse_args()
    with ExitStack() as stack:
        engine_url = arguments.engine or stack.enter_context(dynamodb_local())
        os.environ["AWS_ENDPOINT_URL_DYNAMODB"] = engine_url
        forget_clients()
        new_table(boto3.client("dynamodb"))
        server = stack.enter_context(served(sweep_every_s=arguments.sweep_every))
        print(server.url, flush=True)
        # The handlers log to standard output, which nobody reads from here on.
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        sys.stdin.read()
    return 0


if __name__ == "__main__":
    sys.exit(main())
