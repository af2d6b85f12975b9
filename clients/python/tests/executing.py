"""Runs `gyoza exec` in a process of its own, against a scripted API of one run."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from clients.python.tests.examples import RUN_ID, T0, run_json
from clients.python.tests.scripted_server import Asked, Reply, ScriptedServer

SOURCE: Final = str(Path(__file__).resolve().parents[1] / "src")

_MAIN: Final = """
import sys
from gyoza_client._exec import command_line, wrapper
{first}
sys.exit(command_line.main(sys.argv[1:]))
"""


class OneRun:
    """Answers as the API does for a run whose lease never runs out, and as ``replies`` say instead.

    It grants leases of ``lease_s``, however short, so that tests need not wait for long ones.
    """

    def __init__(self, server: ScriptedServer, *, lease_s: int = 60, **fields: Any) -> None:
        self.server = server
        self.lease_s = lease_s
        self.fields = fields
        self.replies: dict[str, Reply] = {}
        """By the type of an event, or "heartbeat"."""
        self.cancel_by: str | None = None
        self.times: list[tuple[str, float]] = []
        """When each event and heartbeat came, by time.monotonic."""
        self.worker_id = ""
        server.answers_with(self._answer)

    @property
    def events(self) -> list[Any]:
        return [asked.body for asked in self.server.asked if asked.path.endswith("/events")]

    @property
    def types(self) -> list[str]:
        return [body["type"] for body in self.events]

    @property
    def end(self) -> Any:
        """The last event but for its attempt, which is checked."""
        last = dict(self.events[-1])
        assert last.pop("attempt") == 1
        return last

    def _answer(self, asked: Asked) -> Reply:
        kind = "heartbeat" if asked.path == f"/runs/{RUN_ID}/heartbeat" else asked.body["type"]
        self.times.append((kind, time.monotonic()))
        if kind == "STARTED":
            self.worker_id = asked.body["payload"]["worker_id"]
        if kind in self.replies:
            return self.replies[kind]
        if kind == "STARTED":
            summary = {"worker_id": self.worker_id}
            return Reply(200, run_json("RUNNING", lease_s=self.lease_s, execution_summary=summary) | self.fields)
        if kind == "heartbeat":
            assert asked.body == {"attempt": 1, "worker_id": self.worker_id}
            lease = {"lease_s": self.lease_s, "lease_until": T0}
            return Reply(200, _minimal() | lease | {"cancel_by": self.cancel_by})
        return Reply(200, _minimal() | {"event_count": 1, "last_seq": 1, "updated_at": T0})


def _minimal() -> dict[str, Any]:
    return {"id": RUN_ID, "state": "RUNNING", "current_attempt": 1}


@dataclass
class Execution:
    """A `gyoza exec` that was started. Times out instead of waiting for ever."""

    process: subprocess.Popen[bytes]

    @property
    def guard(self) -> int:
        [guard] = eventually(lambda: children(self.process.pid))
        return int(guard)

    def line(self) -> bytes:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def wait(self, timeout_s: float = 20.0) -> int:
        return self.process.wait(timeout_s)

    def ended(self, timeout_s: float = 20.0) -> tuple[int, bytes, bytes]:
        """The exit code, and what it wrote to its standard and its error output."""
        out, err = self.process.communicate(timeout=timeout_s)
        return self.process.returncode, out, err


@dataclass
class Starter:
    """Starts executions and kills what is left of them."""

    environ: Mapping[str, str]
    started: list[Execution] = field(default_factory=list)

    def __call__(
        self,
        *words: str,
        options: Sequence[str] = (),
        before: Sequence[str] = (),
        environ: Mapping[str, str | None] | None = None,
        first: str = "",
        **more: Any,
    ) -> Execution:
        """``before`` holds words before it, such as unshare's, and ``first`` a statement that it begins with."""
        values = {**self.environ, **(environ or {})}
        files: dict[str, Any] = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
        } | more
        process: subprocess.Popen[bytes] = subprocess.Popen(
            [*before, sys.executable, "-c", _MAIN.format(first=first), *options, "--", *words],
            env={name: value for name, value in values.items() if value is not None},
            **files,
        )
        self.started.append(Execution(process))
        return self.started[-1]

    def sh(self, script: str, **more: Any) -> Execution:
        return self("sh", "-c", script, **more)

    def python(self, script: str, **more: Any) -> Execution:
        return self(sys.executable, "-c", script, **more)

    def end_all(self) -> None:
        for execution in self.started:
            for pid in [*descendants(execution.process.pid), execution.process.pid]:
                if execution.process.poll() is None:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            execution.process.wait(10)
            for stream in (execution.process.stdout, execution.process.stderr):
                if stream is not None:
                    stream.close()


@contextmanager
def starter(url: str, bytecode: Path, temporary: Path) -> Iterator[Starter]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GYOZA_", "AWS_"))}
    environ = kept | {
        "GYOZA_URL": url,
        "GYOZA_API_KEY": "the-secret-key",
        "GYOZA_RUN_ID": RUN_ID,
        "GYOZA_ATTEMPT": "1",
        "PYTHONPATH": SOURCE,
        "PYTHONPYCACHEPREFIX": str(bytecode),
        "PYTHONDONTWRITEBYTECODE": "",
        "TMPDIR": str(temporary),
    }
    starts = Starter(environ)
    try:
        yield starts
    finally:
        starts.end_all()


@pytest.fixture(scope="module")
def bytecode(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all executions share: compiling takes half a second."""
    return tmp_path_factory.mktemp("bytecode")


@pytest.fixture
def start(server: ScriptedServer, bytecode: Path, tmp_path: Path) -> Iterator[Starter]:
    """Starts executions, and looks whether each has removed its temporary folder."""
    (tmp_path / "tmp").mkdir()
    with starter(server.url, bytecode, tmp_path / "tmp") as starts:
        yield starts
    assert list((tmp_path / "tmp").iterdir()) == []


def eventually(look: Callable[[], Any], timeout_s: float = 10.0) -> Any:
    """Returns the first value of the function that is true."""
    end = time.monotonic() + timeout_s
    while not (found := look()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)
    return found


def is_alive(pid: int) -> bool:
    """Whether the process runs: a zombie does not."""
    return _stat(pid)[:1] not in ([], ["Z"], ["X"])


def stop(pid: int) -> None:
    """Stops a process, and returns once it stands still."""
    os.kill(pid, signal.SIGSTOP)
    eventually(lambda: _stat(pid)[:1] == ["T"])


def children(pid: int) -> list[int]:
    return [each for each, parent in _parents().items() if parent == pid]


def descendants(pid: int) -> list[int]:
    parents = _parents()
    found, left = [], [pid]
    while left:
        pid = left.pop()
        below = [each for each, parent in parents.items() if parent == pid]
        found += below
        left += below
    return found


def _parents() -> dict[int, int]:
    stats = {int(path.name): _stat(int(path.name)) for path in Path("/proc").iterdir() if path.name.isdecimal()}
    return {pid: int(stat[1]) for pid, stat in stats.items() if stat and stat[0] not in "ZX"}


def _stat(pid: int) -> list[str]:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return []
    return text[text.rindex(")") + 2 :].split()
