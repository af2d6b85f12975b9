"""Tests that no answer with an error exceeds 64 KB, whatever the request is."""

import json
from typing import Any, NamedTuple
from urllib.parse import quote

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from testing.gateway import FUNCTION_OF_ROUTE, Gateway

MAX_BYTES = 64 * 1024
PARAMETERS = ["limit", "after", "after_seq", "attempt", "state", "starting_after", "created[gte]", "expand[]", "fields"]
FIELDS = [
    *("image", "state", "type", "msg", "attempt", "priority", "payload", "event_delivery", "constraints", "inputs"),
    *("queue", "start_at", "retain_s", "retry_policy", "worker_id", "queues", "capacity", "lease_s", "mode", "grace_s"),
]

units = st.sampled_from(["x", "\0", "🥟", "\ud83e", "'", '"', "\\", "\u2028", "9", "/", "%", "{", "\n"])
long_texts = st.builds(lambda unit, end, size: unit * size + end, units, st.text(max_size=5), st.integers(0, 30_000))
numbers = st.integers(-(10**4_299), 10**4_299)
scalars = st.one_of(long_texts, numbers, st.none(), st.booleans(), st.floats(allow_nan=False, allow_infinity=False))
many = st.builds(lambda name, count: {f"{name}{number}": 1 for number in range(count)}, long_texts, st.integers(0, 60))
members = st.one_of(
    scalars,
    many,
    st.dictionaries(st.one_of(long_texts, st.sampled_from(["topic", "attributes", "worker_id", "cpu"])), scalars),
    st.builds(lambda attributes: {"topic": "t", "attributes": attributes}, many),
)
objects = st.builds(
    lambda known, unknown: known | unknown, st.dictionaries(st.sampled_from(FIELDS), members, max_size=6), many
)
bodies = st.one_of(
    objects.map(json.dumps), st.binary(max_size=100), long_texts, st.just("[" * 70), scalars.map(json.dumps)
)
queries = st.dictionaries(st.one_of(st.sampled_from(PARAMETERS), long_texts), long_texts.map(str), max_size=60)
keys = st.one_of(st.just({}), st.builds(lambda key: {"Idempotency-Key": key}, long_texts))


class Sent(NamedTuple):
    """A request. ``unknown`` is a run id in place of a known one."""

    route: tuple[str, str]
    unknown: str | None
    body: Any
    query: dict[str, str]
    headers: dict[str, str]


requests = st.builds(
    Sent,
    route=st.sampled_from(list(FUNCTION_OF_ROUTE)),
    unknown=st.one_of(st.none(), long_texts),
    body=bodies,
    query=st.one_of(st.just({}), queries),
    headers=keys,
)


@settings(max_examples=150, suppress_health_check=list(HealthCheck))
@given(sent=requests)
def test_an_answer_with_an_error_is_small_and_of_one_shape(api: Gateway, sent: Sent) -> None:
    method, resource = sent.route
    run_id = api.create()["id"] if sent.unknown is None else quote(sent.unknown, safe="", errors="replace")
    answer = api.call(method, resource.replace("{id}", run_id), sent.body, query=sent.query, headers=sent.headers)
    if answer.status < 400:
        return
    assert answer.status < 500
    # As Lambda sends it: the body as one JSON string in UTF-8.
    assert len(json.dumps(answer.text, ensure_ascii=False).encode()) <= MAX_BYTES
    assert answer.json.keys() == {"detail", "code", "request_id"}
    details = answer.json["detail"]
    if isinstance(details, str):
        assert len(details) <= 400
        return
    assert 1 <= len(details) <= 21
    for detail in details:
        assert detail.keys() == {"loc", "msg", "type"}
        assert [part for part in detail["loc"] if len(str(part)) > 200] == []
        assert len(detail["msg"]) <= 400
