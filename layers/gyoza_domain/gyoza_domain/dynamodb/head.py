"""Converts HEAD, the item that every write of a run changes, to a value and back.

HEAD is written with every event and stays small: it stores instants as microseconds since 1970.
"""

from dataclasses import dataclass

from ..domain.instants import instant_from_text
from ..domain.run import OpAttempt, OpRun, ResultSource, RunSpec, State
from . import keys
from .attributes import (
    Item,
    StoredItem,
    attributes,
    instant,
    integer,
    new_item,
    optional_instant,
    optional_integer,
    optional_text,
    readable,
    text,
    well_formed,
)

MAX_INPUTS_IN_SPEC_BYTES = 1024
"""The most bytes of inputs in SPEC. Larger inputs are in INPUTS, which push and summaries do not read."""

OPTIONAL_ATTRIBUTES = ("started_at", "finished_at", "claim_version", "result_source", "result_version")
"""Attributes of ``changing_attributes`` that a change may take away."""


@dataclass(frozen=True, slots=True)
class Head:
    """The values of HEAD. ``run`` has neither claim nor result.

    ``claim_version`` and ``result_version`` are the versions of the run that last wrote the claim and the result; None
    if the current attempt has none. ``is_deleted`` is true if the run is being deleted; no reader shows it.
    """

    run: OpRun
    claim_version: int | None
    result_version: int | None
    inputs_bytes: int
    is_delivering: bool
    is_deleted: bool

    @property
    def has_inputs_item(self) -> bool:
        return self.inputs_bytes > MAX_INPUTS_IN_SPEC_BYTES

    @property
    def document_bytes(self) -> int:
        """The bytes of inputs and outputs together."""
        return self.inputs_bytes + self.run.attempt.outputs_bytes


def head_from(item: StoredItem) -> Head:
    """The value of a HEAD item. Raises UnreadableItem."""
    return readable(item, _head_from)


def is_deleted(item: StoredItem) -> bool:
    """True if the run of this HEAD is being deleted, even if a newer release wrote HEAD."""
    return "deleted_at" in item


def created_key_of(item: StoredItem) -> str:
    """The place of the run in the indexes, even if a newer release wrote HEAD. Raises UnreadableItem."""
    return well_formed(item, _created_key_of)


def new_head(run: OpRun, spec: RunSpec) -> Item:
    """HEAD of a new run, with the attributes that only the indexes and the readers of the stream need."""
    return new_item(
        run.id,
        keys.HEAD,
        created_key=keys.created_key(run.created_at, run.id),
        created_by=run.created_by,
        max_attempts=run.max_attempts,
        index_all=keys.index_hash_key("", run.shard),
        index_image=keys.index_hash_key(keys.digest(spec.image), run.shard),
        index_op_definition=spec.op_definition and keys.index_hash_key(keys.digest(spec.op_definition), run.shard),
        inputs_bytes=len(spec.inputs.encode()),
        delivers=True if spec.event_delivery else None,
    ) | changing_attributes(run, None, None)


def changing_attributes(run: OpRun, claim_version: int | None, result_version: int | None) -> Item:
    """The attributes that a change may touch."""
    attempt = run.attempt
    return attributes(
        state=run.state,
        priority=run.priority,
        given_back=run.given_back,
        attempt=attempt.number,
        first_seq=attempt.first_seq,
        last_seq=attempt.last_seq,
        progress=attempt.progress,
        started_at=attempt.started_at,
        finished_at=attempt.finished_at,
        claim_version=claim_version,
        result_source=attempt.result_source,
        result_version=result_version,
        outputs_bytes=attempt.outputs_bytes,
        updated_at=run.updated_at,
        version=run.version,
        index_state=keys.index_hash_key(run.state, run.shard),
    )


def _created_key_of(item: StoredItem) -> str:
    created_key = text(item, "created_key")
    if text(item, "pk") != keys.run_pk(keys.run_id_of(created_key)):
        raise ValueError("created_key")
    return created_key


def _head_from(item: StoredItem) -> Head:
    created_key = text(item, "created_key")
    source = optional_text(item, "result_source")
    attempt = OpAttempt(
        number=integer(item, "attempt"),
        state=State(text(item, "state")),
        progress=integer(item, "progress"),
        first_seq=integer(item, "first_seq"),
        last_seq=integer(item, "last_seq"),
        started_at=optional_instant(item, "started_at"),
        finished_at=optional_instant(item, "finished_at"),
        result_source=None if source is None else ResultSource(source),
        outputs_bytes=integer(item, "outputs_bytes"),
    )
    run = OpRun(
        id=keys.run_id_of(created_key),
        created_at=instant_from_text(keys.created_at_text_of(created_key)),
        updated_at=instant(item, "updated_at"),
        attempt=attempt,
        priority=integer(item, "priority"),
        max_attempts=integer(item, "max_attempts"),
        given_back=integer(item, "given_back"),
        created_by=optional_text(item, "created_by"),
        shard=int(text(item, "index_all")),
        version=integer(item, "version"),
    )
    return Head(
        run=run,
        claim_version=optional_integer(item, "claim_version"),
        result_version=optional_integer(item, "result_version"),
        inputs_bytes=integer(item, "inputs_bytes"),
        is_delivering="delivers" in item,
        is_deleted=is_deleted(item),
    )
