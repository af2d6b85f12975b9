"""One function a command: load, one domain call, save.

Reads need no use case of their own: a handler calls the repository.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from random import SystemRandom

from .domain.errors import GyozaError, IdempotencyKeyReused, RunBusy
from .domain.run import Change, JsonText, OpAttempt, OpRun, RunSpec, State
from .domain.transitions import EventDraft, append_event, patch
from .ports import ChangedMeanwhile, Clock, IdempotencyKey, IdSource, KeyUsed, Loaded, RunRepository, RunView

CONFLICT_DEADLINE_S = 8.0
"""How long a request fights for a contended run before it answers 409 (contract, section 4)."""

_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 3.2
"""Long: while some pause the others get on. At 32 writers four times shorter pauses let half as many events through."""
_LONGEST_PAUSE_OF_TIME_LEFT = 0.25
"""The older a request grows the shorter it pauses, so that it goes before those that have time."""

_FRESH_S = 0.01
"""How long what a failed write returned is worth deciding on; after a longer pause the run is read again."""

_system_random = SystemRandom()
"""Read from the operating system each time: SnapStart would clone the state of a seeded generator."""


@dataclass(frozen=True, slots=True)
class RunPatch:
    """The fields an operator edits; None leaves one as it is."""

    state: State | None = None
    outputs: JsonText | None = None
    priority: int | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """The run after a command: whole, or as much as is cheap to know of it."""

    run: OpRun | RunView
    is_replay: bool = False
    """The command had taken effect before, by the same idempotency key; this time it changed nothing."""


def create_run(
    runs: RunRepository,
    clock: Clock,
    ids: IdSource,
    spec: RunSpec,
    *,
    priority: int,
    max_attempts: int,
    created_by: str | None,
    key: IdempotencyKey | None = None,
) -> Outcome:
    """A new run in PENDING, attempt 1, without events. Raises IdempotencyKeyReused."""
    now = clock.now()
    run_id = ids.new_run_id() if key is None else ids.run_id_for(key)
    run = OpRun(
        id=run_id,
        created_at=now,
        updated_at=now,
        attempt=OpAttempt(1),
        priority=priority,
        max_attempts=max_attempts,
        created_by=created_by,
        shard=ids.shard_of(run_id),
    )
    try:
        runs.add(run, spec, key)
    except KeyUsed as used:
        return _replay(runs, run_id, key, used.fingerprint, whole=True)
    return Outcome(RunView(run, spec))


def add_event(
    runs: RunRepository,
    clock: Clock,
    run_id: str,
    draft: EventDraft,
    *,
    whole: bool,
    key: IdempotencyKey | None = None,
) -> Outcome:
    """Append the event; the whole run, or without ``whole`` only what is cheap to know of it.

    Raises what ``append_event`` raises, RunNotFound, IdempotencyKeyReused, and RunBusy when the run kept changing for
    8 seconds.
    """
    loaded = runs.load(run_id, with_spec=whole)
    try:
        run = _save_decision(
            runs, clock, loaded, lambda run, now: append_event(run, draft, now), lambda: runs.load(run_id), key=key
        )
    except KeyUsed as used:
        return _replay(runs, run_id, key, used.fingerprint, whole=whole)
    except GyozaError:
        # The run may refuse a repeat only because the first request has been there.
        fingerprint = None if key is None else runs.fingerprint_of(run_id, key)
        if fingerprint is None:
            raise
        return _replay(runs, run_id, key, fingerprint, whole=whole)
    return Outcome(_answer(runs, run, loaded.spec))


def patch_run(runs: RunRepository, clock: Clock, run_id: str, edit: RunPatch, *, whole: bool) -> Outcome:
    """Edit the run past its rules; an empty edit changes nothing. Raises RunNotFound and RunBusy."""
    loaded = runs.load(run_id, with_spec=whole, with_result=True)
    run = loaded.run
    if edit != RunPatch():
        run = _save_decision(
            runs,
            clock,
            loaded,
            lambda run, now: patch(run, now, state=edit.state, outputs=edit.outputs, priority=edit.priority),
            lambda: runs.load(run_id, with_result=True),
        )
    return Outcome(_answer(runs, run, loaded.spec))


def _save_decision(
    runs: RunRepository,
    clock: Clock,
    loaded: Loaded,
    decide: Callable[[OpRun, datetime], Change],
    reload: Callable[[], Loaded],
    *,
    key: IdempotencyKey | None = None,
) -> OpRun:
    """Decide and save; decide anew on the run as it then is whenever another request was faster."""
    run = loaded.run
    deadline = clock.monotonic() + CONFLICT_DEADLINE_S
    for tries in count():
        change = decide(run, clock.now())
        try:
            runs.save(change, key)
        except ChangedMeanwhile as conflict:
            time_left_s = deadline - clock.monotonic()
            if time_left_s <= 0:
                raise RunBusy(run.id) from None
            pause_s = _pause_s(tries, time_left_s)
            clock.sleep(pause_s)
            fresh = conflict.current if pause_s < _FRESH_S else None
            run = fresh or reload().run
        else:
            return change.after
    raise AssertionError("unreachable")


def _pause_s(tries: int, time_left_s: float) -> float:
    """Full jitter, below a bound that doubles with each try and shrinks towards the end."""
    longest = min(_FIRST_PAUSE_S * 2**tries, _LONGEST_PAUSE_S, time_left_s * _LONGEST_PAUSE_OF_TIME_LEFT)
    return _system_random.uniform(0, longest)


def _replay(runs: RunRepository, run_id: str, key: IdempotencyKey | None, fingerprint: str, *, whole: bool) -> Outcome:
    """The run as it stands, for a request whose key was used with that fingerprint."""
    if key is None or key.fingerprint != fingerprint:
        raise IdempotencyKeyReused
    return Outcome(runs.view(run_id) if whole else runs.load(run_id).run, is_replay=True)


def _answer(runs: RunRepository, run: OpRun, spec: RunSpec | None) -> OpRun | RunView:
    return run if spec is None else RunView(run, spec, runs.newest_events(run))
