"""POST /definitions/{name}/runs: creates a run from a version of the definition, or from the one that was put last.

201 with the run, or the minimal answer with ``Prefer: return=minimal``. 400 for inputs that the definition does not
take, 404, 410 if the run of the Idempotency-Key expired, 413 and 422 for the body.
Reads NAME, and VERSION and REST unless the process has them, and makes the transaction of a creation. A replay of an
Idempotency-Key makes one query for the run; before a refusal it looks for the run that the key created.
"""

from typing import Any

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.utilities.typing import LambdaContext

from gyoza_domain.bootstrap.api import allowed_topics, clock, ids, store
from gyoza_domain.bootstrap.definitions import creation_keys, definitions
from gyoza_domain.definitions import commands
from gyoza_domain.http.definition_bodies import run_body
from gyoza_domain.http.request import api_key_id, idempotency_key, prefers_minimal
from gyoza_domain.http.resolver import route_resolver
from gyoza_domain.http.responses import outcome_response

app = route_resolver()


@app.post("/definitions/<name>/runs")
def create_run_from_definition(name: str) -> Response[str]:
    event = app.current_event
    topics = allowed_topics()
    request = run_body(event).request(name, clock().now, topics)
    outcome = commands.create_run_from(
        definitions(),
        store(),
        clock(),
        ids(),
        request,
        keys=creation_keys(),
        topics=topics,
        created_by=api_key_id(event),
        key=idempotency_key(event),
    )
    return outcome_response(outcome, clock().now, minimal=prefers_minimal(event), status=201)


def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    return app.resolve(event, context)
