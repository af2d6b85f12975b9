"""Tests that any JSON object comes back from the API unchanged."""

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gyoza_domain.http.json_text import dump
from testing.gateway import Gateway
from tests.properties.strategies import json_objects, spelled, texts

one_table_for_all = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
"""The settings of tests whose examples share a table. Each example creates its own run."""


@one_table_for_all
@given(inputs=json_objects, as_bytes=st.booleans())
def test_inputs_come_back_as_they_were_sent(api: Gateway, inputs: dict[str, Any], as_bytes: bool) -> None:
    body = json.dumps({"image": "busybox:1", "inputs": inputs}, ensure_ascii=not as_bytes)
    created = api.post("/runs", body.encode() if as_bytes else body)
    assert created.status == 201
    assert spelled(created.json["inputs"]) == spelled(inputs)
    assert spelled(api.get(f"/runs/{created.json['id']}").json["inputs"]) == spelled(inputs)


payloads = json_objects.filter(lambda payload: len(dump(payload).encode()) <= 12_000)
"""Draws payloads that leave room below 16 KiB for the other texts."""


@one_table_for_all
@given(outputs=json_objects, payload=payloads, msg=texts, error_message=texts)
def test_texts_and_documents_of_a_worker_come_back_as_they_were_sent(
    api: Gateway, outputs: dict[str, Any], payload: dict[str, Any], msg: str, error_message: str
) -> None:
    rest = {name: value for name, value in payload.items() if name not in {"outputs", "error_message"}}
    run_id = api.create(retry_policy={"max_attempts": 2})["id"]
    api.event(run_id, "FAILED", msg=msg, payload={**rest, "error_message": error_message}, minimal=True)
    api.start(run_id)
    run = api.event(run_id, "COMPLETED", msg=msg, payload={**rest, "outputs": outputs}).json
    failure, completion = api.get(f"/runs/{run_id}/events", after_seq=-1).json["events"][::3]
    assert spelled(run["outputs"]) == spelled(outputs)
    assert (failure["msg"], completion["msg"]) == (msg, msg)
    assert spelled(failure["payload"]) == spelled({**rest, "error_message": error_message})
    assert spelled(completion["payload"]) == spelled({**rest, "outputs": outputs})
