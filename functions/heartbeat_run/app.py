"""POST /runs/{id}/heartbeat: renews the lease of the worker that holds the current attempt.

200 with the lease as it stands. 400 if the run is terminal or has no lease, 404, 409 for a stale ``attempt`` or another
worker's lease, 422 for the body.
Makes one query and one update. An Idempotency-Key is ignored.
"""

from typing import Any

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.utilities.typing import LambdaContext

from gyoza_domain.bootstrap.api import clock, store
from gyoza_domain.http.bodies import HeartbeatBody, body_as
from gyoza_domain.http.request import checked_run_id, missing_run_first
from gyoza_domain.http.resolver import route_resolver
from gyoza_domain.http.responses import beat_response
from gyoza_domain.runs import commands

app = route_resolver()


@app.post("/runs/<run_id>/heartbeat")
def heartbeat_run(run_id: str) -> Response[str]:
    checked_id = checked_run_id(run_id)
    with missing_run_first(store(), checked_id):
        body = body_as(HeartbeatBody, app.current_event)
    return beat_response(commands.heartbeat(store(), clock(), checked_id, body.attempt, body.worker_id))


def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    return app.resolve(event, context)
