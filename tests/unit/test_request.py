"""Tests the readers of an API Gateway event."""

from base64 import b64encode
from typing import Any

import pytest
from aws_lambda_powertools.utilities.data_classes import APIGatewayProxyEvent

from gyoza_domain.domain.errors import RunNotFound
from gyoza_domain.http.errors import RequestError
from gyoza_domain.http.request import (
    api_key_id,
    checked_run_id,
    idempotency_key,
    json_body,
    path_of_resource,
    prefers_minimal,
    query_int,
    query_text,
    query_values,
    refuse_body_fields,
)

RUN_ID = "6f1c2a54-9d1b-4c55-8a39-2f0f5c7be911"


def an_event(**fields: Any) -> APIGatewayProxyEvent:
    return APIGatewayProxyEvent({"body": None, "isBase64Encoded": False, "requestContext": {}, **fields})


def with_query(**values: list[str]) -> APIGatewayProxyEvent:
    return an_event(multiValueQueryStringParameters=values or None)


def complaint(error: RequestError) -> tuple[int, list[str | int], str]:
    """The status, and the place and the type of the one misfit."""
    assert not isinstance(error.detail, str)
    [detail] = error.detail
    return error.status, detail["loc"], detail["type"]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], False),
        ([""], False),
        (["return=minimal"], True),
        (['return="minimal"'], True),
        (["Return=Minimal"], True),
        (["return = minimal"], True),
        ([" return=minimal "], True),
        (["return=minimal; note=1"], True),
        (["respond-async, return=minimal"], True),
        (["return=minimal,wait=5"], True),
        (["wait=5", "return=minimal"], True),
        (["return=representation"], False),
        (["return"], False),
        (["minimal"], False),
        (["return=minimalist"], False),
        (["x-return=minimal"], False),
        (["wait=5; return=minimal"], False),
    ],
)
@pytest.mark.parametrize("header", ["Prefer", "prefer", "PREFER"])
def test_the_minimal_answer_is_asked_for_by_the_prefer_header(header: str, lines: list[str], expected: bool) -> None:
    assert prefers_minimal(an_event(multiValueHeaders={"Accept": ["*/*"], header: lines})) is expected


@pytest.mark.parametrize("headers", [None, {}, {"X-Prefer": ["return=minimal"]}])
def test_without_a_prefer_header_the_whole_run_is_answered(headers: dict[str, list[str]] | None) -> None:
    assert not prefers_minimal(an_event(multiValueHeaders=headers))


@pytest.mark.parametrize(
    ("text", "number"), [("0", 0), ("-1", -1), ("007", 7), ("-0", 0), ("9" * 4_300, int("9" * 4_300))]
)
def test_a_query_integer_is_decimal_digits_with_or_without_a_minus(text: str, number: int) -> None:
    assert query_int(with_query(after=[text]), "after") == number


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "+1",
        "1.0",
        "1e3",
        "0x10",
        "1_000",
        " 1",
        "1\n",
        "--1",
        "-",
        "true",
        "NaN",
        "\u0663",
        "\u00b2",
        "9" * 4_301,
    ],
)
def test_any_other_text_is_no_query_integer(text: str) -> None:
    with pytest.raises(RequestError) as refusal:
        query_int(with_query(after=[text]), "after")
    assert complaint(refusal.value) == (422, ["query", "after"], "int_parsing")


@pytest.mark.parametrize(
    ("text", "type_"), [("0", "greater_than_equal"), ("-5", "greater_than_equal"), ("101", "less_than_equal")]
)
def test_a_query_integer_out_of_its_bounds_is_refused(text: str, type_: str) -> None:
    with pytest.raises(RequestError) as refusal:
        query_int(with_query(limit=[text]), "limit", minimum=1, maximum=100)
    assert complaint(refusal.value) == (422, ["query", "limit"], type_)


@pytest.mark.parametrize("text", ["1", "100"])
def test_the_bounds_of_a_query_integer_are_within_them(text: str) -> None:
    assert query_int(with_query(limit=[text]), "limit", minimum=1, maximum=100) == int(text)


@pytest.mark.parametrize("event", [with_query(), with_query(after=["1"]), an_event()])
def test_a_parameter_that_is_not_given_is_none(event: APIGatewayProxyEvent) -> None:
    assert (query_int(event, "limit", minimum=1), query_text(event, "limit")) == (None, None)
    assert query_values(event, "limit", ["a"]) == []


def test_the_last_value_of_a_repeated_parameter_counts() -> None:
    assert query_text(with_query(state=["PENDING", "RUNNING"]), "state") == "RUNNING"


def test_a_list_parameter_has_all_its_values_each_one_of_those_allowed() -> None:
    event = with_query(expand=["events", "events"])
    assert query_values(event, "expand", ["events"]) == ["events", "events"]
    with pytest.raises(RequestError) as refusal:
        query_values(with_query(expand=["events", "inputs"]), "expand", ["events"])
    assert complaint(refusal.value) == (422, ["query", "expand"], "enum")


def test_a_run_id_is_a_uuid_as_the_server_writes_one() -> None:
    assert checked_run_id(RUN_ID) == RUN_ID


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        RUN_ID.upper(),
        RUN_ID.replace("-", ""),
        f"{{{RUN_ID}}}",
        f"urn:uuid:{RUN_ID}",
        f" {RUN_ID}",
        f"{RUN_ID}\n",
        f"{RUN_ID}#HEAD",
        f"{RUN_ID[:-1]}\0",
        f"{RUN_ID[:-1]}\u0661",
        "HEAD",
        f"RUN#{RUN_ID}",
        "a" * 300,
    ],
)
def test_any_other_text_names_no_run(text: str) -> None:
    with pytest.raises(RunNotFound) as refusal:
        checked_run_id(text)
    assert refusal.value.run_id == text


@pytest.mark.parametrize(
    ("context", "key_id"),
    [
        ({"identity": {"apiKeyId": "q1w2e3", "apiKey": "secret"}}, "q1w2e3"),
        ({"identity": {"apiKeyId": None}}, None),
        ({"identity": {}}, None),
        ({"identity": None}, None),
        ({}, None),
    ],
)
def test_the_caller_is_known_by_the_id_of_its_key(context: dict[str, Any], key_id: str | None) -> None:
    assert api_key_id(an_event(requestContext=context)) == key_id


JSON_BODIES = ['{"a": 1}', '{"ü": "🥟"}', "[]", '"text"', "0", "null"]


@pytest.mark.parametrize("body", JSON_BODIES)
def test_a_body_is_read_as_text_or_as_base64(body: str) -> None:
    as_text = an_event(body=body)
    as_base64 = an_event(body=b64encode(body.encode()).decode(), isBase64Encoded=True)
    assert json_body(as_text) == json_body(as_base64)


@pytest.mark.parametrize("is_base64", [True, False])
@pytest.mark.parametrize("body", [None, ""])
def test_a_body_that_is_not_there_is_missed(body: str | None, is_base64: bool) -> None:
    with pytest.raises(RequestError) as refusal:
        json_body(an_event(body=body, isBase64Encoded=is_base64))
    assert complaint(refusal.value) == (422, ["body"], "missing")


def test_base64_is_not_taken_for_text() -> None:
    with pytest.raises(RequestError) as refusal:
        json_body(an_event(body=b64encode(b"{}").decode(), isBase64Encoded=False))
    assert complaint(refusal.value) == (422, ["body"], "json_invalid")


@pytest.mark.parametrize("body", [None, "", "null", "{}", " {} ", '{"note": null}'])
def test_a_route_without_a_body_takes_none_or_one_without_fields(body: str | None) -> None:
    assert refuse_body_fields(an_event(body=body)) is None  # type: ignore[func-returns-value]


@pytest.mark.parametrize(
    ("body", "loc", "type_"),
    [
        ('{"force": true}', ["body", "force"], "extra_forbidden"),
        ('{"note": null, "force": false}', ["body", "force"], "extra_forbidden"),
        ("[]", ["body"], "object_type"),
        ("false", ["body"], "object_type"),
        ("{", ["body"], "json_invalid"),
    ],
)
def test_a_route_without_a_body_refuses_any_field(body: str, loc: list[str], type_: str) -> None:
    with pytest.raises(RequestError) as refusal:
        refuse_body_fields(an_event(body=body))
    assert complaint(refusal.value) == (422, loc, type_)


@pytest.mark.parametrize(
    ("resource", "parameters", "path"),
    [
        ("/runs", None, "/runs"),
        ("/runs/{id}", {"id": RUN_ID}, f"/runs/{RUN_ID}"),
        ("/runs/{id}/events", {"id": RUN_ID}, f"/runs/{RUN_ID}/events"),
        ("/runs/{id}", {"id": "a/events"}, "/runs/a%2Fevents"),
        ("/runs/{id}", {"id": "a/"}, "/runs/a%2F"),
        ("/runs/{id}", {"id": "März %"}, "/runs/M%C3%A4rz%20%25"),
        ("/runs/{id}", {"id": "\n\0"}, "/runs/%0A%00"),
        ("/runs/{id}", {"id": "\ud83e"}, "/runs/%3F"),
        ("/runs/{id}", {"id": "{id}"}, "/runs/%7Bid%7D"),
    ],
)
def test_a_path_is_made_of_the_resource_and_its_parameters(
    resource: str, parameters: dict[str, str] | None, path: str
) -> None:
    event = {"resource": resource, "path": f"/base{resource}", "pathParameters": parameters}
    assert path_of_resource(event) == path


def test_an_id_of_a_path_is_shown_as_it_was_sent() -> None:
    with pytest.raises(RunNotFound) as refusal:
        checked_run_id("M%C3%A4rz%20%25")
    assert refusal.value.run_id == "März %"


def with_key(**fields: Any) -> APIGatewayProxyEvent:
    event = {
        "resource": "/runs/{id}/cancel",
        "path": f"/runs/{RUN_ID}/cancel",
        "httpMethod": "POST",
        "pathParameters": {"id": RUN_ID},
        "multiValueHeaders": {"Idempotency-Key": ["key"]},
        "requestContext": {"identity": {"apiKeyId": "caller"}},
    }
    return an_event(**event | fields)


@pytest.mark.parametrize(
    ("fields", "is_same"),
    [
        ({}, True),
        ({"path": f"/base/runs/{RUN_ID}/cancel"}, True),
        ({"body": "{}"}, True),
        ({"pathParameters": {"id": RUN_ID.replace("6", "7")}}, False),
        ({"resource": "/runs/{id}/retry"}, False),
        ({"httpMethod": "PATCH"}, False),
        ({"multiValueHeaders": {"Idempotency-Key": ["Key"]}}, False),
        ({"requestContext": {"identity": {"apiKeyId": "another"}}}, False),
    ],
)
def test_a_key_is_the_caller_s_for_one_method_resource_and_parameters(fields: dict[str, Any], is_same: bool) -> None:
    assert (idempotency_key(with_key(**fields)) == idempotency_key(with_key())) is is_same
