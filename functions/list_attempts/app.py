"""GET /runs/{id}/attempts: every attempt of the run, oldest first.

200 with the array and a ``Link`` to the next page if there is one. 404, 422 for a parameter that does not fit.
Makes two queries, and a batch for every five attempts whose events are not in the first query.
"""

from typing import Any

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.utilities.typing import LambdaContext

from gyoza_domain.bootstrap.api import reader
from gyoza_domain.http.request import checked_run_id, query_int
from gyoza_domain.http.resolver import route_resolver
from gyoza_domain.http.responses import attempts_response

MAX_LIMIT = 100

app = route_resolver(query=("limit", "after"))


@app.get("/runs/<run_id>/attempts")
def list_attempts(run_id: str) -> Response[str]:
    limit = query_int(app.current_event, "limit", minimum=1, maximum=MAX_LIMIT)
    limit = MAX_LIMIT if limit is None else limit
    after = query_int(app.current_event, "after", minimum=0) or 0
    return attempts_response(reader().attempts(checked_run_id(run_id), after, limit), limit=limit)


def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    return app.resolve(event, context)
