"""Tests the bounds on created_key against their definition."""

from datetime import datetime

from hypothesis import given
from hypothesis import strategies as st

from gyoza_domain.dynamodb import keys
from tests.properties.strategies import instants, run_ids

few_instants = st.lists(instants, min_size=1, max_size=3)
few_ids = st.lists(run_ids, min_size=1, max_size=4, unique=True)

Position = tuple[datetime, str]


@given(st.data(), few_instants, few_ids)
def test_a_key_is_within_bounds_exactly_when_its_run_is(
    data: st.DataObject, run_instants: list[datetime], ids: list[str]
) -> None:
    everything = [(at, run_id) for at in set(run_instants) for run_id in ids]
    some_instant = st.none() | st.sampled_from(run_instants) | instants
    some_run: st.SearchStrategy[Position | None] = st.none() | st.sampled_from(everything)
    created_from, created_to = data.draw(some_instant), data.draw(some_instant)
    above, below = data.draw(some_run), data.draw(some_run)

    low, high = keys.created_bounds(
        created_from,
        created_to,
        above=None if above is None else keys.created_key(*above),
        below=None if below is None else keys.created_key(*below),
    )
    found = {position for position in everything if low <= keys.created_key(*position) <= high}

    assert found == {
        (at, run_id)
        for at, run_id in everything
        if (created_from is None or at >= created_from)
        and (created_to is None or at <= created_to)
        and (above is None or (at, run_id) > above)
        and (below is None or (at, run_id) < below)
    }


@given(instants, run_ids, instants, run_ids)
def test_keys_sort_as_the_runs_were_created(at: datetime, run_id: str, other_at: datetime, other_id: str) -> None:
    as_keys = keys.created_key(at, run_id) < keys.created_key(other_at, other_id)
    assert as_keys == ((at, run_id) < (other_at, other_id))


@given(st.integers(0, 10**10 - 1), st.integers(0, 10**10 - 1))
def test_events_sort_by_number(seq: int, other: int) -> None:
    assert (keys.event_sk(seq) < keys.event_sk(other)) == (seq < other)


@given(st.integers(1, 10**8 - 1), st.integers(1, 10**8 - 1))
def test_attempts_sort_by_number_each_before_its_result(number: int, other: int) -> None:
    assert (keys.attempt_sk(number) < keys.attempt_sk(other)) == (number < other)
    assert (keys.attempt_sk(number) < keys.attempt_outputs_sk(other)) == (number <= other)


@given(st.integers(0, 10**40), st.integers(1, 10**40), st.text("0123456789abcdef", min_size=64, max_size=64))
def test_closed_attempts_lie_below_keys_keys_below_events_and_events_below_head(
    seq: int, number: int, digest: str
) -> None:
    in_order = [
        keys.attempt_sk(number),
        keys.attempt_outputs_sk(number),
        keys.idempotency_sk(digest),
        keys.event_sk(seq),
        keys.HEAD,
    ]
    assert in_order == sorted(in_order)
