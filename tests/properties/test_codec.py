"""What is stored comes back as it was."""

from dataclasses import replace
from datetime import datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gyoza_domain.domain.run import (
    PATCHED,
    AttemptResult,
    Claim,
    Event,
    EventType,
    OpAttempt,
    OpRun,
    RunSpec,
    State,
)
from gyoza_domain.domain.transitions import EventDraft, append_event
from gyoza_domain.dynamodb import codec, keys
from tests.properties.strategies import (
    attempts,
    claims,
    documents,
    events,
    instants,
    results,
    run_ids,
    runs,
    seqs,
    specs,
    texts,
)

HEAD_BYTES = 1_024
"""What HEAD must stay under, whatever the run's documents and timeline hold."""

DYNAMODB_DIGITS = 38


@given(runs, specs)
def test_a_run_at_its_creation(run: OpRun, spec: RunSpec) -> None:
    item = codec.new_head(run, spec)
    assert codec.run_from(item, run.attempt.claim, run.attempt.result) == run


@given(runs, runs, specs)
def test_a_run_after_a_change(before: OpRun, later: OpRun, spec: RunSpec) -> None:
    """A change keeps what it may not touch, and takes away what is no more."""
    after = replace(
        later,
        id=before.id,
        created_at=before.created_at,
        created_by=before.created_by,
        max_attempts=before.max_attempts,
        shard=before.shard,
    )
    kept = {name: value for name, value in codec.new_head(before, spec).items() if name not in codec.OPTIONAL_IN_HEAD}
    item = kept | codec.head(after)
    assert codec.run_from(item, after.attempt.claim, after.attempt.result) == after
    assert codec.head(after).keys() - kept.keys() <= set(codec.OPTIONAL_IN_HEAD)


@given(runs, specs)
def test_the_head_stays_small_whatever_the_documents_hold(run: OpRun, spec: RunSpec) -> None:
    assert stored_bytes(codec.new_head(run, spec)) < HEAD_BYTES


@given(runs, specs)
def test_the_head_knows_the_size_of_the_documents_beside_it(run: OpRun, spec: RunSpec) -> None:
    result = run.attempt.result or AttemptResult()
    stored = (spec.inputs, result.outputs if run.attempt.result else "", result.error_message or "")
    assert codec.document_bytes_of(codec.new_head(run, spec)) == sum(len(text.encode()) for text in stored)


@given(run_ids, specs)
def test_what_was_asked_for(run_id: str, spec: RunSpec) -> None:
    assert codec.spec_from(codec.spec_item(run_id, spec)) == spec


@given(run_ids, attempts())
def test_a_claim(run_id: str, attempt: OpAttempt) -> None:
    assert codec.claim_from(codec.claim_item(run_id, attempt)) == attempt.claim


@given(run_ids, attempts())
def test_an_attempt_that_another_followed(run_id: str, attempt: OpAttempt) -> None:
    item = codec.closed_attempt_item(run_id, attempt)
    assert codec.closed_attempt_from(item, attempt.result) == attempt


@given(runs, attempts(), results)
def test_a_result_that_an_operator_wrote(run: OpRun, attempt: OpAttempt, result: AttemptResult) -> None:
    attempt = replace(attempt, result=result, result_source=PATCHED)
    item = codec.patched_item(replace(run, attempt=attempt))
    assert (codec.result_from(item), codec.claim_from(item)) == (result, attempt.claim)
    assert codec.version_of(item) == run.version


@given(run_ids, events)
def test_an_event(run_id: str, event: Event) -> None:
    assert codec.event_from(codec.event_item(run_id, event)) == event


endings = st.one_of(
    st.builds(EventDraft, st.just(EventType.COMPLETED), outputs=st.none() | documents),
    st.builds(EventDraft, st.just(EventType.FAILED), error_message=st.none() | texts),
)


@given(runs, st.none() | claims, st.none() | results, endings, instants)
def test_an_event_that_ends_an_attempt_and_what_the_attempt_left(
    run: OpRun, claim: Claim | None, kept: AttemptResult | None, draft: EventDraft, now: datetime
) -> None:
    """``kept``: what an operator had written before, or nothing."""
    attempt = replace(
        run.attempt,
        state=State.RUNNING,
        started_at=min(run.updated_at, now),
        claim=claim,
        result=kept,
        result_source=None if kept is None else PATCHED,
    )
    change = append_event(replace(run, attempt=attempt), draft, now)
    event, ended = change.events[0], change.closed or change.after.attempt
    item = codec.ending_event_item(run.id, event, ended)
    assert codec.event_from(item) == event
    assert (codec.result_from(item), codec.claim_from(item)) == (ended.result, claim)


@given(runs, specs, events, seqs)
def test_every_item_has_its_key_and_its_version_and_nothing_dynamodb_cannot_hold(
    run: OpRun, spec: RunSpec, event: Event, seq: int
) -> None:
    attempt = replace(run.attempt, claim=Claim(seq, "worker-7", 10**50))
    items = {
        keys.HEAD: codec.new_head(run, spec),
        keys.SPEC: codec.spec_item(run.id, spec),
        keys.event_sk(event.seq): codec.event_item(run.id, event),
        keys.attempt_sk(attempt.number): codec.closed_attempt_item(run.id, attempt),
        keys.patched_sk(attempt.number): codec.patched_item(replace(run, attempt=attempt)),
    }
    for sk, item in items.items():
        assert (item["pk"], item["sk"]) == ({"S": f"RUN#{run.id}"}, {"S": sk})
        assert item["schema_version"] == {"N": "1"}
        numbers = [value["N"] for value in item.values() if "N" in value]
        assert all(len(number.lstrip("-")) <= DYNAMODB_DIGITS for number in numbers)
        assert all(set(value) <= {"S", "N", "BOOL"} for value in item.values())


def stored_bytes(item: dict[str, Any]) -> int:
    """At most what DynamoDB counts: it takes about half a byte a digit, here it is a whole one."""
    return sum(len(name) + len(str(next(iter(value.values()))).encode()) for name, value in item.items())
