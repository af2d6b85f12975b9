"""Converts HEAD, the item that every write of a run changes, to a value and back.

HEAD is written with every event and stays small: it stores instants as microseconds since 1970.
"""

import json
from dataclasses import dataclass

from ..domain.instants import instant_from_text, instant_to_text
from ..domain.run import (
    DEFAULT_QUEUE,
    MAX_CAPACITY,
    Backoff,
    CancelOutcome,
    CancelRequest,
    Constraints,
    OpAttempt,
    OpRun,
    Reason,
    ResultSource,
    RunSpec,
    State,
    Terms,
)
from ..domain.timers import due_at
from . import keys
from .attributes import (
    Item,
    StoredItem,
    attributes,
    instant,
    instant_from_ticks,
    integer,
    new_item,
    optional_instant,
    optional_integer,
    optional_text,
    readable,
    text,
    ticks,
    well_formed,
)

MAX_INPUTS_IN_SPEC_BYTES = 1024
"""The most bytes of inputs in SPEC. Larger inputs are in INPUTS, which push and summaries do not read."""

OPTIONAL_ATTRIBUTES = (
    *("started_at", "finished_at", "claim_version", "result_source", "result_version"),
    *("failures", "losses", "returns", "began_at", "assigned_at", "reason", "not_before", "deadline", "unoffered"),
    *("lease_version", "cancel", "kept_until", "due_shard", "due_at", "claim_queue", "claim_order"),
)
"""Attributes of ``changing_attributes`` that a change may take away."""


@dataclass(frozen=True, slots=True)
class Head:
    """The values of HEAD. ``run`` has neither lease nor claim nor result.

    ``lease_version``, ``claim_version`` and ``result_version`` are the versions of the run that last wrote the lease,
    the claim and the result; None if the current attempt has none. ``is_deleted`` is true if the run is being deleted;
    no reader shows it.
    """

    run: OpRun
    lease_version: int | None
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
        max_attempts=run.max_attempts,
        index_all=keys.index_hash_key("", run.shard),
        index_image=keys.index_hash_key(keys.digest(spec.image), run.shard),
        index_op_definition=spec.op_definition and keys.index_hash_key(keys.digest(spec.op_definition), run.shard),
        inputs_bytes=len(spec.inputs.encode()),
        delivers=True if spec.event_delivery else None,
        terms=terms_text(run.terms),
        claim_needs=_needs_text(run.terms.needs),
    ) | changing_attributes(run)


def changing_attributes(
    run: OpRun,
    *,
    lease_version: int | None = None,
    claim_version: int | None = None,
    result_version: int | None = None,
) -> Item:
    """The attributes that a change may touch."""
    attempt, terms = run.attempt, run.terms
    due = due_at(run)
    is_gpu = bool(terms.needs.vram_mb)
    claimable_from = attempt.not_before or attempt.began_at or run.created_at
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
        failures=run.failures or None,
        losses=run.losses or None,
        returns=run.returns or None,
        began_at=attempt.began_at,
        assigned_at=attempt.assigned_at,
        reason=attempt.reason,
        not_before=attempt.not_before,
        deadline=attempt.deadline,
        unoffered=None if attempt.is_offered else True,
        lease_version=lease_version,
        cancel=None if attempt.cancel is None else _cancel_text(attempt.cancel),
        kept_until=run.expires_at,
        due_shard=None if due is None else keys.due_shard(run.id),
        due_at=None if due is None else instant_to_text(due),
        claim_queue=keys.claim_queue(terms.queue, is_gpu=is_gpu) if attempt.is_indexed else None,
        claim_order=keys.claim_order(run.priority, claimable_from) if attempt.is_indexed else None,
    )


def needs_from(item: StoredItem) -> Constraints:
    """The hardware that the run needs, from HEAD or from its entry in the index of claims."""
    return Constraints(*json.loads(text(item, "claim_needs")))


def _needs_text(needs: Constraints) -> str:
    """The needs, each cut to what no claim can offer, so that HEAD stays small."""
    amounts = [needs.cpu, needs.ram_mb, needs.vram_mb]
    bounded = [None if amount is None else min(amount, MAX_CAPACITY + 1) for amount in amounts]
    return json.dumps(bounded, separators=(",", ":"))


def terms_text(terms: Terms) -> str | None:
    """The terms without the needs; None if the request gave none."""
    backoff = terms.backoff
    values = [
        None if terms.queue == DEFAULT_QUEUE else terms.queue,
        None if terms.start_at is None else ticks(terms.start_at),
        *(terms.queue_ttl_s, terms.attempt_timeout_s),
        *(_rounded(backoff.initial_s), _rounded(backoff.factor), _rounded(backoff.max_s)),
        *(terms.max_lost, terms.retain_s),
    ]
    return None if values == [None] * len(values) else json.dumps(values, separators=(",", ":"))


def _rounded(number: float | None) -> float | None:
    """The number with six decimals, so that HEAD stays small."""
    return None if number is None else round(number, 6)


def terms_from(stored: str | None, needs: Constraints, *, is_delivering: bool) -> Terms:
    """The terms of a ``terms_text``, with the needs beside it."""
    if stored is None:
        return Terms(needs=needs, is_delivering=is_delivering)
    queue, start_at, queue_ttl_s, attempt_timeout_s, initial_s, factor, max_s, max_lost, retain_s = json.loads(stored)
    return Terms(
        queue=queue or DEFAULT_QUEUE,
        needs=needs,
        start_at=None if start_at is None else instant_from_ticks(start_at),
        queue_ttl_s=queue_ttl_s,
        attempt_timeout_s=attempt_timeout_s,
        backoff=Backoff(initial_s, factor, max_s),
        max_lost=max_lost,
        retain_s=retain_s,
        is_delivering=is_delivering,
    )


def _cancel_text(cancel: CancelRequest) -> str:
    values = [ticks(cancel.requested_at), ticks(cancel.cancel_by), cancel.by, cancel.outcome]
    return json.dumps(values, separators=(",", ":"))


def _cancel_from(stored: str | None) -> CancelRequest | None:
    if stored is None:
        return None
    requested_at, cancel_by, by, outcome = json.loads(stored)
    return CancelRequest(
        instant_from_ticks(requested_at),
        instant_from_ticks(cancel_by),
        by,
        None if outcome is None else CancelOutcome(outcome),
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
        began_at=optional_instant(item, "began_at"),
        assigned_at=optional_instant(item, "assigned_at"),
        reason=reason_from(item),
        not_before=optional_instant(item, "not_before"),
        is_offered="unoffered" not in item,
        is_indexed="claim_queue" in item,
        deadline=optional_instant(item, "deadline"),
        cancel=_cancel_from(optional_text(item, "cancel")),
    )
    run = OpRun(
        id=keys.run_id_of(created_key),
        created_at=instant_from_text(keys.created_at_text_of(created_key)),
        updated_at=instant(item, "updated_at"),
        attempt=attempt,
        priority=integer(item, "priority"),
        max_attempts=integer(item, "max_attempts"),
        terms=terms_from(optional_text(item, "terms"), needs_from(item), is_delivering="delivers" in item),
        given_back=integer(item, "given_back"),
        failures=optional_integer(item, "failures") or 0,
        losses=optional_integer(item, "losses") or 0,
        returns=optional_integer(item, "returns") or 0,
        expires_at=optional_instant(item, "kept_until"),
        shard=int(text(item, "index_all")),
        version=integer(item, "version"),
    )
    return Head(
        run=run,
        lease_version=optional_integer(item, "lease_version"),
        claim_version=optional_integer(item, "claim_version"),
        result_version=optional_integer(item, "result_version"),
        inputs_bytes=integer(item, "inputs_bytes"),
        is_delivering="delivers" in item,
        is_deleted=is_deleted(item),
    )


def reason_from(item: StoredItem) -> Reason | None:
    reason = optional_text(item, "reason")
    return None if reason is None else Reason(reason)
