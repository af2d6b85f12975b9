"""POST /runs/{id}/retry: begins a new attempt, even if the retry budget is spent.

200 with the run, or the minimal answer with ``Prefer: return=minimal``. 400 if the state does not allow it, 404, 409 if
the run kept changing, 422 for a body with fields. Makes one query and one transaction.
"""

from typing import Any

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.utilities.typing import LambdaContext

from gyoza_domain.bootstrap.api import clock, store
from gyoza_domain.domain.transitions import MANUAL_RETRY
from gyoza_domain.http.request import checked_run_id, idempotency_key, prefers_minimal, refuse_body_fields
from gyoza_domain.http.resolver import route_resolver
from gyoza_domain.http.responses import outcome_response
from gyoza_domain.runs import commands

app = route_resolver()


@app.post("/runs/<run_id>/retry")
def retry_run(run_id: str) -> Response[str]:
    event = app.current_event
    refuse_body_fields(event)
    minimal = prefers_minimal(event)
    outcome = commands.add_event(
        store(), clock(), checked_run_id(run_id), MANUAL_RETRY, whole=not minimal, key=idempotency_key(event)
    )
    return outcome_response(outcome, clock().now, minimal=minimal)


def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    return app.resolve(event, context)
