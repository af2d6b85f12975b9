"""GET /definitions/{name}: a version of the definition, or the one that was put last.

200 with the definition. 404 if there is none; a deleted one is answered only to a request that names the version.
Reads NAME, and VERSION and REST unless the process has them.
"""

from typing import Any

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.utilities.typing import LambdaContext

from gyoza_domain.bootstrap.definitions import definitions
from gyoza_domain.definitions import commands
from gyoza_domain.http.definitions import checked_name, definition_response, version_query
from gyoza_domain.http.resolver import route_resolver

app = route_resolver(query=["version"])


@app.get("/definitions/<name>")
def get_definition(name: str) -> Response[str]:
    checked = checked_name(name)
    version = version_query(app.current_event, checked)
    return definition_response(commands.get_definition(definitions(), checked, version))


def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    return app.resolve(event, context)
