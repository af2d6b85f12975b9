"""GET /definitions/{name}/versions: the versions of the definition, the one that was put last first.

200 with the list. 400 for a cursor that names no version, 404, 422 for a parameter that does not fit.
Makes one query for each megabyte of versions.
"""

from typing import Any

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.utilities.typing import LambdaContext

from gyoza_domain.bootstrap.definitions import definitions
from gyoza_domain.definitions import commands
from gyoza_domain.http.definitions import VERSIONS_QUERY, checked_name, page_response, versions_query
from gyoza_domain.http.resolver import route_resolver

app = route_resolver(query=VERSIONS_QUERY)


@app.get("/definitions/<name>/versions")
def list_definition_versions(name: str) -> Response[str]:
    limit, after = versions_query(app.current_event)
    checked = checked_name(name)
    page = commands.list_versions(definitions(), checked, limit, after)
    return page_response(page, f"/definitions/{checked}/versions")


def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    return app.resolve(event, context)
