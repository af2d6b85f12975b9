"""The routes of definitions: puts, reads, lists and deletions."""

import json
from typing import Any

import pytest

from testing.gateway import Answer, Gateway
from tests.functions.conftest import Stored
from tests.functions.expected import at

BODY = {"version": "1.0", "image": "busybox:1"}

EVERY_FIELD: dict[str, Any] = {
    "version": "2.0+x",
    "image": "resize:2",
    "input_specs": {
        "url": {"type": "string", "description": "Address of the image"},
        "width": {"type": "int", "default": 640},
        "ratio": {"type": "float", "required": False},
        "steps": {"type": "array", "required": True, "default": [1, 1.50, {"a": None}]},
    },
    "constraints": {"cpu": 2, "ram_mb": 512},
    "retry_policy": {"max_attempts": 3, "backoff_s": 1.5, "max_lost": 1},
    "event_delivery": {"topic": "orders", "attributes": {"team": "media"}},
    "priority": 7,
    "queue": "night",
    "queue_ttl_s": 60,
    "attempt_timeout_s": 3_600,
    "retain_s": 0,
}


def definition(**fields: Any) -> dict[str, Any]:
    """The answer to a put of ``BODY``, with other fields."""
    return {
        "id": "resize",
        "name": "resize",
        "version": "1.0",
        "revision": 1,
        "image": "busybox:1",
        "constraints": {"cpu": None, "ram_mb": None, "vram_mb": None},
        "retry_policy": {"max_attempts": 1},
        "event_delivery": None,
        "priority": 5,
        "queue": "default",
        "queue_ttl_s": None,
        "attempt_timeout_s": None,
        "retain_s": None,
        "executor": None,
        "report": None,
        "created_at": at(0),
        "updated_at": at(0),
        "deleted_at": None,
        "input_specs": {},
    } | fields


def put(api: Gateway, name: str = "resize", **fields: Any) -> Answer:
    answer = api.put(f"/definitions/{name}", BODY | fields)
    assert answer.status in (200, 201), answer.text
    return answer


def code(answer: Answer) -> tuple[int, str]:
    return answer.status, answer.json["code"]


def misfits(answer: Answer) -> list[tuple[list[str], str]]:
    return [(each["loc"], each["type"]) for each in answer.json["detail"]]


# -- puts


def test_a_put_of_a_new_version_is_201_and_shows_every_field(api: Gateway) -> None:
    answer = api.put("/definitions/resize", BODY)
    assert (answer.status, answer.json) == (201, definition())
    assert answer.headers["ETag"] == '"resize/1.0/1"'
    assert api.get("/definitions/resize").json == definition()


def test_every_field_is_kept_and_each_spec_shows_all_its_four_members(api: Gateway) -> None:
    shown = EVERY_FIELD | {
        "constraints": {"cpu": 2, "ram_mb": 512, "vram_mb": None},
        "input_specs": {
            "url": {"type": "string", "required": True, "default": None, "description": "Address of the image"},
            "width": {"type": "int", "required": False, "default": 640, "description": ""},
            "ratio": {"type": "float", "required": False, "default": None, "description": ""},
            "steps": {"type": "array", "required": False, "default": [1, 1.5, {"a": None}], "description": ""},
        },
    }
    answer = api.put("/definitions/resize", EVERY_FIELD)
    assert answer.json == definition(**shown)
    assert api.get("/definitions/resize", version="2.0+x").text == answer.text
    assert api.get("/definitions/resize", version="2.0 x").text == answer.text


def test_a_put_replaces_a_version_whole(api: Gateway) -> None:
    api.put("/definitions/resize", EVERY_FIELD)
    answer = api.put("/definitions/resize", {"version": "2.0+x", "image": "i"})
    assert answer.status == 200
    assert answer.json == definition(version="2.0+x", image="i", revision=2, updated_at=at(1))
    assert answer.headers["ETag"] == '"resize/2.0+x/2"'


def test_a_put_takes_back_what_a_get_answered_and_changes_nothing(api: Gateway, stored: Stored) -> None:
    shown = api.put("/definitions/resize", EVERY_FIELD)
    before = stored()
    again = api.put("/definitions/resize", json.loads(shown.text))
    assert (again.status, again.text, again.headers["ETag"]) == (200, shown.text, shown.headers["ETag"])
    assert stored() == before


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"default": 1}, {"default": 1.0}),
        ({"default": 0.0}, {"default": 0}),
        ({"default": 1}, {"default": 1, "description": "x"}),
        ({}, {"required": False}),
    ],
)
def test_specs_that_differ_in_spelling_differ(api: Gateway, before: Any, after: Any) -> None:
    put(api, input_specs={"a": {"type": "float"} | before})
    assert put(api, input_specs={"a": {"type": "float"} | after}).json["revision"] == 2


def test_the_order_of_specs_and_members_does_not_count(api: Gateway) -> None:
    a, b = {"type": "object", "default": {"x": 1, "y": 2}}, {"type": "int"}
    put(api, input_specs={"a": a, "b": b})
    reordered = {"type": "object", "default": {"y": 2, "x": 1}}
    assert put(api, input_specs={"b": b, "a": reordered}).json["revision"] == 1


def test_a_put_of_what_stands_makes_its_version_the_latest(api: Gateway) -> None:
    put(api)
    put(api, version="2.0")
    assert api.get("/definitions/resize").json["version"] == "2.0"
    assert put(api).json == definition()
    assert api.get("/definitions/resize").json == definition()
    rows = api.get("/definitions/resize/versions").json["data"]
    assert [row["version"] for row in rows] == ["1.0", "2.0"]


def test_a_name_in_the_body_must_be_the_name_in_the_path(api: Gateway) -> None:
    assert api.put("/definitions/resize", BODY | {"name": "resize"}).status == 201
    assert misfits(api.put("/definitions/resize", BODY | {"name": "other"})) == [(["body", "name"], "other_name")]


@pytest.mark.parametrize("name", ["Resize", "-a", "a" * 65, "a b", "ä", "a.b", "a%2Fb"])
def test_a_put_of_a_name_that_none_may_have_is_422(api: Gateway, stored: Stored, name: str) -> None:
    assert misfits(api.put(f"/definitions/{name}", BODY)) == [(["path", "name"], "name")]
    assert misfits(api.post("/definitions", BODY | {"name": name}))[0][0] == ["body", "name"]
    for answer in (
        api.get(f"/definitions/{name}"),
        api.get(f"/definitions/{name}/versions"),
        api.call("DELETE", f"/definitions/{name}"),
        api.post(f"/definitions/{name}/runs"),
    ):
        assert code(answer) == (404, "definition_not_found")
    assert stored() == []


@pytest.mark.parametrize(
    ("fields", "loc"),
    [
        ({"version": None}, ["version"]),
        ({"version": ""}, ["version"]),
        ({"version": "a" * 33}, ["version"]),
        ({"version": "1 0"}, ["version"]),
        ({"version": 1}, ["version"]),
        ({"image": None}, ["image"]),
        ({"start_at": "2030-01-01T00:00:00Z"}, ["start_at"]),
        ({"executor": "batch"}, ["executor"]),
        ({"report": "worker"}, ["report"]),
        ({"owner": 1}, ["owner"]),
        ({"input_specs": []}, ["input_specs"]),
        ({"input_specs": {f"i{n}": {"type": "int"} for n in range(101)}}, ["input_specs"]),
        ({"input_specs": {"a b": {"type": "int"}}}, ["input_specs"]),
        ({"input_specs": {"a": {}}}, ["input_specs", "a", "type"]),
        ({"input_specs": {"a": {"type": "date"}}}, ["input_specs", "a", "type"]),
        ({"input_specs": {"a": {"type": "int", "x": 1}}}, ["input_specs", "a", "x"]),
        ({"input_specs": {"a": {"type": "int", "default": 1.0}}}, ["input_specs", "a", "default"]),
        ({"input_specs": {"a": {"type": "int", "default": True}}}, ["input_specs", "a", "default"]),
        ({"input_specs": {"a": {"type": "bool", "default": 1}}}, ["input_specs", "a", "default"]),
        ({"input_specs": {"a": {"type": "int", "required": 1}}}, ["input_specs", "a", "required"]),
        ({"input_specs": {"a": {"type": "int", "description": 1}}}, ["input_specs", "a", "description"]),
    ],
)
def test_a_definition_that_does_not_fit_is_422(api: Gateway, stored: Stored, fields: Any, loc: list[str]) -> None:
    answer = api.put("/definitions/resize", BODY | fields)
    assert answer.status == 422
    assert [each["loc"] for each in answer.json["detail"]] == [["body", *loc]]
    assert stored() == []


def test_null_fields_are_as_if_absent(api: Gateway) -> None:
    nulls = dict.fromkeys(["name", "input_specs", "executor", "report", "queue", "priority", "deleted_at"])
    assert api.put("/definitions/resize", BODY | nulls).json == definition()
    specs = {"a": {"type": "int", "default": None, "description": None, "required": None}}
    shown = put(api, input_specs=specs).json["input_specs"]
    assert shown == {"a": {"type": "int", "required": True, "default": None, "description": ""}}


def test_64_kib_are_taken_and_a_byte_more_is_413(api: Gateway) -> None:
    def body(size: int) -> dict[str, Any]:
        whole = BODY | {"input_specs": {"a": {"type": "string", "description": ""}}}
        room = size - len(json.dumps(whole, separators=(",", ":")))
        return BODY | {"input_specs": {"a": {"type": "string", "description": "é" * (room // 2) + "x" * (room % 2)}}}

    shown = api.put("/definitions/resize", body(65_536))
    assert shown.status == 201
    assert api.get("/definitions/resize").text == shown.text
    assert api.put("/definitions/resize", shown.json).status == 200, "an answer is taken back, though it is longer"
    assert code(api.put("/definitions/resize", body(65_537))) == (413, "too_large")
    assert code(api.put("/definitions/resize", body(65_537) | {"revision": 1})) == (413, "too_large")
    assert api.get("/definitions/resize").text == shown.text


def test_an_answer_of_64_kib_is_taken_back_with_its_retry_policy(api: Gateway) -> None:
    def body(description: str) -> dict[str, Any]:
        policy = {"backoff_s": 1, "backoff_factor": 3, "max_backoff_s": 60.5}
        return BODY | {
            "retry_policy": policy,
            "input_specs": {"a": {"type": "string", "description": description}},
        }

    room = 65_536 - len(json.dumps(body(""), separators=(",", ":")))
    shown = api.put("/definitions/resize", body("x" * room))
    assert shown.status == 201
    again = api.put("/definitions/resize", shown.json)
    assert (again.status, again.text) == (200, shown.text)


def test_a_topic_that_the_deployment_does_not_list_is_422(api: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    put(api, event_delivery={"topic": "orders"})
    monkeypatch.setenv("GYOZA_TOPICS", "a,b.fifo")
    at_topic = [(["body", "event_delivery", "topic"], "topic_not_allowed")]
    assert misfits(api.put("/definitions/other", BODY | {"event_delivery": {"topic": "orders"}})) == at_topic
    assert misfits(api.post("/definitions/resize/runs")) == at_topic
    assert misfits(api.post("/definitions/nothing/runs", {"event_delivery": {"topic": "orders"}})) == at_topic
    assert api.post("/definitions/resize/runs", {"event_delivery": {"topic": "a"}}).status == 201


# -- preconditions


def test_if_none_match_makes_a_version_and_replaces_none(api: Gateway) -> None:
    def create(image: str, version: str = "1.0") -> Answer:
        return api.put("/definitions/resize", {"version": version, "image": image}, If_None_Match="*")

    assert create("a").status == 201
    assert create("a").status == 200, "sent again"
    assert code(create("b")) == (412, "precondition_failed")
    assert create("b", version="2.0").status == 201
    api.call("DELETE", "/definitions/resize")
    assert create("b").status == 412, "a deleted name keeps its versions"
    assert api.get("/definitions/resize").status == 404
    assert create("a").status == 200
    assert api.get("/definitions/resize").json["version"] == "1.0"


def test_if_match_replaces_the_version_that_it_names(api: Gateway) -> None:
    def replace(image: str, tag: str, version: str = "1.0") -> Answer:
        return api.put("/definitions/resize", {"version": version, "image": image}, If_Match=tag)

    assert replace("a", "*").status == 412, "there is none"
    first = put(api).headers["ETag"]
    assert replace("a", first).status == 200
    assert replace("a", first).status == 200, "sent again"
    assert replace("b", first).status == 412
    assert replace("b", f'"x", {first}').status == 412
    assert replace("b", "*").json["revision"] == 3
    assert replace("c", '"x", "resize/1.0/3"').json["revision"] == 4
    assert replace("d", 'W/"resize/1.0/4"').status == 412
    assert replace("d", "resize/1.0/4").status == 412
    assert replace("x", '"resize/1.0/4"', version="2.0").status == 412
    assert api.get("/definitions/resize").json["image"] == "c"


def test_an_etag_changes_with_the_revision_only(api: Gateway) -> None:
    tags = [put(api).headers["ETag"], put(api, image="b").headers["ETag"], put(api).headers["ETag"]]
    assert len(set(tags)) == 3
    assert api.get("/definitions/resize").headers["ETag"] == tags[-1]
    assert put(api, name="other").headers["ETag"] not in tags


# -- POST /definitions


def test_a_post_puts_the_name_in_its_body(api: Gateway) -> None:
    answer = api.post("/definitions", BODY | {"name": "resize"})
    assert (answer.status, answer.json) == (201, definition())
    assert api.post("/definitions", BODY | {"name": "resize"}).status == 200
    assert misfits(api.post("/definitions", BODY)) == [(["body", "name"], "missing")]


def test_a_repeat_answers_with_the_first_status_and_the_version_as_it_stands(api: Gateway, stored: Stored) -> None:
    def post(key: str = "k", **fields: Any) -> Answer:
        return api.call("POST", "/definitions", BODY | {"name": "resize"} | fields, headers={"Idempotency-Key": key})

    assert (post().status, post().headers["Idempotent-Replayed"]) == (201, "true")
    put(api, image="b")
    put(api, version="2.0")
    before = stored()
    again = post()
    assert (again.status, again.json["image"], again.json["revision"]) == (201, "b", 2)
    assert stored() == before
    assert code(post(image="c")) == (422, "idempotency_key_reused")
    api.call("DELETE", "/definitions/resize")
    assert post().json["deleted_at"] is not None
    assert api.get("/definitions/resize").status == 404
    assert post("other").status == 200
    assert "Idempotent-Replayed" not in post("third", image="z").headers


def test_the_key_of_a_put_lives_a_day(api: Gateway, clock: Any) -> None:
    def post() -> Answer:
        return api.call("POST", "/definitions", BODY | {"name": "resize"}, headers={"Idempotency-Key": "k"})

    assert post().status == 201
    clock.decisions += 86_000
    assert post().status == 201
    clock.decisions += 500
    assert post().status == 200
    assert post().headers["Idempotent-Replayed"] == "true"


# -- deletion


def test_a_deleted_name_is_gone_but_for_its_versions(api: Gateway) -> None:
    put(api)
    put(api, version="2.0")
    deleted = api.call("DELETE", "/definitions/resize")
    assert (deleted.status, deleted.text) == (204, "")
    assert api.call("DELETE", "/definitions/resize").status == 204
    for answer in (
        api.get("/definitions/resize"),
        api.get("/definitions/resize/versions"),
        api.post("/definitions/resize/runs"),
        api.post("/definitions/resize/runs", {"version": "1.0"}),
    ):
        assert code(answer) == (404, "definition_not_found")
    assert api.get("/definitions").json["data"] == []
    shown = api.get("/definitions/resize", version="1.0")
    assert (shown.status, shown.json) == (200, definition(deleted_at=shown.json["deleted_at"]))
    assert shown.json["deleted_at"] == at(2)


def test_a_put_revives_a_name_with_all_its_versions_and_revisions_go_on(api: Gateway) -> None:
    put(api)
    put(api, version="2.0", image="b")
    api.call("DELETE", "/definitions/resize")
    assert put(api, image="c").json["revision"] == 2
    assert api.get("/definitions/resize", version="2.0").json["deleted_at"] is None
    rows = api.get("/definitions/resize/versions").json["data"]
    assert [(row["version"], row["revision"]) for row in rows] == [("1.0", 2), ("2.0", 1)]
    assert [row["version"] for row in api.get("/definitions").json["data"]] == ["1.0"]


def test_a_name_or_version_that_never_was_is_404(api: Gateway) -> None:
    assert code(api.call("DELETE", "/definitions/resize")) == (404, "definition_not_found")
    put(api)
    for version in ("2.0", "", "a/b", "a" * 33):
        assert code(api.get("/definitions/resize", version=version)) == (404, "definition_not_found")


# -- lists


def test_names_are_listed_ascending_and_walked_either_way(api: Gateway) -> None:
    for name in ("b", "a-2", "a", "c"):
        put(api, name=name, input_specs={"x": {"type": "int"}})
    put(api, name="b", version="2.0")
    page = api.get("/definitions").json
    assert [(row["name"], row["version"]) for row in page.pop("data")] == [
        ("a", "1.0"),
        ("a-2", "1.0"),
        ("b", "2.0"),
        ("c", "1.0"),
    ]
    assert page == {"object": "list", "has_more": False, "next_cursor": None, "url": "/definitions"}
    first = api.get("/definitions", limit=2).json
    assert ([row["name"] for row in first["data"]], first["next_cursor"]) == (["a", "a-2"], "a-2")
    second = api.get("/definitions", limit=2, starting_after="a-2").json
    assert ([row["name"] for row in second["data"]], second["has_more"]) == (["b", "c"], False)
    back = api.get("/definitions", limit=1, ending_before="c").json
    assert ([row["name"] for row in back["data"]], back["next_cursor"]) == (["b"], "b")
    back = api.get("/definitions", limit=5, ending_before="c").json
    assert ([row["name"] for row in back["data"]], back["has_more"]) == (["a", "a-2", "b"], False)


def test_a_row_is_the_definition_without_its_specs(api: Gateway) -> None:
    whole = api.put("/definitions/resize", EVERY_FIELD).json
    del whole["input_specs"]
    assert api.get("/definitions").json["data"] == [whole]
    assert api.get("/definitions/resize/versions").json["data"] == [whole]


def test_a_deleted_name_is_still_a_position_and_an_unknown_one_is_400(api: Gateway) -> None:
    for name in "abc":
        put(api, name=name)
    api.call("DELETE", "/definitions/b")
    assert [row["name"] for row in api.get("/definitions", starting_after="b").json["data"]] == ["c"]
    assert [row["name"] for row in api.get("/definitions", ending_before="b").json["data"]] == ["a"]
    for query in ({"starting_after": "x"}, {"ending_before": "B"}, {"starting_after": "a", "ending_before": "c"}):
        assert code(api.get("/definitions", **query)) == (400, "invalid_cursor")
    for limit in (0, 101, "x"):
        assert api.get("/definitions", limit=limit).status == 422


def test_versions_are_listed_from_the_one_that_was_put_last(api: Gateway) -> None:
    for version in ("1.0", "2.0", "3.0", "1+x", "2.0"):
        put(api, version=version, image=f"i{version}")
    put(api, version="1.0", image="again")

    def page(**query: Any) -> tuple[list[str], str | None]:
        answer = api.get("/definitions/resize/versions", **query)
        assert answer.json["url"] == "/definitions/resize/versions"
        return [row["version"] for row in answer.json["data"]], answer.json["next_cursor"]

    assert page() == (["1.0", "2.0", "1+x", "3.0"], None)
    assert page(limit=2) == (["1.0", "2.0"], "2.0")
    assert page(limit=1, starting_after="2.0") == (["1+x"], "1+x")
    assert page(limit=1, starting_after="1 x") == (["3.0"], None)
    assert page(starting_after="3.0") == ([], None)
    assert code(api.get("/definitions/resize/versions", starting_after="9")) == (400, "invalid_cursor")


def test_a_name_may_have_any_number_of_versions(api: Gateway) -> None:
    long = ["x" * 28 + f"{n:04d}" for n in range(60)]
    for version in long:
        put(api, version=version, image=version)
    first, *_ = long
    assert api.get("/definitions/resize", version=first).json["image"] == first
    rows = api.get("/definitions/resize/versions", limit=100).json["data"]
    assert [row["version"] for row in rows] == long[::-1]
    assert put(api, version=first, image=first).status == 200
    assert put(api, version=long[1], image="new").json["revision"] == 2
    rows = api.get("/definitions/resize/versions", limit=100).json["data"]
    assert [row["version"] for row in rows] == [long[1], first, *long[:1:-1]]
    assert api.get("/definitions/resize", version="y").status == 404
    assert api.post("/definitions/resize/runs", {"version": long[2]}).json["op_version"] == long[2]
