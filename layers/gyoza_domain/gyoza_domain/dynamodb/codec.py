"""Items to values and back.

Documents and messages are stored as JSON text: DynamoDB's own maps nest 32 levels and its numbers have 38 digits. An
attribute without a value is left out. ``schema_version`` is on every item; attributes a reader does not know are left
alone.
"""

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeVar

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
    OpAttempt,
    OpRun,
    RunSpec,
    State,
)
from ..runs.ports import IdempotencyKey
from . import keys

Item = dict[str, Any]
"""Attribute name to DynamoDB's typed value, as in ``{"state": {"S": "PENDING"}}``."""

StoredItem = Mapping[str, Any]

SCHEMA_VERSION = 1
"""Of the items written here. A reader that must change how it reads an item raises it."""


Value = TypeVar("Value")


class UnreadableItem(Exception):
    """The item is not what it should be, or of a later schema; the text says how, to follow its name."""


def readable(item: StoredItem, decode: Callable[[StoredItem], Value]) -> Value:
    """``decode(item)``, or UnreadableItem: for readers that must get past an item whatever it holds."""
    try:
        schema_version = _int(item, "schema_version")
        if schema_version > SCHEMA_VERSION:
            raise UnreadableItem(f"is of schema version {schema_version}; this reader knows {SCHEMA_VERSION}")
        return decode(item)
    except (KeyError, TypeError, ValueError) as error:
        raise UnreadableItem(f"is malformed ({type(error).__name__}: {error})") from error


def new_head(run: OpRun, spec: RunSpec) -> Item:
    """HEAD at creation: what changes, and what only the indexes and the stream's readers need."""
    return head(run) | _attributes(
        created_by=run.created_by,
        max_attempts=run.max_attempts,
        index_all=keys.index_hash_key("", run.shard),
        index_image=keys.index_hash_key(keys.digest(spec.image), run.shard),
        index_op_definition=spec.op_definition and keys.index_hash_key(keys.digest(spec.op_definition), run.shard),
        spec_bytes=len(spec.inputs.encode()),
        delivers=True if spec.event_delivery else None,
    )


OPTIONAL_IN_HEAD = ("started_at", "finished_at", "claim_seq", "result_source", "result_bytes")
"""Attributes of ``head`` that a change may take away."""


def head(run: OpRun) -> Item:
    """The part of HEAD that a change may touch. The run must have been loaded with its result, if it has one."""
    attempt = run.attempt
    return _item(
        run.id,
        keys.HEAD,
        state=run.state,
        priority=run.priority,
        given_back=run.given_back,
        current_attempt=attempt.number,
        first_seq=attempt.first_seq,
        last_seq=attempt.last_seq,
        progress=attempt.progress,
        started_at=attempt.started_at,
        finished_at=attempt.finished_at,
        claim_seq=None if attempt.claim is None else attempt.claim.seq,
        result_source=attempt.result_source,
        result_bytes=None if attempt.result is None else _size_of(attempt.result),
        created_key=keys.created_key(run.created_at, run.id),
        updated_at=run.updated_at,
        shard=run.shard,
        version=run.version,
        index_state=keys.index_hash_key(run.state, run.shard),
    )


def run_from(head_item: StoredItem, claim: Claim | None, result: AttemptResult | None) -> OpRun:
    created_key = _text(head_item, "created_key")
    attempt = OpAttempt(
        number=_int(head_item, "current_attempt"),
        state=State(_text(head_item, "state")),
        progress=_int(head_item, "progress"),
        first_seq=_int(head_item, "first_seq"),
        last_seq=_int(head_item, "last_seq"),
        started_at=_instant(head_item, "started_at"),
        finished_at=_instant(head_item, "finished_at"),
        claim=claim,
        result=result,
        result_source=_optional_int(head_item, "result_source"),
    )
    return OpRun(
        id=keys.run_id_of(created_key),
        created_at=created_at_of(head_item),
        updated_at=instant_from_text(_text(head_item, "updated_at")),
        attempt=attempt,
        priority=_int(head_item, "priority"),
        max_attempts=_int(head_item, "max_attempts"),
        given_back=_int(head_item, "given_back"),
        created_by=_optional_text(head_item, "created_by"),
        shard=_int(head_item, "shard"),
        version=_int(head_item, "version"),
    )


def claim_seq_of(head_item: StoredItem) -> int | None:
    """Number of the event that made the current attempt's claim; None while nobody works on it."""
    return _optional_int(head_item, "claim_seq")


def result_source_of(head_item: StoredItem) -> int | None:
    return _optional_int(head_item, "result_source")


def attempt_number_of(head_item: StoredItem) -> int:
    return _int(head_item, "current_attempt")


def version_of(item: StoredItem) -> int:
    """The run's version: of HEAD the present one, of PATCHED the one that wrote it; 0 where there is no item."""
    return _optional_int(item, "version") or 0


def last_seq_of(head_item: StoredItem) -> int:
    return _int(head_item, "last_seq")


def created_at_of(head_item: StoredItem) -> datetime:
    return instant_from_text(keys.created_at_text_of(_text(head_item, "created_key")))


def delivers(head_item: StoredItem) -> bool:
    """Whether somebody wants the run's events pushed."""
    return "delivers" in head_item


def is_being_deleted(head_item: StoredItem) -> bool:
    """Whether HEAD is marked as one of a run whose items are being removed."""
    return "being_deleted" in head_item


def document_bytes_of(head_item: StoredItem) -> int:
    """Bytes of inputs, outputs and error message together: what reading the whole run brings at least."""
    return _int(head_item, "spec_bytes") + (_optional_int(head_item, "result_bytes") or 0)


def spec_item(run_id: str, spec: RunSpec) -> Item:
    delivery = spec.event_delivery
    constraints = spec.constraints
    return _item(
        run_id,
        keys.SPEC,
        image=spec.image,
        inputs=spec.inputs,
        constraints=json.dumps([constraints.cpu, constraints.ram_mb, constraints.vram_mb]),
        topic=None if delivery is None else delivery.topic,
        topic_attributes=None if delivery is None else delivery.attributes,
        op_definition=spec.op_definition,
    )


def spec_from(item: StoredItem) -> RunSpec:
    image, op_definition = image_and_definition_of(item)
    return RunSpec(
        image=image,
        inputs=JsonText(_text(item, "inputs")),
        constraints=Constraints(*json.loads(_text(item, "constraints"))),
        event_delivery=delivery_from(item),
        op_definition=op_definition,
    )


def image_and_definition_of(spec_item_: StoredItem) -> tuple[str, str | None]:
    return _text(spec_item_, "image"), _optional_text(spec_item_, "op_definition")


def delivery_from(spec_item_: StoredItem) -> EventDelivery | None:
    topic = _optional_text(spec_item_, "topic")
    return None if topic is None else EventDelivery(topic, JsonText(_text(spec_item_, "topic_attributes")))


def idempotency_item(run_id: str, key: IdempotencyKey) -> Item:
    return _item(run_id, keys.idempotency_sk(key.digest), fingerprint=key.fingerprint)


def fingerprint_from(item: StoredItem) -> str:
    return _text(item, "fingerprint")


def claim_item(run_id: str, attempt: OpAttempt) -> Item:
    """ATTEMPT while it is the current one: who works on it."""
    return _item(run_id, keys.attempt_sk(attempt.number), **_claim_attributes(attempt.claim))


def closed_attempt_item(run_id: str, attempt: OpAttempt) -> Item:
    """ATTEMPT once another has begun: all of it but the documents of its result."""
    return _item(
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
        **_claim_attributes(attempt.claim),
    )


def closed_attempt_from(item: StoredItem, result: AttemptResult | None) -> OpAttempt:
    return OpAttempt(
        number=_int(item, "attempt"),
        state=State(_text(item, "state")),
        progress=_int(item, "progress"),
        first_seq=_int(item, "first_seq"),
        last_seq=_int(item, "last_seq"),
        started_at=_instant(item, "started_at"),
        finished_at=_instant(item, "finished_at"),
        claim=claim_from(item),
        result=result,
        result_source=_optional_int(item, "result_source"),
    )


def claim_from(item: StoredItem) -> Claim | None:
    """The claim that an ATTEMPT, PATCHED or result-bearing EVENT carries."""
    seq = _optional_int(item, "claim_seq")
    if seq is None:
        return None
    gpu_id = _optional_text(item, "gpu_id")
    return Claim(seq, _optional_text(item, "worker_id"), None if gpu_id is None else int(gpu_id))


def patched_item(run: OpRun) -> Item:
    """PATCHED of the current attempt. It is written over by the next PATCH, so it tells the version it belongs to."""
    attempt = run.attempt
    result = attempt.result or AttemptResult()
    return _item(
        run.id,
        keys.patched_sk(attempt.number),
        version=run.version,
        outputs=result.outputs,
        error_message=_json(result.error_message),
        duration_ms=result.duration_ms,
        **_claim_attributes(attempt.claim),
    )


def event_item(run_id: str, event: Event) -> Item:
    return _item(
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
        will_retry=event.will_retry or None,
    )


def ending_event_item(run_id: str, event: Event, ended: OpAttempt) -> Item:
    """EVENT with the result of the attempt it ended, and the claim, so that a list row reads one item less.

    What the event itself brought (``outputs``, ``error_message``) is stored once; only what an attempt that a PATCH had
    reopened kept from before is added.
    """
    result = ended.result or AttemptResult()
    kept_outputs = None if event.outputs is not None or result.outputs == EMPTY_OBJECT else result.outputs
    return event_item(run_id, event) | _attributes(
        kept_outputs=kept_outputs,
        kept_error_message=None if event.error_message is not None else _json(result.error_message),
        duration_ms=result.duration_ms,
        **_claim_attributes(ended.claim),
    )


def event_from(item: StoredItem) -> Event:
    outputs = _optional_text(item, "outputs")
    return Event(
        seq=_int(item, "seq"),
        id=_int(item, "id"),
        attempt=_int(item, "attempt"),
        type=EventType(_text(item, "type")),
        at=instant_from_text(_text(item, "at")),
        state=State(_text(item, "state")),
        msg=json.loads(_text(item, "msg")),
        payload=JsonText(_optional_text(item, "payload") or EMPTY_OBJECT),
        outputs=None if outputs is None else JsonText(outputs),
        error_message=_error_message(item, "error_message"),
        will_retry="will_retry" in item,
    )


def result_from(item: StoredItem) -> AttemptResult:
    """The result that a PATCHED or an EVENT that ended an attempt carries."""
    outputs = _optional_text(item, "outputs") or _optional_text(item, "kept_outputs") or EMPTY_OBJECT
    error_message = _error_message(item, "error_message")
    return AttemptResult(
        outputs=JsonText(outputs),
        error_message=_error_message(item, "kept_error_message") if error_message is None else error_message,
        duration_ms=_optional_int(item, "duration_ms"),
    )


def _claim_attributes(claim: Claim | None) -> dict[str, str | int | None]:
    if claim is None:
        return {}
    gpu_id = None if claim.gpu_id is None else str(claim.gpu_id)
    return {"claim_seq": claim.seq, "worker_id": claim.worker_id, "gpu_id": gpu_id}


def _json(value: str | int | None) -> str | None:
    """Client's text as JSON text, so that a page that fits in bytes stored fits an answer too; None stays None."""
    return None if value is None else json.dumps(value, ensure_ascii=False)


def _error_message(item: StoredItem, name: str) -> str | None:
    text = _optional_text(item, name)
    message: str | None = None if text is None else json.loads(text)
    return message


def _size_of(result: AttemptResult) -> int:
    return len(result.outputs.encode()) + len((result.error_message or "").encode())


def _item(run_id: str, sk: str, **values: str | int | datetime | None) -> Item:
    return {
        "pk": {"S": keys.run_pk(run_id)},
        "sk": {"S": sk},
        "schema_version": {"N": str(SCHEMA_VERSION)},
        **_attributes(**values),
    }


def _attributes(**values: str | int | datetime | None) -> Item:
    return {name: _attribute(value) for name, value in values.items() if value is not None}


def _attribute(value: str | int | datetime) -> dict[str, Any]:
    if isinstance(value, str):
        return {"S": str(value)}
    if isinstance(value, bool):
        return {"BOOL": value}
    if isinstance(value, int):
        return {"N": str(value)}
    return {"S": instant_to_text(value)}


def _text(item: StoredItem, name: str) -> str:
    text: str = item[name]["S"]
    return text


def _int(item: StoredItem, name: str) -> int:
    return int(item[name]["N"])


def _optional_text(item: StoredItem, name: str) -> str | None:
    return _text(item, name) if name in item else None


def _optional_int(item: StoredItem, name: str) -> int | None:
    return _int(item, name) if name in item else None


def _instant(item: StoredItem, name: str) -> datetime | None:
    return instant_from_text(_text(item, name)) if name in item else None
