"""A definition comes back from its items as it was, whatever it holds, and its items are as small as is promised."""

import json
from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gyoza_domain.domain.definition import Definition, InputSpec, InputType, Template
from gyoza_domain.domain.run import Backoff, Constraints, EventDelivery, JsonText, Terms
from gyoza_domain.dynamodb import keys
from gyoza_domain.dynamodb.definition_items import (
    NO_RECORD,
    READ_UNIT_BYTES,
    NameRecord,
    name_attributes,
    name_from,
    name_key,
    version_from,
    version_items,
    whole,
)
from gyoza_domain.http.json_text import dump
from testing.capacity import item_bytes

AT = datetime(2026, 3, 2, 20, 0, 0, 42_000, tzinfo=UTC)

names = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,63}", fullmatch=True)
versions = st.from_regex(r"[A-Za-z0-9._+-]{1,32}", fullmatch=True)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=2_000)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda each: st.lists(each, max_size=3) | st.dictionaries(st.text(max_size=5), each, max_size=3),
    max_leaves=6,
)
specs = st.builds(
    InputSpec,
    type=st.sampled_from(InputType),
    required=st.booleans(),
    default=st.none() | json_values.map(dump),
    description=texts,
)
deliveries = st.none() | st.builds(
    EventDelivery,
    topic=st.just("orders.fifo"),
    attributes=st.sampled_from([JsonText("{}"), JsonText('{"a":1}'), JsonText(json.dumps({"a": "x" * 5_000}))]),
)
amounts = st.none() | st.integers(0, 10**30)


@st.composite
def templates(draw: st.DrawFn) -> Template:
    constraints = draw(st.builds(Constraints, amounts, amounts, amounts))
    delivery = draw(deliveries)
    terms = Terms(
        queue=draw(st.sampled_from(["default", "night"])),
        needs=constraints,
        queue_ttl_s=draw(st.none() | st.integers(10, 99)),
        backoff=draw(st.sampled_from([Backoff(), Backoff(0.5, 3.0, 60.0)])),
        max_lost=draw(st.none() | st.integers(0, 100)),
        retain_s=draw(st.none() | st.integers(0, 99)),
        is_delivering=delivery is not None,
    )
    inputs = draw(st.dictionaries(st.from_regex(r"[A-Za-z_][A-Za-z0-9_-]{0,63}", fullmatch=True), specs, max_size=9))
    return Template(draw(texts.filter(bool)), inputs, constraints, delivery, draw(st.integers(0, 9_999)), 3, terms)


definitions = st.builds(
    Definition, names, versions, st.integers(1, 10**6), st.just(AT), st.just(AT), template=templates()
)


@given(definitions)
def test_a_definition_comes_back_from_its_items(definition: Definition) -> None:
    version, *rest = version_items(definition, 7)
    record = version_from(version)
    assert record.put_at == 7
    assert record.has_rest is bool(rest)
    assert whole(record, rest[0] if rest else None) == definition
    assert list(whole(record, rest[0] if rest else None).template.input_specs) == list(definition.template.input_specs)


@given(definitions)
def test_a_version_costs_a_row_what_its_row_needs_and_a_write_what_its_bytes_do(definition: Definition) -> None:
    items = version_items(definition, 7)
    row = item_bytes({name: value for name, value in items[0].items() if name not in {"specs", "has_rest"}})
    assert item_bytes(items[0]) <= -(-(row + 150) // READ_UNIT_BYTES) * READ_UNIT_BYTES
    if len(items) > 1:
        assert (
            item_bytes(items[0]) % READ_UNIT_BYTES == 0
            or item_bytes(items[0]) % READ_UNIT_BYTES > READ_UNIT_BYTES - 200
        )


@given(st.sampled_from(["", "\\", '"', "x", "\n", "é"]), st.integers(1, 10_000))
def test_the_text_of_a_default_is_written_as_it_is_sent(text: str, times: int) -> None:
    default = dump([text] * times)
    template = Template("i", {"a": InputSpec(InputType.ARRAY, required=False, default=default)})
    items = version_items(Definition("d", "1", 1, AT, AT, template), 7)
    assert sum(item_bytes(item) for item in items) < len(default.encode()) + 500


@given(names, st.lists(st.tuples(versions, st.integers(1, 10**6)), min_size=1, max_size=80))
def test_a_name_lists_the_versions_put_last_and_stays_below_a_kilobyte(name: str, puts: list[tuple[str, int]]) -> None:
    record: NameRecord = NO_RECORD
    for version, revision in puts:
        record = record.after_put(version, revision)
    item: Any = name_key(name) | name_attributes(name, record)
    assert name_from(item) == record
    assert item_bytes(item) < 1_024
    assert item["created_key"]["S"] == name
    assert record.change == len(puts)
    last_first = list(dict.fromkeys(version for version, _ in reversed(puts)))
    shown = [version for version, _ in record.recent]
    assert shown == last_first[: len(shown)]
    assert record.has_more or len(shown) == len(last_first)
    assert record.latest == puts[-1][0]
    assert item["pk"]["S"] == keys.definition_pk(name)
