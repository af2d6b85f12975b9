"""Tests when a request is sent again, after which pause, and how long."""

import math
import pickle
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from clients.python.tests.examples import RUN_ID, claimed_json, error_json, run_json
from clients.python.tests.playing import LOST, NEVER_SENT, Play, answer
from gyoza_client import (
    ApiError,
    InternalError,
    InvalidInputs,
    NoAnswer,
    QuotaExceeded,
    RunLocked,
    ServerError,
    StaleAttempt,
    UnexpectedAnswer,
)
from gyoza_client._calling import Limits
from gyoza_client._operations import Operations
from gyoza_client._steps import Answer, Lost, Operation

Call = Callable[[Operations], Operation[Any]]

KEYED: list[tuple[str, Call]] = [
    ("create", lambda api: api.create_run("busybox:1")),
    ("retry", lambda api: api.retry_run(RUN_ID)),
    ("cancel", lambda api: api.cancel_run(RUN_ID)),
    ("event", lambda api: api.add_event(RUN_ID, "INFO")),
    ("claim", lambda api: api.claim_run("w")),
    ("from definition", lambda api: api.create_run_from_definition("resize")),
    ("request", lambda api: api.request("POST", "/runs", body={"image": "busybox:1"})),
]
FREE: list[tuple[str, Call]] = [
    *KEYED,
    ("get", lambda api: api.get_run(RUN_ID)),
    ("delete", lambda api: api.request("DELETE", "/definitions/resize")),
    ("put", lambda api: api.request("PUT", "/definitions/resize", body={"version": "1", "image": "busybox:1"})),
]
PATCHES: list[tuple[str, Call]] = [
    ("update", lambda api: api.update_run(RUN_ID, priority=1)),
    ("request", lambda api: api.request("patch", f"/runs/{RUN_ID}", body={"priority": 1})),
]


def refused(status: int, code: str, **headers: str) -> Answer:
    return answer(error_json(code), status, **headers)


NESTED: dict[str, Any] = {}
"""Nested more deeply than Python goes."""
for _ in range(20_000):
    NESTED = {"x": NESTED}
CIRCULAR: dict[str, Any] = {}
CIRCULAR["x"] = CIRCULAR

DONE = answer(claimed_json("w"))

NOTHING_HAPPENED = [NEVER_SENT, refused(429, "throttled"), refused(409, "run_busy"), refused(409, "definition_busy")]
PERHAPS = [LOST, refused(500, "internal_error"), refused(503, "unavailable"), Answer(502, {}, b"<html>")]
FINAL = [
    refused(429, "quota_exceeded"),
    refused(409, "stale_attempt"),
    refused(409, "not_claimant"),
    refused(400, "run_locked"),
    refused(404, "run_not_found"),
    refused(422, "validation_error"),
    Answer(301, {}, b""),
]


@pytest.mark.parametrize("call", [call for _, call in FREE], ids=[name for name, _ in FREE])
@pytest.mark.parametrize("reply", [*NOTHING_HAPPENED, *PERHAPS], ids=str)
def test_what_may_be_done_twice_is_sent_again(call: Call, reply: Answer | Lost) -> None:
    play = Play()
    play.result(call(play.operations), [reply, DONE])
    first, second = play.sent
    assert (first.method, first.path, first.headers, first.body) == (
        second.method,
        second.path,
        second.headers,
        second.body,
    )


@pytest.mark.parametrize("call", [call for _, call in PATCHES], ids=[name for name, _ in PATCHES])
@pytest.mark.parametrize("reply", NOTHING_HAPPENED, ids=str)
def test_a_patch_is_sent_again_where_nothing_can_have_happened(call: Call, reply: Answer | Lost) -> None:
    play = Play()
    play.result(call(play.operations), [reply, DONE])
    assert len(play.sent) == 2


@pytest.mark.parametrize("call", [call for _, call in PATCHES], ids=[name for name, _ in PATCHES])
@pytest.mark.parametrize("reply", PERHAPS, ids=str)
def test_a_patch_is_not_sent_again_where_something_may_have_happened(call: Call, reply: Answer | Lost) -> None:
    play = Play()
    with pytest.raises((NoAnswer, ServerError)):
        play.result(call(play.operations), [reply])


@pytest.mark.parametrize("reply", FINAL, ids=str)
def test_a_refusal_is_final(reply: Answer) -> None:
    play = Play()
    with pytest.raises(ApiError):
        play.result(play.operations.create_run("busybox:1"), [reply])
    assert play.slept == []


@pytest.mark.parametrize("call", [call for _, call in KEYED], ids=[name for name, _ in KEYED])
def test_every_call_has_a_key_of_its_own_that_its_repeats_keep(call: Call) -> None:
    play = Play()
    play.result(call(play.operations), [LOST, LOST, DONE])
    play.result(call(play.operations), [DONE])
    keys = [step.headers["Idempotency-Key"] for step in play.sent]
    assert keys[0] == keys[1] == keys[2] != keys[3]


def test_a_key_of_the_caller_is_sent_and_named_by_the_error() -> None:
    play = Play(Limits(max_retries=1))
    with pytest.raises(NoAnswer, match="the connection broke") as lost:
        play.result(play.operations.create_run("busybox:1", idempotency_key="order 7"), [LOST, LOST])
    assert lost.value.idempotency_key == "order 7"
    assert [step.headers["Idempotency-Key"] for step in play.sent] == ["order 7"] * 2


@pytest.mark.parametrize("key", ["", " a", "a ", "ä", "a" * 256, "a\nb"])
def test_a_key_that_the_api_does_not_take_is_a_value_error(key: str) -> None:
    play = Play()
    with pytest.raises(ValueError, match="idempotency_key"):
        play.result(play.operations.create_run("busybox:1", idempotency_key=key), [])


def test_a_heartbeat_and_a_read_carry_no_key() -> None:
    play = Play()
    beat = {
        "id": RUN_ID,
        "state": "RUNNING",
        "current_attempt": 1,
        "lease_s": 90,
        "lease_until": "2026-03-02T20:00:00Z",
    }
    play.result(play.operations.heartbeat(RUN_ID, 1, "w"), [LOST, answer(beat | {"cancel_by": None})])
    play.result(play.operations.get_run(RUN_ID), [DONE])
    assert all("Idempotency-Key" not in step.headers for step in play.sent)


def test_pauses_double_up_to_eight_seconds() -> None:
    play = Play(Limits(call_timeout=1000, max_retries=7))
    with pytest.raises(InternalError):
        play.result(play.operations.get_run(RUN_ID), [refused(500, "internal_error")] * 8)
    assert play.slept == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0]


def test_a_pause_is_never_shorter_than_retry_after() -> None:
    play = Play()
    date, later = "Mon, 02 Mar 2026 20:00:00 GMT", "Mon, 02 Mar 2026 20:00:03 GMT"
    replies = [
        refused(429, "throttled", retry_after="7"),
        refused(503, "unavailable", retry_after=later, date=date),
        refused(503, "unavailable", retry_after="soon"),
        DONE,
    ]
    play.result(play.operations.get_run(RUN_ID), replies)
    assert play.slept == [7.5, 4.0, 2.0]


def test_a_call_ends_within_its_time_and_before_a_pause_that_passes_it() -> None:
    play = Play(Limits(timeout=30, call_timeout=60), seconds_a_request=25)
    with pytest.raises(NoAnswer):
        play.result(play.operations.get_run(RUN_ID), [LOST, LOST, LOST])
    assert [step.timeout_s for step in play.sent] == [30, 30, 60 - 25 - 0.5 - 25 - 1.0]
    play = Play()
    with pytest.raises(ApiError):
        play.result(play.operations.get_run(RUN_ID), [refused(429, "throttled", retry_after="60")])


@pytest.mark.parametrize("lease_s", [15, 30, 60])
def test_no_answer_to_a_claim_is_waited_for_once_its_lease_is_over(lease_s: int) -> None:
    play = Play(Limits(call_timeout=3600, max_retries=10_000), seconds_a_request=8)
    with pytest.raises(NoAnswer):
        play.result(play.operations.claim_run("w", lease_s=lease_s), [LOST] * 10)
    begun = 0.0
    for number, step in enumerate(play.sent):
        assert begun + step.timeout_s <= lease_s
        begun += 8 + (play.slept[number] if number < len(play.slept) else 0)


def test_a_run_of_another_worker_is_not_taken() -> None:
    play = Play()
    with pytest.raises(UnexpectedAnswer, match="of another worker"):
        play.result(play.operations.claim_run("w"), [LOST, answer(claimed_json("v"))])


@pytest.mark.parametrize(
    ("reply", "error", "text"),
    [
        (refused(400, "run_locked"), RunLocked, "400 run_locked: no (request r-1)"),
        (refused(409, "stale_attempt"), StaleAttempt, "409 stale_attempt: no (request r-1)"),
        (refused(429, "quota_exceeded"), QuotaExceeded, "429 quota_exceeded: no (request r-1)"),
        (
            answer(
                error_json("invalid_inputs", [{"loc": ["body", "inputs", "n"], "msg": "Missing", "type": "missing"}]),
                400,
            ),
            InvalidInputs,
            "400 invalid_inputs: body.inputs.n: Missing (request r-1)",
        ),
        (answer({"message": "Forbidden"}, 403), ApiError, "403 : Forbidden (request None)"),
        (refused(400, "a_new_code"), ApiError, "400 a_new_code: no (request r-1)"),
    ],
)
def test_an_error_has_the_class_of_its_code_and_says_what_the_api_said(
    reply: Answer, error: type[ApiError], text: str
) -> None:
    play = Play()
    with pytest.raises(error) as raised:
        play.result(play.operations.retry_run(RUN_ID), [reply])
    assert str(raised.value) == text
    assert raised.value.status == reply.status
    again = pickle.loads(pickle.dumps(raised.value))  # noqa: S301 - the pickle is our own
    assert (type(again), str(again)) == (error if error is not ApiError else type(raised.value), text)


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"null", b"{}", b'{"id": 1, "created_at": "yesterday"}'])
def test_a_success_that_is_no_answer_of_the_api_is_an_unexpected_answer(body: bytes) -> None:
    play = Play()
    with pytest.raises(UnexpectedAnswer):
        play.result(play.operations.get_run(RUN_ID), [Answer(200, {}, body)])


def test_the_fields_that_an_answer_lacks_are_named() -> None:
    play = Play()
    with pytest.raises(UnexpectedAnswer, match=r"Run lacks id, state, priority, .*updated_at"):
        play.result(play.operations.get_run(RUN_ID), [answer({})])
    fields = {name: value for name, value in run_json().items() if name not in ("progress", "created_at")}
    with pytest.raises(UnexpectedAnswer, match=r"Run lacks progress, created_at$"):
        play.result(play.operations.get_run(RUN_ID), [answer(fields)])


@pytest.mark.parametrize("reply", [Answer(200, {}, b"<html>"), Answer(200, {}, b""), answer({}, 202)])
def test_only_no_content_says_that_a_definition_is_deleted(reply: Answer) -> None:
    play = Play()
    with pytest.raises(UnexpectedAnswer, match="deletion"):
        play.result(play.operations.delete_definition("resize"), [reply])
    play.result(play.operations.delete_definition("resize"), [Answer(204, {}, b"")])


@pytest.mark.parametrize("run", [None, 7, {"id": RUN_ID}])
def test_what_is_no_run_is_a_type_error(run: Any) -> None:
    with pytest.raises(TypeError, match=f"not as {type(run).__name__}"):
        Play().result(Play().operations.get_run(run), [])


@pytest.mark.parametrize(
    "call",
    [
        lambda api: api.wait(RUN_ID, timeout=math.nan),
        lambda api: api.run("busybox:1", timeout=math.nan),
        lambda api: api.claim_run("w", wait_s=math.nan),
    ],
)
def test_a_time_that_is_no_number_is_refused_before_anything_is_sent(call: Call) -> None:
    play = Play()
    with pytest.raises(ValueError, match="NaN"):
        play.result(call(play.operations), [])
    assert play.sent == []


@pytest.mark.parametrize("run", ["", ".", ".."])
def test_an_id_that_would_name_another_path_is_a_value_error(run: str) -> None:
    with pytest.raises(ValueError, match="is no id"):
        Play().result(Play().operations.get_run(run), [])


def test_an_id_is_one_part_of_the_path() -> None:
    play = Play()
    play.result(play.operations.get_run("a/b ?#ä"), [DONE])
    assert play.sent[0].path == "/runs/a%2Fb%20%3F%23%C3%A4"


@pytest.mark.parametrize("inputs", [{"x": math.nan}, {"x": "\ud800"}, {"x": object()}, NESTED, CIRCULAR])
def test_inputs_that_json_cannot_hold_are_refused_before_they_are_sent(inputs: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError)):
        Play().result(Play().operations.create_run("busybox:1", inputs), [])


def test_half_a_surrogate_pair_is_named() -> None:
    with pytest.raises(ValueError, match=r"'\\ud800' is half a surrogate pair"):
        Play().result(Play().operations.create_run("busybox:1", {"x": "a\ud800"}), [])


def test_fields_that_are_not_given_are_not_sent_and_instants_need_a_zone() -> None:
    play = Play()
    play.result(play.operations.create_run("busybox:1", start_at=datetime(2026, 3, 2, tzinfo=UTC)), [DONE])
    assert play.bodies() == [{"image": "busybox:1", "start_at": "2026-03-02T00:00:00+00:00"}]
    with pytest.raises(ValueError, match="time zone"):
        play.result(play.operations.create_run("busybox:1", start_at=datetime(2026, 3, 2)), [])  # noqa: DTZ001


@pytest.mark.parametrize(
    "limits", [{"timeout": 0}, {"call_timeout": -1}, {"max_retries": -1}, {"timeout": float("nan")}]
)
def test_limits_that_bound_nothing_are_value_errors(limits: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"timeout|max_retries"):
        Limits(**limits)
