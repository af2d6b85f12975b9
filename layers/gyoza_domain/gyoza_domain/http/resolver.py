"""Builds the resolver of a function. It finds the route, refuses unknown query parameters and answers errors.

It does not catch other exceptions: the invocation fails, the metric counts it, and the gateway answers in the same
shape.
"""

import json
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler import APIGatewayRestResolver, Response
from aws_lambda_powertools.event_handler.exceptions import NotFoundError
from aws_lambda_powertools.utilities.typing import LambdaContext

from ..domain.errors import DefinitionNotFound, GyozaError, RunNotFound
from .errors import STATUS_AND_CODE, RequestError, detail_of
from .request import path_of_resource, refuse_unknown_query
from .responses import json_response

if TYPE_CHECKING:
    from aws_lambda_powertools.event_handler.middlewares import NextMiddleware

_CONFLICT = 409
_SERVER_ERROR = 500

logger = Logger(use_rfc3339=True)


class RouteResolver(APIGatewayRestResolver):
    """Finds the route by the resource that the gateway matched, so that the base path does not matter."""

    def resolve(self, event: Mapping[str, Any], context: LambdaContext) -> dict[str, Any]:
        return super().resolve({**event, "path": path_of_resource(event)}, context)


def route_resolver(*, query: Collection[str] = ()) -> RouteResolver:
    """The resolver of a function; ``query`` names the query parameters that its route knows."""
    app = RouteResolver()

    def refuse_unknown(app: APIGatewayRestResolver, next_middleware: "NextMiddleware") -> Response[str]:
        refuse_unknown_query(app.current_event, query)
        return next_middleware(app)

    def error_response(status: int, code: str, detail: object) -> Response[str]:
        request_id = app.current_event.request_context.request_id
        body = {"detail": detail, "code": code, "request_id": request_id}
        if status == _CONFLICT or status >= _SERVER_ERROR:
            logger.warning("refused", extra={"status": status, "code": code, "request_id": request_id})
        # In ASCII, a character that took four bytes in the request would take twelve. Half a surrogate has no UTF-8.
        text = json.dumps(body, ensure_ascii=False).encode(errors="replace").decode()
        return json_response(status, text)

    def domain_error_response(error: GyozaError) -> Response[str]:
        status, code = STATUS_AND_CODE[type(error)]
        return error_response(status, code, detail_of(error))

    def request_error_response(error: RequestError) -> Response[str]:
        return error_response(error.status, error.code, error.detail)

    def not_found_response(_: NotFoundError) -> Response[str]:
        # The gateway has found the route. The only path that does not match it has an empty id or name.
        parameters = app.current_event.path_parameters or {}
        name = parameters.get("name")
        return domain_error_response(
            RunNotFound(parameters.get("id", "")) if name is None else DefinitionNotFound(name)
        )

    app.use([refuse_unknown])
    app.exception_handler(GyozaError)(domain_error_response)
    app.exception_handler(RequestError)(request_error_response)
    app.not_found(not_found_response)
    return app
