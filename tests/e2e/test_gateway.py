"""Tests the gateway's own part of a request, before any function runs."""

import pytest

from tests.e2e.api import Answer, Api


def test_no_key_and_a_wrong_key_are_refused(api: Api) -> None:
    for key in (None, "wrong"):
        assert _error(api.send("GET", "/runs", None, key=key)) == (403, "forbidden")


@pytest.mark.parametrize(("method", "path"), [("GET", "/nothing"), ("DELETE", "/runs"), ("GET", "/runs/a/b/c")])
def test_an_unknown_path_or_method_is_not_found(api: Api, method: str, path: str) -> None:
    assert _error(api.send(method, path, None)) == (404, "not_found")


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "application/x-www-form-urlencoded"])
def test_a_body_that_is_not_utf_8_is_refused_whatever_its_content_type(api: Api, content_type: str) -> None:
    answer = api.send("POST", "/runs", b'{"image": "caf\xe9"}', **{"Content-Type": content_type})
    assert _error(answer) == (422, "validation_error")


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "application/x-www-form-urlencoded"])
def test_a_body_is_json_in_utf_8_whatever_its_content_type(api: Api, content_type: str) -> None:
    body = '{"image": "café:1", "inputs": {"☕": "𝄞"}}'.encode()
    created = api.send("POST", "/runs", body, **{"Content-Type": content_type})
    assert created.status == 201
    assert api.get(f"/runs/{created.body['id']}").body["inputs"] == {"☕": "𝄞"}


@pytest.mark.parametrize("run_id", ["%00", "%23", "x" * 300, "..%2Fruns", "%20"])
def test_an_id_that_names_no_run_is_not_found(api: Api, run_id: str) -> None:
    assert _error(api.get(f"/runs/{run_id}"))[0] == 404


def _error(answer: Answer) -> tuple[int, str]:
    """The status and the code of an answer, which must have the shape of an error."""
    assert set(answer.body) == {"detail", "code", "request_id"}
    assert answer.body["request_id"]
    return answer.status, answer.body["code"]
