"""One function a command: load, one domain call, save.

Reads need no command: a handler calls the reader or the lists.
"""

from dataclasses import dataclass

from ..domain.errors import GyozaError, IdempotencyKeyReused
from ..domain.run import JsonText, OpAttempt, OpRun, RunSpec, State
from ..domain.transitions import EventDraft, append_event, patch
from .ports import Clock, IdempotencyKey, IdSource, KeyUsed, RunReader, RunStore
from .saving import save_decision
from .views import RunView


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
    store: RunStore,
    reader: RunReader,
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
        store.add(run, spec, key)
    except KeyUsed as used:
        return _replay(store, reader, run_id, key, used.fingerprint, whole=True)
    return Outcome(RunView(run, spec))


def add_event(
    store: RunStore,
    reader: RunReader,
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
    loaded = store.load(run_id, with_spec=whole)
    try:
        run = save_decision(
            store, clock, loaded, lambda run, now: append_event(run, draft, now), lambda: store.load(run_id), key=key
        )
    except KeyUsed as used:
        return _replay(store, reader, run_id, key, used.fingerprint, whole=whole)
    except GyozaError:
        # The run may refuse a repeat only because the first request has been there.
        fingerprint = None if key is None else store.fingerprint_of(run_id, key)
        if fingerprint is None:
            raise
        return _replay(store, reader, run_id, key, fingerprint, whole=whole)
    return Outcome(_answer(reader, run, loaded.spec))


def patch_run(store: RunStore, reader: RunReader, clock: Clock, run_id: str, edit: RunPatch, *, whole: bool) -> Outcome:
    """Edit the run past its rules; an empty edit changes nothing. Raises RunNotFound and RunBusy."""
    loaded = store.load(run_id, with_spec=whole, with_result=True)
    run = loaded.run
    if edit != RunPatch():
        run = save_decision(
            store,
            clock,
            loaded,
            lambda run, now: patch(run, now, state=edit.state, outputs=edit.outputs, priority=edit.priority),
            lambda: store.load(run_id, with_result=True),
        )
    return Outcome(_answer(reader, run, loaded.spec))


def _replay(
    store: RunStore, reader: RunReader, run_id: str, key: IdempotencyKey | None, fingerprint: str, *, whole: bool
) -> Outcome:
    """The run as it stands, for a request whose key was used with that fingerprint."""
    if key is None or key.fingerprint != fingerprint:
        raise IdempotencyKeyReused
    return Outcome(reader.view(run_id) if whole else store.load(run_id).run, is_replay=True)


def _answer(reader: RunReader, run: OpRun, spec: RunSpec | None) -> OpRun | RunView:
    return run if spec is None else RunView(run, spec, reader.newest_events(run))
