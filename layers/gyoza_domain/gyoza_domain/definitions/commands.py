"""The commands of definitions: put, read, list versions, delete, and create a run."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from ..domain import definition as rules
from ..domain.definition import Definition, Template, check_topic, filled_inputs
from ..domain.errors import (
    DefinitionNotFound,
    GyozaError,
    IdempotencyKeyReused,
    InvalidCursor,
    OutcomeUnknown,
    PreconditionFailed,
    StorageUnavailable,
    UnreadableDefinition,
    shortened,
)
from ..domain.run import EventDelivery, RunSpec
from ..runs import commands as runs
from ..runs.commands import Outcome
from ..runs.ports import Clock, IdempotencyKey, IdSource, NotWritten, RunStore
from ..runs.saving import Patience
from .ports import (
    CreationKeys,
    DefinitionChanged,
    DefinitionPage,
    DefinitionStore,
    Put,
    PutKey,
    PutKeyUsed,
    PutUse,
    Stored,
)

KEY_LIFE = timedelta(days=1)
"""The time for which the idempotency key of a put answers with the version that it put."""

Allows = Callable[[Definition | None], bool]
"""The preconditions of a put: whether the version may be replaced as it is, or made if it does not exist."""


@dataclass(frozen=True, slots=True)
class Draft:
    """The version that a put asks for."""

    name: str
    version: str
    template: Template


@dataclass(frozen=True, slots=True)
class Shown:
    """A version as an answer shows it. ``deleted_at``: when its name was deleted."""

    definition: Definition
    deleted_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class PutOutcome(Shown):
    """The version after a put. ``is_replay``: an earlier request with the same key had the effect."""

    is_new: bool = False
    is_replay: bool = False


@dataclass(frozen=True, slots=True)
class RunRequest:
    """A request for a run from a definition. None leaves a value to the definition; ``version`` None is the latest."""

    name: str
    inputs: Mapping[str, Any] = field(default_factory=dict)
    version: str | None = None
    priority: int | None = None
    event_delivery: EventDelivery | None = None
    start_at: datetime | None = None
    queue: str | None = None
    retain_s: int | None = None


def put_definition(
    store: DefinitionStore, clock: Clock, draft: Draft, allows: Allows, *, key: PutKey | None = None
) -> PutOutcome:
    """Make the template a version of the name, and the version the latest. Revives a deleted name.

    A put of what stands already changes nothing of the version, and no precondition refuses it. Raises
    PreconditionFailed, OutcomeUnknown, and DefinitionBusy if other requests kept changing the name for 8 seconds. With
    a key also IdempotencyKeyReused.
    """
    if key is not None and (use := store.use_of(key)) is not None and clock.now() < use.expires_at:
        return _replay(store, key, use)
    patience = Patience(clock)
    sent: Put | None = None
    while True:
        stored = store.load(draft.name, draft.version, patience.settling)
        if sent is not None and sent.changes and stored is not None and stored.definition == sent.after:
            # The earlier sending of this request stands. One that changes nothing of the version would look so anyway.
            return PutOutcome(sent.after, is_new=sent.is_new)
        put = _decide(None if stored is None else stored.definition, draft, allows, clock.now(), was_sent=bool(sent))
        if not put.changes and key is None and _is_latest(stored, draft.version):
            return PutOutcome(put.after)
        try:
            store.put(put, stored, key)
        except PutKeyUsed as used:
            return _replay(store, key, used.use)
        except NotWritten as reason:
            if isinstance(reason, DefinitionChanged) and reason.was_resent:
                sent = put
            patience.pause(reason)
        else:
            return PutOutcome(put.after, is_new=put.is_new)


def _decide(current: Definition | None, draft: Draft, allows: Allows, now: datetime, *, was_sent: bool) -> Put:
    """Raises PreconditionFailed. Raises OutcomeUnknown if an earlier sending may have had the effect before this."""
    if current is not None and current.template.is_same(draft.template):
        return Put(current, changes=False, is_new=False, now=now)
    if was_sent:
        raise OutcomeUnknown(None, is_keyed=False, is_repeatable=True)
    if not allows(current):
        raise PreconditionFailed(draft.version)
    after = rules.put(current, draft.name, draft.version, draft.template, now)
    return Put(after, changes=True, is_new=current is None, now=now)


def get_definition(store: DefinitionStore, name: str, version: str | None) -> Shown:
    """The version, also of a deleted name; without a version the latest. Raises DefinitionNotFound."""
    stored = store.load(name, version)
    if stored is None or stored.definition is None:
        raise DefinitionNotFound(name, version)
    if version is None and stored.deleted_at is not None:
        raise DefinitionNotFound(name)
    return Shown(stored.definition, stored.deleted_at)


def list_versions(store: DefinitionStore, name: str, limit: int, after: str | None) -> DefinitionPage:
    """Versions behind ``after``, the one that was put last first. Raises DefinitionNotFound and InvalidCursor."""
    found = store.versions(name)
    if found is None or found[0].deleted_at is not None:
        raise DefinitionNotFound(name)
    _, rows = found
    begin = 0
    if after is not None:
        places = [place for place, row in enumerate(rows) if row.version == after]
        if not places:
            raise InvalidCursor(f"The cursor '{shortened(after)}' names no version of definition '{name}'")
        begin = places[0] + 1
    shown = rows[begin : begin + limit]
    return DefinitionPage(shown, shown[-1].version if begin + limit < len(rows) else None)


def delete_definition(store: DefinitionStore, clock: Clock, name: str) -> None:
    """Delete the name; nothing happens if it is deleted already. Raises DefinitionNotFound if it never was.

    Raises OutcomeUnknown, and DefinitionBusy if other requests kept changing the name for 8 seconds.
    """
    patience = Patience(clock)
    while True:
        stored = store.load(name, None, patience.settling)
        if stored is None:
            raise DefinitionNotFound(name)
        if stored.deleted_at is not None:
            return
        try:
            store.delete(name, stored, clock.now())
        except NotWritten as reason:
            patience.pause(reason)
        else:
            return


def create_run_from(
    definitions: DefinitionStore,
    store: RunStore,
    clock: Clock,
    ids: IdSource,
    request: RunRequest,
    *,
    keys: CreationKeys,
    topics: Collection[str] | None,
    created_by: str | None,
    key: IdempotencyKey | None = None,
) -> Outcome:
    """A new run, a copy of one revision of the definition. ``topics``: as in ``check_topic``.

    A repeat of a key answers with its run whatever has become of the definition. Raises DefinitionNotFound,
    InvalidInputs, InputsTooLarge, TopicNotAllowed, and what ``runs.create_run`` raises.
    """
    try:
        definition = _definition_for_run(definitions, request.name, request.version)
        template = definition.template
        delivery = template.event_delivery if request.event_delivery is None else request.event_delivery
        inputs = filled_inputs(template.input_specs, request.inputs)
        check_topic(delivery, topics)
    except GyozaError as refusal:
        if key is None or isinstance(refusal, StorageUnavailable):
            raise
        run_id = ids.run_id_for(key)
        use = keys.use_of(run_id, key)
        if use is None:
            raise
        return runs.replay_creation(store, clock, run_id, key, use)
    spec = RunSpec(
        image=template.image,
        inputs=inputs,
        constraints=template.constraints,
        event_delivery=delivery,
        op_definition=definition.name,
        op_version=definition.version,
        op_revision=definition.revision,
    )
    terms = replace(
        template.terms,
        queue=template.terms.queue if request.queue is None else request.queue,
        retain_s=template.terms.retain_s if request.retain_s is None else request.retain_s,
        start_at=request.start_at,
        is_delivering=delivery is not None,
    )
    return runs.create_run(
        store,
        clock,
        ids,
        spec,
        terms,
        priority=template.priority if request.priority is None else request.priority,
        max_attempts=template.max_attempts,
        created_by=created_by,
        key=key,
    )


def _definition_for_run(definitions: DefinitionStore, name: str, version: str | None) -> Definition:
    stored = definitions.load(name, version)
    if stored is None or stored.deleted_at is not None:
        raise DefinitionNotFound(name)
    if stored.definition is None:
        raise DefinitionNotFound(name, version)
    return stored.definition


def _is_latest(stored: Stored | None, version: str) -> bool:
    return stored is not None and stored.latest == version and stored.deleted_at is None


def _replay(store: DefinitionStore, key: PutKey | None, use: PutUse) -> PutOutcome:
    """The version that the put with this key made or replaced, as it stands."""
    if key is None or use.fingerprint != key.fingerprint:
        raise IdempotencyKeyReused
    try:
        stored = store.load(use.name, use.version)
    except UnreadableDefinition:
        raise
    except StorageUnavailable:
        # The put stands, so "nothing was written" would be wrong.
        raise OutcomeUnknown(None, is_keyed=True) from None
    if stored is None or stored.definition is None:
        raise OutcomeUnknown(None, is_keyed=True)
    return PutOutcome(stored.definition, stored.deleted_at, is_new=use.is_new, is_replay=True)
