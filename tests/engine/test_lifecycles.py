"""Random lives of a run through handlers and sweeps, beside the model, on a clock that the rules move."""

import json
from collections import Counter
from datetime import datetime, timedelta
from typing import Any, ClassVar
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from gyoza_domain.bootstrap import waking
from gyoza_domain.waking.commands import PassingWaker
from testing.gateway import API_KEY_ID, Answer, Gateway
from testing.timed_runs import TestClock
from tests.support.lifecycle_model import TERMINAL, ModelAttempt, ModelRun
from tests.support.lifecycle_model import Answer as ModelAnswer

WORKERS = ["worker-7", "worker-8"]
TYPES = ["ASSIGNED", "STARTED", "PROGRESS", "INFO", "ERROR", "COMPLETED", "FAILED", "CANCELLED", "RETRIED"]
LASTING = ["STARTED", "PROGRESS", "INFO"]
"""Types that are drawn more often, so that a run lives for a while."""

LONGEST_UNWATCHED_S = 100.0
"""A sweep comes at least this often: an attempt enters the index of claims two minutes before it may be claimed."""

durations = st.none() | st.integers(10, 400)
lease_lengths = st.sampled_from([15, 30, 300])
bodies = st.fixed_dictionaries(
    {
        "retry_policy": st.fixed_dictionaries(
            {"max_attempts": st.integers(1, 5)},
            optional={
                "max_lost": st.integers(0, 3),
                "backoff_s": st.sampled_from([0, 0.5, 20, 200]),
                "backoff_factor": st.sampled_from([1, 2, 10]),
                "max_backoff_s": st.sampled_from([0, 30, 500]),
            },
        )
    },
    optional={
        "start_at": st.integers(-50, 400),
        "queue_ttl_s": durations,
        "attempt_timeout_s": durations,
        "retain_s": st.sampled_from([0, 10, 90_000]),
        "priority": st.integers(0, 9),
    },
)
details = st.fixed_dictionaries(
    {},
    optional={
        "lease_s": lease_lengths,
        "gpu_id": st.integers(0, 3),
        "outputs": st.just({"a": 1}),
        "error_message": st.sampled_from(["", "no"]),
        "reason": st.sampled_from(["interrupted", "lost"]),
        "force": st.booleans(),
    },
)
READ_BY = {
    "ASSIGNED": {"lease_s"},
    "STARTED": {"lease_s", "gpu_id"},
    "COMPLETED": {"outputs"},
    "FAILED": {"error_message", "reason"},
    "RETRIED": {"force"},
}


class Life(RuleBasedStateMachine):
    """One run. ``jitter`` is the random part of the next backoff."""

    seen: ClassVar[Counter[str]] = Counter()
    jitter: ClassVar[float] = 0.0

    def __init__(self, api: Gateway, clock: TestClock) -> None:
        super().__init__()
        self.api = api
        self.clock = clock
        self.watched_at = clock.now()

    @initialize(body=bodies)
    def begin(self, body: dict[str, Any]) -> None:
        self.create(body)

    @precondition(lambda self: self.model.gone)
    @rule(body=bodies)
    def another_run_begins(self, body: dict[str, Any]) -> None:
        self.create(body)

    def create(self, body: dict[str, Any]) -> None:
        if "start_at" in body:
            start_at = self.clock.now() + timedelta(seconds=body["start_at"])
            body = body | {"start_at": start_at.isoformat().replace("+00:00", "Z")}
        self.queue = str(uuid4())
        self.the_timer_looks_at_others()
        self.id: str = self.api.create(queue=self.queue, **body)["id"]
        self.model = ModelRun(body, self.clock.now())

    def the_timer_looks_at_others(self) -> None:
        """Let earlier runs not be due, and note a sweep, so that no standstill spares a lease."""
        self.watched_at = self.clock.now()
        waking.new_sweep().sweep(lambda: 60.0)

    # -- time

    @rule(wait=st.sampled_from([0.000001, 1.0, 7.0, 40.0, 130.0]))
    def time_passes(self, wait: float) -> None:
        self.wait_until(self.clock.now() + timedelta(seconds=wait))

    @precondition(lambda self: self.model.next_instant() is not None)
    @rule(off_by=st.sampled_from([-1, 0, 1]), is_watched=st.booleans())
    def the_next_instant_comes(self, off_by: int, is_watched: bool) -> None:
        instant = self.model.next_instant()
        assert instant is not None
        self.wait_until(instant + timedelta(microseconds=off_by))
        if is_watched:
            self.the_timer_looks()

    @rule()
    def the_timer_looks(self) -> None:
        now = self.watched_at = self.clock.now()
        while any(deed.changed_run for deed in waking.new_sweep().sweep(lambda: 60.0).deeds):
            pass
        while not self.model.gone and self.model.wake(now, jitter=self.jitter):
            self.seen["woken"] += 1

    def wait_until(self, instant: datetime) -> None:
        while self.clock.now() < instant:
            watched_until = self.watched_at + timedelta(seconds=LONGEST_UNWATCHED_S)
            self.clock.at = min(instant, watched_until)
            if self.clock.at == watched_until:
                self.the_timer_looks()

    # -- requests

    @rule(
        type_=st.sampled_from([*TYPES, *LASTING, *LASTING]),
        token=st.sampled_from(["none", "current", "current", "stale"]),
        worker_id=st.sampled_from(WORKERS),
        details=details,
    )
    def a_client_posts(self, type_: str, token: str, worker_id: str, details: dict[str, Any]) -> None:
        payload = {name: value for name, value in details.items() if name in READ_BY.get(type_, set())}
        if type_ == "STARTED" or "lease_s" in payload:
            payload["worker_id"] = worker_id
        body: dict[str, Any] = {"type": type_, "msg": 40 if type_ == "PROGRESS" else "müsli", "payload": payload}
        if token != "none":
            body["attempt"] = self.token(token)
        answer = self.api.post(f"/runs/{self.id}/events", body)
        self.compare(type_, answer, self.model.post_event(body, self.clock.now(), jitter=self.jitter))

    @rule(
        lease_s=lease_lengths, start=st.booleans(), beats=st.integers(0, 3), wait_s=st.sampled_from([1.0, 14.0, 29.0])
    )
    def a_worker_works(self, lease_s: int, start: bool, beats: int, wait_s: float) -> None:
        """Claim the run, which may have to be retried for that, start it and beat for a while."""
        if self.model.state in TERMINAL:
            self.a_user_retries()
        self.a_worker_claims(WORKERS[0], lease_s, start)
        if self.model.state == "ASSIGNED":
            self.a_client_posts("STARTED", "current", WORKERS[0], {})
        for _ in range(beats):
            self.time_passes(wait_s)
            self.a_worker_beats("current", is_claimant=True)

    @rule(worker_id=st.sampled_from(WORKERS), lease_s=lease_lengths, start=st.booleans())
    def a_worker_claims(self, worker_id: str, lease_s: int, start: bool) -> None:
        body = {"worker_id": worker_id, "queues": [self.queue], "lease_s": lease_s, "start": start}
        answer = self.api.post("/runs/claim", body)
        expected = self.model.claim(worker_id, lease_s, start, self.clock.now())
        self.compare("claim", answer, ModelAnswer(204) if expected is None else expected)

    @rule(token=st.sampled_from(["current", "current", "stale"]), is_claimant=st.sampled_from([True, True, False]))
    def a_worker_beats(self, token: str, is_claimant: bool) -> None:
        claimant = self.model.current.claimant or WORKERS[0]
        worker_id = claimant if is_claimant else next(each for each in WORKERS if each != claimant)
        attempt = self.token(token)
        answer = self.api.post(f"/runs/{self.id}/heartbeat", {"attempt": attempt, "worker_id": worker_id})
        self.compare("heartbeat", answer, self.model.heartbeat(attempt, worker_id, self.clock.now()))

    @precondition(lambda self: self.model.state in TERMINAL or self.model.state == "RUNNING")
    @rule()
    def a_user_retries(self) -> None:
        self.compare("retry", self.api.post(f"/runs/{self.id}/retry"), self.model.retry(self.clock.now()))

    @precondition(lambda self: self.model.state == "RUNNING")
    @rule()
    def a_user_cancels(self) -> None:
        self.compare("cancel", self.api.post(f"/runs/{self.id}/cancel"), self.model.cancel(self.clock.now()))

    @precondition(lambda self: self.model.state in {"ASSIGNED", "RUNNING", "COMPLETED"})
    @rule(grace_s=st.sampled_from([1, 10, 60, 3_600]))
    def a_user_asks_for_a_cancel(self, grace_s: int) -> None:
        answer = self.api.post(f"/runs/{self.id}/cancel", {"mode": "ask", "grace_s": grace_s})
        self.compare("ask", answer, self.model.ask_cancel(grace_s, API_KEY_ID, self.clock.now()))

    @rule(
        state=st.sampled_from([None] * 9 + ["ASSIGNED", "RUNNING", "PENDING", "FAILED"]),
        outputs=st.none() | st.just({"by": "hand"}),
        priority=st.none() | st.integers(0, 9),
    )
    def an_operator_edits(self, state: str | None, outputs: dict[str, Any] | None, priority: int | None) -> None:
        edit = {"state": state, "outputs": outputs, "priority": priority}
        answer = self.api.patch(f"/runs/{self.id}", edit)
        expected = self.model.patch(self.clock.now(), state=state, outputs=outputs, priority=priority)
        self.compare("patch", answer, expected)

    def token(self, name: str) -> int:
        return self.model.current.number + (name == "stale")

    def compare(self, what: str, answer: Answer, expected: ModelAnswer) -> None:
        code = answer.json["code"] if answer.status >= 400 else ""
        self.seen[f"{what} {code or answer.status}"] += 1
        assert (answer.status, code) == (expected.status, expected.code), answer.text
        # A process remembers an entry of the index of claims by its instant.
        self.clock.advance(0.000001)

    # -- the comparison

    @invariant()
    def the_run_is_the_model_s(self) -> None:
        answer = self.api.get(f"/runs/{self.id}")
        if self.model.gone:
            assert answer.status == 404
            return
        run = answer.json
        assert {name: _instants(run[name]) for name in self.model.shown(self.clock.now())} == _without_duration(
            self.model.shown(self.clock.now()), run
        )
        timeline = self.api.get(f"/runs/{self.id}/events", after_seq=-1).json["events"]
        assert len(timeline) == len(self.model.events)
        for event, expected in zip(timeline, self.model.events, strict=True):
            place = (event["seq"], event["id"], event["attempt"], event["type"], datetime.fromisoformat(event["t"]))
            assert place == (expected.seq, expected.id, expected.attempt, expected.type, expected.at)
            assert event["payload"].items() >= expected.payload.items()
            assert expected.msg in {None, event["msg"]}
        attempts = self.api.get(f"/runs/{self.id}/attempts").json
        assert [_shown(attempt) for attempt in attempts] == [_shown_of_model(each) for each in self.model.attempts]


def _instants(value: Any) -> Any:
    """The value with texts of instants as instants."""
    if isinstance(value, dict):
        return {name: _instants(each) for name, each in value.items()}
    if isinstance(value, str) and value.endswith("Z"):
        return datetime.fromisoformat(value)
    return value


def _without_duration(shown: dict[str, Any], run: dict[str, Any]) -> dict[str, Any]:
    """The model's values, with the duration that it does not know."""
    summary = shown["execution_summary"] | {"duration_ms": run["execution_summary"]["duration_ms"]}
    return shown | {"execution_summary": summary}


def _shown(attempt: dict[str, Any]) -> dict[str, Any]:
    names = ("attempt", "state", "progress", "outputs", "event_count")
    instants = ("created_at", "assigned_at", "started_at", "finished_at")
    summary = {name: value for name, value in attempt["execution_summary"].items() if name != "duration_ms"}
    return {name: attempt[name] for name in names} | {name: _instants(attempt[name]) for name in instants} | summary


def _shown_of_model(attempt: ModelAttempt) -> dict[str, Any]:
    names = ("state", "progress", "outputs", "event_count", "created_at", "assigned_at", "started_at", "finished_at")
    summary = ("worker_id", "gpu_id", "error_message", "reason")
    return {"attempt": attempt.number} | {name: getattr(attempt, name) for name in (*names, *summary)}


def play(api: Gateway, clock: TestClock, *, examples: int, steps: int) -> None:
    Life.seen.clear()
    machine: Any = seed(examples)(lambda: Life(api, clock))
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        ),
    )
    print(f"{examples} lives: {json.dumps(dict(sorted(Life.seen.items())))}")


@pytest.fixture(autouse=True)
def _one_source_of_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fixes the random part of the backoff, and leaves the timer to the sweeps alone."""
    for module in ("runs.commands", "waking.commands"):
        monkeypatch.setattr(f"gyoza_domain.{module}._system_random.random", lambda: Life.jitter)
    monkeypatch.setattr(PassingWaker, "wake_in_passing", lambda _: 0)


def test_the_handlers_and_the_timer_live_as_the_model(api: Gateway, clock: TestClock) -> None:
    play(api, clock, examples=15, steps=25)
    assert {"woken", "claim 200", "heartbeat 200"} <= set(Life.seen)


@pytest.mark.long
@pytest.mark.longest
def test_the_handlers_and_the_timer_live_as_the_model_for_long(api: Gateway, clock: TestClock) -> None:
    play(api, clock, examples=50, steps=50)
