"""Converts every item except HEAD to values and back.

Documents and messages are stored as JSON text, because DynamoDB's maps nest at most 32 levels and its numbers have at
most 38 digits.
"""

import json
from datetime import datetime, timedelta

from ..domain.instants import instant_from_text, instant_to_text
from ..domain.run import (
    EMPTY_OBJECT,
    AttemptResult,
    Claim,
    Constraints,
    Event,
    EventDelivery,
    EventType,
    JsonText,
    Lease,
    OpAttempt,
    OpRun,
    ResultSource,
    RunSpec,
    State,
)
from ..runs.ports import IdempotencyKey, KeyUse
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
    sk_of,
    text,
)
from .head import MAX_INPUTS_IN_SPEC_BYTES, reason_from

# -- what is fixed


def spec_items(run_id: str, spec: RunSpec) -> list[Item]:
    """SPEC, and INPUTS if the inputs are large. SPEC then has no inputs, and INPUTS repeats the rest of SPEC.

    A row of a list therefore reads only one of the two.
    """
    whole = _spec_item(run_id, keys.SPEC, spec)
    if len(spec.inputs.encode()) <= MAX_INPUTS_IN_SPEC_BYTES:
        return [whole]
    without_inputs = {name: value for name, value in whole.items() if name != "inputs"}
    return [without_inputs, _spec_item(run_id, keys.INPUTS, spec)]


def spec_from(item: StoredItem) -> RunSpec:
    """The spec in SPEC or INPUTS. If SPEC has no inputs, they are an empty object. Raises UnreadableItem."""
    return readable(item, _spec_from)


def _spec_item(run_id: str, sk: str, spec: RunSpec) -> Item:
    delivery = spec.event_delivery
    return new_item(
        run_id,
        sk,
        image=spec.image,
        inputs=spec.inputs,
        constraints=constraints_text(spec.constraints),
        topic=None if delivery is None else delivery.topic,
        topic_attributes=None if delivery is None else delivery.attributes,
        op_definition=spec.op_definition,
        op_version=spec.op_version,
        op_revision=spec.op_revision,
        created_by=spec.created_by,
    )


def _spec_from(item: StoredItem) -> RunSpec:
    return RunSpec(
        image=text(item, "image"),
        inputs=JsonText(optional_text(item, "inputs") or EMPTY_OBJECT),
        constraints=constraints_from(item),
        event_delivery=delivery_from(item),
        op_definition=optional_text(item, "op_definition"),
        op_version=optional_text(item, "op_version"),
        op_revision=optional_integer(item, "op_revision"),
        created_by=optional_text(item, "created_by"),
    )


def constraints_text(constraints: Constraints) -> str:
    return json.dumps([constraints.cpu, constraints.ram_mb, constraints.vram_mb], separators=(",", ":"))


def constraints_from(item: StoredItem) -> Constraints:
    return Constraints(*json.loads(text(item, "constraints")))


def delivery_from(spec_item: StoredItem) -> EventDelivery | None:
    topic = optional_text(spec_item, "topic")
    return None if topic is None else EventDelivery(topic, JsonText(text(spec_item, "topic_attributes")))


# -- idempotency keys


def idempotency_item(run: OpRun, key: IdempotencyKey) -> Item:
    """The item KEY of a write that leads to ``run``."""
    return new_item(run.id, keys.idempotency_sk(key.digest), fingerprint=key.fingerprint, version=run.version)


def key_use_from(item: StoredItem) -> KeyUse:
    """The use of a key in the item KEY. Raises UnreadableItem."""
    return readable(item, lambda item: KeyUse(text(item, "fingerprint"), integer(item, "version")))


# -- leases


def beat_item(run: OpRun, lease: Lease) -> Item:
    """BEAT of a lease that the run's version begins. It is due at the end of the lease."""
    return new_item(
        run.id,
        keys.BEAT,
        attempt=run.attempt.number,
        worker_id=lease.worker_id,
        lease_s=lease.lease_s,
        until=lease.until,
        version=run.version,
        due_shard=keys.due_shard(run.id),
        due_at=instant_to_text(lease.until),
    )


def lease_from(item: StoredItem) -> Lease:
    """Raises UnreadableItem."""
    return readable(item, lambda item: Lease(integer(item, "lease_s"), text(item, "worker_id"), instant(item, "until")))


def renewal_attributes(beat: StoredItem, lease: Lease, now: datetime) -> Item:
    """The attributes of BEAT that a renewal sets. Its entry in the timer's index moves at most once in half a lease.

    An entry behind the end of the lease moves too: the timer has set it back.
    """
    renewed = attributes(until=lease.until)
    due_at = instant_from_text(text(beat, "due_at"))
    if not now + timedelta(seconds=lease.lease_s) / 2 <= due_at <= lease.until:
        renewed |= attributes(due_at=instant_to_text(lease.until))
    return renewed


# -- claims and results


def claim_attributes(claim: Claim | None) -> Item:
    """The attributes of a claim in CLAIM; ATTEMPT, OUTPUTS and an EVENT that ended an attempt repeat them."""
    if claim is None:
        return {}
    gpu_id = None if claim.gpu_id is None else str(claim.gpu_id)
    return attributes(claim_seq=claim.seq, worker_id=claim.worker_id, gpu_id=gpu_id)


CLAIM_ATTRIBUTES = ("claim_seq", "worker_id", "gpu_id")


def claim_from(item: StoredItem) -> Claim | None:
    """The claim that the item holds or repeats. Raises UnreadableItem."""
    return readable(item, _claim_from)


def result_attributes(result: AttemptResult) -> Item:
    return attributes(outputs=result.outputs, error_message=_json(result.error_message), duration_ms=result.duration_ms)


RESULT_ATTRIBUTES = ("outputs", "error_message", "duration_ms")


def result_from(item: StoredItem) -> AttemptResult:
    """The result that an OUTPUTS or an EVENT that ended an attempt carries. Raises UnreadableItem."""
    return readable(item, _result_from)


def _claim_from(item: StoredItem) -> Claim | None:
    seq = optional_integer(item, "claim_seq")
    if seq is None:
        return None
    gpu_id = optional_text(item, "gpu_id")
    return Claim(seq, optional_text(item, "worker_id"), None if gpu_id is None else int(gpu_id))


def _result_from(item: StoredItem) -> AttemptResult:
    return AttemptResult(
        outputs=JsonText(optional_text(item, "outputs") or EMPTY_OBJECT),
        error_message=_optional_message(item, "error_message"),
        duration_ms=optional_integer(item, "duration_ms"),
    )


# -- closed attempts


def closed_attempt_item(run_id: str, attempt: OpAttempt) -> Item:
    """The item ATTEMPT: a closed attempt without the documents of its result."""
    return new_item(
        run_id,
        keys.attempt_sk(attempt.number),
        attempt=attempt.number,
        state=attempt.state,
        progress=attempt.progress,
        first_seq=attempt.first_seq,
        last_seq=attempt.last_seq,
        started_at=attempt.started_at,
        finished_at=attempt.finished_at,
        result_source=attempt.result_source,
        began_at=attempt.began_at,
        assigned_at=attempt.assigned_at,
        reason=attempt.reason,
        outputs_bytes=attempt.outputs_bytes,
    ) | claim_attributes(attempt.claim)


def closed_attempt_from(item: StoredItem) -> OpAttempt:
    """The attempt without its result. Raises UnreadableItem."""
    return readable(item, _closed_attempt_from)


def _closed_attempt_from(item: StoredItem) -> OpAttempt:
    source = optional_text(item, "result_source")
    return OpAttempt(
        number=integer(item, "attempt"),
        state=State(text(item, "state")),
        progress=integer(item, "progress"),
        first_seq=integer(item, "first_seq"),
        last_seq=integer(item, "last_seq"),
        started_at=optional_instant(item, "started_at"),
        finished_at=optional_instant(item, "finished_at"),
        claim=_claim_from(item),
        result_source=None if source is None else ResultSource(source),
        began_at=optional_instant(item, "began_at"),
        assigned_at=optional_instant(item, "assigned_at"),
        reason=reason_from(item),
        outputs_bytes=integer(item, "outputs_bytes"),
    )


# -- events


def event_item(run_id: str, event: Event) -> Item:
    return new_item(
        run_id,
        keys.event_sk(event.seq),
        seq=event.seq,
        id=event.id,
        attempt=event.attempt,
        type=event.type,
        at=event.at,
        state=event.state,
        msg=_json(event.msg),
        payload=None if event.payload == EMPTY_OBJECT else event.payload,
        outputs=event.outputs,
        error_message=_json(event.error_message),
        duration_ms=event.duration_ms,
        will_retry=True if event.will_retry else None,
    )


def event_from(item: StoredItem) -> Event:
    """The event in an item EVENT. Raises UnreadableItem."""
    return readable(item, _event_from)


def seq_of(event: StoredItem) -> int:
    return int(sk_of(event).rpartition("#")[2])


def _event_from(item: StoredItem) -> Event:
    outputs = optional_text(item, "outputs")
    return Event(
        seq=integer(item, "seq"),
        id=integer(item, "id"),
        attempt=integer(item, "attempt"),
        type=EventType(text(item, "type")),
        at=instant(item, "at"),
        state=State(text(item, "state")),
        msg=json.loads(text(item, "msg")),
        payload=JsonText(optional_text(item, "payload") or EMPTY_OBJECT),
        outputs=None if outputs is None else JsonText(outputs),
        error_message=_optional_message(item, "error_message"),
        duration_ms=optional_integer(item, "duration_ms"),
        will_retry="will_retry" in item,
    )


def _json(value: str | int | None) -> str | None:
    """A client's text as JSON text, so that its stored bytes are also those of an answer. None stays None."""
    return None if value is None else json.dumps(value, ensure_ascii=False)


def _optional_message(item: StoredItem, name: str) -> str | None:
    stored = optional_text(item, name)
    message: str | None = None if stored is None else json.loads(stored)
    return message
