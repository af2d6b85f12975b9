"""GET /definitions: the latest version of each definition, ascending by name.

200 with the list. 400 for a cursor that names no definition, 422 for a parameter that does not fit.
Makes one query of an index and one batch. A cursor costs one more read.
"""

from typing import Any

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.utilities.typing import LambdaContext

from gyoza_domain.bootstrap.definitions import definition_lists
from gyoza_domain.http.definitions import LIST_QUERY, names_query, page_response
from gyoza_domain.http.resolver import route_resolver

app = route_resolver(query=LIST_QUERY)


@app.get("/definitions")
def list_definitions() -> Response[str]:
    limit, after, backwards = names_query(app.current_event)
    page = definition_lists().page(limit, after, backwards=backwards)
    return page_response(page, "/definitions", backwards=backwards)


def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    return app.resolve(event, context)
