"""Compares the answers that clients got with the run that is left, and reports each contradiction."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from .exchange import Exchange, Final
from .model import Impossible, Replay, cause_of, mark_of


def problems(exchanges: Sequence[Exchange], final: Final) -> list[str]:
    """The contradictions in a run's history, one sentence each. Call it only when no request is under way."""
    return [
        *_problems_of_numbers(final),
        *_problems_of_effects(exchanges, final),
        *_problems_of_order(exchanges, final),
        *_problems_of_replay(exchanges, final),
    ]


def _problems_of_numbers(final: Final) -> Iterator[str]:
    """Checks the sequence numbers, ids, attempts and instants of the timeline."""
    events = final.events
    yield from _gaps("seqs", [event["seq"] for event in events])
    for attempt in sorted({event["attempt"] for event in events}):
        yield from _gaps(f"ids of attempt {attempt}", [e["id"] for e in events if e["attempt"] == attempt])
    attempts = [1, *(event["attempt"] for event in events)]
    for event, (before, after) in zip(events, pairwise(attempts), strict=True):
        if after != before + (event["type"] == "RETRIED"):
            yield f"event {event['seq']} ({event['type']}) is of attempt {after}, the one before of {before}"
        if event["state"] != final.run["state"]:
            yield f"event {event['seq']} was read with state {event['state']}, not the run's {final.run['state']}"
    for earlier, later in pairwise(events):
        if later["t"] < earlier["t"]:
            yield f"event {later['seq']} is older than the one before it"


def _gaps(plural: str, numbers: Sequence[int]) -> Iterator[str]:
    for position, number in enumerate(numbers):
        if number != position:
            yield f"the {plural} are not 0 to {len(numbers) - 1}: {number} stands where {position} should"
            return


def _problems_of_effects(exchanges: Sequence[Exchange], final: Final) -> Iterator[str]:
    """Checks that the timeline holds each acknowledged effect once and nothing that nobody asked for."""
    found = Counter(map(cause_of, final.events))
    allowed: dict[str, tuple[int, int]] = {"automatic": (0, found["automatic"])}
    for some in _by_effect(exchanges):
        cause = _cause_asked(some[0])
        (low, high), (more_low, more_high) = allowed.get(cause, (0, 0)), _effects_allowed(some)
        allowed[cause] = low + more_low, high + more_high
        yield from _problems_of_key(cause, some)
    for cause, (low, high) in allowed.items():
        if found[cause] < low:
            yield f"{cause}: lost, {low} answers tell of it and the timeline has {found[cause]}"
        if found[cause] > high:
            yield f"{cause}: doubled, at most {high} can have been written and the timeline has {found[cause]}"
    yield from (f"{cause}: in the timeline, though nobody asked for it" for cause in found if cause not in allowed)
    posted: dict[str | None, Any] = {
        exchange.mark: exchange.body for exchange in exchanges if exchange.mark is not None
    }
    for event in final.events:
        body = posted.get(mark_of(event))
        if body is not None and _content(body) != _content(event):
            yield f"event {event['seq']} is not what was posted: {_content(event)} for {_content(body)}"


def _problems_of_key(cause: str, some: Sequence[Exchange]) -> Iterator[str]:
    if some[0].key is None:
        return
    effects = sum(exchange.took_effect for exchange in some)
    if effects > 1:
        yield f"{cause}: {effects} answers under one idempotency key say that they took effect"


def _content(event: Mapping[str, Any]) -> tuple[Any, ...]:
    return event["type"], event.get("msg", ""), event.get("payload", {})


def _cause_asked(exchange: Exchange) -> str:
    return exchange.mark or exchange.path.rpartition("/")[2]


def _by_effect(exchanges: Iterable[Exchange]) -> list[list[Exchange]]:
    """Groups the POSTs that ask for an event: by idempotency key, and those without a key by request.

    A group with a key has at most one effect; a group without one has at most one for each sending.
    """
    groups: dict[tuple[str, str | int], list[Exchange]] = defaultdict(list)
    for exchange in exchanges:
        if exchange.method == "POST" and exchange.path != "/runs":
            groups[exchange.path, exchange.intent if exchange.key is None else exchange.key].append(exchange)
    return list(groups.values())


def _effects_allowed(some: Sequence[Exchange]) -> tuple[int, int]:
    """The least and the greatest number of times that the timeline may hold the effect of these exchanges."""
    if some[0].key is None:
        effects = sum(exchange.succeeded for exchange in some)
        return effects, effects + sum(exchange.is_unknown for exchange in some)
    if any(exchange.succeeded for exchange in some):
        return 1, 1
    is_refused = any(not exchange.is_unknown and exchange.code != "run_busy" for exchange in some)
    return 0, int(not is_refused and any(exchange.is_unknown for exchange in some))


def _problems_of_order(exchanges: Sequence[Exchange], final: Final) -> Iterator[str]:
    """Checks that no answer ends before its own event or before the end of an earlier answer.

    A request that begins after another was answered must get a higher sequence number.
    """
    times = Counter(map(mark_of, final.events))
    seqs: dict[str | None, int] = {
        mark: event["seq"] for event in final.events if times[mark := mark_of(event)] == 1 and mark is not None
    }
    answered = [(exchange, exchange.answer["last_seq"]) for exchange in exchanges if _tells_last_seq(exchange)]
    for exchange, last_seq in answered:
        seq = seqs.get(exchange.mark)
        if seq is not None and last_seq < seq:
            yield f"{exchange.mark}: the answer ends at {last_seq}, before its own event {seq}"
    numbered = [
        (exchange, seqs[exchange.mark]) for exchange, _ in answered if exchange.took_effect and exchange.mark in seqs
    ]
    if (late := _first_overtaken(answered)) is not None:
        yield f"an answer showed {late[1]} as the last event after {late[0]} had been shown"
    if (late := _first_overtaken(numbered)) is not None:
        yield f"event {late[1]} was written after {late[0]} had been answered"
    for cause in ("retry", "cancel"):
        left = [event["seq"] for event in final.events if cause_of(event) == cause]
        shown = sorted(
            last_seq for exchange, last_seq in answered if exchange.took_effect and _cause_asked(exchange) == cause
        )
        for last_seq, seq in zip(shown, left, strict=False):
            if seq > last_seq:
                yield f"{cause}: an answer ends at {last_seq}, before its own event {seq}"


def _tells_last_seq(exchange: Exchange) -> bool:
    return exchange.succeeded and isinstance(exchange.answer, dict) and "last_seq" in exchange.answer


def _first_overtaken(numbered: Sequence[tuple[Exchange, int]]) -> tuple[int, int] | None:
    """An answered number and a lower one whose request began later; None if there is no such pair."""
    by_end = sorted(numbered, key=lambda pair: pair[0].ended_s)
    highest, ended = -1, 0
    for exchange, number in sorted(numbered, key=lambda pair: pair[0].started_s):
        while by_end[ended][0].ended_s < exchange.started_s:
            highest = max(highest, by_end[ended][1])
            ended += 1
        if number < highest:
            return highest, number
    return None


def _problems_of_replay(exchanges: Sequence[Exchange], final: Final) -> Iterator[str]:
    """Checks that the run and its attempts equal a replay of the timeline, with each PATCH at its place in it."""
    run = final.run
    replay = Replay(run["retry_policy"]["max_attempts"])
    patches = _edits(exchanges)
    try:
        for event in [*final.events, None]:
            while patches and patches[0].answer["last_seq"] <= replay.last_seq:
                edit = patches.pop(0)
                replay.patch(edit.body, edit.answer["updated_at"])
            if event is not None:
                replay.apply(event)
        replay.finish()
    except Impossible as impossible:
        yield str(impossible)
        return
    attempt = replay.current.shown()
    expected = {name: attempt[name] for name in ("state", "progress", "outputs", "execution_summary", "event_count")}
    expected |= {
        "current_attempt": attempt["attempt"],
        "last_seq": replay.last_seq,
        "events": replay.current.events[-100:],
    }
    yield from _differences("the run", expected, run)
    if final.events and run["updated_at"] < final.events[-1]["t"]:
        yield f"the run was updated at {run['updated_at']}, before its last event at {final.events[-1]['t']}"
    if len(final.attempts) != len(replay.attempts):
        yield f"there are {len(final.attempts)} attempts, not {len(replay.attempts)}"
    for so_far, shown in zip(replay.attempts, final.attempts, strict=False):
        yield from _differences(f"attempt {so_far.number}", so_far.shown(), shown)
    if (priorities := _last_priorities(exchanges)) and run["priority"] not in priorities:
        yield f"the priority is {run['priority']}, last set to one of {sorted(priorities)}"


def _differences(subject: str, expected: Mapping[str, Any], shown: Mapping[str, Any]) -> Iterator[str]:
    for name, value in expected.items():
        if shown[name] != value:
            yield f"{subject} has {name} {json.dumps(shown[name])}, the timeline says {json.dumps(value)}"


def _edits(exchanges: Iterable[Exchange]) -> list[Exchange]:
    """The PATCHes that set the state or the outputs, in the order the service wrote them."""
    edits = [e for e in exchanges if e.method == "PATCH" and {"state", "outputs"} & set(e.body)]
    if any(edit.is_unknown for edit in edits):
        raise ValueError("a PATCH whose answer was lost cannot be placed in the timeline")
    return sorted(
        (edit for edit in edits if edit.succeeded),
        key=lambda edit: (edit.answer["last_seq"], edit.answer["updated_at"], edit.ended_s),
    )


def _last_priorities(exchanges: Iterable[Exchange]) -> set[int]:
    """The priorities that the run may have: each one that no later PATCH has certainly overwritten."""
    edits = [e for e in exchanges if e.method == "PATCH" and "priority" in e.body and (e.succeeded or e.is_unknown)]
    begun_last = max((edit.started_s for edit in edits if edit.succeeded), default=None)
    if begun_last is None:
        return set()
    return {edit.body["priority"] for edit in edits if edit.ended_s >= begun_last}
