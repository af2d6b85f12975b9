"""POST /runs/{id}/events: appends a worker's event to the current attempt and applies its effect to the run.

200 with the run, or the minimal answer with ``Prefer: return=minimal``. 400 if the state or the lease does not allow
the event, 404, 409 for a stale ``attempt``, another worker's lease or a run that keeps changing, 413 and 422 for the
body.
Makes one query and one transaction. If the run refuses a request with an Idempotency-Key, one more transaction reads
HEAD and the key.
"""

from typing import Any

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.utilities.typing import LambdaContext

from gyoza_domain.bootstrap.api import clock, default_retain_s, store
from gyoza_domain.http.bodies import AddEventBody, body_as
from gyoza_domain.http.request import checked_run_id, idempotency_key, missing_run_first, prefers_minimal
from gyoza_domain.http.resolver import route_resolver
from gyoza_domain.http.responses import outcome_response
from gyoza_domain.runs import commands

app = route_resolver()


@app.post("/runs/<run_id>/events")
def add_event(run_id: str) -> Response[str]:
    event = app.current_event
    checked_id = checked_run_id(run_id)
    with missing_run_first(store(), checked_id):
        draft = body_as(AddEventBody, event).draft()
        key = idempotency_key(event)
    minimal = prefers_minimal(event)
    outcome = commands.add_event(
        store(), clock(), checked_id, draft, whole=not minimal, key=key, default_retain_s=default_retain_s()
    )
    return outcome_response(outcome, clock().now, minimal=minimal)


def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    return app.resolve(event, context)
