"""The commands of the API. Each loads a run, makes one decision of the domain and saves the change.

Handlers read through the reader and the lists, without a command.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from random import SystemRandom

from ..domain import transitions
from ..domain.errors import (
    AttemptRequired,
    GyozaError,
    IdempotencyKeyReused,
    NotClaimant,
    OutcomeUnknown,
    Refused,
    RunBusy,
    StaleAttempt,
    StorageUnavailable,
    UnreadableRun,
)
from ..domain.run import Change, EventType, JsonText, Lease, OpRun, RunSpec, State, Terms
from ..domain.transitions import USER_CANCEL, EventDraft, append_event, ask_cancel, new_attempt, patch
from .ports import (
    ChangedMeanwhile,
    Clock,
    Extent,
    IdempotencyKey,
    IdSource,
    KeyUse,
    KeyUsed,
    Loaded,
    NotWritten,
    RunStore,
)
from .saving import Patience, save_decision
from .views import RunView

_CLOSING_TYPES = frozenset({EventType.FAILED, EventType.RETRIED})
"""Events that may close an attempt."""

_KEY_MAY_BE_USED = (Refused, StaleAttempt, NotClaimant, RunBusy, OutcomeUnknown)
"""After these errors the key may be used all the same: by the first request, or by this one if its write stands."""

_OF_THE_LEASE = (AttemptRequired, NotClaimant)
"""Errors that only a leased run raises."""

_system_random = SystemRandom()
"""The operating system's random source. SnapStart would clone the state of a seeded generator."""


@dataclass(frozen=True, slots=True)
class RunPatch:
    """The fields that an operator edits. None keeps a field."""

    state: State | None = None
    outputs: JsonText | None = None
    priority: int | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """The run after a command. ``view`` is the whole run, or None if the caller did not ask for it."""

    run: OpRun
    view: RunView | None
    is_replay: bool = False
    """True if an earlier request with the same idempotency key had the effect. This request changed nothing."""


@dataclass(frozen=True, slots=True)
class Beat:
    """The lease after a heartbeat, and the run as it stood before it."""

    run: OpRun
    lease: Lease


def create_run(
    store: RunStore,
    clock: Clock,
    ids: IdSource,
    spec: RunSpec,
    terms: Terms,
    *,
    priority: int,
    max_attempts: int,
    created_by: str | None,
    key: IdempotencyKey | None = None,
) -> Outcome:
    """Create a run in PENDING, in attempt 1, without events.

    Raises IdempotencyKeyReused, RunExpired and OutcomeUnknown.
    """
    now = clock.now()
    run_id = ids.new_run_id() if key is None else ids.run_id_for(key)
    run = OpRun(
        id=run_id,
        created_at=now,
        updated_at=now,
        attempt=new_attempt(terms, now),
        priority=priority,
        max_attempts=max_attempts,
        terms=terms,
        shard=ids.shard_of(run_id),
    )
    spec = replace(spec, created_by=created_by)
    patience = Patience(clock)
    unknown: OutcomeUnknown | None = None
    while True:
        try:
            store.add(run, spec, key)
        except KeyUsed as used:
            return _replay(store, run_id, key, used.use, patience, whole=True)
        except NotWritten as reason:
            if unknown is not None:
                reason.refusal = unknown
            if isinstance(reason.refusal, OutcomeUnknown):
                unknown = reason.refusal
            patience.pause(reason)
        else:
            return Outcome(run, RunView(run, spec))


def replay_creation(store: RunStore, clock: Clock, run_id: str, key: IdempotencyKey | None, use: KeyUse) -> Outcome:
    """The run that the key created, as it stands. Raises IdempotencyKeyReused and OutcomeUnknown."""
    return _replay(store, run_id, key, use, Patience(clock), whole=True)


def add_event(
    store: RunStore,
    clock: Clock,
    run_id: str,
    draft: EventDraft,
    *,
    whole: bool,
    key: IdempotencyKey | None = None,
    default_retain_s: int | None = None,
) -> Outcome:
    """Append the event.

    Raises what ``append_event`` raises, RunNotFound, IdempotencyKeyReused, OutcomeUnknown, and RunBusy if the run kept
    changing for 8 seconds.
    """
    extent = _extent(whole, Extent.CLOSING if draft.type in _CLOSING_TYPES else Extent.SMALL)
    jitter = _system_random.random()

    def decide(run: OpRun, now: datetime) -> Change:
        return append_event(run, draft, now, jitter=jitter, default_retain_s=default_retain_s)

    return _save_once(store, clock, run_id, decide, extent=extent, key=key)


def cancel_run(
    store: RunStore,
    clock: Clock,
    run_id: str,
    *,
    grace_s: int | None,
    by: str | None,
    whole: bool,
    key: IdempotencyKey | None = None,
    default_retain_s: int | None = None,
) -> Outcome:
    """Cancel the run at once, or with ``grace_s`` ask its worker to stop within so many seconds.

    A request that changes nothing is written only for its key. ``by`` is the id of the API key that asks. Raises
    RunLocked and what ``add_event`` raises.
    """

    def decide(run: OpRun, now: datetime) -> Change:
        if grace_s is None:
            return append_event(run, USER_CANCEL, now, default_retain_s=default_retain_s)
        return ask_cancel(run, grace_s, by, now, default_retain_s=default_retain_s)

    return _save_once(store, clock, run_id, decide, extent=_extent(whole, Extent.SMALL), key=key)


def patch_run(
    store: RunStore,
    clock: Clock,
    run_id: str,
    edit: RunPatch,
    *,
    whole: bool,
    default_retain_s: int | None = None,
) -> Outcome:
    """Edit the run past its rules; an empty edit changes nothing. Raises RunNotFound, OutcomeUnknown and RunBusy."""
    extent = _extent(whole, _extent_of_edit(edit))
    patience = Patience(clock)
    if edit == RunPatch():
        loaded = store.load(run_id, extent, patience.settling)
        return Outcome(loaded.run, loaded.view)

    def decide(run: OpRun, now: datetime) -> Change:
        return patch(
            run,
            now,
            state=edit.state,
            outputs=edit.outputs,
            priority=edit.priority,
            default_retain_s=default_retain_s,
        )

    loaded, change = save_decision(
        store, clock, lambda: store.load(run_id, extent, patience.settling), decide, patience=patience
    )
    return Outcome(change.after, loaded.view and loaded.view.after(change))


def heartbeat(store: RunStore, clock: Clock, run_id: str, attempt: int, worker_id: str) -> Beat:
    """Renew the lease of the worker that holds the attempt. Appends no event.

    Raises what ``transitions.heartbeat`` raises, RunNotFound, OutcomeUnknown, and RunBusy if the lease kept changing
    for 8 seconds.
    """
    patience = Patience(clock)
    loaded = store.load(run_id, Extent.SMALL, patience.settling)
    while True:
        lease = transitions.heartbeat(loaded.run, attempt, worker_id, clock.now())
        try:
            return Beat(loaded.run, store.renew(loaded, lease))
        except NotWritten as reason:
            patience.pause(reason)
            if isinstance(reason, ChangedMeanwhile):
                loaded = store.load(run_id, Extent.SMALL, patience.settling)


def _save_once(
    store: RunStore,
    clock: Clock,
    run_id: str,
    decide: Callable[[OpRun, datetime], Change],
    *,
    extent: Extent,
    key: IdempotencyKey | None,
) -> Outcome:
    """Decide and save, but only once for each key. Raises what ``add_event`` says, and what ``decide`` raises."""
    whole = extent is Extent.WHOLE
    patience = Patience(clock)
    while True:
        try:
            loaded, change = save_decision(
                store,
                clock,
                lambda: store.load(run_id, extent, patience.settling),
                decide,
                patience=patience,
                key=key,
            )
        except KeyUsed as used:
            return _replay(store, run_id, key, used.use, patience, whole=whole)
        except _KEY_MAY_BE_USED as refusal:
            if key is None:
                raise
            latest, use = _load_with_key(store, run_id, key, patience, refusal)
            if use is not None:
                return _replay(store, run_id, key, use, patience, whole=whole)
            if isinstance(refusal, RunBusy | OutcomeUnknown):
                raise
            # The refusal counts only if the run also refuses at an instant at which the key was unused.
            decide(latest.run, clock.now())
            # The run takes the request here, but the next read may still show an older version.
            patience.pause(ChangedMeanwhile(run_id))
        else:
            return Outcome(change.after, loaded.view and loaded.view.after(change))


def _extent_of_edit(edit: RunPatch) -> Extent:
    if edit.outputs is not None:
        return Extent.RESULT
    may_reopen = edit.state is not None and not edit.state.is_terminal
    return Extent.REOPENING if may_reopen else Extent.SMALL


def _load_with_key(
    store: RunStore, run_id: str, key: IdempotencyKey, patience: Patience, refusal: GyozaError
) -> tuple[Loaded, KeyUse | None]:
    """Call ``load_with_key``. Raises ``refusal`` if the table is unavailable and an earlier write may stand."""
    try:
        with_lease = isinstance(refusal, _OF_THE_LEASE)
        return store.load_with_key(run_id, key, patience.settling, with_lease=with_lease)
    except StorageUnavailable:
        if isinstance(refusal, OutcomeUnknown):
            raise refusal from None
        raise


def _extent(whole: bool, least: Extent) -> Extent:
    return Extent.WHOLE if whole else least


def _replay(
    store: RunStore, run_id: str, key: IdempotencyKey | None, use: KeyUse, patience: Patience, *, whole: bool
) -> Outcome:
    """The run as it stands, with the effect of the request that used the key."""
    if key is None or key.fingerprint != use.fingerprint:
        raise IdempotencyKeyReused
    try:
        loaded = store.load(run_id, _extent(whole, Extent.SMALL), patience.settling, at_least=use.version)
    except UnreadableRun:
        raise
    except StorageUnavailable:
        # The effect stands, so "nothing was written" would be wrong.
        raise OutcomeUnknown(run_id, is_keyed=True) from None
    return Outcome(loaded.run, loaded.view, is_replay=True)
