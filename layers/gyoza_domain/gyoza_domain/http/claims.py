"""Reads the request of ``POST /runs/claim`` and builds its response."""

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.utilities.data_classes import APIGatewayProxyEvent

from ..claiming.commands import KEY_LIFE, Claimed, NothingFits
from ..claiming.ports import Capacity, ClaimRequest
from ..runs.ports import ClaimKey
from .bodies import ClaimBody
from .rendering import Now
from .request import idempotency_key
from .responses import outcome_response


def claim_request(body: ClaimBody) -> ClaimRequest:
    """The request of the body. A queue that is named twice counts once, at its first place."""
    capacity = Capacity(body.capacity.cpu, body.capacity.ram_mb, body.capacity.vram_mb)
    return ClaimRequest(body.worker_id, tuple(dict.fromkeys(body.queues)), capacity, body.lease_s, body.start)


def claim_key(event: APIGatewayProxyEvent, worker_id: str, now: Now) -> ClaimKey | None:
    """The request's Idempotency-Key, or None. Raises RequestError 422 for a key that does not fit."""
    key = idempotency_key(event)
    return None if key is None else ClaimKey(key.digest, key.fingerprint, worker_id, now() + KEY_LIFE)


def claim_response(result: Claimed | NothingFits, now: Now, *, minimal: bool) -> Response[str]:
    """The run that the worker got, or 204 with the seconds after which it asks again."""
    if isinstance(result, NothingFits):
        return Response(status_code=204, body="", headers={"Retry-After": str(result.retry_after_s)})
    return outcome_response(result, now, minimal=minimal)
