"""Tests bad input on every route: bodies that are not JSON or cannot be kept, wrong ids, numbers at every limit.

The tests of a route hold the input that only this route accepts or refuses.
"""

import json
from typing import Any
from urllib.parse import quote

import pytest

from testing.gateway import Answer, Gateway
from tests.functions.conftest import Stored
from tests.functions.expected import a_run, assert_does_not_fit, assert_error_shape, assert_refused, at

WITH_BODY = {
    "create_run": ("POST", "/runs"),
    "update_run": ("PATCH", "/runs/{id}"),
    "add_event": ("POST", "/runs/{id}/events"),
    "heartbeat_run": ("POST", "/runs/{id}/heartbeat"),
    "claim_run": ("POST", "/runs/claim"),
}
FITTING: dict[str, Any] = {
    "/runs": {"image": "i"},
    "/runs/{id}/events": {"type": "INFO"},
    "/runs/{id}/heartbeat": {"attempt": 1, "worker_id": "w"},
    "/runs/claim": {"worker_id": "w"},
}
"""A body for each route that takes no empty one."""

WITHOUT_BODY = {
    "retry_run": ("POST", "/runs/{id}/retry"),
    "cancel_run": ("POST", "/runs/{id}/cancel"),
}
READING_ROUTES = {
    "get_run": ("GET", "/runs/{id}"),
    "list_events": ("GET", "/runs/{id}/events"),
    "list_attempts": ("GET", "/runs/{id}/attempts"),
}

every_writing_route = pytest.mark.parametrize(
    ("method", "path"), list((WITH_BODY | WITHOUT_BODY).values()), ids=list(WITH_BODY | WITHOUT_BODY)
)
every_route_with_a_body = pytest.mark.parametrize(("method", "path"), list(WITH_BODY.values()), ids=list(WITH_BODY))


def assigned(api: Gateway) -> str:
    """A run that accepts a valid request to every writing route."""
    run_id: str = api.create()["id"]
    api.event(run_id, "ASSIGNED", payload={"worker_id": "w", "lease_s": 60})
    return run_id


def nested(levels: int) -> bytes:
    return b'{"a":' * (levels - 1) + b"{}" + b"}" * (levels - 1)


NO_JSON = {
    "blank": b" ",
    "cut off": b'{"image": "busybox:1"',
    "single quotes": b"{'image': 'busybox:1'}",
    "trailing comma": b'{"image": "busybox:1",}',
    "two documents": b"{} {}",
    "a form": b"image=busybox%3A1",
    "byte order mark": b"\xef\xbb\xbf{}",
    "a raw line break in a string": b'{"image": "busy\nbox"}',
    "65 levels": nested(65),
    "65 levels of arrays": b'{"inputs":' + b"[" * 64 + b"]" * 64 + b"}",
    "a hundred thousand levels": b"[" * 100_000,
    "NaN": b'{"image": "busybox:1", "priority": NaN}',
    "Infinity": b'{"inputs": {"a": Infinity}}',
    "-Infinity": b'{"payload": {"a": [-Infinity]}}',
    "beyond a double": b'{"inputs": {"a": 1e400}}',
    "5,000 digits": b'{"inputs": {"a": ' + b"7" * 5_000 + b"}}",
    "minus 5,000 digits": b'{"priority": -' + b"7" * 5_000 + b"}",
    "a high surrogate alone": rb'{"image": "\ud83e"}',
    "a low surrogate alone": rb'{"inputs": {"\udd5f": 1}}',
    "surrogates in the wrong order": rb'{"msg": "\udd5f\ud83e"}',
}

NO_UTF_8 = {
    "latin 1": '{"image": "März"}'.encode("latin-1"),
    "utf-16": '{"image": "busybox:1"}'.encode("utf-16"),
    "a surrogate in utf-8": b'{"image": "\xed\xa0\xbe"}',
    "an overlong form": b'{"image": "\xc0\x80"}',
    "no text at all": bytes(range(256)),
}

NO_OBJECT = {"an array": b"[]", "a string": b'"image"', "a number": b"5", "true": b"true"}


def assert_body_refused(api: Gateway, stored: Stored, method: str, path: str, body: object) -> None:
    path = path.replace("{id}", assigned(api))
    before = stored()
    assert_does_not_fit(api.call(method, path, body), "body")
    assert stored() == before


@every_writing_route
@pytest.mark.parametrize(
    "body", list((NO_JSON | NO_UTF_8 | NO_OBJECT).values()), ids=list(NO_JSON | NO_UTF_8 | NO_OBJECT)
)
def test_a_body_that_is_no_json_object_we_can_keep_is_refused(
    api: Gateway, stored: Stored, method: str, path: str, body: bytes
) -> None:
    assert_body_refused(api, stored, method, path, body)


@every_writing_route
@pytest.mark.parametrize("body", list(NO_JSON.values()), ids=list(NO_JSON))
def test_a_body_that_is_no_json_object_we_can_keep_is_refused_as_text_too(
    api: Gateway, stored: Stored, method: str, path: str, body: bytes
) -> None:
    assert_body_refused(api, stored, method, path, body.decode())


@every_writing_route
def test_text_with_half_a_character_in_it_is_refused(api: Gateway, stored: Stored, method: str, path: str) -> None:
    assert_body_refused(api, stored, method, path, '{"image": "\ud83e"}')


@every_route_with_a_body
@pytest.mark.parametrize("body", [None, "", b"", b"null"], ids=["none", "empty text", "empty bytes", "null"])
def test_a_route_that_needs_a_body_refuses_a_request_without_one(
    api: Gateway, stored: Stored, method: str, path: str, body: object
) -> None:
    assert_body_refused(api, stored, method, path, body)


@every_route_with_a_body
def test_a_body_is_read_as_json_under_every_content_type(api: Gateway, method: str, path: str) -> None:
    body = json.dumps(FITTING.get(path, {})).encode()
    path = path.replace("{id}", assigned(api))
    for content_type in ("text/plain", "application/x-www-form-urlencoded", "application/octet-stream", ""):
        answer = api.call(method, path, body, headers={"Content-Type": content_type})
        assert answer.status in {200, 201, 204}


def test_base64_encoded_bodies_are_taken_like_any_other(api: Gateway) -> None:
    run_id = api.post("/runs", '{"image": "März 🥟"}'.encode()).json["id"]
    api.patch(f"/runs/{run_id}", b'{"priority": 9}')
    api.post(f"/runs/{run_id}/events", '{"type": "INFO", "msg": "Größe"}'.encode())
    run = api.post(f"/runs/{run_id}/cancel", b"{}").json
    assert (run["image"], run["priority"], run["state"]) == ("März 🥟", 9, "CANCELLED")
    assert [event["msg"] for event in run["events"]] == ["Größe", "Cancelled by user"]
    assert api.post(f"/runs/{run_id}/retry", b"{}").json["current_attempt"] == 2


@every_writing_route
def test_64_levels_are_taken_as_json_whatever_the_schema_says(api: Gateway, method: str, path: str) -> None:
    answer = api.call(method, path.replace("{id}", assigned(api)), nested(64))
    assert_does_not_fit(answer, "body", "a")


def test_64_levels_come_back_as_they_were_sent(api: Gateway) -> None:
    deepest: Any = {}
    for _ in range(62):
        deepest = {"a": deepest}
    run_id = api.create(inputs=deepest)["id"]
    assert api.get(f"/runs/{run_id}").json["inputs"] == deepest


RUN_ID = "6f1c2a54-9d1b-4c55-8a39-2f0f5c7be911"

NO_RUN = {
    "unknown": RUN_ID,
    "NUL": "\0",
    "NUL within": f"{RUN_ID}\0",
    "hash": "#",
    "another item's key": "HEAD",
    "a partition's key": f"RUN#{RUN_ID}",
    "an id and a key": f"{RUN_ID}#SPEC",
    "300 characters": "x" * 300,
    "300 hex digits": "a" * 300,
    "upper case": RUN_ID.upper(),
    "without dashes": RUN_ID.replace("-", ""),
    "braces": f"{{{RUN_ID}}}",
    "urn": f"urn:uuid:{RUN_ID}",
    "blank": " ",
    "quote": "'",
    "double quote": '"',
    "line break": f"{RUN_ID}\n",
    "percent": "%",
    "slash": f"{RUN_ID}/",
    "dots": "..",
    "not ASCII": "März 🥟",
    "another digit": RUN_ID.replace("1", "\u0661"),
}

ROUTES_OF_A_RUN = {
    **READING_ROUTES,
    **WITHOUT_BODY,
    "update_run": WITH_BODY["update_run"],
    "add_event": WITH_BODY["add_event"],
    "heartbeat_run": WITH_BODY["heartbeat_run"],
}


@pytest.mark.parametrize(("method", "path"), list(ROUTES_OF_A_RUN.values()), ids=list(ROUTES_OF_A_RUN))
@pytest.mark.parametrize("run_id", list(NO_RUN.values()), ids=list(NO_RUN))
def test_an_id_that_names_no_run_is_not_found(
    api: Gateway, stored: Stored, method: str, path: str, run_id: str
) -> None:
    api.create()
    before = stored()
    body = None if method == "GET" else FITTING.get(path, {})
    answer = api.call(method, path.replace("{id}", quote(run_id, safe="")), body)
    assert_not_found(answer, run_id)
    assert stored() == before


@pytest.mark.parametrize(
    "spelling", [str.upper, lambda run_id: run_id.replace("-", ""), lambda run_id: f"{{{run_id}}}"]
)
def test_a_run_has_one_spelling_of_its_id(api: Gateway, spelling: Any) -> None:
    run_id = spelling(api.create()["id"])
    assert_not_found(api.get(f"/runs/{quote(run_id)}"), run_id)


def assert_not_found(answer: Answer, run_id: str) -> None:
    assert (answer.status, answer.json["code"]) == (404, "run_not_found")
    assert_error_shape(answer, json.dumps(run_id)[1:-1], quote(run_id, safe=""))
    shown = run_id if len(run_id) <= 200 else f"{run_id[:199]}…"
    assert answer.json["detail"] == f"OpRun '{shown}' not found"


NUMBERS = {
    "39 digits": 10**38 + 1,
    "minus 39 digits": -(10**38) - 1,
    "4,300 digits": 10**4_299 + 7,
    "2 to the 53 and one": 2**53 + 1,
    "1e300": 1e300,
    "-1e300": -1e300,
    "the largest double": 1.7976931348623157e308,
    "the smallest double": 5e-324,
    "-0.0": -0.0,
    "0.0": 0.0,
    "5.0": 5.0,
    "a tenth": 0.1,
    "17 digits": 0.30000000000000004,
    "1e-130": 1e-130,
    "1e126": 1e126,
    "zero": 0,
    "true": True,
}


@pytest.mark.parametrize("number", list(NUMBERS.values()), ids=list(NUMBERS))
def test_a_number_in_a_document_comes_back_as_it_was_sent(api: Gateway, number: float) -> None:
    document = {"n": number, "within": [[number]]}
    sent = json.dumps(document)
    run_id = api.create(inputs=document)["id"]
    api.event(run_id, "INFO", payload=document)
    api.start(run_id)
    api.event(run_id, "COMPLETED", payload={"outputs": document})
    run, (row,) = api.get(f"/runs/{run_id}").json, api.get("/runs").json["data"]
    (attempt,) = api.get(f"/runs/{run_id}/attempts").json
    shown = [shape[name] for shape in (run, row, attempt) for name in ("inputs", "outputs")]
    shown += [shape["events"][0]["payload"] for shape in (run, attempt)]
    assert [json.dumps(value) for value in shown] == [sent] * 8


def test_a_number_in_patched_outputs_comes_back_as_it_was_sent(api: Gateway) -> None:
    run_id = api.create()["id"]
    api.patch(f"/runs/{run_id}", {"outputs": NUMBERS})
    assert json.dumps(api.get(f"/runs/{run_id}").json["outputs"]) == json.dumps(NUMBERS)


@pytest.mark.parametrize(
    "text", ["", "\0", "\u001f", "\\", '"', "/", "\u2028", "\ufeff", "\uffff", "ä", "a\u0308", "🥟", "\r\n", "null"]
)
def test_any_text_comes_back_as_it_was_sent_as_key_and_as_value(api: Gateway, text: str) -> None:
    document = {text: text, "within": [{text: [text]}]}
    run_id = api.create(inputs=document)["id"]
    api.event(run_id, "STARTED", msg=text, payload={"worker_id": text, "more": document})
    api.event(run_id, "FAILED", msg=text, payload={"error_message": text, "more": document})
    run = api.get(f"/runs/{run_id}").json
    assert run["inputs"] == document
    assert (run["execution_summary"]["worker_id"], run["execution_summary"]["error_message"]) == (text, text)
    assert [(event["msg"], event["payload"]["more"]) for event in run["events"]] == [(text, document)] * 2


def test_a_key_given_twice_has_its_last_value(api: Gateway) -> None:
    answer = api.post("/runs", '{"image": "busybox:1", "image": "busybox:2", "inputs": {"a": 1, "a": 2}}')
    assert answer.json == a_run(answer.json["id"], image="busybox:2", inputs={"a": 2})


def test_a_megabyte_of_msg_is_refused(api: Gateway, stored: Stored) -> None:
    run_id = assigned(api)
    before = stored()
    for msg in ("x" * 2**20, "🥟" * 2**18):
        assert_does_not_fit(api.event(run_id, "INFO", msg=msg), "body", "msg")
    assert stored() == before


@pytest.mark.parametrize("size", [300 * 1024, 5_000_000])
def test_documents_far_above_their_limit_are_too_large(api: Gateway, stored: Stored, size: int) -> None:
    run_id = api.create()["id"]
    api.start(run_id)
    before = stored()
    document = {"a": "x" * size}
    for answer in (
        api.post("/runs", {"image": "busybox:1", "inputs": document}),
        api.patch(f"/runs/{run_id}", {"outputs": document}),
        api.event(run_id, "COMPLETED", payload={"outputs": document}),
        api.event(run_id, "INFO", payload=document),
    ):
        assert_refused(answer, 413, "too_large")
    assert stored() == before


def test_a_refusal_does_not_count_as_a_decision(api: Gateway) -> None:
    run_id = api.create()["id"]
    api.event(run_id, "INFO", payload=[])
    api.post("/runs", {})
    assert api.event(run_id, "INFO").json["updated_at"] == at(1)
