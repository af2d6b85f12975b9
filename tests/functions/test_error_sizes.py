"""Tests that an error stays within 64 KB: at most 20 details, and one that counts the rest."""

import json
from typing import Any

import pytest

from testing.gateway import Answer, Gateway
from tests.functions.expected import bytes_as_sent

MAX_BYTES = 64 * 1024
LONG = 2_000_000


def assert_small(answer: Answer, *statuses: int) -> None:
    assert answer.status in statuses
    assert len(answer.text.encode()) <= MAX_BYTES
    assert bytes_as_sent(answer) <= MAX_BYTES


def unknown_fields(count: int) -> dict[str, Any]:
    return {f"{number:06}{chr(0x1F95F) * 250}": 1 for number in range(count)}


@pytest.mark.parametrize(
    ("path", "fields", "loc"),
    [
        ("/runs", {"image": "busybox:1"}, []),
        ("/runs/{id}/events", {"type": "INFO"}, []),
        ("/runs/{id}/cancel", {}, []),
        ("/runs/{id}/retry", {}, []),
        ("/runs/{id}/heartbeat", {"attempt": 1, "worker_id": "w"}, []),
        ("/runs/claim", {"worker_id": "w"}, []),
        ("/runs/claim", {"worker_id": "w"}, ["capacity"]),
        ("/runs", {"image": "busybox:1"}, ["constraints"]),
        ("/runs", {"image": "busybox:1", "event_delivery": {"topic": "t"}}, ["event_delivery"]),
    ],
)
@pytest.mark.parametrize("count", [20, 21, 2_000])
def test_unknown_fields_beyond_twenty_are_counted(
    api: Gateway, path: str, fields: dict[str, Any], loc: list[str], count: int
) -> None:
    path = path.replace("{id}", api.create()["id"])
    body: dict[str, Any] = json.loads(json.dumps(fields))
    node = body
    for name in loc:
        node = node.setdefault(name, {})
    node |= unknown_fields(count)
    answer = api.post(path, body)
    assert_small(answer, 422)
    names = [f"{number:06}{chr(0x1F95F) * 193}…" for number in range(20)]
    listed, more = answer.json["detail"][:20], answer.json["detail"][20:]
    assert [detail["loc"] for detail in listed] == [["body", *loc, name] for name in names]
    expected = [] if count == 20 else [f"{count - 20} more do not fit"]
    assert more == [{"loc": ["body"], "msg": msg, "type": "too_many_misfits"} for msg in expected]


def test_60000_unknown_fields_are_counted_beside_a_known_one_that_does_not_fit(api: Gateway) -> None:
    answer = api.post("/runs", {f"a{number}": 1 for number in range(60_000)})
    assert_small(answer, 422)
    details = answer.json["detail"]
    assert (len(details), details[0]["loc"], details[20]["msg"]) == (21, ["body", "image"], "59981 more do not fit")


def test_unknown_query_parameters_beyond_twenty_are_counted(api: Gateway) -> None:
    answer = api.get("/runs", **{f"a{number}": "1" for number in range(500)})
    assert_small(answer, 422)
    last = answer.json["detail"][-1]
    assert (len(answer.json["detail"]), last["loc"], last["msg"]) == (21, ["query"], "480 more do not fit")


@pytest.mark.parametrize("text", ["x" * LONG, "\0" * 500_000, "🥟" * 500_000, "'\"" * 500_000], ids=len)
def test_a_long_text_is_repeated_in_part_or_not_at_all(api: Gateway, text: str) -> None:
    run_id = api.create()["id"]
    attributes: list[dict[str, Any]] = [{text: 1}, {"a": text}]
    deliveries = [{"topic": text}, *[{"topic": "t", "attributes": each} for each in attributes]]
    answers = [
        api.patch(f"/runs/{run_id}", {"state": text}),
        api.patch(f"/runs/{run_id}", {text: 1}),
        api.post("/runs", {"image": text}),
        *[api.post("/runs", {"image": "i", "event_delivery": each}) for each in deliveries],
        api.event(run_id, text),
        api.event(run_id, "INFO", msg=text),
        api.post(f"/runs/{run_id}/events", {"type": "INFO", text: 1}),
        api.event(run_id, "STARTED", payload={"worker_id": text}),
        api.post(f"/runs/{run_id}/cancel", {text: 1}),
        api.post(f"/runs/{run_id}/cancel", {"mode": text, "grace_s": text}),
        api.post(f"/runs/{run_id}/heartbeat", {"attempt": text, "worker_id": text}),
        api.post("/runs/claim", {"worker_id": text, "queues": [text], "lease_s": text}),
        api.post("/runs", {"image": "i", "queue": text, "start_at": text}),
        api.call("POST", "/runs", {"image": "i"}, headers={"Idempotency-Key": text}),
        *[api.get("/runs", **{name: text}) for name in ("state", "starting_after", "ending_before", "limit", text)],
        *[api.get("/runs", **{name: text}) for name in ("created[gt]", "expand[]")],
        api.get(f"/runs/{run_id}/events", after=text),
    ]
    for answer in answers:
        assert_small(answer, 400, 422)
        assert text[:1] * 201 not in answer.text


def test_a_long_run_id_is_repeated_in_part(api: Gateway) -> None:
    answer = api.get(f"/runs/{'x' * LONG}")
    assert_small(answer, 404)
    assert answer.json["detail"] == f"OpRun '{'x' * 199}…' not found"


def test_integers_of_thousands_of_digits_are_repeated_in_part(api: Gateway) -> None:
    run_id, number = api.create()["id"], int("9" * 4_300)
    answer = api.event(run_id, "INFO", attempt=number)
    assert_small(answer, 409)
    assert answer.json["detail"].startswith(f"Attempt {'9' * 199}… is not the current one: the run is at attempt 1.")
    too_high = api.get(f"/runs/{run_id}/events", attempt=number)
    assert_small(too_high, 400)
    assert too_high.json["detail"] == f"The run has no attempt {'9' * 199}…"
    assert_small(api.event(run_id, "INFO", attempt=-number), 409)


@pytest.mark.parametrize(
    "body",
    [b"[" * 6_000_000, b'{"a":' * 1_000_000, b"7" * 6_000_000, b"\xff" * 6_000_000, b'{"image": "' + b"x" * 6_000_000],
    ids=["brackets", "braces", "digits", "no UTF-8", "cut off"],
)
def test_a_body_that_is_no_json_is_not_repeated(api: Gateway, body: bytes) -> None:
    run_id = api.create()["id"]
    for path in ("/runs", f"/runs/{run_id}/events", f"/runs/{run_id}/cancel"):
        answer = api.call("POST", path, body)
        assert_small(answer, 422)
        assert len(answer.text) < 300
