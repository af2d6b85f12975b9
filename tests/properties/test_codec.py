"""Tests that values survive being stored and read."""

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gyoza_domain.domain.instants import instant_to_text
from gyoza_domain.domain.run import (
    EMPTY_OBJECT,
    AttemptResult,
    Claim,
    Event,
    JsonText,
    Lease,
    OpAttempt,
    OpRun,
    RunSpec,
)
from gyoza_domain.dynamodb import codec, keys
from gyoza_domain.dynamodb.attributes import Item, version_of
from gyoza_domain.dynamodb.head import (
    MAX_INPUTS_IN_SPEC_BYTES,
    OPTIONAL_ATTRIBUTES,
    Head,
    changing_attributes,
    head_from,
    new_head,
)
from gyoza_domain.dynamodb.transactions import creation
from gyoza_domain.runs.ports import IdempotencyKey, KeyUse
from testing.capacity import item_bytes
from tests.properties.strategies import attempts, claims, events, leases, results, run_ids, runs, seqs, specs, texts

MAX_HEAD_BYTES = 1_024
"""One write unit. HEAD stays below it, whatever the run's documents and timeline hold."""

MAX_NUMBER_DIGITS = 38
"""The most digits of a number (DynamoDB's limit)."""

versions = st.none() | st.integers(1, 10**9)

large_inputs = st.integers(MAX_INPUTS_IN_SPEC_BYTES - 10, MAX_INPUTS_IN_SPEC_BYTES + 10).map(
    lambda length: JsonText('{"a":"' + "x" * (length - 8) + '"}')
)
"""Draws inputs around the size limit of inputs in SPEC."""

any_specs = specs | st.builds(lambda spec, inputs: replace(spec, inputs=inputs), specs, large_inputs)


def without_documents(attempt: OpAttempt) -> OpAttempt:
    return replace(attempt, claim=None, result=None)


def with_terms_of(spec: RunSpec, run: OpRun) -> OpRun:
    return replace(run, terms=replace(run.terms, is_delivering=spec.event_delivery is not None))


@given(runs, any_specs)
def test_a_new_run_comes_back_from_its_head(run: OpRun, spec: RunSpec) -> None:
    assert head_from(new_head(run, spec)) == Head(
        run=with_terms_of(spec, replace(run, attempt=without_documents(run.attempt))),
        lease_version=None,
        claim_version=None,
        result_version=None,
        inputs_bytes=len(spec.inputs.encode()),
        is_delivering=spec.event_delivery is not None,
        is_deleted=False,
    )


@given(runs, runs, any_specs, st.tuples(versions, versions, versions))
def test_a_changed_run_comes_back_from_its_head(
    before: OpRun,
    later: OpRun,
    spec: RunSpec,
    versions_beside: tuple[int | None, int | None, int | None],
) -> None:
    """A change keeps the attributes that it may not touch, and removes those that the run has lost."""
    lease_version, claim_version, result_version = versions_beside
    after = replace(
        later,
        id=before.id,
        created_at=before.created_at,
        max_attempts=before.max_attempts,
        terms=before.terms,
        shard=before.shard,
    )
    item = new_head(before, spec)
    changed = changing_attributes(
        after, lease_version=lease_version, claim_version=claim_version, result_version=result_version
    )
    kept = {name: value for name, value in item.items() if name not in OPTIONAL_ATTRIBUTES}
    assert head_from(kept | changed) == replace(
        head_from(item),
        run=with_terms_of(spec, replace(after, attempt=without_documents(after.attempt))),
        lease_version=lease_version,
        claim_version=claim_version,
        result_version=result_version,
    )
    assert changed.keys() - kept.keys() <= set(OPTIONAL_ATTRIBUTES)


@given(runs, any_specs)
def test_the_head_stays_small_whatever_the_documents_hold(run: OpRun, spec: RunSpec) -> None:
    assert item_bytes(new_head(run, spec)) < MAX_HEAD_BYTES


@given(runs, any_specs)
def test_the_head_knows_the_size_of_the_documents_beside_it(run: OpRun, spec: RunSpec) -> None:
    head = head_from(new_head(run, spec))
    outputs = "" if run.attempt.result is None else run.attempt.result.outputs
    assert head.document_bytes == len(spec.inputs.encode()) + len(outputs.encode())
    assert head.has_inputs_item == (len(codec.spec_items(run.id, spec)) == 2)


@given(run_ids, any_specs)
def test_a_spec_comes_back_whole_from_the_item_that_holds_its_inputs(run_id: str, spec: RunSpec) -> None:
    items = codec.spec_items(run_id, spec)
    assert codec.spec_from(items[-1]) == spec
    assert [item["sk"]["S"] for item in items] == [keys.SPEC, keys.INPUTS][: len(items)]


@given(run_ids, any_specs)
def test_spec_holds_all_but_large_inputs(run_id: str, spec: RunSpec) -> None:
    first, *_ = codec.spec_items(run_id, spec)
    is_large = len(spec.inputs.encode()) > MAX_INPUTS_IN_SPEC_BYTES
    assert codec.spec_from(first) == (replace(spec, inputs=EMPTY_OBJECT) if is_large else spec)
    assert codec.delivery_from(first) == spec.event_delivery


@given(st.none() | claims)
def test_a_claim_comes_back_from_its_attributes(claim: Claim | None) -> None:
    item = stored(codec.claim_attributes(claim))
    assert codec.claim_from(item) == claim
    assert item.keys() <= {"schema", *codec.CLAIM_ATTRIBUTES}


@given(results)
def test_a_result_comes_back_from_its_attributes(result: AttemptResult) -> None:
    item = stored(codec.result_attributes(result))
    assert codec.result_from(item) == result
    assert item.keys() <= {"schema", *codec.RESULT_ATTRIBUTES}


@given(run_ids, attempts())
def test_a_closed_attempt_comes_back_without_its_result(run_id: str, attempt: OpAttempt) -> None:
    """The values that only a current attempt has are gone too."""
    item = codec.closed_attempt_item(run_id, attempt)
    assert codec.closed_attempt_from(item) == replace(
        attempt,
        result=None,
        not_before=None,
        is_offered=True,
        is_indexed=False,
        deadline=None,
        cancel=None,
    )


@given(runs, leases)
def test_a_lease_comes_back_from_its_item(run: OpRun, lease: Lease) -> None:
    item = codec.beat_item(run, lease)
    assert codec.lease_from(item) == lease
    assert item["due_at"]["S"] == instant_to_text(lease.until)


@given(run_ids, events)
def test_an_event_comes_back_from_its_item(run_id: str, event: Event) -> None:
    item = codec.event_item(run_id, event)
    assert codec.event_from(item) == event
    assert codec.seq_of(item) == event.seq


@given(run_ids, events, st.none() | claims)
def test_an_event_that_ended_an_attempt_is_also_its_result_and_its_claim(
    run_id: str, event: Event, claim: Claim | None
) -> None:
    item = codec.event_item(run_id, event) | codec.claim_attributes(claim)
    result = AttemptResult(event.outputs or EMPTY_OBJECT, event.error_message, event.duration_ms)
    assert codec.event_from(item) == event
    assert (codec.result_from(item), codec.claim_from(item)) == (result, claim)


@given(runs, texts, texts)
def test_a_key_tells_the_body_it_came_with_and_the_version_it_led_to(run: OpRun, digest: str, fingerprint: str) -> None:
    item = codec.idempotency_item(run, IdempotencyKey(digest, fingerprint))
    assert codec.key_use_from(item) == KeyUse(fingerprint, run.version)


@given(runs, any_specs, events, seqs)
def test_every_item_has_its_key_and_its_schema_and_nothing_dynamodb_cannot_hold(
    run: OpRun, spec: RunSpec, event: Event, seq: int
) -> None:
    attempt = replace(run.attempt, claim=Claim(seq, "worker-7", 10**50))
    key = IdempotencyKey("0a1b", "f")
    created: list[Any] = [write["Put"]["Item"] for write in creation("runs", run, spec, key)]
    items: list[dict[str, Any]] = [
        *created,
        codec.event_item(run.id, event) | codec.claim_attributes(attempt.claim),
        codec.closed_attempt_item(run.id, attempt),
    ]
    specs_of_run = [keys.SPEC, keys.INPUTS] if len(spec.inputs.encode()) > MAX_INPUTS_IN_SPEC_BYTES else [keys.SPEC]
    sks = [keys.HEAD, keys.idempotency_sk("0a1b"), *specs_of_run, keys.event_sk(event.seq)]
    assert [item["sk"] for item in items] == [{"S": sk} for sk in [*sks, keys.attempt_sk(attempt.number)]]
    for item in items:
        assert item["pk"] == {"S": f"RUN#{run.id}"}
        assert item["schema"] == {"N": "1"}
        numbers = [value["N"] for value in item.values() if "N" in value]
        assert all(len(number.lstrip("-")) <= MAX_NUMBER_DIGITS for number in numbers)
        assert all(set(value) <= {"S", "N", "BOOL"} for value in item.values())


@given(runs, any_specs)
def test_the_version_of_a_head_is_the_run_s(run: OpRun, spec: RunSpec) -> None:
    assert version_of(new_head(run, spec)) == run.version


def stored(attributes: Item) -> Item:
    """A stored item with these attributes."""
    return {"schema": {"N": "1"}, **attributes}
