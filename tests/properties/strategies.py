"""Strategies that draw values of the domain."""

import json
from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

from gyoza_domain.domain.run import (
    EMPTY_OBJECT,
    MAX_CAPACITY,
    AttemptResult,
    Backoff,
    CancelOutcome,
    CancelRequest,
    Claim,
    Constraints,
    Event,
    EventDelivery,
    EventType,
    JsonText,
    Lease,
    OpAttempt,
    OpRun,
    Reason,
    ResultSource,
    RunSpec,
    State,
    Terms,
)
from gyoza_domain.http.json_text import dump

texts = st.text(st.characters(exclude_categories=["Cs"]))
"""Draws any text that UTF-8 can encode."""

json_numbers = st.one_of(
    st.integers(),
    st.integers(-(10**60), 10**60),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([-0.0, 1e300, 5e-324, 10**4_299, 0.1]),
)

json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | json_numbers | texts,
    lambda children: st.lists(children, max_size=4) | st.dictionaries(texts, children, max_size=4),
    max_leaves=15,
)

json_objects = st.dictionaries(texts, json_values, max_size=5)

documents: st.SearchStrategy[JsonText] = json_objects.map(dump)

instants = st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(9999, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis adds the zone

run_ids = st.uuids(version=4).map(str)

seqs = st.integers(0, 10**9)

amounts = st.none() | st.integers(0, 10**50)

claims = st.builds(Claim, seq=seqs, worker_id=st.none() | texts, gpu_id=st.none() | st.integers(-(10**50), 10**50))

results = st.builds(
    AttemptResult,
    outputs=documents,
    error_message=st.none() | texts,
    duration_ms=st.none() | st.integers(0, 10**12),
)

specs = st.builds(
    RunSpec,
    image=texts.filter(bool),
    inputs=documents,
    constraints=st.builds(Constraints, cpu=amounts, ram_mb=amounts, vram_mb=amounts),
    event_delivery=st.none() | st.builds(EventDelivery, topic=texts, attributes=documents),
    op_definition=st.none() | texts.filter(bool),
    created_by=st.none() | st.text("abcdefghij0123456789", min_size=1, max_size=32),
)

events = st.builds(
    Event,
    seq=seqs,
    id=seqs,
    attempt=st.integers(1, 10**6),
    type=st.sampled_from(EventType),
    at=instants,
    state=st.sampled_from(State),
    msg=texts | st.integers(-(10**4_000), 10**4_000),
    payload=st.just(EMPTY_OBJECT) | documents,
    outputs=st.none() | documents,
    error_message=st.none() | texts,
    duration_ms=st.none() | st.integers(0, 10**12),
    will_retry=st.booleans(),
)


needed_amounts = st.none() | st.integers(0, MAX_CAPACITY + 1)
"""Larger amounts are cut in HEAD, for no claim can offer them."""


def _six_decimals(number: float) -> float:
    return round(number, 6)


durations = st.none() | st.integers(0, 10**9)

terms = st.builds(
    Terms,
    queue=st.text("abcXYZ019_-", min_size=1, max_size=64),
    needs=st.builds(Constraints, cpu=needed_amounts, ram_mb=needed_amounts, vram_mb=needed_amounts),
    start_at=st.none() | instants,
    queue_ttl_s=durations,
    attempt_timeout_s=durations,
    backoff=st.builds(
        Backoff,
        initial_s=st.none() | st.floats(0, 3_600).map(_six_decimals),
        factor=st.none() | st.floats(1, 10).map(_six_decimals),
        max_s=st.none() | st.integers(0, 86_400),
    ),
    max_lost=st.none() | st.integers(0, 100),
    retain_s=durations,
)

leases = st.builds(Lease, lease_s=st.integers(15, 3_600), worker_id=texts, until=instants)

cancels = st.builds(
    CancelRequest,
    requested_at=instants,
    cancel_by=instants,
    by=st.none() | texts,
    outcome=st.none() | st.sampled_from(CancelOutcome),
)


@st.composite
def attempts(draw: st.DrawFn) -> OpAttempt:
    """Draws an attempt, not always a reachable one. It has a result exactly if it has a source of one."""
    first_seq = draw(seqs)
    result_source = draw(st.none() | st.sampled_from(ResultSource))
    result = None if result_source is None else draw(results)
    return OpAttempt(
        number=draw(st.integers(1, 10**6)),
        state=draw(st.sampled_from(State)),
        progress=draw(st.integers(0, 100)),
        first_seq=first_seq,
        last_seq=first_seq - 1 + draw(seqs),
        started_at=draw(st.none() | instants),
        finished_at=draw(st.none() | instants),
        claim=draw(st.none() | claims),
        result=result,
        result_source=result_source,
        outputs_bytes=0 if result is None else len(result.outputs.encode()),
        began_at=draw(st.none() | instants),
        assigned_at=draw(st.none() | instants),
        reason=draw(st.none() | st.sampled_from(Reason)),
        not_before=draw(st.none() | instants),
        is_offered=draw(st.booleans()),
        is_indexed=draw(st.booleans()),
        deadline=draw(st.none() | instants),
        cancel=draw(st.none() | cancels),
    )


runs = st.builds(
    OpRun,
    id=run_ids,
    created_at=instants,
    updated_at=instants,
    attempt=attempts(),
    priority=st.integers(0, 9999),
    max_attempts=st.integers(1, 100),
    terms=terms,
    failures=st.integers(0, 10**6),
    losses=st.integers(0, 10**6),
    returns=st.integers(0, 9),
    expires_at=st.none() | instants,
    given_back=st.integers(0, 10**6),
    shard=st.integers(0, 99),
    version=st.integers(1, 10**9),
)


def spelled(value: Any) -> str:
    """A text of the value. Unlike equality, it distinguishes 1, 1.0 and true, and 0.0 and -0.0."""
    return json.dumps(value)
