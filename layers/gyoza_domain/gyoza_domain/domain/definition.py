"""Defines definitions, the named and versioned templates of runs, and the rules of puts and inputs."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from .errors import InputFault, InputsTooLarge, InvalidInputs, TopicNotAllowed
from .json_parts import json_object
from .run import Constraints, EventDelivery, JsonText, Terms

MAX_INPUTS_BYTES = 256 * 1024
"""The size of a run's inputs as compact UTF-8 JSON, the defaults among them (docs/openapi.yaml)."""


class InputType(StrEnum):
    STRING = "string"
    INT = "int"
    FLOAT = "float"
    BOOL = "bool"
    OBJECT = "object"
    ARRAY = "array"

    def fits(self, value: Any) -> bool:
        """True if the JSON value is of this type. A bool is no number, 1.0 is no int, and an int is a float."""
        return isinstance(value, _PYTHON_TYPES[self]) and (self is InputType.BOOL or not isinstance(value, bool))


_PYTHON_TYPES: Mapping[InputType, type | tuple[type, ...]] = {
    InputType.STRING: str,
    InputType.INT: int,
    InputType.FLOAT: (int, float),
    InputType.BOOL: bool,
    InputType.OBJECT: dict,
    InputType.ARRAY: list,
}


@dataclass(frozen=True, slots=True)
class InputSpec:
    """An input that a definition takes. ``default`` is None if there is none; an input with a default is optional."""

    type: InputType
    required: bool = True
    default: JsonText | None = None
    description: str = ""


@dataclass(frozen=True, slots=True)
class Template:
    """The part of a version that a put replaces whole. ``terms`` has no ``start_at``."""

    image: str
    input_specs: Mapping[str, InputSpec] = field(default_factory=dict)
    constraints: Constraints = field(default_factory=Constraints)
    event_delivery: EventDelivery | None = None
    priority: int = 5
    max_attempts: int = 1
    terms: Terms = field(default_factory=Terms)

    def is_same(self, other: "Template") -> bool:
        """True if the two have equal values. The order of members in a JSON object does not count."""
        return self._comparable() == other._comparable()

    def _comparable(self) -> tuple[Any, ...]:
        specs = {name: (*_spec_values(spec), _canonical(spec.default)) for name, spec in self.input_specs.items()}
        delivery = self.event_delivery
        topic = None if delivery is None else (delivery.topic, _canonical(delivery.attributes))
        return self.image, specs, self.constraints, topic, self.priority, self.max_attempts, self.terms


def _spec_values(spec: InputSpec) -> tuple[InputType, bool, str]:
    return spec.type, spec.required, spec.description


def _canonical(text: JsonText | None) -> str | None:
    """The text with the members of objects in order. Values keep their types: 1, 1.0 and true differ."""
    return None if text is None else json.dumps(json.loads(text), sort_keys=True)


@dataclass(frozen=True, slots=True)
class Definition:
    """A version of a definition. ``revision`` grows by one with every put that changes the version."""

    name: str
    version: str
    revision: int
    created_at: datetime
    updated_at: datetime
    template: Template


def put(current: Definition | None, name: str, version: str, template: Template, now: datetime) -> Definition:
    """The version that a put makes. ``current``: the stored version, None if there is none.

    The caller has made sure that ``template`` differs from the stored one.
    """
    if current is None:
        return Definition(name, version, 1, now, now, template)
    updated_at = max(now, current.updated_at)
    return Definition(name, version, current.revision + 1, current.created_at, updated_at, template)


def filled_inputs(specs: Mapping[str, InputSpec], inputs: Mapping[str, Any]) -> JsonText:
    """The inputs of a run: those given, and the defaults of the others. An input given as null is as if absent.

    ``inputs`` maps names to parsed JSON values. Raises InvalidInputs with every fault, and InputsTooLarge.
    """
    given = {name: value for name, value in inputs.items() if value is not None}
    faults = _faults(specs, given)
    if faults:
        raise InvalidInputs(faults)
    members = {name: _compact(value) for name, value in given.items()}
    members |= {name: spec.default for name, spec in specs.items() if name not in given and spec.default is not None}
    text = JsonText(json_object(members))
    if len(text.encode()) > MAX_INPUTS_BYTES:
        raise InputsTooLarge(MAX_INPUTS_BYTES)
    return text


def check_topic(delivery: EventDelivery | None, topics: Collection[str] | None) -> None:
    """Raises TopicNotAllowed. ``topics``: those that the deployment allows; None allows any."""
    if delivery is not None and topics is not None and delivery.topic not in topics:
        raise TopicNotAllowed(topics)


def _faults(specs: Mapping[str, InputSpec], given: Mapping[str, Any]) -> Sequence[InputFault]:
    missing = [
        InputFault(name, "missing", "Input required")
        for name, spec in specs.items()
        if spec.required and name not in given
    ]
    unfit = [
        InputFault(name, "extra_forbidden", "The definition takes no input of this name")
        if (spec := specs.get(name)) is None
        else InputFault(name, "wrong_type", f"Input should be of the type {spec.type}")
        for name, value in given.items()
        if name not in specs or not specs[name].type.fits(value)
    ]
    return missing + unfit


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
