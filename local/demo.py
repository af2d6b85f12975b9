"""Plays the jobs of `make run`: a run that succeeds, one that fails and is retried, one from a definition, and one
whose worker is killed.

A queue subscribes to their topic and shows the pushed messages.
"""

import json
import math
import os
import subprocess
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, suppress
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from gyoza_client import GyozaClient, GyozaError, Run, State

from .processes import running
from .screen import Screen
from .stack import PYTHON, ROOT, Endpoint
from .subscriber import Subscriber

_WORKER = ROOT / "examples/text_worker.py"
IMAGE = "example/text-statistics:1"
_RHYMES = ROOT / "examples/rhymes.json"
_DEFINITION = ROOT / "examples/text_statistics.json"
_DEFINITION_NAME = "text-statistics"
QUEUE = "text-statistics"
_TOPIC = "demo.fifo"
_PACE_S = 0.3
_PACE_OF_KILLED_S = 2.0
_LEASE_OF_KILLED_S = 15
"""The shortest lease that a worker may ask for."""
_GRACE_S = 1.0
"""Short, because whoever stops the stack waits for it."""
_LOOK_INTERVAL_S = 0.2
_LOOK_AT_QUEUE_INTERVAL_S = 2.0
_START_AGAIN_S = 20.0
_PAGE = 100
_RUN_LIMIT_S = 60.0
_LOSS_LIMIT_S = _LEASE_OF_KILLED_S + 150.0
"""The end of a lease is noticed within two minutes (docs/guarantees.md)."""
_SAY_AGAIN_S = 5.0
_CALL_LIMIT_S = 30.0
_MOST_REPEATS = 2
"""Few, so that the death of the emulator is soon noticed."""
_CHARACTERS_A_DOCUMENT = 20_000


class DemoFailed(Exception):
    """A run of the demo did not end as it should."""


def play(endpoint: Endpoint, screen: Screen, folder: Path) -> str:
    """Play the runs that take seconds, each with a worker in another process. The newest log is in ``folder``.

    The screen shows their timelines as they grow. Returns the id of the run whose first attempt has failed. Raises
    DemoFailed.
    """
    documents = _own_sources()
    with (
        _client(endpoint) as client,
        closing(Subscriber(endpoint, _TOPIC)) as subscriber,
        screen.never_silent("  Waiting for the next event ..."),
    ):
        stage = _Stage(client, subscriber, screen)
        screen.title("A run: statistics of this project's own sources")
        timeline = stage.new_run(inputs={"documents": documents})
        _play_through(timeline, endpoint, folder / "worker.log")
        words = sum(document["words"] for document in timeline.run.outputs["documents"].values())
        screen.line(f"  outputs: {words:,} words in {len(documents)} documents")

        screen.title("A run whose first attempt fails, with max_attempts 2")
        inputs = json.loads(_RHYMES.read_text()) | {"fail_attempts": [1]}
        retried = stage.new_run(inputs=inputs, retry_policy={"max_attempts": 2})
        _play_through(retried, endpoint, folder / "worker.log")

        screen.title("A run from a definition, which checks its inputs and fills in what is missing")
        _play_through(stage.new_run_from_definition({"documents": documents}), endpoint, folder / "worker.log")
        return retried.run.id


def play_loss(endpoint_now: Callable[[], Endpoint], screen: Screen, folder: Path) -> Generator[None]:
    """Play a run whose worker is killed and which another worker finishes. Yields between two looks at the run.

    It takes up to three minutes: the lease of the killed worker, and the time until the timer looks. A line every five
    seconds tells the screen what it waits for. As soon as the worker is killed, and until the iterator is closed, a new
    worker is started whenever a run waits in the queue, whoever has created it. The logs are in ``folder``. Raises
    DemoFailed.
    """
    with closing(_WorkerOnDemand(endpoint_now, folder / "second-worker.log")) as second:
        endpoint = endpoint_now()
        with _client(endpoint) as client, closing(Subscriber(endpoint, _TOPIC)) as subscriber:
            yield from _play_loss(_Stage(client, subscriber, screen), endpoint, folder / "killed-worker.log", second)
        while True:
            second.start_if_needed()
            yield


def _play_loss(stage: "_Stage", endpoint: Endpoint, log: Path, second: "_WorkerOnDemand") -> Iterator[None]:
    screen = stage.screen
    screen.title("A run whose worker is killed, with max_lost 1: up to three minutes")
    timeline = stage.new_run(inputs={"documents": _own_sources()}, retry_policy={"max_lost": 1})
    with _worker(endpoint, log, pace_s=_PACE_OF_KILLED_S, lease_s=_LEASE_OF_KILLED_S) as first:
        yield from timeline.until(timeline.has_progress, _RUN_LIMIT_S, log)
        first.kill()
        first.wait()
    screen.line(f"  kill -9: worker {timeline.run.execution_summary.worker_id} is gone, and tells nobody")
    wait = _Wait(timeline, screen)
    for _ in timeline.until(timeline.is_retried, _LOSS_LIMIT_S, log):
        wait.tell()
        second.start_if_needed()
        yield
    for _ in timeline.until(timeline.is_complete, _RUN_LIMIT_S, second.log):
        second.start_if_needed()
        yield
    screen.line(f"  worker {timeline.run.execution_summary.worker_id} has finished the run")


class _WorkerOnDemand:
    """Starts the example worker if a run of its queue waits. The worker ends when it finds no more."""

    def __init__(self, endpoint_now: Callable[[], Endpoint], log: Path) -> None:
        self.log = log
        self._endpoint_now = endpoint_now
        self._looked = self._started = -math.inf
        self._known: set[tuple[str, int]] = set()
        self._process: subprocess.Popen[bytes] | None = None
        self._running = ExitStack()

    def start_if_needed(self) -> None:
        """Look at the queue, but not too often, and not while a worker is at work."""
        now = time.monotonic()
        is_at_work = self._process is not None and self._process.poll() is None
        if is_at_work or now < self._looked + _LOOK_AT_QUEUE_INTERVAL_S:
            return
        self._looked = now
        waiting = self._waiting_attempts()
        # The worker does not fit every run, and a run may wait for its time.
        if waiting - self._known or (waiting and now > self._started + _START_AGAIN_S):
            self._known, self._started = waiting, now
            self.close()
            worker = _worker(self._endpoint_now(), self.log, pace_s=_PACE_S, idle_s=0)
            self._process = self._running.enter_context(worker)

    def _waiting_attempts(self) -> set[tuple[str, int]]:
        # An edited function may answer anything.
        with suppress(GyozaError), _client(self._endpoint_now()) as client:
            newest = islice(client.list_run_summaries(state=State.PENDING, limit=_PAGE), _PAGE)
            return {(run.id, run.current_attempt) for run in newest if run.queue == QUEUE}
        return set()

    def close(self) -> None:
        self._running.close()


class _Stage:
    """Creates the runs of the demo, whose pushed events come to ``subscriber``."""

    def __init__(self, client: GyozaClient, subscriber: Subscriber, screen: Screen) -> None:
        self.screen = screen
        self._client = client
        self._subscriber = subscriber

    def new_run(self, inputs: Mapping[str, Any], retry_policy: Mapping[str, int] | None = None) -> "_Timeline":
        run = self._client.create_run(
            IMAGE, inputs, queue=QUEUE, event_delivery={"topic": _TOPIC}, retry_policy=retry_policy
        )
        self.screen.line(f"  run {run.id}")
        return _Timeline(self._client, self._subscriber, self.screen, run)

    def new_run_from_definition(self, inputs: Mapping[str, Any]) -> "_Timeline":
        """Put the definition of the example worker, and create a run from it."""
        definition = json.loads(_DEFINITION.read_text())
        self._client.upsert_definition(_DEFINITION_NAME, **definition, event_delivery={"topic": _TOPIC})
        run = self._client.create_run_from_definition(_DEFINITION_NAME, inputs)
        self.screen.line(f"  run {run.id} of {run.op_definition} {run.op_version}, revision {run.op_revision}")
        return _Timeline(self._client, self._subscriber, self.screen, run)


class _Timeline:
    """A run of the demo, as it was last read. The screen shows its polled and its pushed events."""

    def __init__(self, client: GyozaClient, subscriber: Subscriber, screen: Screen, run: Run) -> None:
        self.run = run
        self._client = client
        self._subscriber = subscriber
        self._screen = screen
        self._last_shown = -1
        self._last_pushed: int | None = None

    def has_progress(self) -> bool:
        return self.run.progress > 0

    def is_retried(self) -> bool:
        return self.run.current_attempt > 1

    def is_complete(self) -> bool:
        """True if the run is COMPLETED and all its events were shown and pushed."""
        return self.run.state == State.COMPLETED and self._last_shown == self._last_pushed == self.run.last_seq

    def until(self, is_so: Callable[[], bool], limit_s: float, worker_log: Path) -> Iterator[None]:
        """Look at the run, between two yields, until it is as wanted.

        Raises DemoFailed if it ends otherwise, or if it is not so within the limit.
        """
        deadline = time.monotonic() + limit_s
        while True:
            self._look()
            if is_so():
                return
            is_failed = self.run.is_terminal and self.run.state != State.COMPLETED
            if is_failed or time.monotonic() > deadline:
                raise DemoFailed(
                    f"run {self.run.id} is {self.run.state} and was pushed up to {self._last_pushed} of"
                    f" {self.run.last_seq}; what the worker says is in {worker_log}"
                )
            yield

    def _look(self) -> None:
        """Show what is new."""
        # The run is read first: all its events up to its last_seq are there by then.
        self.run = self._client.get_run(self.run)
        for event in self._client.list_events(self.run, after_seq=self._last_shown):
            self._screen.event(event)
            self._last_shown = event.seq
        for message, _ in self._subscriber.receive(wait_s=0):
            if message["data"]["run_id"] == self.run.id:
                self._screen.pushed(message)
                self._last_pushed = message["data"]["seq"]


class _Wait:
    """Tells every five seconds what a run waits for after the death of its worker."""

    def __init__(self, timeline: _Timeline, screen: Screen) -> None:
        self._timeline = timeline
        self._screen = screen
        self._begun = self._told = time.monotonic()

    def tell(self) -> None:
        now = time.monotonic()
        if now - self._told < _SAY_AGAIN_S:
            return
        self._told = now
        lease_until = self._timeline.run.lease_until
        left_s = 0.0 if lease_until is None else (lease_until - datetime.now(UTC)).total_seconds()
        thing = f"the end of the lease, in {left_s:.0f} s" if left_s > 0 else "the timer, which looks once a minute"
        self._screen.line(f"  {now - self._begun:3.0f} s  waits for {thing}")


def _play_through(timeline: _Timeline, endpoint: Endpoint, log: Path) -> None:
    # An idle worker would ask for the run only after seconds. A new one asks at once.
    with _worker(endpoint, log, pace_s=_PACE_S):
        for _ in timeline.until(timeline.is_complete, _RUN_LIMIT_S, log):
            time.sleep(_LOOK_INTERVAL_S)


def _client(endpoint: Endpoint) -> GyozaClient:
    return GyozaClient(
        endpoint.url, endpoint.api_key, timeout=_CALL_LIMIT_S, call_timeout=_CALL_LIMIT_S, max_retries=_MOST_REPEATS
    )


def _worker(
    endpoint: Endpoint, log: Path, *, pace_s: float, **more: float
) -> AbstractContextManager[subprocess.Popen[bytes]]:
    """The example worker in another process. ``more`` are its other settings, as ``lease_s``."""
    settings = {"pace_s": pace_s, "grace_s": _GRACE_S, **more}
    env = os.environ | {"GYOZA_URL": endpoint.url, "GYOZA_API_KEY": endpoint.api_key}
    env |= {f"WORKER_{name.upper()}": str(value) for name, value in settings.items()}
    return running([str(PYTHON), str(_WORKER)], env=env, log=log)


def _own_sources() -> dict[str, str]:
    paths = sorted(Path(ROOT / "functions").glob("*/app.py"))
    return {str(path.relative_to(ROOT)): path.read_text()[:_CHARACTERS_A_DOCUMENT] for path in paths}
