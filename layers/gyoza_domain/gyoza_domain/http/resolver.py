"""The resolver of a function, with every error of ours made an answer.

An exception that is not ours is not caught: the invocation fails, the metric counts it, and the gateway answers in our
shape.
"""

import json

from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler import APIGatewayRestResolver, Response
from aws_lambda_powertools.event_handler.exceptions import NotFoundError

from ..domain.errors import GyozaError, IdempotencyKeyReused, RunNotFound
from .errors import STATUS_AND_CODE, RequestError
from .responses import json_response

_CONFLICT = 409
_SERVER_ERROR = 500

logger = Logger()


def rest_app() -> APIGatewayRestResolver:
    app = APIGatewayRestResolver()

    def answer(status: int, code: str, detail: object) -> Response[str]:
        request_id = app.current_event.request_context.request_id
        body = {"detail": detail, "code": code, "request_id": request_id}
        if status == _CONFLICT or status >= _SERVER_ERROR:
            logger.warning("refused", extra={"status": status, "code": code, "request_id": request_id})
        return json_response(status, json.dumps(body))

    def refused(error: GyozaError) -> Response[str]:
        status, code = STATUS_AND_CODE[type(error)]
        if isinstance(error, IdempotencyKeyReused):
            loc = ["header", "Idempotency-Key"]
            return answer(status, code, [{"loc": loc, "msg": str(error), "type": code}])
        return answer(status, code, str(error))

    def not_accepted(error: RequestError) -> Response[str]:
        return answer(error.status, error.code, error.detail)

    def not_routed(_: NotFoundError) -> Response[str]:
        # The gateway has routed already: what the resolver's own pattern does not match is an odd run id.
        return refused(RunNotFound((app.current_event.path_parameters or {}).get("id", "")))

    app.exception_handler(GyozaError)(refused)
    app.exception_handler(RequestError)(not_accepted)
    app.not_found(not_routed)
    return app
