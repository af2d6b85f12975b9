"""Request bodies of definitions as pydantic models."""

import re
from collections.abc import Callable, Collection
from datetime import datetime
from typing import Annotated, Any

from aws_lambda_powertools.utilities.data_classes import APIGatewayProxyEvent
from pydantic import BeforeValidator, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from ..definitions.commands import RunRequest
from ..domain.definition import InputSpec, InputType, Template
from ..domain.errors import shortened
from .bodies import (
    EventDeliveryBody,
    Instant,
    Priority,
    Queue,
    Retention,
    StrictBody,
    TemplateBody,
    allowed_delivery,
    check_start,
    required_object,
    values_as,
)
from .definitions import NAME_PATTERN, VERSION_PATTERN, checked_name, is_name
from .errors import misfit_error, too_large_error
from .json_text import dump
from .request import object_body

MAX_DEFINITION_BYTES = 64 * 1024
"""The size of a definition: its body as compact UTF-8 JSON (docs/openapi.yaml, as all limits here)."""

MAX_INPUT_SPECS = 100

_INPUT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}", re.ASCII)

_OF_ANSWERS = ("id", "revision", "created_at", "updated_at", "deleted_at")
"""The fields of an answer that a put passes over."""


class InputSpecBody(StrictBody):
    type: Annotated[InputType, Field(strict=False)]
    required: bool = True
    default: Any = None
    description: str = ""

    @field_validator("default")
    @classmethod
    def _check_default(cls, default: Any, info: ValidationInfo) -> Any:
        type_ = info.data.get("type")
        if type_ is not None and not type_.fits(default):
            raise PydanticCustomError("wrong_type", "Input should be of the type {type}", {"type": str(type_)})
        return default

    def spec(self) -> InputSpec:
        default = None if self.default is None else dump(self.default)
        return InputSpec(self.type, self.required and default is None, default, self.description)


def _check_input_specs(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if len(value) > MAX_INPUT_SPECS:
        raise PydanticCustomError("too_long", "At most {most} inputs", {"most": MAX_INPUT_SPECS})
    for name in value:
        if not _INPUT_NAME.fullmatch(name):
            raise PydanticCustomError(
                "input_name", "{name} is not a name for an input", {"name": shortened(repr(name))}
            )
    return value


Version = Annotated[str, Field(pattern=VERSION_PATTERN)]


class PutDefinitionBody(TemplateBody):
    """The body of ``PUT /definitions/{name}``. The fields of ``_OF_ANSWERS`` may hold anything."""

    name: str | None = None
    version: Version
    input_specs: Annotated[dict[str, InputSpecBody], BeforeValidator(_check_input_specs)] = Field(default_factory=dict)
    id: Any = None
    revision: Any = None
    created_at: Any = None
    updated_at: Any = None
    deleted_at: Any = None

    def template(self, topics: Collection[str] | None) -> Template:
        """The template. Raises TopicNotAllowed for a topic that is none of ``topics``; None allows any."""
        return Template(
            image=self.image,
            input_specs={name: spec.spec() for name, spec in self.input_specs.items()},
            constraints=self.hardware(),
            event_delivery=allowed_delivery(self.event_delivery, topics),
            priority=self.priority,
            max_attempts=self.retry_policy.max_attempts,
            terms=self.lasting_terms(),
        )


class CreateDefinitionBody(PutDefinitionBody):
    """The body of ``POST /definitions``."""

    name: Annotated[str, Field(pattern=NAME_PATTERN)]


class RunFromDefinitionBody(StrictBody):
    """The body of ``POST /definitions/{name}/runs``."""

    inputs: dict[str, Any] = Field(default_factory=dict)
    priority: Priority | None = None
    version: Version | None = None
    event_delivery: EventDeliveryBody | None = None
    start_at: Instant | None = None
    queue: Queue | None = None
    retain_s: Retention | None = None

    def request(self, name: str, now: Callable[[], datetime], topics: Collection[str] | None) -> RunRequest:
        """The request. Raises RequestError 422 for a ``start_at`` too far ahead of ``now``, and TopicNotAllowed.

        Raises DefinitionNotFound if no definition may have the name, after all other checks.
        """
        check_start(self.start_at, now)
        delivery = allowed_delivery(self.event_delivery, topics)
        return RunRequest(
            name=checked_name(name),
            inputs=self.inputs,
            version=self.version,
            priority=self.priority,
            event_delivery=delivery,
            start_at=self.start_at,
            queue=self.queue,
            retain_s=self.retain_s,
        )


def put_body(event: APIGatewayProxyEvent, name: str) -> PutDefinitionBody:
    """The body of ``PUT /definitions/{name}``. Raises RequestError 422 and 413.

    The 422 includes a name in the path that no definition may have.
    """
    values = required_object(event)
    body = values_as(PutDefinitionBody, values)
    if not is_name(name):
        raise misfit_error(["path", "name"], f"Input should match {NAME_PATTERN}", "name")
    if body.name is not None and body.name != name:
        raise misfit_error(["body", "name"], "Input should be the name in the path", "other_name")
    _check_size(values, body)
    return body


def create_body(event: APIGatewayProxyEvent) -> CreateDefinitionBody:
    """The body of ``POST /definitions``. Raises RequestError 422 and 413."""
    values = required_object(event)
    body = values_as(CreateDefinitionBody, values)
    _check_size(values, body)
    return body


def run_body(event: APIGatewayProxyEvent) -> RunFromDefinitionBody:
    """The body of ``POST /definitions/{name}/runs``; a missing one counts as empty. Raises RequestError 422."""
    return values_as(RunFromDefinitionBody, object_body(event))


def _check_size(values: dict[str, Any], body: PutDefinitionBody) -> None:
    """Raises RequestError 413 for too large a put. The fields that only an answer has do not count."""
    if len(dump(values).encode()) <= MAX_DEFINITION_BYTES:
        return
    if body.revision is None or len(dump(_as_put(body)).encode()) > MAX_DEFINITION_BYTES:
        raise too_large_error(["body"], MAX_DEFINITION_BYTES)


def _as_put(answer: PutDefinitionBody) -> dict[str, Any]:
    """The shortest put of what the answer shows: without fields that only answers have, and without defaults."""
    fields = answer.model_dump(exclude={*_OF_ANSWERS, "name"}, exclude_defaults=True)
    for spec in fields.get("input_specs", {}).values():
        if "default" in spec:
            spec.pop("required", None)
    # The model turns 1 to 1.0, and an answer shows 1.
    policy: dict[str, float] = fields.get("retry_policy", {})
    policy.update({name: int(value) for name, value in policy.items() if value == int(value)})
    return {name: value for name, value in fields.items() if value != {}}
