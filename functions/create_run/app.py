"""POST /runs: creates a run in PENDING.

201 with the run, or the minimal answer with ``Prefer: return=minimal``. 410 if the run of the Idempotency-Key expired,
413 and 422 for the body.
Makes one transaction, with HEAD, SPEC and a separate item for large inputs. A replay of an Idempotency-Key makes one
query for the run.
"""

from typing import Any

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.utilities.typing import LambdaContext

from gyoza_domain.bootstrap.api import allowed_topics, clock, ids, store
from gyoza_domain.http.bodies import CreateRunBody, body_as
from gyoza_domain.http.request import api_key_id, idempotency_key, prefers_minimal
from gyoza_domain.http.resolver import route_resolver
from gyoza_domain.http.responses import outcome_response
from gyoza_domain.runs import commands

app = route_resolver()


@app.post("/runs")
def create_run() -> Response[str]:
    event = app.current_event
    body = body_as(CreateRunBody, event)
    outcome = commands.create_run(
        store(),
        clock(),
        ids(),
        body.spec(topics=allowed_topics()),
        body.terms(clock().now),
        priority=body.priority,
        max_attempts=body.retry_policy.max_attempts,
        created_by=api_key_id(event),
        key=idempotency_key(event),
    )
    return outcome_response(outcome, clock().now, minimal=prefers_minimal(event), status=201)


def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    return app.resolve(event, context)
