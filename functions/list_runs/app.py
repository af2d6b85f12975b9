"""GET /runs: a page of runs, newest first.

200 with the list. 400 for an unknown state, cursor or instant; 422 for a parameter that does not fit.
One query a shard of one index, then batch reads of at most three items a row; one read more for a cursor.
"""

from typing import Any

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.utilities.typing import LambdaContext

from gyoza_domain.bootstrap.api import lists
from gyoza_domain.http.request import query_values
from gyoza_domain.http.resolver import route_resolver
from gyoza_domain.http.responses import run_page_response
from gyoza_domain.http.runs_query import RUNS_QUERY, runs_query

app = route_resolver(query=RUNS_QUERY)


@app.get("/runs")
def list_reader() -> Response[str]:
    query = runs_query(app.current_event)
    with_events = "events" in query_values(app.current_event, "expand[]", ["events"])
    return run_page_response(lists().page(query, with_events=with_events), query, with_events=with_events)


def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    return app.resolve(event, context)
