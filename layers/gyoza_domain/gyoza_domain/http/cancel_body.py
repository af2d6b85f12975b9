"""Reads the body of ``POST /runs/{id}/cancel``. Never imports pydantic, so that a cancel without a body starts fast."""

from aws_lambda_powertools.utilities.data_classes import APIGatewayProxyEvent

from .errors import Misfit, misfit, misfits_error
from .request import object_body, unknown_fields_error

MAX_GRACE_S = 3_600
"""The longest time that a worker may be given to stop (docs/openapi.yaml)."""

ASK = "ask"
"""The one value of ``mode``."""


def grace_s(event: APIGatewayProxyEvent) -> int | None:
    """The seconds that the worker gets to stop; None for an immediate cancel, which has no fields.

    Raises RequestError 422 for a body that does not fit. A field given as null is as if absent.
    """
    fields = {name: value for name, value in object_body(event).items() if value is not None}
    unknown = [name for name in fields if name not in ("mode", "grace_s")]
    if unknown:
        raise unknown_fields_error(unknown)
    if not fields:
        return None
    misfits = [*_misfits_of_mode(fields.get("mode")), *_misfits_of_grace(fields.get("grace_s"))]
    if misfits:
        raise misfits_error(misfits)
    grace: int = fields["grace_s"]
    return grace


def _misfits_of_mode(value: object) -> list[Misfit]:
    if value is None:
        return [misfit(["body", "mode"], "Field required", "missing")]
    return [] if value == ASK else [misfit(["body", "mode"], f"Input should be '{ASK}'", "literal_error")]


def _misfits_of_grace(value: object) -> list[Misfit]:
    loc = ["body", "grace_s"]
    if value is None:
        return [misfit(loc, "Field required", "missing")]
    if isinstance(value, bool) or not isinstance(value, int):
        return [misfit(loc, "Input should be a valid integer", "int_type")]
    if value < 1:
        return [misfit(loc, "Input should be greater than or equal to 1", "greater_than_equal")]
    if value > MAX_GRACE_S:
        return [misfit(loc, f"Input should be less than or equal to {MAX_GRACE_S}", "less_than_equal")]
    return []
