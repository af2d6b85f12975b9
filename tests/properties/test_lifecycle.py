"""Random lives of a run, beside a model that was written from the promises alone."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gyoza_domain.domain import timers, transitions
from gyoza_domain.domain.errors import GyozaError
from gyoza_domain.domain.run import (
    AttemptResult,
    Backoff,
    CancelRequest,
    Change,
    Event,
    EventType,
    JsonText,
    OpAttempt,
    OpRun,
    Reason,
    Removal,
    State,
    Terms,
)
from gyoza_domain.domain.transitions import INDEXED_AHEAD, MANUAL_RETRY, USER_CANCEL, EventDraft, NotClaimable
from tests.support.lifecycle_model import Answer, ModelAttempt, ModelEvent, ModelRun

CREATED = datetime(2026, 3, 2, 20, 0, 0, 42_000, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
WORKERS = ["worker-7", "worker-8"]
LASTING = [EventType.STARTED, EventType.PROGRESS, EventType.INFO]
"""Types that are drawn more often, so that a run lives for a while."""

durations = st.none() | st.integers(10, 400)
lease_lengths = st.sampled_from([15, 30, 300])

retry_policies = st.fixed_dictionaries(
    {"max_attempts": st.integers(1, 5)},
    optional={
        "max_lost": st.integers(0, 3),
        "backoff_s": st.sampled_from([0, 0.5, 20, 200]),
        "backoff_factor": st.sampled_from([1, 2, 10]),
        "max_backoff_s": st.sampled_from([0, 30, 500]),
    },
)
bodies = st.fixed_dictionaries(
    {"retry_policy": retry_policies},
    optional={
        "start_at": st.integers(-50, 400).map(lambda s: CREATED + timedelta(seconds=s)),
        "queue_ttl_s": durations,
        "attempt_timeout_s": durations,
        "retain_s": st.sampled_from([0, 10, 90_000]),
        "event_delivery": st.just({"topic": "t"}),
        "priority": st.integers(0, 9),
    },
)


def terms_of(body: dict[str, Any]) -> Terms:
    policy = body["retry_policy"]
    return Terms(
        start_at=body.get("start_at"),
        queue_ttl_s=body.get("queue_ttl_s"),
        attempt_timeout_s=body.get("attempt_timeout_s"),
        backoff=Backoff(policy.get("backoff_s"), policy.get("backoff_factor"), policy.get("max_backoff_s")),
        max_lost=policy.get("max_lost"),
        retain_s=body.get("retain_s"),
        is_delivering="event_delivery" in body,
    )


def draft_of(body: dict[str, Any]) -> EventDraft:
    payload = body["payload"]
    apart = {"outputs", "error_message"}
    rest = {name: value for name, value in payload.items() if name not in apart}
    return EventDraft(
        EventType(body["type"]),
        msg=body["msg"],
        payload=JsonText(json.dumps(rest)),
        worker_id=payload.get("worker_id"),
        gpu_id=payload.get("gpu_id"),
        lease_s=payload.get("lease_s"),
        outputs=JsonText(json.dumps(payload["outputs"])) if "outputs" in payload else None,
        error_message=payload.get("error_message"),
        reason=Reason.INTERRUPTED if payload.get("reason") == "interrupted" else None,
        force=payload.get("force", False),
        attempt=body["attempt"],
    )


def code_of(error: GyozaError) -> str:
    return re.sub(r"(?<!^)([A-Z])", r"_\1", type(error).__name__).lower()


class Life(RuleBasedStateMachine):
    """One run under a clock that the rules move, beside the model."""

    @initialize(body=bodies, default_retain_s=st.sampled_from([None, 60]))
    def create(self, body: dict[str, Any], default_retain_s: int | None) -> None:
        self.now = CREATED
        self.default_retain_s = default_retain_s
        terms = terms_of(body)
        self.run = OpRun(
            "6f1c2a54-9d1b-4c55-8a39-2f0f5c7be911",
            CREATED,
            CREATED,
            transitions.new_attempt(terms, CREATED),
            priority=body.get("priority", 5),
            max_attempts=body["retry_policy"]["max_attempts"],
            terms=terms,
        )
        self.is_removed = False
        self.events: list[Event] = []
        self.closed: list[OpAttempt] = []
        self.model = ModelRun(body, CREATED, default_retain_s=default_retain_s)

    # -- time

    @rule(wait=st.sampled_from([0.0, 0.000001, 1.0, 7.0, 40.0, 130.0]))
    def time_passes(self, wait: float) -> None:
        self.now += timedelta(seconds=wait)

    @precondition(lambda self: not self.is_removed)
    @rule(off_by=st.sampled_from([-1, 0, 1]), wakes=st.integers(0, 2), jitter=st.sampled_from([0.0, 1.0]))
    def the_next_instant_comes(self, off_by: int, wakes: int, jitter: float) -> None:
        instants = [self.model.next_instant(), self.run.attempt.not_before]
        ahead = [each for each in instants if each is not None and each > self.now]
        if not ahead:
            return
        self.now = max(self.now, min(ahead) + off_by * MICROSECOND)
        for _ in range(wakes):
            self.the_timer_looks(jitter)

    @rule(jitter=st.floats(0, 1))
    def the_timer_looks(self, jitter: float) -> None:
        if self.is_removed:
            return
        acted = False
        while True:
            decision = timers.wake(self.run, self.now, jitter=jitter, default_retain_s=self.default_retain_s)
            if isinstance(decision, Removal):
                self.is_removed = acted = True
            elif decision is not None:
                self.apply(decision)
                acted = bool(decision.events)
                if not acted:
                    # The run entered the index of claims, of which the model knows nothing.
                    assert replace(decision.after, version=0, attempt=decision.before.attempt) == replace(
                        decision.before, version=0
                    )
                    continue
            break
        assert acted == self.model.wake(self.now, jitter=jitter)

    # -- workers

    @rule(
        event_type=st.sampled_from([*EventType, *LASTING, *LASTING]),
        token=st.sampled_from(["none", "current", "current", "stale"]),
        worker_id=st.sampled_from(WORKERS),
        details=st.fixed_dictionaries(
            {},
            optional={
                "lease_s": lease_lengths,
                "gpu_id": st.integers(0, 3),
                "outputs": st.just({"a": 1}),
                "error_message": st.sampled_from(["", "no"]),
                "reason": st.sampled_from(["interrupted", "lost"]),
                "force": st.booleans(),
            },
        ),
        jitter=st.floats(0, 1),
    )
    def a_client_posts(
        self,
        event_type: EventType,
        token: str,
        worker_id: str,
        details: dict[str, Any],
        jitter: float,
    ) -> None:
        read_by = {
            EventType.ASSIGNED: {"lease_s"},
            EventType.STARTED: {"lease_s", "gpu_id"},
            EventType.COMPLETED: {"outputs"},
            EventType.FAILED: {"error_message", "reason"},
            EventType.RETRIED: {"force"},
        }
        payload = {name: value for name, value in details.items() if name in read_by.get(event_type, set())}
        if event_type is EventType.STARTED or "lease_s" in payload:
            payload["worker_id"] = worker_id
        body = {
            "type": event_type.value,
            "msg": 40 if event_type is EventType.PROGRESS else "müsli",
            "payload": payload,
            "attempt": self.token(token),
        }
        self.compare(
            lambda: transitions.append_event(
                self.run, draft_of(body), self.now, jitter=jitter, default_retain_s=self.default_retain_s
            ),
            lambda: self.model.post_event(body, self.now, jitter=jitter),
        )

    @precondition(lambda self: self.run.state is State.ASSIGNED)
    @rule(is_claimant=st.sampled_from([True, True, False]), lease_s=st.none() | lease_lengths)
    def a_worker_starts(self, is_claimant: bool, lease_s: int | None) -> None:
        details = {} if lease_s is None else {"lease_s": lease_s}
        self.a_client_posts(EventType.STARTED, "current", self.worker(is_claimant), details, 0.0)

    @precondition(lambda self: self.run.state is State.PENDING or self.run.attempt.number > 2)
    @rule(worker_id=st.sampled_from(WORKERS), lease_s=lease_lengths, start=st.booleans())
    def a_worker_claims(self, worker_id: str, lease_s: int, start: bool) -> None:
        self.compare(
            lambda: transitions.claim(self.run, worker_id, lease_s, self.now, start=start),
            lambda: self.model.claim(worker_id, lease_s, start, self.now),
        )

    @rule(token=st.sampled_from(["current", "current", "stale"]), is_claimant=st.sampled_from([True, True, False]))
    def a_worker_beats(self, token: str, is_claimant: bool) -> None:
        attempt, worker_id = self.token(token), self.worker(is_claimant)
        assert attempt is not None

        def beat() -> Change:
            lease = transitions.heartbeat(self.run, attempt, worker_id, self.now)
            return Change(self.run, replace(self.run, attempt=replace(self.run.attempt, lease=lease)))

        self.compare(beat, lambda: self.model.heartbeat(attempt, worker_id, self.now))

    @rule(count=st.integers(1, 11), lease_s=lease_lengths)
    def workers_claim_and_die(self, count: int, lease_s: int) -> None:
        for _ in range(count):
            self.a_worker_claims("worker-7", lease_s, start=False)
            lease = self.run.attempt.lease
            if self.is_removed or lease is None:
                return
            self.now = max(self.now, lease.until)
            self.the_timer_looks(0.5)

    # -- users

    @precondition(lambda self: self.run.state is not State.PENDING or self.run.attempt.number > 2)
    @rule()
    def a_user_retries(self) -> None:
        self.compare(
            lambda: transitions.append_event(self.run, MANUAL_RETRY, self.now), lambda: self.model.retry(self.now)
        )

    @precondition(lambda self: self.run.state is not State.PENDING or self.run.attempt.number > 2)
    @rule()
    def a_user_cancels(self) -> None:
        self.compare(
            lambda: transitions.append_event(self.run, USER_CANCEL, self.now, default_retain_s=self.default_retain_s),
            lambda: self.model.cancel(self.now),
        )

    @precondition(lambda self: self.run.state is not State.PENDING or self.run.attempt.number > 2)
    @rule(grace_s=st.sampled_from([1, 10, 60, 3_600]), by=st.none() | st.just("key-1"))
    def a_user_asks_for_a_cancel(self, grace_s: int, by: str | None) -> None:
        self.compare(
            lambda: transitions.ask_cancel(self.run, grace_s, by, self.now, default_retain_s=self.default_retain_s),
            lambda: self.model.ask_cancel(grace_s, by, self.now),
        )

    @rule(
        state=st.sampled_from([None, None, None, State.ASSIGNED, State.RUNNING, *State]),
        outputs=st.none() | st.just({"by": "hand"}),
        priority=st.none() | st.integers(0, 9),
    )
    def an_operator_edits(self, state: State | None, outputs: dict[str, Any] | None, priority: int | None) -> None:
        if (state, outputs, priority) == (None, None, None):
            return
        self.compare(
            lambda: transitions.patch(
                self.run,
                self.now,
                state=state,
                outputs=None if outputs is None else JsonText(json.dumps(outputs)),
                priority=priority,
                default_retain_s=self.default_retain_s,
            ),
            lambda: self.model.patch(self.now, state=state and state.value, outputs=outputs, priority=priority),
        )

    # -- the comparison

    def token(self, name: str) -> int | None:
        current = self.run.attempt.number
        return {"none": None, "current": current, "stale": current + 1}[name]

    def worker(self, is_claimant: bool) -> str:
        """The claimant, or a worker that has no lease."""
        lease = self.run.attempt.lease
        claimant = WORKERS[0] if lease is None else lease.worker_id
        return claimant if is_claimant else next(worker for worker in WORKERS if worker != claimant)

    def compare(self, decide: Callable[[], Change], answer: Callable[[], Answer | None]) -> None:
        if self.is_removed:
            return
        change: Change | None = None
        code: str | None = ""
        try:
            change = decide()
        except NotClaimable:
            code = None
        except GyozaError as error:
            code = code_of(error)
        expected = answer()
        assert code == (None if expected is None else expected.code)
        if change is not None:
            self.apply(change)

    def apply(self, change: Change) -> None:
        assert change.before == self.run
        self.run = change.after
        self.events += change.events
        if change.closed is not None:
            self.closed.append(change.closed)

    @invariant()
    def the_timeline_is_the_model_s(self) -> None:
        assert len(self.events) == len(self.model.events)
        for event, expected in zip(self.events, self.model.events, strict=True):
            assert_event(event, expected)

    @invariant()
    def every_attempt_is_the_model_s(self) -> None:
        attempts = [*self.closed, self.run.attempt]
        shown = [shown_of_attempt(self.run, attempt) for attempt in attempts]
        assert shown == [shown_of_model(attempt) for attempt in self.model.attempts]

    @invariant()
    def the_run_shows_what_the_model_shows(self) -> None:
        assert ({} if self.is_removed else shown_of_run(self.run, self.now)) == self.model.shown(self.now)

    @invariant()
    def no_instant_is_missed_and_none_is_early(self) -> None:
        if self.is_removed:
            return
        attempt = self.run.attempt
        own = [timers.due_at(self.run), None if attempt.lease is None else attempt.lease.until]
        expected = [self.model.next_instant(), instant_of_index(self.run)]
        assert min(filter(None, own), default=None) == min(filter(None, expected), default=None)

    @invariant()
    def the_index_of_claims_holds_what_may_be_claimed_soon(self) -> None:
        attempt = self.run.attempt
        if attempt.is_indexed:
            assert attempt.state is State.PENDING
            assert attempt.is_offered
            assert attempt.not_before is None or attempt.not_before - self.now <= INDEXED_AHEAD
        elif attempt.state is State.PENDING and attempt.is_offered and not self.is_removed:
            assert instant_of_index(self.run) is not None, "the timer brings it in"


def instant_of_index(run: OpRun) -> datetime | None:
    """The instant at which a run that may not be claimed soon enters the index of claims."""
    attempt = run.attempt
    waits = attempt.state is State.PENDING and attempt.is_offered and not attempt.is_indexed
    return attempt.not_before - INDEXED_AHEAD if waits and attempt.not_before is not None else None


def assert_event(event: Event, expected: ModelEvent) -> None:
    assert (event.seq, event.id, event.attempt, event.type, event.at, event.state) == (
        expected.seq,
        expected.id,
        expected.attempt,
        expected.type,
        expected.at,
        expected.state,
    )
    payload = json.loads(event.posted_payload)
    if expected.msg is None:
        assert payload.items() >= expected.payload.items()
    else:
        assert (event.msg, payload) == (expected.msg, expected.payload)


def shown_of_attempt(run: OpRun, attempt: OpAttempt) -> dict[str, Any]:
    claim, result = attempt.claim, attempt.result or AttemptResult()
    return {
        "number": attempt.number,
        "created_at": attempt.began_at or run.created_at,
        "state": attempt.state,
        "reason": attempt.reason,
        "assigned_at": attempt.assigned_at,
        "started_at": attempt.started_at,
        "finished_at": attempt.finished_at,
        "progress": attempt.progress,
        "outputs": json.loads(result.outputs),
        "worker_id": claim and claim.worker_id,
        "gpu_id": claim and claim.gpu_id,
        "error_message": result.error_message,
        "event_count": attempt.event_count,
    }


def shown_of_model(attempt: ModelAttempt) -> dict[str, Any]:
    return {
        "number": attempt.number,
        "created_at": attempt.created_at,
        "state": attempt.state,
        "reason": attempt.reason,
        "assigned_at": attempt.assigned_at,
        "started_at": attempt.started_at,
        "finished_at": attempt.finished_at,
        "progress": attempt.progress,
        "outputs": attempt.outputs,
        "worker_id": attempt.worker_id,
        "gpu_id": attempt.gpu_id,
        "error_message": attempt.error_message,
        "event_count": attempt.event_count,
    }


def shown_of_run(run: OpRun, now: datetime) -> dict[str, Any]:
    """The fields of the run that a whole answer shows, by the names of the model."""
    attempt = run.attempt
    shown, cancel, lease = shown_of_attempt(run, attempt), attempt.cancel, attempt.lease
    waits = attempt.not_before is not None and attempt.not_before > now
    return {
        "state": attempt.state,
        "current_attempt": attempt.number,
        "last_seq": run.last_seq,
        "event_count": attempt.event_count,
        "progress": attempt.progress,
        "execution_summary": {name: shown[name] for name in ("worker_id", "gpu_id", "error_message", "reason")},
        "not_before": attempt.not_before if waits else None,
        "lease_s": lease and lease.lease_s,
        "lease_until": lease and lease.until,
        "deadline": attempt.deadline,
        "cancel": cancel and shown_of_cancel(cancel),
        "cancel_by": cancel and cancel.cancel_by,
        "priority": run.priority,
        "updated_at": run.updated_at,
    }


def shown_of_cancel(cancel: CancelRequest) -> dict[str, Any]:
    return {"requested_at": cancel.requested_at, "by": cancel.by, "outcome": cancel.outcome}


TestLife = Life.TestCase
TestLife.settings = settings(deadline=None, max_examples=200, stateful_step_count=40)
