"""DELETE /definitions/{name}: deletes the definition, and keeps its versions for the runs' sake.

204, also if it is deleted already. 404 if it never was, 409 if other requests kept changing the name.
Reads NAME and VERSION, and makes one update of NAME.
"""

from typing import Any

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.utilities.typing import LambdaContext

from gyoza_domain.bootstrap.api import clock
from gyoza_domain.bootstrap.definitions import definitions
from gyoza_domain.definitions import commands
from gyoza_domain.http.definitions import checked_name
from gyoza_domain.http.resolver import route_resolver

app = route_resolver()


@app.delete("/definitions/<name>")
def delete_definition(name: str) -> Response[str]:
    commands.delete_definition(definitions(), clock(), checked_name(name))
    return Response(status_code=204, body="")


def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    return app.resolve(event, context)
