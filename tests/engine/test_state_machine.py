"""Compares the handlers with a model of docs/openapi.yaml in random sequences of the routes without leases."""

import json
from collections import Counter
from collections.abc import Mapping
from functools import cache
from typing import Any, ClassVar
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from testing.gateway import Answer, Gateway
from tests.support.history import MANUAL_RETRY, REPLAYED, USER_CANCEL, Replay

STATES = ["PENDING", "ASSIGNED", "RUNNING", "COMPLETED", "FAILED", "CANCELLED"]


NAMES = st.sampled_from(["a", "b"])
DOCUMENTS = st.dictionaries(NAMES, st.integers(0, 9) | st.text(max_size=3) | st.none() | st.lists(NAMES), max_size=2)
KEYS = st.sampled_from([None, None, None, *(f"key {n}" for n in range(9))])
MAX_ATTEMPTS = st.sampled_from([1, 2, 2, 3, 3, 5])
TOKENS = st.sampled_from([None, None, None, 0, 0, -1, 1])
"""The distance of the fencing token from the current attempt; None for no token."""


def payloads(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({"note": st.integers(0, 99)}, optional=fields)


PAYLOADS: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "ASSIGNED": payloads(worker_id=NAMES),
    "STARTED": st.fixed_dictionaries({"worker_id": NAMES}, optional={"gpu_id": st.integers(0, 7)}),
    "COMPLETED": payloads(outputs=DOCUMENTS),
    "FAILED": payloads(error_message=st.text(max_size=5)),
    "RETRIED": payloads(force=st.booleans()),
}
TYPES = ("ASSIGNED", "STARTED", "PROGRESS", "INFO", "ERROR", "COMPLETED", "FAILED", "CANCELLED", "RETRIED")

MOVES = ("ASSIGNED", "STARTED", "FAILED", "RETRIED")
"""The events that take a run from attempt to attempt."""


@cache
def events(type_: str) -> st.SearchStrategy[dict[str, Any]]:
    """Draws bodies of events of the type. Optional fields may be missing."""
    needed: dict[str, st.SearchStrategy[Any]] = {"type": st.just(type_)}
    optional: dict[str, st.SearchStrategy[Any]] = {"msg": st.text(max_size=4) | st.integers()}
    if type_ == "PROGRESS":
        needed["msg"] = st.integers(0, 100)
        optional = {}
    (needed if type_ == "STARTED" else optional)["payload"] = PAYLOADS.get(type_, payloads())
    return st.fixed_dictionaries(needed, optional=optional)


ANY_EVENT = st.sampled_from(TYPES).flatmap(events)

Nonsense = tuple[str, str, Any, int, str]
NO_RUN = str(UUID(int=0))
NONSENSE: st.SearchStrategy[Nonsense] = st.sampled_from(
    [
        *[
            ("POST", "/runs", body, 422, "validation_error")
            for body in ({}, {"image": ""}, {"image": 7}, {"image": "a", "colour": 1}, {"image": "a", "priority": -1})
        ],
        *[
            ("POST", "/runs/{}/events", body, 422, "validation_error")
            for body in (
                {},
                {"type": "PAUSED"},
                {"type": "STARTED"},
                {"type": "STARTED", "payload": {"worker_id": 7}},
                {"type": "PROGRESS"},
                {"type": "PROGRESS", "msg": 101},
                {"type": "INFO", "msg": True},
                {"type": "INFO", "payload": []},
                {"type": "INFO", "attempt": "1"},
                {"type": "INFO", "colour": "red"},
                {"type": "COMPLETED", "payload": {"outputs": []}},
                {"type": "RETRIED", "payload": {"force": "yes"}},
            )
        ],
        ("POST", "/runs/{}/retry", {"force": True}, 422, "validation_error"),
        ("POST", "/runs/{}/cancel", {"msg": "stop"}, 422, "validation_error"),
        ("PATCH", "/runs/{}", {"state": "PAUSED"}, 400, "invalid_state"),
        ("PATCH", "/runs/{}", {"progress": 5}, 422, "validation_error"),
        ("GET", "/runs/{}x", None, 404, "run_not_found"),
        ("GET", f"/runs/{NO_RUN}", None, 404, "run_not_found"),
        ("GET", f"/runs/{NO_RUN}/events", None, 404, "run_not_found"),
        ("GET", f"/runs/{NO_RUN}/attempts", None, 404, "run_not_found"),
        ("PATCH", f"/runs/{NO_RUN}", {"priority": 1}, 404, "run_not_found"),
        ("POST", f"/runs/{NO_RUN}/events", {"type": "INFO"}, 404, "run_not_found"),
        ("POST", f"/runs/{NO_RUN}/retry", None, 404, "run_not_found"),
        ("POST", f"/runs/{NO_RUN}/cancel", None, 404, "run_not_found"),
    ]
)
"""Requests that every state refuses: method, path, body and refusal."""


TERMS: dict[str, Any] = {"queue": "default"} | dict.fromkeys(
    ("start_at", "queue_ttl_s", "attempt_timeout_s", "retain_s", "executor", "report")
)
"""The terms that a run shows if its request did not give them."""

MINIMAL = (
    *("id", "state", "current_attempt", "event_count", "last_seq"),
    *("lease_s", "lease_until", "cancel_by", "updated_at"),
)


class Run:
    """The model of a run: the state that docs/openapi.yaml requires after the requests so far."""

    def __init__(self, body: Mapping[str, Any], answer: Mapping[str, Any]) -> None:
        self.id: str = answer["id"]
        self.replay = Replay(body.get("retry_policy", {}).get("max_attempts", 1))
        self.created_at: str = answer["created_at"]
        self.updated_at: str = answer["updated_at"]
        self.priority: int = body.get("priority", 5)
        self.inputs = body.get("inputs", {})
        self.constraints = {"cpu": None, "ram_mb": None, "vram_mb": None} | body.get("constraints", {})
        self.image = body["image"]
        self.used: dict[tuple[str, str], str] = {}
        """The path and the key of each POST that took effect, with its body."""

    def __repr__(self) -> str:
        return f"<{self.id} {self.replay.current.state}>"

    @property
    def state(self) -> str:
        return self.replay.current.state

    def shown(self) -> dict[str, Any]:
        attempt = self.replay.current.shown()
        return {
            "id": self.id,
            "state": attempt["state"],
            "priority": self.priority,
            "image": self.image,
            "inputs": self.inputs,
            "outputs": attempt["outputs"],
            "progress": attempt["progress"],
            "constraints": self.constraints,
            "retry_policy": {"max_attempts": self.replay.max_attempts},
            "event_delivery": None,
            **dict.fromkeys(("op_definition", "op_version", "op_revision")),
            **TERMS,
            "current_attempt": attempt["attempt"],
            "event_count": attempt["event_count"],
            "last_seq": self.replay.last_seq,
            "execution_summary": attempt["execution_summary"],
            **dict.fromkeys(("not_before", "deadline", "cancel", "cancel_by", "lease_s", "lease_until")),
            "created_at": self.created_at,
            "updated_at": self.updated_at,
            "events": self.events(attempt["attempt"]),
        }

    def row(self, *, with_events: bool) -> dict[str, Any]:
        left_out = {"lease_s", "lease_until"} if with_events else {"lease_s", "lease_until", "events"}
        return {name: value for name, value in self.shown().items() if name not in left_out}

    def minimal(self) -> dict[str, Any]:
        run = self.shown()
        return {name: run[name] for name in MINIMAL}

    def events(self, attempt: int | None = None) -> list[dict[str, Any]]:
        """The model's events of one attempt or of all, as a client would read them now."""
        attempts = self.replay.attempts if attempt is None else [self.replay.attempts[attempt - 1]]
        return [{**event, "state": self.state} for some in attempts for event in some.events]

    def page(self, events: list[dict[str, Any]]) -> dict[str, Any]:
        """The expected page with all requested events."""
        at = {name: self.shown()[name] for name in ("state", "current_attempt", "last_seq")}
        return {"events": events, "has_more": False} | at

    def attempts(self) -> list[dict[str, Any]]:
        return [
            attempt.shown()
            | {"op_run_id": self.id, "inputs": self.inputs, "constraints": self.constraints}
            | {"events": self.events(attempt.number)[-20:], "created_at": attempt.began_at or self.created_at}
            for attempt in self.replay.attempts
        ]


class Handlers(RuleBasedStateMachine):
    """Sends a request in each rule and compares the answer and the run with the model."""

    runs = Bundle("runs")
    seen: ClassVar[Counter[str]] = Counter()
    """The answers to writes, with their effects, over all sequences."""

    def __init__(self, api: Gateway) -> None:
        super().__init__()
        self.api = api
        self.image = f"image-{uuid4()}"
        self.all: list[Run] = []
        self.created_with: dict[str, tuple[str, Run]] = {}

    def send(
        self, method: str, path: str, body: Any = None, *, key: str | None = None, minimal: bool = False
    ) -> Answer:
        headers = {} if key is None else {"Idempotency-Key": key}
        if minimal:
            headers["Prefer"] = "return=minimal"
        answer = self.api.call(method, path, body, headers=headers)
        what = answer.json["code"] if answer.status >= 400 else "replayed" if REPLAYED in answer.headers else "done"
        self.seen[f"{answer.status} {what}"] += 1
        return answer

    # -- invariants

    def holds(self, run: Run) -> None:
        """Assert that the run, its timeline and its attempts equal the model."""
        assert self.api.get(f"/runs/{run.id}").json == run.shown()
        timeline = self.api.get(f"/runs/{run.id}/events", after_seq=-1).json
        assert timeline == run.page(run.events())
        self.has_attempts(self.api.get(f"/runs/{run.id}/attempts"), run.attempts())

    @staticmethod
    def has_attempts(answer: Answer, expected: list[dict[str, Any]]) -> None:
        assert [{name: value for name, value in row.items() if name != "id"} for row in answer.json] == expected

    def refused(self, answer: Answer, status: int, code: str, run: Run | None = None) -> None:
        assert (answer.status, answer.json["code"]) == (status, code), answer.text
        assert set(answer.json) == {"detail", "code", "request_id"}
        assert isinstance(answer.json["detail"], list if status == 422 else str)
        if run is not None:
            self.holds(run)

    def answered(self, answer: Answer, run: Run, *, minimal: bool, replayed: bool = False, status: int = 200) -> None:
        assert (answer.status, answer.headers.get(REPLAYED)) == (status, "true" if replayed else None), answer.text
        assert answer.headers.get("Preference-Applied") == ("return=minimal" if minimal else None)
        assert answer.json == (run.minimal() if minimal else run.shown())
        self.holds(run)

    def expect(self, run: Run, path: str, body: Any, answer: Answer, *, key: str | None, minimal: bool) -> None:
        """Compare the answer to a POST to a run with the model. ``body`` is the event that the POST stands for."""
        text = json.dumps(body, sort_keys=True)
        if key is not None and (path, key) in run.used:
            if run.used[path, key] == text:
                self.answered(answer, run, minimal=minimal, replayed=True)
            else:
                self.refused(answer, 422, "idempotency_key_reused", run)
            return
        if body.get("attempt", run.replay.current.number) != run.replay.current.number:
            self.refused(answer, 409, "stale_attempt", run)
            return
        refusal = run.replay.refusal(body["type"], force=body.get("payload", {}).get("force", False))
        if refusal is not None:
            self.refused(answer, 400, refusal, run)
            assert run.state in answer.json["detail"]
            return
        self.take_new_events(run, body)
        if key is not None:
            run.used[path, key] = text
        run.updated_at = self.grown(run.updated_at, answer.json["updated_at"])
        self.answered(answer, run, minimal=minimal)

    def take_new_events(self, run: Run, body: Mapping[str, Any]) -> None:
        """Take the new events of the timeline into the model: the posted one, and the retry that it causes."""
        will_retry = body["type"] == "FAILED" and run.replay.has_budget
        first = {"type": body["type"], "msg": body.get("msg", ""), "payload": body.get("payload", {})}
        new = self.api.get(f"/runs/{run.id}/events", after_seq=run.replay.last_seq).json["events"]
        assert len(new) == 1 + will_retry
        before = run.updated_at
        for position, event in enumerate(new):
            seq = run.replay.last_seq + 1
            if event["type"] == "RETRIED":
                number, id_ = run.replay.current.number + 1, 0
            else:
                number, id_ = run.replay.current.number, len(run.replay.current.events)
            assert (event["seq"], event["attempt"], event["id"]) == (seq, number, id_)
            before = self.grown(before, event["t"])
            if position == 0:
                assert {name: event[name] for name in first} == first
            else:
                assert (event["type"], event["payload"]) == ("RETRIED", {})
            run.replay.apply(event)

    @staticmethod
    def grown(before: str, after: str) -> str:
        assert after >= before
        return after

    # -- creation

    @initialize(target=runs, max_attempts=MAX_ATTEMPTS)
    def create_one(self, max_attempts: int) -> Any:
        return self.create_run({"retry_policy": {"max_attempts": max_attempts}}, None, minimal=False)

    @precondition(lambda self: len(self.all) < 3)
    @rule(
        target=runs,
        body=st.fixed_dictionaries(
            {},
            optional={
                "priority": st.integers(0, 9999),
                "inputs": DOCUMENTS,
                "constraints": st.dictionaries(st.sampled_from(["cpu", "ram_mb", "vram_mb"]), st.integers(0, 99)),
                "retry_policy": st.fixed_dictionaries({"max_attempts": MAX_ATTEMPTS}),
            },
        ),
        key=KEYS,
        minimal=st.booleans(),
    )
    def create(self, body: dict[str, Any], key: str | None, minimal: bool) -> Any:
        return self.create_run(body, key, minimal=minimal)

    def create_run(self, body: dict[str, Any], key: str | None, *, minimal: bool) -> Any:
        body = {"image": self.image} | body
        text = json.dumps(body, sort_keys=True)
        key = None if key is None else f"{self.image} {key}"
        answer = self.send("POST", "/runs", body, key=key, minimal=minimal)
        if key in self.created_with:
            first_text, run = self.created_with[key]
            if first_text != text:
                self.refused(answer, 422, "idempotency_key_reused", run)
            else:
                self.answered(answer, run, minimal=minimal, replayed=True, status=201)
            return multiple()
        run = Run(body, self.api.get(f"/runs/{answer.json['id']}").json)
        assert run.created_at == run.updated_at
        self.answered(answer, run, minimal=minimal, status=201)
        self.all.append(run)
        if key is not None:
            self.created_with[key] = text, run
        return run

    @rule(run=runs)
    def repeat_its_creation(self, run: Run) -> None:
        for key, (text, created) in self.created_with.items():
            if created is run:
                answer = self.send("POST", "/runs", json.loads(text), key=key)
                self.answered(answer, run, minimal=False, replayed=True, status=201)
                other = json.loads(text) | {"priority": 10_000 - run.priority - 1}
                self.refused(self.send("POST", "/runs", other, key=key), 422, "idempotency_key_reused", run)

    # -- writes to a run

    @rule(run=runs, data=st.data(), key=KEYS, minimal=st.booleans())
    def event_that_fits(self, run: Run, data: st.DataObject, key: str | None, minimal: bool) -> None:
        fitting = [type_ for type_ in TYPES if run.replay.refusal(type_, force=False) is None]
        if fitting:
            self.event(run, data.draw(st.sampled_from(fitting).flatmap(events)), None, key, minimal)

    @rule(run=runs, data=st.data(), types=st.lists(st.sampled_from(MOVES), min_size=4, max_size=12))
    def a_stretch_of_its_life(self, run: Run, data: st.DataObject, types: list[str]) -> None:
        for type_ in types:
            if run.replay.refusal(type_, force=False) is None:
                body = data.draw(events(type_))
                answer = self.send("POST", f"/runs/{run.id}/events", body, minimal=True)
                self.take_new_events(run, body)
                run.updated_at = self.grown(run.updated_at, answer.json["updated_at"])
                assert answer.json == run.minimal()
        self.holds(run)

    @rule(run=runs, body=ANY_EVENT, token=TOKENS, key=KEYS, minimal=st.booleans())
    def any_event(self, run: Run, body: dict[str, Any], token: int | None, key: str | None, minimal: bool) -> None:
        self.event(run, body, token, key, minimal)

    @rule(run=runs, force=st.booleans())
    def ask_for_a_retry(self, run: Run, force: bool) -> None:
        self.event(run, {"type": "RETRIED", "payload": {"force": force}}, None, None, minimal=True)

    def event(self, run: Run, body: dict[str, Any], token: int | None, key: str | None, minimal: bool) -> None:
        if token is not None:
            body = body | {"attempt": run.replay.current.number + token}
        path = f"/runs/{run.id}/events"
        answer = self.send("POST", path, body, key=key, minimal=minimal)
        self.expect(run, path, body, answer, key=key, minimal=minimal)

    @rule(run=runs, data=st.data(), other=st.booleans())
    def repeat_an_event(self, run: Run, data: st.DataObject, other: bool) -> None:
        path = f"/runs/{run.id}/events"
        used = {key: text for (other_path, key), text in run.used.items() if other_path == path}
        if used:
            key = data.draw(st.sampled_from(sorted(used)))
            body = json.loads(used[key]) | ({"msg": "another"} if other else {})
            if body["type"] == "PROGRESS" and other:
                body["msg"] = 100 - body["msg"]
            answer = self.send("POST", path, body, key=key)
            self.expect(run, path, body, answer, key=key, minimal=False)

    @rule(run=runs, key=KEYS, minimal=st.booleans(), body=st.sampled_from([None, {}]))
    def retry(self, run: Run, key: str | None, minimal: bool, body: Any) -> None:
        path = f"/runs/{run.id}/retry"
        answer = self.send("POST", path, body, key=key, minimal=minimal)
        event = {"type": "RETRIED", "msg": MANUAL_RETRY, "payload": {"force": True}}
        self.expect(run, path, event, answer, key=key, minimal=minimal)

    @rule(run=runs, key=KEYS, minimal=st.booleans(), body=st.sampled_from([None, {}]))
    def cancel(self, run: Run, key: str | None, minimal: bool, body: Any) -> None:
        path = f"/runs/{run.id}/cancel"
        answer = self.send("POST", path, body, key=key, minimal=minimal)
        self.expect(run, path, {"type": "CANCELLED", "msg": USER_CANCEL}, answer, key=key, minimal=minimal)

    @rule(
        run=runs,
        edit=st.fixed_dictionaries(
            {},
            optional={
                "state": st.sampled_from(STATES) | st.none(),
                "outputs": DOCUMENTS | st.none(),
                "priority": st.integers(0, 9999),
            },
        ),
        minimal=st.booleans(),
    )
    def patch(self, run: Run, edit: dict[str, Any], minimal: bool) -> None:
        answer = self.send("PATCH", f"/runs/{run.id}", edit, minimal=minimal)
        assert answer.status == 200, answer.text
        at = self.grown(run.updated_at, answer.json["updated_at"])
        changes = any(value is not None for value in edit.values())
        run.updated_at = at if changes else run.updated_at
        run.replay.patch(edit, at)
        run.priority = edit.get("priority", run.priority)
        self.answered(answer, run, minimal=minimal)

    @rule(run=runs, request=NONSENSE, key=KEYS)
    def send_what_makes_no_sense(self, run: Run, request: Nonsense, key: str | None) -> None:
        method, path, body, status, code = request
        answer = self.send(method, path.format(run.id), body, key=key if method == "POST" else None)
        self.refused(answer, status, code, run)

    # -- reads

    @rule(run=runs, after=st.integers(-1, 6), attempt=st.none() | st.integers(1, 4))
    def read_a_timeline(self, run: Run, after: int, attempt: int | None) -> None:
        query = {"after": after} | ({} if attempt is None else {"attempt": attempt})
        answer = self.api.get(f"/runs/{run.id}/events", **query)
        attempt = attempt or run.replay.current.number
        if attempt > run.replay.current.number:
            self.refused(answer, 400, "invalid_filter")
        else:
            assert answer.json == run.page(run.events(attempt)[after + 1 :])

    @rule(run=runs, after_seq=st.integers(-1, 9))
    def read_across_attempts(self, run: Run, after_seq: int) -> None:
        answer = self.api.get(f"/runs/{run.id}/events", after_seq=after_seq)
        assert answer.json == run.page(run.events()[after_seq + 1 :])

    @rule(run=runs, after=st.integers(0, 4), limit=st.integers(1, 3))
    def read_attempts(self, run: Run, after: int, limit: int) -> None:
        answer = self.api.get(f"/runs/{run.id}/attempts", after=after, limit=limit)
        expected = run.attempts()[after : after + limit]
        self.has_attempts(answer, expected)
        assert ("Link" in answer.headers) == (len(run.replay.attempts) > after + limit and bool(expected))

    @rule(state=st.none() | st.sampled_from(STATES), with_events=st.booleans())
    def list_runs(self, state: str | None, with_events: bool) -> None:
        query: dict[str, Any] = {"image": self.image, "limit": 100}
        query |= ({} if state is None else {"state": state}) | ({"expand[]": "events"} if with_events else {})
        page = self.api.get("/runs", **query).json
        newest_first = sorted(self.all, key=lambda run: (run.created_at, run.id), reverse=True)
        assert page == {
            "object": "list",
            "data": [run.row(with_events=with_events) for run in newest_first if state in (None, run.state)],
            "has_more": False,
            "next_cursor": None,
            "url": "/runs",
        }

    def teardown(self) -> None:
        for run in self.all:
            self.holds(run)
            self.seen["attempts"] += len(run.replay.attempts)
            self.seen["events"] += run.replay.last_seq + 1


def play(api: Gateway, *, examples: int, steps: int) -> None:
    Handlers.seen.clear()
    machine: Any = seed(examples)(lambda: Handlers(api))
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            # Phase.explain is left out: a failing sequence is short enough to read, and every step costs requests.
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        ),
    )
    print(f"{examples} sequences: {dict(sorted(Handlers.seen.items()))}")


def test_the_handlers_answer_as_the_model(api: Gateway) -> None:
    play(api, examples=40, steps=50)
    assert {"200 replayed", "400 run_locked", "400 retry_budget_spent", "409 stale_attempt"} <= set(Handlers.seen)


@pytest.mark.long
def test_the_handlers_answer_as_the_model_in_long_sequences(api: Gateway) -> None:
    play(api, examples=150, steps=80)
