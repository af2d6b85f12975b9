"""The commands of the API. Each loads a run, makes one decision of the domain and saves the change.

Handlers read through the reader and the lists, without a command.
"""

from dataclasses import dataclass, replace

from ..domain.errors import (
    GyozaError,
    IdempotencyKeyReused,
    OutcomeUnknown,
    Refused,
    RunBusy,
    StaleAttempt,
    StorageUnavailable,
    UnreadableRun,
)
from ..domain.run import EventType, JsonText, OpRun, RunSpec, State, Terms
from ..domain.transitions import EventDraft, append_event, new_attempt, patch
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

_KEY_MAY_BE_USED = (Refused, StaleAttempt, RunBusy, OutcomeUnknown)
"""Errors that a repeat may meet because the first request has been there, or whose own write may stand."""


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


def create_run(
    store: RunStore,
    clock: Clock,
    ids: IdSource,
    spec: RunSpec,
    *,
    priority: int,
    max_attempts: int,
    created_by: str | None,
    key: IdempotencyKey | None = None,
) -> Outcome:
    """A new run in PENDING, attempt 1, without events. Raises IdempotencyKeyReused and OutcomeUnknown."""
    now = clock.now()
    terms = Terms(needs=spec.constraints, is_delivering=spec.event_delivery is not None)
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
            return _replay(store, run_id, key, used.use, whole=True)
        except NotWritten as reason:
            if unknown is not None:
                reason.refusal = unknown
            if isinstance(reason.refusal, OutcomeUnknown):
                unknown = reason.refusal
            patience.pause(reason)
        else:
            return Outcome(run, RunView(run, spec))


def add_event(
    store: RunStore,
    clock: Clock,
    run_id: str,
    draft: EventDraft,
    *,
    whole: bool,
    key: IdempotencyKey | None = None,
) -> Outcome:
    """Append the event.

    Raises what ``append_event`` raises, RunNotFound, IdempotencyKeyReused, OutcomeUnknown, and RunBusy if the run kept
    changing for 8 seconds.
    """
    extent = _extent(whole, Extent.CLOSING if draft.type in _CLOSING_TYPES else Extent.SMALL)
    patience = Patience(clock)
    while True:
        try:
            loaded, change = save_decision(
                store,
                clock,
                lambda: store.load(run_id, extent),
                lambda run, now: append_event(run, draft, now),
                patience=patience,
                key=key,
            )
        except KeyUsed as used:
            return _replay(store, run_id, key, used.use, whole=whole)
        except _KEY_MAY_BE_USED as refusal:
            if key is None:
                raise
            latest, use = _load_with_key(store, run_id, key, refusal)
            if use is not None:
                return _replay(store, run_id, key, use, whole=whole)
            if isinstance(refusal, RunBusy | OutcomeUnknown):
                raise
            # The refusal counts only if the run also refuses at an instant at which the key was unused.
            append_event(latest.run, draft, clock.now())
            # The run takes the event now, and another read may still show the run as it was.
            patience.pause(ChangedMeanwhile(run_id))
        else:
            return Outcome(change.after, loaded.view and loaded.view.after(change))


def patch_run(store: RunStore, clock: Clock, run_id: str, edit: RunPatch, *, whole: bool) -> Outcome:
    """Edit the run past its rules; an empty edit changes nothing. Raises RunNotFound, OutcomeUnknown and RunBusy."""
    edits_result = edit.state is not None or edit.outputs is not None
    extent = _extent(whole, Extent.RESULT if edits_result else Extent.SMALL)
    if edit == RunPatch():
        loaded = store.load(run_id, extent)
        return Outcome(loaded.run, loaded.view)
    loaded, change = save_decision(
        store,
        clock,
        lambda: store.load(run_id, extent),
        lambda run, now: patch(run, now, state=edit.state, outputs=edit.outputs, priority=edit.priority),
        patience=Patience(clock),
    )
    return Outcome(change.after, loaded.view and loaded.view.after(change))


def _load_with_key(
    store: RunStore, run_id: str, key: IdempotencyKey, refusal: GyozaError
) -> tuple[Loaded, KeyUse | None]:
    """``load_with_key``; the refusal, if the table does not take this read and a write may stand."""
    try:
        return store.load_with_key(run_id, key)
    except StorageUnavailable:
        if isinstance(refusal, OutcomeUnknown):
            raise refusal from None
        raise


def _extent(whole: bool, least: Extent) -> Extent:
    return Extent.WHOLE if whole else least


def _replay(store: RunStore, run_id: str, key: IdempotencyKey | None, use: KeyUse, *, whole: bool) -> Outcome:
    """The run as it stands, with the effect of the request that used the key."""
    if key is None or key.fingerprint != use.fingerprint:
        raise IdempotencyKeyReused
    try:
        loaded = store.load(run_id, _extent(whole, Extent.SMALL), at_least=use.version)
    except UnreadableRun:
        raise
    except StorageUnavailable:
        # The effect stands, so "nothing was written" would be wrong.
        raise OutcomeUnknown(run_id, is_keyed=True) from None
    return Outcome(loaded.run, loaded.view, is_replay=True)
