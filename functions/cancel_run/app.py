"""POST /runs/{id}/cancel: ends the run as CANCELLED, or asks its worker to stop within a grace.

200 with the run, or the minimal answer with ``Prefer: return=minimal``. 400 if the run is terminal, 404, 409 when the
run kept changing, 422 for the body. One query and one transaction; a request that changes nothing writes nothing.
"""

from typing import Any

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.utilities.typing import LambdaContext

from gyoza_domain.bootstrap.api import clock, default_retain_s, store
from gyoza_domain.http.cancel_body import grace_s
from gyoza_domain.http.request import api_key_id, checked_run_id, idempotency_key, prefers_minimal
from gyoza_domain.http.resolver import route_resolver
from gyoza_domain.http.responses import outcome_response
from gyoza_domain.runs import commands

app = route_resolver()


@app.post("/runs/<run_id>/cancel")
def cancel_run(run_id: str) -> Response[str]:
    event = app.current_event
    minimal = prefers_minimal(event)
    outcome = commands.cancel_run(
        store(),
        clock(),
        checked_run_id(run_id),
        grace_s=grace_s(event),
        by=api_key_id(event),
        whole=not minimal,
        key=idempotency_key(event),
        default_retain_s=default_retain_s(),
    )
    return outcome_response(outcome, clock().now, minimal=minimal)


def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    return app.resolve(event, context)
