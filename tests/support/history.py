"""What clients asked and were told, and whether the run that is left can have come of it.

The rules here are those of the table in docs/openapi.yaml (addEvent). They are not taken from the domain, so
that the two check each other.
"""

import json
import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count, pairwise
from typing import Any

from testing.gateway import Answer, Gateway

REPLAYED = "Idempotent-Replayed"
MANUAL_RETRY = "Manual retry"
USER_CANCEL = "Cancelled by user"

LIVE = frozenset({"PENDING", "ASSIGNED", "RUNNING"})
TERMINAL = frozenset({"COMPLETED", "FAILED", "CANCELLED"})

ALLOWED_IN = {
    "ASSIGNED": frozenset({"PENDING"}),
    "STARTED": frozenset({"PENDING", "ASSIGNED"}),
    "PROGRESS": frozenset({"RUNNING"}),
    "INFO": LIVE,
    "ERROR": LIVE,
    "COMPLETED": frozenset({"RUNNING"}),
    "FAILED": LIVE,
    "CANCELLED": LIVE,
    "RETRIED": frozenset({"ASSIGNED", "FAILED", "CANCELLED"}),
}
"""The table of docs/openapi.yaml, addEvent. ``force`` and the budget of RETRIED are in ``Replay.refusal``."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request as it was sent, and its answer."""

    intent: int
    """The same for every sending of one request."""
    sending: int
    """1 for the first."""
    method: str
    path: str
    body: Any
    key: str | None
    started_s: float
    """On the monotonic clock, as ``ended_s``."""
    ended_s: float
    status: int
    answer: Any
    is_replay: bool = False

    @property
    def succeeded(self) -> bool:
        return self.status in (200, 201)

    @property
    def took_effect(self) -> bool:
        """Whether the answer says that this very request changed the run."""
        return self.succeeded and not self.is_replay

    @property
    def is_unknown(self) -> bool:
        """Whether the answer leaves open if the write stands."""
        return self.status == 503

    @property
    def code(self) -> str | None:
        code: str | None = None if self.succeeded else self.answer["code"]
        return code

    @property
    def mark(self) -> str | None:
        return _mark_of(self.body or {})

    @property
    def token(self) -> int | None:
        """The fencing token the body carries."""
        token: int | None = (self.body or {}).get("attempt")
        return token


@dataclass(frozen=True, slots=True)
class Final:
    """A run as it is left: GET of the run, its whole timeline, every attempt."""

    run: Mapping[str, Any]
    events: Sequence[Mapping[str, Any]]
    attempts: Sequence[Mapping[str, Any]]


class Recorder:
    """A client that resends what may be resent, and keeps every exchange. Any number of threads may use it.

    Each event posted carries a mark in its payload that no other has. With ``keyed`` each POST has an Idempotency-Key.
    """

    def __init__(self, api: Gateway, *, keyed: bool = False, sendings: int = 12) -> None:
        self.exchanges: list[Exchange] = []
        self._api = api
        self._keyed = keyed
        self._sendings = sendings
        self._intents = count(1)
        self._lock = threading.Lock()

    def send(
        self, method: str, path: str, body: Any = None, *, key: str | None = None, minimal: bool = False
    ) -> Answer:
        """The last answer: what is 409 ``run_busy`` or 503 is sent again, with the same body and key."""
        with self._lock:
            intent = next(self._intents)
        if self._keyed and method == "POST" and key is None:
            key = f"key-{intent}"
        headers = {} if key is None else {"Idempotency-Key": key}
        if minimal:
            headers["Prefer"] = "return=minimal"
        for sending in range(1, self._sendings + 1):
            started_s = time.monotonic()
            answer = self._api.call(method, path, body, headers=headers)
            ended_s = time.monotonic()
            is_replay = REPLAYED in answer.headers
            with self._lock:
                self.exchanges.append(
                    Exchange(
                        intent,
                        sending,
                        method,
                        path,
                        body,
                        key,
                        started_s,
                        ended_s,
                        answer.status,
                        answer.json,
                        is_replay,
                    )
                )
            if answer.status != 503 and not (answer.status == 409 and answer.json["code"] == "run_busy"):
                break
            time.sleep(random.uniform(0, 0.05))
        return answer

    def create(self, **fields: Any) -> str:
        """Id of a new run."""
        answer = self.send("POST", "/runs", {"image": "busybox:1"} | fields)
        assert answer.status == 201, answer.text
        run_id: str = answer.json["id"]
        return run_id

    def event(
        self,
        run_id: str,
        type_: str,
        *,
        payload: Mapping[str, Any] | None = None,
        key: str | None = None,
        minimal: bool = False,
        **fields: Any,
    ) -> Answer:
        with self._lock:
            mark = f"mark-{next(self._intents)}"
        body = {"type": type_, "payload": {**(payload or {}), "mark": mark}} | fields
        return self.send("POST", f"/runs/{run_id}/events", body, key=key, minimal=minimal)

    def start(self, run_id: str, worker_id: str = "worker-1", **fields: Any) -> Answer:
        return self.event(run_id, "STARTED", payload={"worker_id": worker_id}, **fields)

    def cancel(self, run_id: str, *, key: str | None = None) -> Answer:
        return self.send("POST", f"/runs/{run_id}/cancel", key=key)

    def retry(self, run_id: str, *, key: str | None = None) -> Answer:
        return self.send("POST", f"/runs/{run_id}/retry", key=key)

    def patch(self, run_id: str, **fields: Any) -> Answer:
        return self.send("PATCH", f"/runs/{run_id}", fields)

    def of_run(self, run_id: str) -> list[Exchange]:
        """The exchanges about one run, its creation included."""
        return [
            exchange
            for exchange in self.exchanges
            if exchange.path.startswith(f"/runs/{run_id}")
            or (exchange.path == "/runs" and exchange.succeeded and exchange.answer.get("id") == run_id)
        ]

    def check(self, run_id: str) -> Final:
        """Asserts that what the run is now can have come of what was recorded about it."""
        final = read_final(self._api, run_id)
        found = problems(self.of_run(run_id), final)
        assert not found, "\n".join(found)
        return final

    def counts(self) -> str:
        """How often each status was answered, for a test to print."""
        statuses = Counter(exchange.status for exchange in self.exchanges)
        return f"{len(self.exchanges)} requests, statuses {dict(sorted(statuses.items()))}"


def at_once(*requests: Callable[[], Answer]) -> list[Answer]:
    """The answers in the order of the requests, each sent by a thread of its own when all are ready."""
    barrier = threading.Barrier(len(requests))

    def send(request: Callable[[], Answer]) -> Answer:
        barrier.wait()
        return request()

    with ThreadPoolExecutor(len(requests)) as threads:
        return [future.result() for future in [threads.submit(send, request) for request in requests]]


def the_winner(answers: Sequence[Answer]) -> int:
    """Position of the one answer that is 200; every other is 400."""
    statuses = [answer.status for answer in answers]
    assert sorted(statuses) == [200] + [400] * (len(answers) - 1), statuses
    return statuses.index(200)


def read_final(api: Gateway, run_id: str) -> Final:
    """The run, every event in pages of ``after_seq``, and every attempt."""
    events: list[dict[str, Any]] = []
    has_more = True
    while has_more:
        after = events[-1]["seq"] if events else -1
        page = api.get(f"/runs/{run_id}/events", after_seq=after).json
        events += page["events"]
        has_more = page["has_more"]
    attempts: list[dict[str, Any]] = []
    while True:
        answer = api.get(f"/runs/{run_id}/attempts", after=len(attempts))
        attempts += answer.json
        if "Link" not in answer.headers:
            break
    run = api.get(f"/runs/{run_id}")
    assert run.status == 200, run.text
    return Final(run.json, events, attempts)


def problems(exchanges: Sequence[Exchange], final: Final) -> list[str]:
    """Everything that is wrong with a run's history, one sentence each. Nothing may be under way any more."""
    return [
        *_problems_of_numbers(final),
        *_problems_of_effects(exchanges, final),
        *_problems_of_order(exchanges, final),
        *_problems_of_replay(exchanges, final),
    ]


def _problems_of_numbers(final: Final) -> Iterator[str]:
    """Sequence numbers, ids, attempts and instants of the timeline."""
    events = final.events
    yield from _gaps("seqs", [event["seq"] for event in events])
    for attempt in sorted({event["attempt"] for event in events}):
        yield from _gaps(f"ids of attempt {attempt}", [e["id"] for e in events if e["attempt"] == attempt])
    attempts = [1, *(event["attempt"] for event in events)]
    for event, (before, after) in zip(events, pairwise(attempts), strict=True):
        if after != before + (event["type"] == "RETRIED"):
            yield f"event {event['seq']} ({event['type']}) is of attempt {after}, the one before of {before}"
        if event["state"] != final.run["state"]:
            yield f"event {event['seq']} was read with state {event['state']}, not the run's {final.run['state']}"
    for earlier, later in pairwise(events):
        if later["t"] < earlier["t"]:
            yield f"event {later['seq']} is older than the one before it"


def _gaps(what: str, numbers: Sequence[int]) -> Iterator[str]:
    for position, number in enumerate(numbers):
        if number != position:
            yield f"the {what} are not 0 to {len(numbers) - 1}: {number} stands where {position} should"
            return


def _problems_of_effects(exchanges: Sequence[Exchange], final: Final) -> Iterator[str]:
    """Every effect that was answered is in the timeline once, and nothing else is."""
    found = Counter(map(_cause_of, final.events))
    allowed: dict[str, tuple[int, int]] = {"automatic": (0, found["automatic"])}
    for some in _by_effect(exchanges):
        cause = _cause_asked(some[0])
        (low, high), (more_low, more_high) = allowed.get(cause, (0, 0)), _times(some)
        allowed[cause] = low + more_low, high + more_high
        yield from _problems_of_key(cause, some)
    for cause, (low, high) in allowed.items():
        if found[cause] < low:
            yield f"{cause}: lost, {low} answers tell of it and the timeline has {found[cause]}"
        if found[cause] > high:
            yield f"{cause}: doubled, at most {high} can have been written and the timeline has {found[cause]}"
    yield from (f"{cause}: in the timeline, though nobody asked for it" for cause in found if cause not in allowed)
    posted: dict[str | None, Any] = {
        exchange.mark: exchange.body for exchange in exchanges if exchange.mark is not None
    }
    for event in final.events:
        body = posted.get(_mark_of(event))
        if body is not None and _content(body) != _content(event):
            yield f"event {event['seq']} is not what was posted: {_content(event)} for {_content(body)}"


def _problems_of_key(cause: str, some: Sequence[Exchange]) -> Iterator[str]:
    if some[0].key is None:
        return
    effects = sum(exchange.took_effect for exchange in some)
    if effects > 1:
        yield f"{cause}: {effects} answers under one idempotency key say that they took effect"


def _content(event: Mapping[str, Any]) -> tuple[Any, ...]:
    return event["type"], event.get("msg", ""), event.get("payload", {})


def _mark_of(event: Mapping[str, Any]) -> str | None:
    mark: str | None = event.get("payload", {}).get("mark")
    return mark


def _cause_of(event: Mapping[str, Any]) -> str:
    """What must have been asked for the event to be there."""
    mark = _mark_of(event)
    if mark is not None:
        return mark
    if (event["type"], event["msg"]) == ("RETRIED", MANUAL_RETRY):
        return "retry"
    if (event["type"], event["msg"]) == ("CANCELLED", USER_CANCEL):
        return "cancel"
    return "automatic" if event["type"] == "RETRIED" else f"unmarked {event['type']}"


def _cause_asked(exchange: Exchange) -> str:
    return exchange.mark or exchange.path.rpartition("/")[2]


def _by_effect(exchanges: Iterable[Exchange]) -> list[list[Exchange]]:
    """The POSTs that ask for an event, those together that can have one effect only, or one for each sending."""
    groups: dict[tuple[str, str | int], list[Exchange]] = defaultdict(list)
    for exchange in exchanges:
        if exchange.method == "POST" and exchange.path != "/runs":
            groups[exchange.path, exchange.intent if exchange.key is None else exchange.key].append(exchange)
    return list(groups.values())


def _times(some: Sequence[Exchange]) -> tuple[int, int]:
    """How often at least and at most the effect of these exchanges is in the timeline."""
    if some[0].key is None:
        effects = sum(exchange.succeeded for exchange in some)
        return effects, effects + sum(exchange.is_unknown for exchange in some)
    if any(exchange.succeeded for exchange in some):
        return 1, 1
    is_refused = any(not exchange.is_unknown and exchange.code != "run_busy" for exchange in some)
    return 0, int(not is_refused and any(exchange.is_unknown for exchange in some))


def _problems_of_order(exchanges: Sequence[Exchange], final: Final) -> Iterator[str]:
    """An answer holds its own event and all that an earlier answer has shown; a later request has a later number."""
    times = Counter(map(_mark_of, final.events))
    seqs: dict[str | None, int] = {
        mark: event["seq"] for event in final.events if times[mark := _mark_of(event)] == 1 and mark is not None
    }
    told = [(exchange, exchange.answer["last_seq"]) for exchange in exchanges if _tells_last_seq(exchange)]
    for exchange, last_seq in told:
        seq = seqs.get(exchange.mark)
        if seq is not None and last_seq < seq:
            yield f"{exchange.mark}: the answer ends at {last_seq}, before its own event {seq}"
    numbered = [
        (exchange, seqs[exchange.mark]) for exchange, _ in told if exchange.took_effect and exchange.mark in seqs
    ]
    if (late := _first_overtaken(told)) is not None:
        yield f"an answer showed {late[1]} as the last event after {late[0]} had been shown"
    if (late := _first_overtaken(numbered)) is not None:
        yield f"event {late[1]} was written after {late[0]} had been answered"
    for cause in ("retry", "cancel"):
        left = [event["seq"] for event in final.events if _cause_of(event) == cause]
        shown = sorted(
            last_seq for exchange, last_seq in told if exchange.took_effect and _cause_asked(exchange) == cause
        )
        for last_seq, seq in zip(shown, left, strict=False):
            if seq > last_seq:
                yield f"{cause}: an answer ends at {last_seq}, before its own event {seq}"


def _tells_last_seq(exchange: Exchange) -> bool:
    return exchange.succeeded and isinstance(exchange.answer, dict) and "last_seq" in exchange.answer


def _first_overtaken(numbered: Sequence[tuple[Exchange, int]]) -> tuple[int, int] | None:
    """A number that had been answered, and a lower one of a request that began only then."""
    by_end = sorted(numbered, key=lambda pair: pair[0].ended_s)
    highest, ended = -1, 0
    for exchange, number in sorted(numbered, key=lambda pair: pair[0].started_s):
        while by_end[ended][0].ended_s < exchange.started_s:
            highest = max(highest, by_end[ended][1])
            ended += 1
        if number < highest:
            return highest, number
    return None


class Impossible(Exception):
    """The table of events does not allow the event where the timeline has it."""


@dataclass
class AttemptSoFar:
    number: int
    state: str = "PENDING"
    progress: int = 0
    outputs: Mapping[str, Any] = field(default_factory=dict)
    worker_id: str | None = None
    gpu_id: int | None = None
    duration_ms: int | None = None
    error_message: str | None = None
    started_at: str | None = None
    finished_at: str | None = None
    events: list[Mapping[str, Any]] = field(default_factory=list)

    def shown(self) -> dict[str, Any]:
        """What GET attempts tells of it, its inputs and constraints aside."""
        return {
            "attempt": self.number,
            "state": self.state,
            "progress": self.progress,
            "outputs": self.outputs,
            "started_at": self.started_at,
            "finished_at": self.finished_at,
            "event_count": len(self.events),
            "events": self.events[-20:],
            "execution_summary": {
                "worker_id": self.worker_id,
                "gpu_id": self.gpu_id,
                "duration_ms": self.duration_ms,
                "error_message": self.error_message,
            },
        }


class Replay:
    """A run as its timeline tells it, by the table of events."""

    def __init__(self, max_attempts: int) -> None:
        self.attempts = [AttemptSoFar(1)]
        self.last_seq = -1
        self.max_attempts = max_attempts
        self._given_back = 0
        self._owes_retry = False

    @property
    def current(self) -> AttemptSoFar:
        return self.attempts[-1]

    @property
    def has_budget(self) -> bool:
        return len(self.attempts) - self._given_back < self.max_attempts

    def refusal(self, type_: str, *, force: bool) -> str | None:
        """Code of the refusal that the event would meet now; None where it is allowed."""
        state = self.current.state
        if type_ == "RETRIED" and state in ("FAILED", "CANCELLED"):
            return None if force or self.has_budget else "retry_budget_spent"
        if state in ALLOWED_IN[type_] or (type_ == "RETRIED" and force and state == "RUNNING"):
            return None
        return "run_locked" if state in TERMINAL else "invalid_transition"

    def apply(self, event: Mapping[str, Any]) -> None:
        """Raises Impossible."""
        self.last_seq += 1
        type_, payload = event["type"], event["payload"]
        if self._owes_retry:
            if _cause_of(event) != "automatic":
                raise Impossible(f"event {event['seq']} is no automatic retry, though the budget allowed one")
        elif self.refusal(type_, force=payload.get("force", False)) is not None:
            raise Impossible(f"event {event['seq']} is {type_} on a run that is {self.current.state}")
        if type_ == "RETRIED":
            self._begin_attempt(event["t"])
        else:
            self._effect(type_, event["msg"], payload, event["t"])
        self.current.events.append(event)

    def patch(self, fields: Mapping[str, Any], at: str) -> None:
        attempt = self.current
        if fields.get("outputs") is not None:
            attempt.outputs = fields["outputs"]
        if fields.get("state") is not None:
            if fields["state"] not in TERMINAL:
                attempt.finished_at = None
            elif attempt.state not in TERMINAL:
                attempt.finished_at = at
            attempt.state = fields["state"]

    def finish(self) -> None:
        """Raises Impossible."""
        if self._owes_retry:
            raise Impossible("the timeline ends with a failure whose automatic retry is missing")

    def _begin_attempt(self, at: str) -> None:
        ended = self.current
        self._given_back += ended.state == "ASSIGNED"
        if ended.state not in TERMINAL:
            ended.state, ended.finished_at = "CANCELLED", at
        self._owes_retry = False
        self.attempts.append(AttemptSoFar(ended.number + 1))

    def _effect(self, type_: str, msg: Any, payload: Mapping[str, Any], at: str) -> None:
        attempt = self.current
        if type_ == "PROGRESS":
            attempt.progress = msg
        if type_ in ("ASSIGNED", "STARTED"):
            attempt.worker_id, attempt.gpu_id = payload.get("worker_id"), payload.get("gpu_id")
            attempt.state = "ASSIGNED"
        if type_ == "STARTED":
            attempt.state, attempt.started_at = "RUNNING", at
        if type_ in TERMINAL:
            attempt.state, attempt.finished_at = type_, at
        if type_ == "COMPLETED":
            attempt.progress, attempt.outputs = 100, payload.get("outputs", attempt.outputs)
        if type_ == "FAILED":
            attempt.error_message = payload.get("error_message")
            self._owes_retry = self.has_budget
        if type_ in ("COMPLETED", "FAILED") and attempt.started_at is not None:
            attempt.duration_ms = _milliseconds(attempt.started_at, at)


def _milliseconds(start: str, end: str) -> int:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)) // timedelta(milliseconds=1)


def _problems_of_replay(exchanges: Sequence[Exchange], final: Final) -> Iterator[str]:
    """The run and its attempts are what the timeline, with the PATCHes where they came in it, makes of a new run."""
    run = final.run
    replay = Replay(run["retry_policy"]["max_attempts"])
    patches = _edits(exchanges)
    try:
        for event in [*final.events, None]:
            while patches and patches[0].answer["last_seq"] <= replay.last_seq:
                edit = patches.pop(0)
                replay.patch(edit.body, edit.answer["updated_at"])
            if event is not None:
                replay.apply(event)
        replay.finish()
    except Impossible as impossible:
        yield str(impossible)
        return
    attempt = replay.current.shown()
    expected = {name: attempt[name] for name in ("state", "progress", "outputs", "execution_summary", "event_count")}
    expected |= {
        "current_attempt": attempt["attempt"],
        "last_seq": replay.last_seq,
        "events": replay.current.events[-100:],
    }
    yield from _differences("the run", expected, run)
    if final.events and run["updated_at"] < final.events[-1]["t"]:
        yield f"the run was updated at {run['updated_at']}, before its last event at {final.events[-1]['t']}"
    if len(final.attempts) != len(replay.attempts):
        yield f"there are {len(final.attempts)} attempts, not {len(replay.attempts)}"
    for so_far, shown in zip(replay.attempts, final.attempts, strict=False):
        yield from _differences(f"attempt {so_far.number}", so_far.shown(), shown)
    if (priorities := _last_priorities(exchanges)) and run["priority"] not in priorities:
        yield f"the priority is {run['priority']}, last set to one of {sorted(priorities)}"


def _differences(what: str, expected: Mapping[str, Any], shown: Mapping[str, Any]) -> Iterator[str]:
    for name, value in expected.items():
        if shown[name] != value:
            yield f"{what} has {name} {json.dumps(shown[name])}, the timeline says {json.dumps(value)}"


def _edits(exchanges: Iterable[Exchange]) -> list[Exchange]:
    """The PATCHes that bear on the state machine, in the order they were written."""
    edits = [e for e in exchanges if e.method == "PATCH" and {"state", "outputs"} & set(e.body)]
    if any(edit.is_unknown for edit in edits):
        raise ValueError("a PATCH whose answer was lost cannot be placed in the timeline")
    return sorted(
        (edit for edit in edits if edit.succeeded),
        key=lambda edit: (edit.answer["last_seq"], edit.answer["updated_at"], edit.ended_s),
    )


def _last_priorities(exchanges: Iterable[Exchange]) -> set[int]:
    """What the priority can be: of the PATCHes that set it, those no later one has surely overwritten."""
    edits = [e for e in exchanges if e.method == "PATCH" and "priority" in e.body and (e.succeeded or e.is_unknown)]
    begun_last = max((edit.started_s for edit in edits if edit.succeeded), default=None)
    if begun_last is None:
        return set()
    return {edit.body["priority"] for edit in edits if edit.ended_s >= begun_last}
