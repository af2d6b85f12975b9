"""Converts the items of definitions to values and back.

VERSION holds the values that a row of a list shows, and as much of the text of the input specs as fits 4 KB, which is
what a read unit pays for. REST holds the remainder of the text.
"""

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from ..definitions.ports import PutKey, PutUse
from ..domain.definition import Definition, InputSpec, InputType, Template
from ..domain.run import JsonText
from . import keys
from .attributes import (
    SCHEMA,
    Item,
    StoredItem,
    attributes,
    instant,
    integer,
    optional_instant,
    optional_text,
    readable,
    text,
)
from .codec import constraints_from, constraints_text, delivery_from
from .head import terms_from, terms_text

READ_UNIT_BYTES = 4_096
"""The bytes of an item that one read unit pays for (DynamoDB's price)."""

MAX_RECENT_BYTES = 640
"""The text of the recent versions in NAME, so that NAME stays below 1 KB and a put of it costs two write units."""

_NUMBER_BYTES = 21
"""The most bytes that DynamoDB counts for a number."""


@dataclass(frozen=True, slots=True)
class NameRecord:
    """The values of NAME.

    ``change`` grows by one with every write of the name. ``recent``: the versions put last and their revisions, the
    last first. ``has_more``: whether there are versions beyond them.
    """

    change: int
    recent: tuple[tuple[str, int], ...]
    has_more: bool
    deleted_at: datetime | None

    @property
    def latest(self) -> str:
        return self.recent[0][0]

    def revision_of(self, version: str) -> int | None:
        """The current revision of the version; None if it is not among the recent ones."""
        return dict(self.recent).get(version)

    def after_put(self, version: str, revision: int) -> "NameRecord":
        others = [each for each in self.recent if each[0] != version]
        recent: list[tuple[str, int]] = [(version, revision), *others]
        while len(recent) > 1 and len(_recent_text(recent)) > MAX_RECENT_BYTES:
            recent.pop()
        dropped = len(recent) < len(others) + 1
        return NameRecord(self.change + 1, tuple(recent), self.has_more or dropped, None)


NO_RECORD = NameRecord(0, (), has_more=False, deleted_at=None)
"""The record of a name that never was."""


def name_attributes(name: str, record: NameRecord) -> Item:
    """The attributes of NAME. Those of the index are missing for a deleted name, which no list shows."""
    is_listed = record.deleted_at is None
    return attributes(
        schema=SCHEMA,
        change=record.change,
        recent=_recent_text(record.recent),
        more_versions=True if record.has_more else None,
        deleted_at=record.deleted_at,
        index_op_definition=keys.DEFINITIONS if is_listed else None,
        created_key=name if is_listed else None,
        state=record.latest if is_listed else None,
    )


OPTIONAL_NAME_ATTRIBUTES = ("more_versions", "deleted_at", "index_op_definition", "created_key", "state")
"""Attributes of NAME that a write may take away."""


def name_from(item: StoredItem) -> NameRecord:
    """Raises UnreadableItem."""
    return readable(item, _name_from)


def _name_from(item: StoredItem) -> NameRecord:
    recent = tuple((version, revision) for version, revision in json.loads(text(item, "recent")))
    return NameRecord(integer(item, "change"), recent, "more_versions" in item, optional_instant(item, "deleted_at"))


def _recent_text(recent: tuple[tuple[str, int], ...] | list[tuple[str, int]]) -> str:
    return json.dumps(recent, separators=(",", ":"))


# -- versions


@dataclass(frozen=True, slots=True)
class VersionRecord:
    """The values of VERSION. ``definition`` has no input specs; ``specs`` is their text, or the first part of it.

    ``put_at``: the change of the name that put the version last.
    """

    definition: Definition
    put_at: int
    specs: str
    has_rest: bool


def version_items(definition: Definition, put_at: int) -> list[Item]:
    """VERSION, and REST if the text of the input specs does not fit beside the rest of VERSION."""
    template = definition.template
    delivery = template.event_delivery
    specs = "" if not template.input_specs else _specs_text(template)
    row = version_key(definition.name, definition.version) | attributes(
        schema=SCHEMA,
        revision=definition.revision,
        put_at=put_at,
        created_at=definition.created_at,
        updated_at=definition.updated_at,
        image=template.image,
        constraints=constraints_text(template.constraints),
        topic=None if delivery is None else delivery.topic,
        topic_attributes=None if delivery is None else delivery.attributes,
        priority=template.priority,
        max_attempts=template.max_attempts,
        terms=terms_text(template.terms),
    )
    if not specs:
        return [row]
    first, rest = _parted(specs, -_bytes(row | attributes(specs="", has_rest=True)) % READ_UNIT_BYTES)
    if not rest:
        return [row | attributes(specs=specs)]
    rest_item = rest_key(definition.name, definition.version) | attributes(
        schema=SCHEMA, revision=definition.revision, specs=rest
    )
    return [row | attributes(specs=first, has_rest=True), rest_item]


def version_from(item: StoredItem) -> VersionRecord:
    """Raises UnreadableItem."""
    return readable(item, _version_from)


def _version_from(item: StoredItem) -> VersionRecord:
    constraints, delivery = constraints_from(item), delivery_from(item)
    template = Template(
        image=text(item, "image"),
        constraints=constraints,
        event_delivery=delivery,
        priority=integer(item, "priority"),
        max_attempts=integer(item, "max_attempts"),
        terms=terms_from(optional_text(item, "terms"), constraints, is_delivering=delivery is not None),
    )
    definition = Definition(
        name=keys.name_of_pk(text(item, "pk")),
        version=keys.version_of_sk(text(item, "sk")),
        revision=integer(item, "revision"),
        created_at=instant(item, "created_at"),
        updated_at=instant(item, "updated_at"),
        template=template,
    )
    return VersionRecord(definition, integer(item, "put_at"), optional_text(item, "specs") or "", "has_rest" in item)


def whole(record: VersionRecord, rest: StoredItem | None = None) -> Definition:
    """The definition with its input specs. Raises UnreadableItem."""
    if rest is not None:
        return readable(rest, lambda rest: _with_specs(record.definition, record.specs + text(rest, "specs")))
    return _with_specs(record.definition, record.specs)


def _with_specs(definition: Definition, specs: str) -> Definition:
    if not specs:
        return definition
    input_specs = {
        name: InputSpec(InputType(type_), required, _json_text(default[0]) if default else None, description)
        for name, (type_, required, description, *default) in json.loads(specs).items()
    }
    return replace(definition, template=replace(definition.template, input_specs=input_specs))


def _specs_text(template: Template) -> str:
    """The specs as one JSON text. A default is a value in it: as a text it would be escaped, and cost up to twice."""
    specs = {
        name: [
            spec.type,
            spec.required,
            spec.description,
            *([] if spec.default is None else [json.loads(spec.default)]),
        ]
        for name, spec in template.input_specs.items()
    }
    return _json_text(specs)


def _json_text(value: Any) -> JsonText:
    return JsonText(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def _parted(specs: str, first_bytes: int) -> tuple[str, str]:
    """The text in two parts, the first of at most so many bytes in UTF-8."""
    encoded = specs.encode()
    if len(encoded) <= first_bytes:
        return specs, ""
    first = encoded[:first_bytes].decode(errors="ignore")
    return first, specs[len(first) :]


def _bytes(item: Item) -> int:
    """The bytes that DynamoDB counts for the item, or a few more."""
    values = [value for each in item.values() for value in each.values()]
    texts = [*item, *(value for value in values if isinstance(value, str))]
    return sum(len(each.encode()) for each in texts) + _NUMBER_BYTES * sum("N" in each for each in item.values()) + 1


# -- keys of items


def name_key(name: str) -> Item:
    return {"pk": {"S": keys.definition_pk(name)}, "sk": {"S": keys.NAME}}


def version_key(name: str, version: str) -> Item:
    return {"pk": {"S": keys.definition_pk(name)}, "sk": {"S": keys.version_sk(version)}}


def rest_key(name: str, version: str) -> Item:
    return {"pk": {"S": keys.definition_pk(name)}, "sk": {"S": keys.rest_sk(version)}}


# -- idempotency keys


def put_key_key(key: PutKey) -> Item:
    return {"pk": {"S": keys.definition_key_pk(key.digest)}, "sk": {"S": keys.DEFINITION_KEY}}


def put_key_item(key: PutKey, definition: Definition, *, is_new: bool) -> Item:
    return put_key_key(key) | attributes(
        schema=SCHEMA,
        fingerprint=key.fingerprint,
        name=definition.name,
        version_put=definition.version,
        is_new=is_new,
        # The table's TTL takes seconds.
        expires_at=int(key.expires_at.timestamp()),
    )


def put_use_from(item: StoredItem) -> PutUse:
    """Raises UnreadableItem."""
    return readable(item, _put_use_from)


def _put_use_from(item: StoredItem) -> PutUse:
    return PutUse(
        fingerprint=text(item, "fingerprint"),
        name=text(item, "name"),
        version=text(item, "version_put"),
        is_new=bool(item["is_new"]["BOOL"]),
        expires_at=datetime.fromtimestamp(integer(item, "expires_at"), UTC),
    )
