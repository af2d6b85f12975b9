"""The rules of definitions as pure functions: which inputs fit, what is filled in, and what a put changes."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gyoza_domain.domain.definition import (
    MAX_INPUTS_BYTES,
    Definition,
    InputSpec,
    InputType,
    Template,
    check_topic,
    filled_inputs,
    put,
)
from gyoza_domain.domain.errors import InputsTooLarge, InvalidInputs, TopicNotAllowed
from gyoza_domain.domain.run import EventDelivery, JsonText

AT = datetime(2026, 3, 2, 20, 0, 0, 42_000, tzinfo=UTC)
LATER = AT + timedelta(seconds=1)

VALUES: dict[InputType, list[Any]] = {
    InputType.STRING: ["", "x", "1"],
    InputType.INT: [0, -1, 10**4_000],
    InputType.FLOAT: [0.0, -0.5, 1e300],
    InputType.BOOL: [True, False],
    InputType.OBJECT: [{}, {"a": None}],
    InputType.ARRAY: [[], [None]],
}


@pytest.mark.parametrize("type_", InputType)
def test_a_value_fits_its_own_type_and_an_int_fits_a_float(type_: InputType) -> None:
    for other, values in VALUES.items():
        fits = other is type_ or (type_, other) == (InputType.FLOAT, InputType.INT)
        assert {type_.fits(value) for value in values} == {fits}
    assert not type_.fits(None)


SPECS = {
    "text": InputSpec(InputType.STRING),
    "width": InputSpec(InputType.INT, required=False, default=JsonText("640")),
    "ratio": InputSpec(InputType.FLOAT, required=False),
}


@pytest.mark.parametrize(
    ("inputs", "filled"),
    [
        ({"text": "x"}, '{"text":"x","width":640}'),
        ({"width": 1, "text": "x"}, '{"width":1,"text":"x"}'),
        ({"text": "ä", "width": None, "ratio": None, "nothing": None}, '{"text":"ä","width":640}'),
        ({"text": "x", "width": 10**30, "ratio": 1}, f'{{"text":"x","width":{10**30},"ratio":1}}'),
        ({"text": "x", "width": 0, "ratio": 1.0}, '{"text":"x","width":0,"ratio":1.0}'),
    ],
)
def test_defaults_are_filled_in_and_everything_else_is_as_it_was_sent(inputs: dict[str, Any], filled: str) -> None:
    assert filled_inputs(SPECS, inputs) == filled


@pytest.mark.parametrize(
    ("inputs", "faults"),
    [
        ({}, [("text", "missing")]),
        ({"text": None}, [("text", "missing")]),
        (
            {"text": 1, "width": 1.0, "ratio": True},
            [("text", "wrong_type"), ("width", "wrong_type"), ("ratio", "wrong_type")],
        ),
        ({"more": 0}, [("text", "missing"), ("more", "extra_forbidden")]),
    ],
)
def test_every_fault_is_found(inputs: dict[str, Any], faults: list[tuple[str, str]]) -> None:
    with pytest.raises(InvalidInputs) as refusal:
        filled_inputs(SPECS, inputs)
    assert [(fault.name, fault.type) for fault in refusal.value.faults] == faults


def test_inputs_are_measured_in_bytes_once_the_defaults_are_in() -> None:
    frame = len('{"text":"","width":640}')
    assert len(filled_inputs(SPECS, {"text": "x" * (MAX_INPUTS_BYTES - frame)}).encode()) == MAX_INPUTS_BYTES
    with pytest.raises(InputsTooLarge):
        filled_inputs(SPECS, {"text": "x" * (MAX_INPUTS_BYTES - frame + 1)})
    with pytest.raises(InputsTooLarge):
        filled_inputs(SPECS, {"text": "ä" * (MAX_INPUTS_BYTES // 2)})


def test_a_definition_without_specs_takes_no_inputs() -> None:
    assert filled_inputs({}, {"a": None}) == "{}"
    with pytest.raises(InvalidInputs):
        filled_inputs({}, {"a": 1})


def test_a_topic_is_one_of_those_allowed_if_any_are_named() -> None:
    check_topic(None, [])
    check_topic(EventDelivery("a"), None)
    check_topic(EventDelivery("a"), ["a"])
    with pytest.raises(TopicNotAllowed):
        check_topic(EventDelivery("b"), ["a"])


def with_default(text: str) -> Template:
    return Template("i", {"a": InputSpec(InputType.OBJECT, required=False, default=JsonText(text))})


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ('{"x":1,"y":2}', '{"y":2,"x":1}', True),
        ('{"x":1}', '{"x":1.0}', False),
        ('{"x":1}', '{"x":true}', False),
        ('{"x":[1,2]}', '{"x":[2,1]}', False),
    ],
)
def test_templates_are_compared_by_their_values_and_spelling(one: str, other: str, is_same: bool) -> None:
    assert with_default(one).is_same(with_default(other)) is is_same


def test_attributes_are_compared_by_their_spelling_too() -> None:
    templates = [Template("i", event_delivery=EventDelivery("t", JsonText(json.dumps({"a": a})))) for a in (1, 1.0)]
    assert not templates[0].is_same(templates[1])


def test_a_put_counts_revisions_and_keeps_the_first_instant() -> None:
    first = put(None, "d", "1", Template("a"), AT)
    assert first == Definition("d", "1", 1, AT, AT, Template("a"))
    assert put(first, "d", "1", Template("b"), LATER) == Definition("d", "1", 2, AT, LATER, Template("b"))


def test_the_last_change_never_goes_back() -> None:
    first = put(None, "d", "1", Template("a"), LATER)
    assert put(first, "d", "1", Template("b"), AT).updated_at == LATER
