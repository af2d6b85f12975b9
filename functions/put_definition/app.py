"""PUT /definitions/{name}: puts a version of the definition, which becomes the latest.

201 with the definition if the version is new, else 200. 409 if other requests kept changing the name, 412 for a
precondition, 413 and 422 for the body.
Reads NAME, and VERSION and REST if the version exists, and makes one transaction of NAME, VERSION and REST.
"""

from typing import Any

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.utilities.typing import LambdaContext

from gyoza_domain.bootstrap.api import allowed_topics, clock
from gyoza_domain.bootstrap.definitions import definitions
from gyoza_domain.definitions import commands
from gyoza_domain.http.definition_bodies import put_body
from gyoza_domain.http.definitions import preconditions, put_response
from gyoza_domain.http.resolver import route_resolver

app = route_resolver()


@app.put("/definitions/<name>")
def put_definition(name: str) -> Response[str]:
    event = app.current_event
    body = put_body(event, name)
    draft = commands.Draft(name, body.version, body.template(allowed_topics()))
    outcome = commands.put_definition(definitions(), clock(), draft, preconditions(event))
    return put_response(outcome)


def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    return app.resolve(event, context)
