"""POST /definitions/{name}/runs: runs that copy a definition, with checked inputs."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gyoza_domain.bootstrap.api import store
from gyoza_domain.domain.run import Removal
from gyoza_domain.runs.ports import Extent
from testing.gateway import Answer, Gateway
from tests.functions.conftest import Stored
from tests.functions.expected import a_run, at

ALL_FIELDS: dict[str, Any] = {
    "version": "1.0",
    "image": "resize:1",
    "constraints": {"cpu": 2},
    "retry_policy": {"max_attempts": 3, "backoff_s": 1.5},
    "event_delivery": {"topic": "orders", "attributes": {"team": "media"}},
    "priority": 7,
    "queue": "night",
    "queue_ttl_s": 60,
    "attempt_timeout_s": 3_600,
    "retain_s": 0,
}


def define(api: Gateway, version: str = "1.0", **fields: Any) -> None:
    answer = api.put("/definitions/resize", {"version": version, "image": "resize:1"} | fields)
    assert answer.status in (200, 201), answer.text


def run_from(api: Gateway, *, key: str | None = None, minimal: bool = False, **fields: Any) -> Answer:
    headers = ({} if key is None else {"Idempotency-Key": key}) | ({"Prefer": "return=minimal"} if minimal else {})
    return api.call("POST", "/definitions/resize/runs", fields or None, headers=headers)


def code(answer: Answer) -> tuple[int, str]:
    return answer.status, answer.json["code"]


def test_a_run_copies_everything_of_its_definition(api: Gateway) -> None:
    api.put("/definitions/resize", ALL_FIELDS)
    answer = run_from(api)
    assert answer.status == 201
    named = {"op_definition": "resize", "op_version": "1.0", "op_revision": 1}
    copied = {name: value for name, value in ALL_FIELDS.items() if name != "version"}
    shown = copied | {"constraints": {"cpu": 2, "ram_mb": None, "vram_mb": None}}
    deadline = at(61)
    expected = a_run(answer.json["id"], **shown, **named, deadline=deadline)
    assert {**answer.json, "created_at": at(0), "updated_at": at(0), "deadline": deadline} == expected
    assert api.get(f"/runs/{answer.json['id']}").json == answer.json


def test_a_request_s_fields_stand_whole_in_place_of_the_definition_s(api: Gateway) -> None:
    api.put("/definitions/resize", ALL_FIELDS)
    start_at = (datetime.now(UTC) + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%S.000000Z")
    own: dict[str, Any] = {
        "priority": 0,
        "event_delivery": {"topic": "mine", "attributes": {}},
        "start_at": start_at,
        "queue": "default",
        "retain_s": 60,
    }
    run = run_from(api, **own).json
    assert {name: run[name] for name in own} == own
    assert run["retry_policy"] == ALL_FIELDS["retry_policy"]
    nulls: dict[str, Any] = dict.fromkeys([*own, "version", "inputs"])
    run = run_from(api, **nulls).json
    assert (run["priority"], run["queue"], run["start_at"]) == (7, "night", None)
    assert run["event_delivery"] == ALL_FIELDS["event_delivery"]


def test_a_run_is_of_the_version_that_was_put_last_or_of_the_one_that_is_named(api: Gateway) -> None:
    define(api)
    define(api, version="2.0", image="resize:2")
    runs = [run_from(api).json, run_from(api, version="1.0").json]
    define(api, image="resize:1b")
    runs += [run_from(api).json, run_from(api, version="2.0").json]
    shown = [(run["op_version"], run["op_revision"], run["image"]) for run in runs]
    assert shown == [("2.0", 1, "resize:2"), ("1.0", 1, "resize:1"), ("1.0", 2, "resize:1b"), ("2.0", 1, "resize:2")]
    kept = [api.get(f"/runs/{run['id']}").json["image"] for run in runs]
    assert kept == ["resize:2", "resize:1", "resize:1b", "resize:2"]
    assert code(run_from(api, version="3.0")) == (404, "definition_not_found")


def test_runs_of_a_definition_are_found_and_every_row_names_it(api: Gateway) -> None:
    define(api)
    run_id = run_from(api).json["id"]
    adhoc = api.create()["id"]
    for query in ({}, {"fields": "summary"}, {"expand[]": "events"}):
        [row] = api.get("/runs", op_definition="resize", **query).json["data"]
        assert (row["id"], row["op_definition"], row["op_version"], row["op_revision"]) == (run_id, "resize", "1.0", 1)
    names = {row["id"]: row["op_revision"] for row in api.get("/runs").json["data"]}
    assert names == {run_id: 1, adhoc: None}


def test_a_minimal_answer_is_minimal(api: Gateway) -> None:
    define(api)
    answer = run_from(api, minimal=True)
    assert answer.status == 201
    assert answer.headers["Preference-Applied"] == "return=minimal"
    assert "image" not in answer.json


# -- inputs

SPECS: dict[str, Any] = {
    "text": {"type": "string"},
    "width": {"type": "int", "default": 640},
    "ratio": {"type": "float", "required": False},
    "flag": {"type": "bool", "required": False},
    "options": {"type": "object", "default": {"big": 12345678901234567890123, "list": [1.0, None]}},
    "names": {"type": "array", "required": False},
}


def test_defaults_are_filled_in_and_an_optional_input_without_one_stays_out(api: Gateway) -> None:
    define(api, input_specs=SPECS)
    inputs = run_from(api, inputs={"text": "x", "flag": None, "width": None}).json["inputs"]
    assert inputs == {"text": "x", "width": 640, "options": SPECS["options"]["default"]}
    assert run_from(api, inputs={"text": "", "width": 0, "options": {}}).json["inputs"] == {
        "text": "",
        "width": 0,
        "options": {},
    }


def test_numbers_keep_their_spelling(api: Gateway) -> None:
    define(api, input_specs={name: {"type": "float"} for name in "abcde"})
    body = '{"inputs":{"a":1,"b":1.0,"c":12345678901234567890123,"d":-0.0,"e":0.5}}'
    answer = api.call("POST", "/definitions/resize/runs", body)
    assert '"inputs":{"a":1,"b":1.0,"c":12345678901234567890123,"d":-0.0,"e":0.5}' in answer.text
    assert answer.text == api.get(f"/runs/{answer.json['id']}").text


VALUES = ["true", "false", "0", "-1", "1.0", "1e3", "10000000000000000000000000000000000", '"1"', "{}", "[]", "0.5"]
FITTING = {
    "string": {'"1"'},
    "int": {"0", "-1", "10000000000000000000000000000000000"},
    "float": {"0", "-1", "1.0", "1e3", "10000000000000000000000000000000000", "0.5"},
    "bool": {"true", "false"},
    "object": {"{}"},
    "array": {"[]"},
}


@pytest.mark.parametrize("type_", FITTING)
def test_a_value_fits_its_type_and_no_other(api: Gateway, type_: str) -> None:
    define(api, input_specs={"a": {"type": type_}})
    taken = set()
    for text in VALUES:
        answer = api.call("POST", "/definitions/resize/runs", f'{{"inputs":{{"a":{text}}}}}')
        if answer.status == 201:
            taken.add(text)
        else:
            [fault] = answer.json["detail"]
            assert code(answer) == (400, "invalid_inputs")
            assert (fault["loc"], fault["type"]) == (["body", "inputs", "a"], "wrong_type")
    assert taken == FITTING[type_]


def test_every_fault_is_named_at_once_with_its_place(api: Gateway, stored: Stored) -> None:
    define(api, input_specs=SPECS)
    before = stored()
    answer = run_from(api, inputs={"width": "1", "more": 1, "ratio": True, "nothing": None, "n" * 300: 1})
    assert code(answer) == (400, "invalid_inputs")
    faults = [(each["loc"], each["type"]) for each in answer.json["detail"]]
    assert faults == [
        (["body", "inputs", "text"], "missing"),
        (["body", "inputs", "width"], "wrong_type"),
        (["body", "inputs", "more"], "extra_forbidden"),
        (["body", "inputs", "ratio"], "wrong_type"),
        (["body", "inputs", "n" * 200], "extra_forbidden"),
    ]
    assert stored() == before


@pytest.mark.parametrize("character", ["x", "\N{GRINNING FACE}", "\u0000", '"'])
@pytest.mark.parametrize("faults", [199, 200, 201, 5_000])
def test_at_most_200_faults_are_listed_in_256_kb_and_the_rest_is_counted(
    api: Gateway, faults: int, character: str
) -> None:
    define(api)
    answer = run_from(api, inputs={f"{n}{character * 300}"[:300]: 1 for n in range(faults)})
    assert len(answer.text.encode()) <= 256 * 1024
    *listed, last = answer.json["detail"]
    if last["type"] == "too_many_misfits":
        assert last["loc"] == ["body", "inputs"]
        assert last["msg"] == f"{faults - len(listed)} more do not fit"
        assert len(listed) <= 200
    else:
        assert len(listed) + 1 == faults <= 200
    assert all(len(each["loc"][2]) == 200 for each in listed)


def test_faults_are_found_in_the_order_body_definition_inputs(api: Gateway) -> None:
    wrong: dict[str, Any] = {"inputs": {"a": 1}}
    assert code(run_from(api, **wrong, priority=-1)) == (422, "validation_error")
    assert code(run_from(api, **wrong)) == (404, "definition_not_found")
    define(api)
    assert code(run_from(api, **wrong, version="2")) == (404, "definition_not_found")
    assert code(run_from(api, **wrong, version="2 ")) == (422, "validation_error")
    assert code(run_from(api, **wrong)) == (400, "invalid_inputs")
    unfit: list[dict[str, Any]] = [{"image": "x"}, {"inputs": []}, {"retry_policy": {}}]
    for fields in (*unfit, {"start_at": "2999-01-01T00:00:00Z"}):
        assert run_from(api, **fields).status == 422
    assert run_from(api, inputs={}).status == 201


def test_inputs_are_measured_with_their_defaults(api: Gateway) -> None:
    define(api, input_specs={"a": {"type": "string"}, "b": {"type": "string", "default": "x" * 60_000}})
    frame = len(json.dumps({"a": "", "b": "x" * 60_000}, separators=(",", ":")))
    assert run_from(api, inputs={"a": "x" * (262_144 - frame)}).status == 201
    assert code(run_from(api, inputs={"a": "x" * (262_145 - frame)})) == (413, "too_large")
    assert run_from(api, inputs={"a": "x" * (262_145 - frame), "b": ""}).status == 201


# -- keys


def test_a_repeat_answers_with_its_run_whatever_has_become_of_the_definition(api: Gateway, stored: Stored) -> None:
    define(api, input_specs={"a": {"type": "int"}})
    run = run_from(api, key="k", inputs={"a": 1}).json

    def repeat() -> None:
        before = stored()
        answer = run_from(api, key="k", inputs={"a": 1})
        assert (answer.status, answer.headers["Idempotent-Replayed"], answer.json) == (201, "true", run)
        assert stored() == before

    repeat()
    define(api, input_specs={"b": {"type": "int"}})
    repeat()
    assert code(run_from(api, key="k", inputs={"a": 2})) == (422, "idempotency_key_reused")
    api.call("DELETE", "/definitions/resize")
    repeat()
    assert code(run_from(api, key="k", inputs={"a": 2})) == (422, "idempotency_key_reused")
    assert code(run_from(api, key="other", inputs={"a": 1})) == (404, "definition_not_found")
    minimal = run_from(api, key="k", minimal=True, inputs={"a": 1})
    assert (minimal.status, minimal.json["id"]) == (201, run["id"])


def test_a_repeat_answers_with_its_run_also_once_the_topic_is_not_allowed(
    api: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    define(api, event_delivery={"topic": "orders"})
    run = run_from(api, key="k").json
    monkeypatch.setenv("GYOZA_TOPICS", "other")
    assert run_from(api, key="k").json == run
    assert run_from(api, key="new").status == 422


def test_a_refused_request_records_nothing(api: Gateway) -> None:
    define(api, input_specs={"a": {"type": "int"}})
    assert run_from(api, key="k", inputs={}).status == 400
    assert run_from(api, key="k", inputs={"a": 1}).status == 201


def test_a_repeat_whose_run_vanished_is_410_also_where_the_definition_is_gone(api: Gateway) -> None:
    define(api)
    run_id = run_from(api, key="k").json["id"]
    store().remove(Removal(store().load(run_id, Extent.SMALL).run))
    assert code(run_from(api, key="k")) == (410, "run_expired")
    api.call("DELETE", "/definitions/resize")
    assert code(run_from(api, key="k")) == (410, "run_expired")


def test_the_key_of_one_name_is_not_that_of_another(api: Gateway) -> None:
    define(api)
    api.put("/definitions/other", {"version": "1.0", "image": "i"})
    first = run_from(api, key="k").json["id"]
    answer = api.call("POST", "/definitions/other/runs", headers={"Idempotency-Key": "k"})
    assert (answer.status, answer.json["op_definition"]) == (201, "other")
    assert answer.json["id"] != first
