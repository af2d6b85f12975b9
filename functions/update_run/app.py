"""PATCH /runs/{id}: edits ``state``, ``outputs`` and ``priority`` for an operator, without an event and without rules.

200 with the run, or the minimal answer with ``Prefer: return=minimal``. 400 for an unknown state, 404, 409 if the run
kept changing, 413 and 422 for the body. Makes one query and one transaction.
"""

from typing import Any

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.utilities.typing import LambdaContext

from gyoza_domain.bootstrap.api import clock, default_retain_s, store
from gyoza_domain.http.bodies import UpdateRunBody, body_as
from gyoza_domain.http.request import checked_run_id, prefers_minimal
from gyoza_domain.http.resolver import route_resolver
from gyoza_domain.http.responses import outcome_response
from gyoza_domain.runs import commands

app = route_resolver()


@app.patch("/runs/<run_id>")
def update_run(run_id: str) -> Response[str]:
    event = app.current_event
    edit = body_as(UpdateRunBody, event).patch()
    minimal = prefers_minimal(event)
    outcome = commands.patch_run(
        store(), clock(), checked_run_id(run_id), edit, whole=not minimal, default_retain_s=default_retain_s()
    )
    return outcome_response(outcome, clock().now, minimal=minimal)


def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    return app.resolve(event, context)
