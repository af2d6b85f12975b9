"""POST /runs"""

import json
from typing import Any

import pytest

from testing.gateway import API_KEY_ID, Gateway
from tests.functions.conftest import Stored
from tests.functions.expected import a_row, a_run, assert_does_not_fit, assert_minimal, assert_refused, at

KIB_256 = 256 * 1024


def test_a_run_needs_only_an_image(api: Gateway) -> None:
    answer = api.post("/runs", {"image": "busybox:1"})
    assert (answer.status, answer.headers["Content-Type"]) == (201, "application/json")
    assert answer.json == a_run(answer.json["id"])


def test_a_run_keeps_every_field_it_was_given(api: Gateway) -> None:
    fields = {
        "image": "registry.example/thumbnails@sha256:0123",
        "priority": 7,
        "inputs": {"source": "März/cat.jpg", "widths": [320, 640], "deep": {"": [None, True, 0.5]}},
        "constraints": {"cpu": 2, "ram_mb": 4096, "vram_mb": 0},
        "retry_policy": {"max_attempts": 3},
        "event_delivery": {"topic": "thumbnails.fifo", "attributes": {"team": "media", "tier": 2, "urgent": True}},
    }
    answer = api.post("/runs", fields)
    assert (answer.status, answer.json) == (201, a_run(answer.json["id"], **fields))
    assert api.get(f"/runs/{answer.json['id']}").json == answer.json


def test_a_run_keeps_its_terms_and_shows_the_instants_that_follow(api: Gateway) -> None:
    fields = {
        "queue": "gpu-1",
        "queue_ttl_s": 60,
        "attempt_timeout_s": 1_209_600,
        "retain_s": 0,
        "retry_policy": {"max_attempts": 3, "backoff_s": 0.5, "backoff_factor": 2, "max_backoff_s": 60, "max_lost": 0},
    }
    run = api.create(start_at="2026-03-02T21:01:00+01:00", **fields)
    start = "2026-03-02T20:01:00.000000Z"
    deadline = "2026-03-02T20:02:00.000000Z"
    # The clock was asked once before: the start is compared with it.
    began = {"created_at": at(1), "updated_at": at(1)}
    assert run == a_run(run["id"], start_at=start, not_before=start, deadline=deadline, **began, **fields)
    assert api.get(f"/runs/{run['id']}").json == run
    assert api.get("/runs").json["data"] == [a_row(run)]


@pytest.mark.parametrize(("given", "told"), [(2.0, "2"), (0.5, "0.5"), (0, "0"), (3_600, "3600"), (0.000_001, "1e-06")])
def test_a_number_without_a_fraction_is_shown_without_one(api: Gateway, given: float, told: str) -> None:
    answer = api.post("/runs", {"image": "i", "retry_policy": {"backoff_s": given}})
    policy = f'"retry_policy":{{"max_attempts":1,"backoff_s":{told}}}'
    assert policy in answer.text
    assert policy in api.get(f"/runs/{answer.json['id']}").text


def test_a_start_that_is_past_delays_nothing(api: Gateway) -> None:
    run = api.create(start_at="2026-03-02T19:59:00Z", queue_ttl_s=10)
    past = "2026-03-02T19:59:00.000000Z"
    expected = a_run(run["id"], start_at=past, queue_ttl_s=10, deadline=at(11), created_at=at(1), updated_at=at(1))
    assert run == expected
    assert api.start(run["id"]).status == 200


def test_each_run_has_an_id_of_its_own(api: Gateway) -> None:
    assert len({api.create()["id"] for _ in range(10)}) == 10


def test_the_minimal_answer_is_there_for_the_asking(api: Gateway) -> None:
    answer = api.post("/runs", {"image": "busybox:1"}, minimal=True)
    assert_minimal(answer, a_run(answer.json["id"]), status=201)


def test_the_creator_of_a_run_is_kept_and_not_shown(api: Gateway, stored: Stored) -> None:
    answer = api.post("/runs", {"image": "busybox:1"})
    assert API_KEY_ID in "".join(stored())
    assert API_KEY_ID not in answer.text


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"constraints": {}}, {}),
        ({"constraints": {"ram_mb": 512}}, {"constraints": {"cpu": None, "ram_mb": 512, "vram_mb": None}}),
        ({"constraints": {"cpu": 10**50}}, {"constraints": {"cpu": 10**50, "ram_mb": None, "vram_mb": None}}),
        ({"retry_policy": {}}, {}),
        ({"event_delivery": {"topic": "t"}}, {"event_delivery": {"topic": "t", "attributes": {}}}),
    ],
)
def test_a_missing_field_of_an_object_has_its_default(
    api: Gateway, given: dict[str, Any], expected: dict[str, Any]
) -> None:
    run = api.create(**given)
    assert run == a_run(run["id"], **expected)


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("image", ["i", "i" * 512, "🥟" * 512]),
        ("priority", [0, 9999]),
        ("retry_policy", [{"max_attempts": 1}, {"max_attempts": 100}]),
        ("constraints", [{"cpu": 0, "ram_mb": 0, "vram_mb": 0}]),
        ("inputs", [{"": ""}, {"a": {}}]),
        ("queue", ["q", "A-z_9" + "x" * 59]),
        ("queue_ttl_s", [10, 1_209_600]),
        ("attempt_timeout_s", [10, 1_209_600]),
        ("retain_s", [0, 315_360_000]),
        ("retry_policy", [{"max_attempts": 1, "backoff_s": 0, "backoff_factor": 1, "max_backoff_s": 0, "max_lost": 0}]),
        (
            "retry_policy",
            [{"max_attempts": 1, "backoff_s": 3_600, "backoff_factor": 10, "max_backoff_s": 86_400, "max_lost": 100}],
        ),
    ],
)
def test_the_ends_of_a_range_are_within_it(api: Gateway, field: str, values: list[Any]) -> None:
    assert [api.create(**{field: value})[field] for value in values] == values


@pytest.mark.parametrize(
    "fields",
    [
        {"priority": None},
        {"inputs": None},
        {"constraints": None},
        {"constraints": {"cpu": None, "ram_mb": None, "vram_mb": None}},
        {"retry_policy": None},
        {"retry_policy": {"max_attempts": None}},
        {"event_delivery": None},
        {"note": None},
        {"queue": None, "start_at": None, "queue_ttl_s": None, "attempt_timeout_s": None, "retain_s": None},
        {"retry_policy": {"backoff_s": None, "backoff_factor": None, "max_backoff_s": None, "max_lost": None}},
        {"executor": None, "report": None},
    ],
)
def test_a_field_given_as_null_is_as_if_absent(api: Gateway, fields: dict[str, Any]) -> None:
    run = api.create(**fields)
    assert run == a_run(run["id"])


def test_null_attributes_are_as_if_absent(api: Gateway) -> None:
    run = api.create(event_delivery={"topic": "t", "attributes": None})
    assert run["event_delivery"] == {"topic": "t", "attributes": {}}


def test_a_null_within_inputs_is_a_value(api: Gateway) -> None:
    assert api.create(inputs={"a": None})["inputs"] == {"a": None}


@pytest.mark.parametrize(
    ("fields", "loc"),
    [
        ({"image": None}, ["image"]),
        ({"image": ""}, ["image"]),
        ({"image": "i" * 513}, ["image"]),
        ({"image": 5}, ["image"]),
        ({"image": ["busybox"]}, ["image"]),
        ({"priority": -1}, ["priority"]),
        ({"priority": 10_000}, ["priority"]),
        ({"priority": "5"}, ["priority"]),
        ({"priority": 5.0}, ["priority"]),
        ({"priority": True}, ["priority"]),
        ({"queue": ""}, ["queue"]),
        ({"queue": "a b"}, ["queue"]),
        ({"start_at": "tomorrow"}, ["start_at"]),
        ({"start_at": "2026-03-02T20:00:00"}, ["start_at"]),
        ({"start_at": "2027-03-03T20:00:02Z"}, ["start_at"]),
        ({"queue_ttl_s": 9}, ["queue_ttl_s"]),
        ({"queue_ttl_s": 10.5}, ["queue_ttl_s"]),
        ({"attempt_timeout_s": 1_209_601}, ["attempt_timeout_s"]),
        ({"retain_s": -1}, ["retain_s"]),
        ({"retry_policy": {"backoff_s": 3_600.5}}, ["retry_policy", "backoff_s"]),
        ({"retry_policy": {"backoff_s": True}}, ["retry_policy", "backoff_s"]),
        ({"retry_policy": {"backoff_factor": 0.5}}, ["retry_policy", "backoff_factor"]),
        ({"retry_policy": {"backoff_factor": 10**400}}, ["retry_policy", "backoff_factor"]),
        ({"retry_policy": {"max_backoff_s": "60"}}, ["retry_policy", "max_backoff_s"]),
        ({"retry_policy": {"max_lost": 1.5}}, ["retry_policy", "max_lost"]),
        ({"executor": "batch"}, ["executor"]),
        ({"report": "worker"}, ["report"]),
        ({"inputs": []}, ["inputs"]),
        ({"inputs": "{}"}, ["inputs"]),
        ({"constraints": []}, ["constraints"]),
        ({"constraints": {"cpu": -1}}, ["constraints", "cpu"]),
        ({"constraints": {"cpu": 0.5}}, ["constraints", "cpu"]),
        ({"constraints": {"ram_mb": True}}, ["constraints", "ram_mb"]),
        ({"constraints": {"vram_mb": "512"}}, ["constraints", "vram_mb"]),
        ({"constraints": {"disk": 1}}, ["constraints", "disk"]),
        ({"retry_policy": 3}, ["retry_policy"]),
        ({"retry_policy": {"max_attempts": 0}}, ["retry_policy", "max_attempts"]),
        ({"retry_policy": {"max_attempts": 101}}, ["retry_policy", "max_attempts"]),
        ({"retry_policy": {"max_attempts": 2.0}}, ["retry_policy", "max_attempts"]),
        ({"retry_policy": {"delay": 1}}, ["retry_policy", "delay"]),
        ({"event_delivery": "topic"}, ["event_delivery"]),
        ({"event_delivery": {}}, ["event_delivery", "topic"]),
        ({"event_delivery": {"topic": None}}, ["event_delivery", "topic"]),
        ({"event_delivery": {"topic": "t", "arn": "x"}}, ["event_delivery", "arn"]),
        ({"event_delivery": {"topic": "t", "attributes": []}}, ["event_delivery", "attributes"]),
        ({"id": "6f1c2a54-9d1b-4c55-8a39-2f0f5c7be911"}, ["id"]),
        ({"state": "RUNNING"}, ["state"]),
        ({"outputs": {}}, ["outputs"]),
        ({"op_definition": "resize"}, ["op_definition"]),
        ({"Image": "busybox:1"}, ["Image"]),
        ({"": 1}, [""]),
    ],
)
def test_a_field_that_does_not_fit_is_named_and_nothing_is_stored(
    api: Gateway, stored: Stored, fields: dict[str, Any], loc: list[str]
) -> None:
    assert_does_not_fit(api.post("/runs", {"image": "busybox:1"} | fields), "body", *loc)
    assert stored() == []


def test_every_field_that_does_not_fit_is_named(api: Gateway) -> None:
    answer = api.post("/runs", {"priority": -1, "constraints": {"cpu": True}, "color": "red"})
    for loc in (["image"], ["priority"], ["constraints", "cpu"], ["color"]):
        assert_does_not_fit(answer, "body", *loc)


@pytest.mark.parametrize("topic", ["t", "T" * 120, "T" * 120 + ".fifo", "a-b_c-9", "a.fifo", "-", "fifo"])
def test_a_topic_of_the_allowed_form_is_accepted(api: Gateway, topic: str) -> None:
    assert api.create(event_delivery={"topic": topic})["event_delivery"] == {"topic": topic, "attributes": {}}


@pytest.mark.parametrize(
    ("listed", "allowed", "refused"),
    [
        ("any", ["a", "b.fifo"], []),
        ("", ["a"], []),
        ("a", ["a"], ["b", "A", "a.fifo", "any"]),
        ("a,b.fifo", ["a", "b.fifo"], ["b", "a,b"]),
        (" a , b ,", ["a", "b"], ["c"]),
        ("any,a", ["any", "a"], ["b"]),
    ],
)
def test_a_deployment_that_lists_its_topics_refuses_others(
    api: Gateway, monkeypatch: pytest.MonkeyPatch, listed: str, allowed: list[str], refused: list[str]
) -> None:
    monkeypatch.setenv("GYOZA_TOPICS", listed)
    for topic in allowed:
        assert api.create(event_delivery={"topic": topic})["event_delivery"]["topic"] == topic
    for topic in refused:
        answer = api.post("/runs", {"image": "busybox:1", "event_delivery": {"topic": topic}})
        assert_does_not_fit(answer, "body", "event_delivery", "topic")
        if "," not in topic:
            assert answer.json["detail"][0]["msg"] == f"Input should be one of {', '.join(allowed)}"
    assert len(api.get("/runs").json["data"]) == len(allowed)


def test_a_run_without_delivery_needs_no_topic(api: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GYOZA_TOPICS", "a")
    assert api.create()["event_delivery"] is None


@pytest.mark.parametrize(
    "topic", ["", "T" * 121, "T" * 121 + ".fifo", ".fifo", "a.b", "a.fifo.fifo", "a.FIFO", "ä", "a b", "a\n", "a/b", 5]
)
def test_a_topic_of_another_form_is_refused(api: Gateway, stored: Stored, topic: object) -> None:
    answer = api.post("/runs", {"image": "busybox:1", "event_delivery": {"topic": topic}})
    assert_does_not_fit(answer, "body", "event_delivery", "topic")
    assert stored() == []


@pytest.mark.parametrize(
    "name", ["a", "a.b.c", "x" * 100, "AWS", "awsome", "Amazonia.x", "_", "-", "9", "Type", "seq_"]
)
def test_an_attribute_with_an_allowed_name_is_accepted(api: Gateway, name: str) -> None:
    delivery = {"topic": "t", "attributes": {name: "x"}}
    assert api.create(event_delivery=delivery)["event_delivery"] == delivery


@pytest.mark.parametrize(
    "name",
    [
        *["", "x" * 101, ".a", "a.", "a..b", ".", "a b", "ä", "a\n", "a/b"],
        *["AWS.a", "aws.a", "aWs.a", "Amazon.a", "amazon.a", "AMAZON.a"],
        *["run_id", "type", "state", "attempt", "seq"],
    ],
)
def test_an_attribute_with_another_name_is_refused(api: Gateway, stored: Stored, name: str) -> None:
    delivery = {"topic": "t", "attributes": {name: "x"}}
    answer = api.post("/runs", {"image": "busybox:1", "event_delivery": delivery})
    assert_does_not_fit(answer, "body", "event_delivery", "attributes")
    assert stored() == []


@pytest.mark.parametrize(
    "value",
    ["x", " ", "y" * 256, "🥟" * 256, "März", True, False, 0, -1, 1.5, -0.0, 5e-324, 10**15 - 1, -(10**15) + 1, 999e12],
)
def test_an_attribute_value_within_the_limits_comes_back_as_it_was_sent(api: Gateway, value: object) -> None:
    delivery = {"topic": "t", "attributes": {"a": value}}
    run_id = api.create(event_delivery=delivery)["id"]
    assert json.dumps(api.get(f"/runs/{run_id}").json["event_delivery"]) == json.dumps(delivery)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "y" * 257,
        "a\nb",
        "a\x7f",
        "\u200b",
        10**15,
        -(10**15),
        1e15,
        1e300,
        pytest.param(10**400, id="beyond a double"),
        pytest.param(-(10**4_000), id="far below a double"),
        None,
        [],
        {},
        ["x"],
    ],
)
def test_an_attribute_value_beyond_the_limits_is_refused(api: Gateway, stored: Stored, value: object) -> None:
    delivery = {"topic": "t", "attributes": {"a": value}}
    answer = api.post("/runs", {"image": "busybox:1", "event_delivery": delivery})
    assert_does_not_fit(answer, "body", "event_delivery", "attributes")
    assert stored() == []


def test_five_attributes_are_accepted_and_six_are_refused(api: Gateway) -> None:
    five = {f"a{number}": number for number in range(5)}
    assert api.create(event_delivery={"topic": "t", "attributes": five})["event_delivery"]["attributes"] == five
    answer = api.post("/runs", {"image": "i", "event_delivery": {"topic": "t", "attributes": five | {"a5": 5}}})
    assert_does_not_fit(answer, "body", "event_delivery", "attributes")


def inputs_of(size: int, character: str = "x") -> dict[str, str]:
    """Inputs of that many bytes as compact UTF-8 JSON."""
    frame, width = len('{"a":""}'), len(character.encode())
    assert (size - frame) % width == 0
    return {"a": character * ((size - frame) // width)}


@pytest.mark.parametrize("character", ["x", "🥟"])
def test_inputs_of_256_kib_are_accepted(api: Gateway, character: str) -> None:
    inputs = inputs_of(KIB_256, character)
    body = json.dumps({"image": "busybox:1", "inputs": inputs}, indent=8, ensure_ascii=True)
    answer = api.post("/runs", body)
    assert (answer.status, answer.json["inputs"]) == (201, inputs)
    assert api.get(f"/runs/{answer.json['id']}").json["inputs"] == inputs


@pytest.mark.parametrize("inputs", [inputs_of(KIB_256 + 1), inputs_of(KIB_256 + 4, "🥟"), inputs_of(300 * 1024)])
def test_inputs_above_256_kib_are_too_large(api: Gateway, stored: Stored, inputs: dict[str, str]) -> None:
    answer = api.post("/runs", {"image": "busybox:1", "inputs": inputs})
    assert_refused(answer, 413, "too_large", "inputs", "262144")
    assert stored() == []
