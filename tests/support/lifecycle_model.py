"""A reference model of the life of one run, under a clock that the caller holds.

The model follows the promises of the API and shares no code with the product. A test drives the model and the product
with the same steps and compares their answers, timelines and shown values. The model keeps one run in memory, makes no
input or output, and never reads the clock.

Bodies are expected to be valid by shape: the model answers none of the 422 and 413 refusals. A comment that begins with
`reading:` marks a place that the promises leave open and names the choice made there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

PENDING = "PENDING"
ASSIGNED = "ASSIGNED"
RUNNING = "RUNNING"
COMPLETED = "COMPLETED"
FAILED = "FAILED"
CANCELLED = "CANCELLED"

LIVE = frozenset({PENDING, ASSIGNED, RUNNING})
TERMINAL = frozenset({COMPLETED, FAILED, CANCELLED})

# The states in which a run accepts each event. RETRIED has rules of its own.
ACCEPTED_IN: dict[str, frozenset[str]] = {
    "ASSIGNED": frozenset({PENDING}),
    "STARTED": frozenset({PENDING, ASSIGNED}),
    "PROGRESS": frozenset({RUNNING}),
    "INFO": LIVE,
    "ERROR": LIVE,
    "COMPLETED": frozenset({RUNNING}),
    "FAILED": LIVE,
    "CANCELLED": LIVE,
}
NEEDS_ATTEMPT_UNDER_LEASE = frozenset({"STARTED", "RETRIED", "PROGRESS", "COMPLETED", "FAILED"})
HELD_BACK_UNTIL_NOT_BEFORE = frozenset({"ASSIGNED", "STARTED"})
LOSSES = frozenset({"lost", "interrupted"})

# The number of returns in a row, this one included, at which a lost ASSIGNED run is failed instead.
LAST_RETURN_IN_A_ROW = 10
# The least retention of a run with an event delivery.
LEAST_RETENTION_WITH_DELIVERY_S = 86_400

Cause = Literal["lost", "timed_out", "expired", "cancel_not_acknowledged", "retention"]


@dataclass(frozen=True)
class Answer:
    """The status of an answer and, for a refusal, its stable code."""

    status: int
    code: str = ""


OK = Answer(200)
NOT_FOUND = Answer(404, "run_not_found")
STALE_ATTEMPT = Answer(409, "stale_attempt")
ATTEMPT_REQUIRED = Answer(400, "attempt_required")
NOT_CLAIMANT = Answer(409, "not_claimant")
NOT_YET = Answer(400, "not_yet")
NOT_LEASED = Answer(400, "not_leased")
RUN_LOCKED = Answer(400, "run_locked")
INVALID_TRANSITION = Answer(400, "invalid_transition")
RETRY_BUDGET_SPENT = Answer(400, "retry_budget_spent")


@dataclass
class ModelEvent:
    """An entry of the timeline.

    `msg` is None if nothing is promised about it. The payload of an event that the server appends holds only the
    promised members. `state` is the state of the run after the whole write that the event belongs to.
    """

    seq: int
    id: int
    attempt: int
    type: str
    at: datetime
    msg: str | int | None
    payload: dict[str, Any]
    state: str = ""


@dataclass
class ModelAttempt:
    """One try at the run, with the lease, the deadline and the backoff that belong to it."""

    number: int
    created_at: datetime
    state: str = PENDING
    reason: str | None = None
    assigned_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    progress: int = 0
    outputs: dict[str, Any] = field(default_factory=dict)
    worker_id: str | None = None
    gpu_id: int | None = None
    error_message: str | None = None
    event_count: int = 0
    lease_s: int | None = None
    lease_until: datetime | None = None
    claimant: str | None = None
    deadline: datetime | None = None
    backoff_until: datetime | None = None
    claimable: bool = True  # False once a PATCH has put the attempt back to PENDING
    given_back: bool = False  # left ASSIGNED by RETRIED, so it spends no budget
    returned: bool = False  # left ASSIGNED because its lease ran out
    ran: bool = False  # was RUNNING once, though a PATCH may have moved it on

    @property
    def leased(self) -> bool:
        """The presence of a lease, run out or not."""
        return self.lease_s is not None

    def end_lease(self) -> None:
        """Ends the lease and forgets the claimant."""
        self.lease_s = None
        self.lease_until = None
        self.claimant = None


@dataclass
class ModelCancel:
    """A request to cancel that waits for the worker, or its outcome."""

    requested_at: datetime
    by: str | None
    outcome: str | None = None


@dataclass(frozen=True)
class RetryPolicy:
    """The limits of automatic retries, with the defaults filled in."""

    max_attempts: int
    max_lost: int
    backoff_s: float
    backoff_factor: float
    max_backoff_s: float

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> RetryPolicy:
        """Reads the policy of a creation's body; a null member is as if absent."""
        given = {name: value for name, value in (body.get("retry_policy") or {}).items() if value is not None}
        return cls(
            max_attempts=given.get("max_attempts", 1),
            max_lost=given.get("max_lost", 0),
            backoff_s=given.get("backoff_s", 0),
            backoff_factor=given.get("backoff_factor", 2),
            max_backoff_s=given.get("max_backoff_s", 3_600),
        )

    def wait(self, failures: int, jitter: float) -> timedelta:
        """The wait after the given number of failures; a jitter of 1 adds the full 10 %, also above the maximum."""
        if not self.backoff_s:
            return timedelta(0)
        try:
            grown_s = float(self.backoff_s) * float(self.backoff_factor) ** (failures - 1)
        except OverflowError:
            grown_s = float(self.max_backoff_s)
        # reading: the random part comes on top of the capped wait, so a wait may exceed max_backoff_s by 10 %.
        return timedelta(seconds=min(grown_s, float(self.max_backoff_s)) * (1 + 0.1 * jitter))


def _instant_of(value: str | datetime | None) -> datetime | None:
    """Reads an instant of a body."""
    if value is None:
        return None
    parsed = datetime.fromisoformat(value) if isinstance(value, str) else value
    return parsed.astimezone(UTC)


def _by_server(reason: str) -> dict[str, Any]:
    """The payload of an event that the server appends for a reason."""
    return {"reason": reason, "by": "server"}


class ModelRun:
    """A run under a fake clock.

    Every method takes the instant `now` (aware, UTC, microseconds). A clock that has gone back does not move the run
    back: a method acts at the later of `now` and `updated_at`. Once the run is gone, every method answers 404.
    """

    def __init__(self, body: Mapping[str, Any], now: datetime, *, default_retain_s: int | None = None) -> None:
        """Creates the run in PENDING, attempt 1, without an event.

        `body` is a valid creation. `default_retain_s` is the retention of the deployment; None and 0 keep for ever.
        """
        self.policy = RetryPolicy.from_body(body)
        priority = body.get("priority")
        self.priority: int = 5 if priority is None else priority
        self.start_at = _instant_of(body.get("start_at"))
        self.queue_ttl_s: int | None = body.get("queue_ttl_s")
        self.attempt_timeout_s: int | None = body.get("attempt_timeout_s")
        self.retain_s = self._retention_s(body, default_retain_s)
        self.created_at = now
        self.updated_at = now
        self.events: list[ModelEvent] = []
        self.attempts: list[ModelAttempt] = []
        self.cancel_request: ModelCancel | None = None
        self.cancel_by: datetime | None = None
        self.terminal_since: datetime | None = None
        self.gone = False
        self._open_attempt(now, timedelta(0))

    # ------------------------------------------------------------------------------------------------ what it shows

    @property
    def current(self) -> ModelAttempt:
        """The current attempt."""
        return self.attempts[-1]

    @property
    def state(self) -> str:
        """The state of the run, which is always that of its current attempt."""
        return self.current.state

    def shown(self, now: datetime) -> dict[str, Any]:
        """The values that a whole answer shows, documents left out, with instants as datetimes; {} once it is gone."""
        if self.gone:
            return {}
        attempt, cancel, not_before = self.current, self.cancel_request, self._not_before()
        # reading: `not_before` does not depend on the state: a start that lies ahead shows on a cancelled run too.
        if not_before is not None and not_before <= self._acting_at(now):
            not_before = None
        # reading: `cancel_by` stays visible beside the outcome after the attempt has ended.
        return {
            "state": self.state,
            "current_attempt": attempt.number,
            "last_seq": len(self.events) - 1,
            "event_count": attempt.event_count,
            "progress": attempt.progress,
            "execution_summary": {
                "worker_id": attempt.worker_id,
                "gpu_id": attempt.gpu_id,
                "error_message": attempt.error_message,
                "reason": attempt.reason,
            },
            "not_before": not_before,
            "lease_s": attempt.lease_s,
            "lease_until": attempt.lease_until,
            "deadline": attempt.deadline,
            "cancel": cancel and {"requested_at": cancel.requested_at, "by": cancel.by, "outcome": cancel.outcome},
            "cancel_by": self.cancel_by,
            "priority": self.priority,
            "updated_at": self.updated_at,
        }

    # ------------------------------------------------------------------------------------------------------- events

    def post_event(self, body: Mapping[str, Any], now: datetime, *, jitter: float = 0.0) -> Answer:
        """Posts an event; `jitter` (0..1) is the random part of the backoff if the event begins an automatic retry."""
        if self.gone:
            return NOT_FOUND
        at = self._acting_at(now)
        kind: str = body["type"]
        payload: dict[str, Any] = dict(body.get("payload") or {})
        msg: str | int = "" if body.get("msg") is None else body["msg"]
        token: int | None = body.get("attempt")
        refusal = self._refusal(kind, payload, token, at)
        if refusal is not None:
            return refusal
        self._accept(kind, msg, payload, at, jitter)
        if token is not None and self.current.number == token:
            self._renew(at)
        self._seal(at)
        return OK

    def _refusal(self, kind: str, payload: Mapping[str, Any], token: int | None, at: datetime) -> Answer | None:
        """Finds the first refusal of a posted event, in the promised order."""
        attempt = self.current
        if token is not None and token != attempt.number:
            return STALE_ATTEMPT
        # reading: a lease ends with its attempt, so an event on a terminal run never lacks `attempt`.
        if token is None and attempt.leased and kind in NEEDS_ATTEMPT_UNDER_LEASE:
            return ATTEMPT_REQUIRED
        by_state = self._refusal_by_state(kind, force=payload.get("force") is True)
        if by_state is not None:
            return by_state
        if kind == "STARTED" and attempt.leased and payload.get("worker_id") != attempt.claimant:
            return NOT_CLAIMANT
        # reading: a start that lies ahead holds back STARTED in ASSIGNED too (a PATCH can bring a run there).
        not_before = self._not_before()
        if kind in HELD_BACK_UNTIL_NOT_BEFORE and not_before is not None and at < not_before:
            return NOT_YET
        return None

    def _refusal_by_state(self, kind: str, *, force: bool) -> Answer | None:
        """Finds the refusal of an event by the state of the run and, for RETRIED, by the budget."""
        if kind != "RETRIED":
            if self.state in TERMINAL:
                return RUN_LOCKED
            return None if self.state in ACCEPTED_IN[kind] else INVALID_TRANSITION
        if self.state == ASSIGNED or (force and self.state == RUNNING):
            return None
        if self.state in (FAILED, CANCELLED):
            return None if force or self._budget_allows() else RETRY_BUDGET_SPENT
        # reading: RETRIED on COMPLETED meets a locked run, as any other event does.
        return RUN_LOCKED if self.state == COMPLETED else INVALID_TRANSITION

    def _accept(self, kind: str, msg: str | int, payload: dict[str, Any], at: datetime, jitter: float) -> None:
        """Applies an accepted event."""
        if kind == "RETRIED":
            self._accept_retried(msg, payload, at)
            return
        if kind == "FAILED":
            self._accept_failed(msg, payload, at, jitter)
            return
        self._append(kind, msg, payload, at)
        attempt = self.current
        if kind == "ASSIGNED":
            attempt.state, attempt.assigned_at = ASSIGNED, at
            attempt.deadline = None
            self._take_worker(payload, at)
        elif kind == "STARTED":
            # reading: an attempt that starts straight from PENDING never was ASSIGNED: `assigned_at` stays null.
            attempt.state, attempt.started_at = RUNNING, at
            # reading: STARTED begins a deadline also in an attempt of which a PATCH ended an earlier one.
            timeout_s = self.attempt_timeout_s
            attempt.deadline = None if timeout_s is None else at + timedelta(seconds=timeout_s)
            self._take_worker(payload, at)
        elif kind == "PROGRESS":
            attempt.progress = int(msg)
        elif kind == "COMPLETED":
            attempt.progress = 100
            # reading: without `outputs` those stay that a PATCH wrote before.
            if payload.get("outputs") is not None:
                attempt.outputs = dict(payload["outputs"])
            self._end(COMPLETED, at, None, "completed")
        elif kind == "CANCELLED":
            self._end(CANCELLED, at, None, "acknowledged")

    def _accept_retried(self, msg: str | int, payload: dict[str, Any], at: datetime) -> None:
        """Opens the next attempt, or cancels the run if a request to cancel waits."""
        if self.cancel_request is not None and self.state in LIVE:
            # reading: every RETRIED posted here counts as giving the run back, with `force` too.
            self._append("CANCELLED", None, {}, at)
            self._end(CANCELLED, at, None, "acknowledged")
            return
        self._leave_by_retried(at, None)
        self._open_attempt(at, timedelta(0))
        self._append("RETRIED", msg, payload, at)

    def _accept_failed(self, msg: str | int, payload: dict[str, Any], at: datetime, jitter: float) -> None:
        """Fails the attempt, then retries by the budget, or cancels the run if a request to cancel waits."""
        reason = "interrupted" if payload.get("reason") == "interrupted" else None
        self._append("FAILED", msg, payload, at)
        # reading: in an attempt that a PATCH reopened the newest FAILED says the error message, or that there is none.
        self.current.error_message = payload.get("error_message")
        if self.cancel_request is not None:
            # reading: a posted reason `interrupted` is kept on an attempt that ends CANCELLED by its FAILED.
            self._append("CANCELLED", None, {}, at)
            self._end(CANCELLED, at, reason, "acknowledged")
            return
        self._end(FAILED, at, reason, None)
        # reading: the RETRIED after a posted FAILED carries no reason, since neither time nor a timer caused it.
        self._retry_by_budget(at, jitter, {})

    # ----------------------------------------------------------------------------------------- heartbeats and claims

    def heartbeat(self, attempt: int, worker_id: str, now: datetime) -> Answer:
        """Renews the lease of the claimant; appends nothing."""
        if self.gone:
            return NOT_FOUND
        if attempt != self.current.number:
            return STALE_ATTEMPT
        if self.state in TERMINAL:
            return RUN_LOCKED
        if not self.current.leased:
            return NOT_LEASED
        if worker_id != self.current.claimant:
            return NOT_CLAIMANT
        # reading: a heartbeat does not touch `updated_at`.
        self._renew(self._acting_at(now))
        return OK

    def claim(self, worker_id: str, lease_s: int, start: bool, now: datetime) -> Answer | None:
        """Gives the run to a worker, or answers None if no claim may take it at `now`."""
        at, attempt, not_before = self._acting_at(now), self.current, self._not_before()
        if self.gone or self.state != PENDING or not attempt.claimable:
            return None
        if not_before is not None and at < not_before:
            return None
        # reading: the very end of `queue_ttl_s` is past it, for a claim as for the timer.
        if attempt.deadline is not None and at >= attempt.deadline:
            return None
        # reading: the lease in the payload of a claim's event is its `worker_id` and `lease_s`.
        self._accept("STARTED" if start else "ASSIGNED", "", {"worker_id": worker_id, "lease_s": lease_s}, at, 0.0)
        self._seal(at)
        return OK

    # ------------------------------------------------------------------------------------- retry, cancels and PATCH

    def retry(self, now: datetime) -> Answer:
        """Opens a new attempt by the route retry, also while a request to cancel waits."""
        if self.gone:
            return NOT_FOUND
        refusal = self._refusal_by_state("RETRIED", force=True)
        if refusal is not None:
            return refusal
        at = self._acting_at(now)
        # reading: this is RETRIED like any other: from ASSIGNED the attempt left behind is not counted in the budget.
        self._leave_by_retried(at, None)
        self._open_attempt(at, timedelta(0))
        self._append("RETRIED", "Manual retry", {"force": True}, at)
        self._seal(at)
        return OK

    def cancel(self, now: datetime) -> Answer:
        """Cancels the run at once."""
        if self.gone:
            return NOT_FOUND
        if self.state in TERMINAL:
            return RUN_LOCKED
        at = self._acting_at(now)
        self._append("CANCELLED", "Cancelled by user", {}, at)
        self._end(CANCELLED, at, None, "forced")
        self._seal(at)
        return OK

    def ask_cancel(self, grace_s: int, by: str | None, now: datetime) -> Answer:
        """Asks the worker to stop within `grace_s`; a PENDING run is cancelled at once."""
        if self.gone:
            return NOT_FOUND
        if self.state == PENDING or self.state in TERMINAL:
            # reading: the event of a PENDING run is that of an immediate cancel, with its msg.
            # reading: on a terminal run the request is refused as the immediate cancel is, whoever asked before.
            return self.cancel(now)
        at = self._acting_at(now)
        asked_by = at + timedelta(seconds=grace_s)
        if self.cancel_by is not None and asked_by >= self.cancel_by:
            return OK
        # reading: a repeat that makes `cancel_by` earlier appends one more INFO and keeps the first request's
        # `requested_at` and `by`.
        self._append("INFO", "Cancel requested", {}, at)
        if self.cancel_request is None:
            self.cancel_request = ModelCancel(requested_at=at, by=by)
        self.cancel_by = asked_by
        self._seal(at)
        return OK

    def patch(
        self,
        now: datetime,
        *,
        state: str | None = None,
        priority: int | None = None,
        outputs: Mapping[str, Any] | None = None,
    ) -> Answer:
        """Edits the run beside its timeline; `state` is one of the six."""
        if self.gone:
            return NOT_FOUND
        if state is None and priority is None and outputs is None:
            return OK
        at = self._acting_at(now)
        if priority is not None:
            self.priority = priority
        if outputs is not None:
            self.current.outputs = dict(outputs)
        if state is not None and state != self.state:
            self._patch_state(state, at)
        # reading: a PATCH with a field touches `updated_at`, also if the field's value stood already.
        self._seal(at)
        return OK

    def _patch_state(self, state: str, at: datetime) -> None:
        """Moves the run and its attempt to another state, which ends everything that was to happen by time."""
        attempt = self.current
        attempt.end_lease()
        attempt.deadline = None
        attempt.backoff_until = None
        self.cancel_request = None
        self.cancel_by = None
        # reading: from one terminal state to another the run does not become terminal again, so `finished_at` and the
        # retention stay; progress, reason, error and the instants of the way stay in every case.
        if state in TERMINAL and attempt.state in LIVE:
            attempt.finished_at = self.terminal_since = at
        elif state in LIVE:
            attempt.finished_at = self.terminal_since = None
        if state == PENDING:
            attempt.claimable = False
        attempt.state = state

    # --------------------------------------------------------------------------------------------------------- time

    def next_instant(self) -> datetime | None:
        """The earliest instant at which the timer would act if nothing else happens; None if it never would."""
        return min((instant for instant, _ in self._due()), default=None)

    def wake(self, now: datetime, *, jitter: float = 0.0) -> bool:
        """Lets the timer look at the run once; tells whether it appended events or removed the run.

        The earliest of several past instants decides, and only it takes effect. `jitter` (0..1) is the random part of
        the backoff if an automatic retry follows.
        """
        at = self._acting_at(now)
        # reading: an instant counts as past from that very microsecond on.
        past = [(instant, cause) for instant, cause in self._due() if instant <= at]
        if not past:
            return False
        # reading: between equal instants the lease comes first, then `attempt_timeout_s`, then `cancel_by`.
        _, cause = min(past, key=lambda entry: entry[0])
        # reading: the run stays visible and usable until the timer removes it, also after its retention's instant.
        if cause == "retention":
            self.gone = True
            return True
        # reading: an event that time appends bears the instant at which the timer acts, not the one it acts for.
        self._act_for(cause, at, jitter)
        self._seal(at)
        return True

    def _due(self) -> list[tuple[datetime, Cause]]:
        """The instants that lie ahead or behind with their causes, those first that decide between equal instants."""
        if self.gone:
            return []
        attempt = self.current
        due: list[tuple[datetime, Cause]] = []
        if self.state in TERMINAL:
            if self.terminal_since is not None and self.retain_s is not None:
                due.append((self.terminal_since + timedelta(seconds=self.retain_s), "retention"))
            return due
        if attempt.lease_until is not None:
            due.append((attempt.lease_until, "lost"))
        if attempt.deadline is not None:
            due.append((attempt.deadline, "expired" if self.state == PENDING else "timed_out"))
        if self.cancel_by is not None:
            due.append((self.cancel_by, "cancel_not_acknowledged"))
        return due

    def _act_for(self, cause: Cause, at: datetime, jitter: float) -> None:
        """Ends the attempt for a cause, and begins the next one if the cause allows it."""
        payload = _by_server(cause)
        if self.cancel_request is not None:
            self._append("CANCELLED", None, payload, at)
            self._end(CANCELLED, at, cause, "forced")
            return
        returns = cause == "lost" and self.state == ASSIGNED
        if returns and self._returns_in_a_row() + 1 < LAST_RETURN_IN_A_ROW:
            # reading: the attempt left behind is CANCELLED with reason `lost`, and thus no loss.
            self._leave_by_retried(at, cause)
            self.current.returned = True
            self._open_attempt(at, timedelta(0))
            self._append("RETRIED", None, payload, at)
            return
        self._append("FAILED", None, payload, at)
        self._end(FAILED, at, cause, None)
        if cause != "expired" and not returns:
            # reading: the RETRIED that follows a failure by time carries the reason as well.
            self._retry_by_budget(at, jitter, payload)

    def _returns_in_a_row(self) -> int:
        """The number of attempts right before the current one that ended because an ASSIGNED lease ran out."""
        # reading: any attempt that ended otherwise breaks the row: started, given back by its worker, cancelled, or
        # left by a manual retry. The tenth, which is FAILED, breaks it too.
        # reading: an attempt that ran and that a PATCH took back begins a new row with its own return.
        count = 0
        for later, attempt in zip(reversed(self.attempts), reversed(self.attempts[:-1]), strict=False):
            if later.ran or not attempt.returned:
                break
            count += 1
        return count

    # ------------------------------------------------------------------------------------------------------ helpers

    @staticmethod
    def _retention_s(body: Mapping[str, Any], default_retain_s: int | None) -> int | None:
        """The time that a terminal run is kept, None for ever."""
        retain_s: int | None = body.get("retain_s")
        if retain_s is None:
            # reading: a deployment's retention of 0 is for ever, while a run's own `retain_s` of 0 is no time at all.
            retain_s = default_retain_s or None
        if retain_s is not None and body.get("event_delivery") is not None:
            return max(retain_s, LEAST_RETENTION_WITH_DELIVERY_S)
        return retain_s

    def _acting_at(self, now: datetime) -> datetime:
        """The instant at which a method acts: never before the last write."""
        # reading: decisions, such as `not_yet`, claims and the timer, use this instant too, not only what is written.
        return max(now, self.updated_at)

    def _not_before(self) -> datetime | None:
        """The later of the start and the end of the backoff, past or not."""
        instants = [instant for instant in (self.start_at, self.current.backoff_until) if instant is not None]
        return max(instants, default=None)

    def _budget_allows(self) -> bool:
        """Tells whether another attempt may begin."""
        given_back = sum(attempt.given_back for attempt in self.attempts)
        losses = sum(attempt.state == FAILED and attempt.reason in LOSSES for attempt in self.attempts)
        return len(self.attempts) - given_back - min(losses, self.policy.max_lost) < self.policy.max_attempts

    def _append(self, kind: str, msg: str | int | None, payload: Mapping[str, Any], at: datetime) -> None:
        """Appends an event to the timeline of the current attempt."""
        attempt = self.current
        self.events.append(
            ModelEvent(len(self.events), attempt.event_count, attempt.number, kind, at, msg, dict(payload))
        )
        attempt.event_count += 1

    def _seal(self, at: datetime) -> None:
        """Ends a write: its events get the state it leaves, and the run its instant."""
        for event in reversed(self.events):
            if event.state:
                break
            event.state = self.state
        self.current.ran = self.current.ran or self.state == RUNNING
        self.updated_at = at

    def _take_worker(self, payload: Mapping[str, Any], at: datetime) -> None:
        """Notes the worker of an ASSIGNED or STARTED, and begins or changes the lease that it asks for."""
        attempt = self.current
        # reading: the newest ASSIGNED or STARTED says both, also in an attempt that a PATCH brought back to PENDING.
        attempt.worker_id = payload.get("worker_id")
        attempt.gpu_id = payload.get("gpu_id") if attempt.state == RUNNING else None
        lease_s: int | None = payload.get("lease_s")
        if lease_s is None:
            return
        if not attempt.leased:
            attempt.claimant = payload["worker_id"]
        # reading: a shorter `lease_s` at STARTED is taken for later renewals, and only `lease_until` does not shorten.
        attempt.lease_s = lease_s
        self._renew(at)

    def _renew(self, at: datetime) -> None:
        """Moves the end of the lease to one lease from `at`, never back; does nothing without a lease."""
        attempt = self.current
        if attempt.lease_s is None:
            return
        until = at + timedelta(seconds=attempt.lease_s)
        attempt.lease_until = until if attempt.lease_until is None else max(attempt.lease_until, until)

    def _end(self, state: str, at: datetime, reason: str | None, outcome: str | None) -> None:
        """Ends the current attempt, and with it the run until another attempt opens."""
        attempt = self.current
        attempt.state, attempt.finished_at, attempt.reason = state, at, reason
        attempt.deadline = None
        attempt.end_lease()
        self.terminal_since = at
        if self.cancel_request is not None:
            self.cancel_request.outcome = outcome

    def _leave_by_retried(self, at: datetime, reason: str | None) -> None:
        """Marks a live attempt that RETRIED leaves; a terminal one keeps all it has."""
        if self.state in TERMINAL:
            return
        # reading: every RETRIED out of ASSIGNED is a give-back for the budget, with `force` too.
        self.current.given_back = self.state == ASSIGNED
        self._end(CANCELLED, at, reason, None)

    def _open_attempt(self, at: datetime, wait: timedelta) -> None:
        """Opens the next attempt in PENDING, which may be claimed after `wait` and not before the start."""
        attempt = ModelAttempt(number=len(self.attempts) + 1, created_at=at)
        self.attempts.append(attempt)
        if wait:
            attempt.backoff_until = at + wait
        if self.queue_ttl_s is not None:
            attempt.deadline = max(at, self._not_before() or at) + timedelta(seconds=self.queue_ttl_s)
        self.cancel_request = None
        self.cancel_by = None
        self.terminal_since = None

    def _retry_by_budget(self, at: datetime, jitter: float, payload: Mapping[str, Any]) -> None:
        """Begins the automatic retry of a failed attempt if the budget allows it."""
        if not self._budget_allows():
            return
        # reading: the n-th failure counts every attempt of the run that is FAILED, losses included, give-backs not.
        failures = sum(attempt.state == FAILED for attempt in self.attempts)
        self._open_attempt(at, self.policy.wait(failures, jitter))
        self._append("RETRIED", None, payload, at)
