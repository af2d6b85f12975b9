"""POST /runs/claim: gives a run that fits to the worker, ASSIGNED or RUNNING and with a lease.

200 with the run, or the minimal answer with ``Prefer: return=minimal``. 204 with ``Retry-After`` if nothing fits.
409 and 410 if the run of the Idempotency-Key is another worker's or expired, 422 for the body.
Makes a query for each page of the index, and for each of at most ten runs one query and one transaction. With a key it
reads the key first. If nothing fits it looks for what is due, and wakes a few runs.
"""

from typing import Any

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.utilities.typing import LambdaContext

from gyoza_domain.bootstrap.api import clock, store
from gyoza_domain.bootstrap.claims import claim_index, claim_keys, spent_entries
from gyoza_domain.bootstrap.metrics import note_claim
from gyoza_domain.bootstrap.waking import passing_waker
from gyoza_domain.claiming import commands
from gyoza_domain.http.bodies import ClaimBody, body_as
from gyoza_domain.http.claims import claim_key, claim_request, claim_response
from gyoza_domain.http.request import prefers_minimal
from gyoza_domain.http.resolver import route_resolver

app = route_resolver()


@app.post("/runs/claim")
def claim_run() -> Response[str]:
    event = app.current_event
    request = claim_request(body_as(ClaimBody, event))
    minimal = prefers_minimal(event)
    result = commands.claim_run(
        store(),
        claim_keys(),
        claim_index(),
        clock(),
        request,
        whole=not minimal,
        key=claim_key(event, request.worker_id, clock().now),
        spent=spent_entries(),
        wake_due=passing_waker().wake_in_passing,
    )
    if isinstance(result, commands.Claimed) and result.waited is not None:
        note_claim(result.waited)
    return claim_response(result, clock().now, minimal=minimal)


def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    return app.resolve(event, context)
