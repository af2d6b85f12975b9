"""GET /runs: a page of runs, newest first.

200 with the list. 400 for an unknown state, cursor or instant; 422 for a parameter that does not fit.
Makes one query for each shard of one index, one batch of HEADs, and batches of at most two items for each row (three if
a worker claimed the run after a PATCH of its outputs). Summaries take one batch for HEADs and SPECs. A cursor costs one
more read.
"""

from typing import Any

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.utilities.typing import LambdaContext

from gyoza_domain.bootstrap.api import lists
from gyoza_domain.http.resolver import route_resolver
from gyoza_domain.http.responses import run_page_response
from gyoza_domain.http.runs_query import RUNS_QUERY, row_shape, runs_query

app = route_resolver(query=RUNS_QUERY)


@app.get("/runs")
def list_runs() -> Response[str]:
    query = runs_query(app.current_event)
    shape = row_shape(app.current_event)
    return run_page_response(lists().page(query, shape), query, shape)


def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    return app.resolve(event, context)
