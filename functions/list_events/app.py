"""GET /runs/{id}/events: the events of the current attempt, of another attempt or of all attempts.

200 with the events, oldest first. 400 for an attempt the run does not have, 404, 422 for a parameter that does not fit.
Makes one query; two if more than 25 events are new or if the page ends before HEAD. With ``attempt`` it makes one batch
and one query.
"""

from typing import Any

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.utilities.typing import LambdaContext

from gyoza_domain.bootstrap.api import reader
from gyoza_domain.domain.errors import InvalidFilter
from gyoza_domain.http.request import checked_run_id, query_int
from gyoza_domain.http.resolver import route_resolver
from gyoza_domain.http.responses import event_page_response
from gyoza_domain.runs.views import MAX_EVENTS_OF_PAGE

app = route_resolver(query=("after", "after_seq", "attempt", "limit"))


@app.get("/runs/<run_id>/events")
def list_events(run_id: str) -> Response[str]:
    event = app.current_event
    after = query_int(event, "after", minimum=-1)
    after_seq = query_int(event, "after_seq", minimum=-1)
    attempt = query_int(event, "attempt", minimum=1)
    limit = query_int(event, "limit", minimum=1, maximum=MAX_EVENTS_OF_PAGE) or MAX_EVENTS_OF_PAGE
    if after_seq is None:
        return event_page_response(
            reader().events_of_attempt(checked_run_id(run_id), attempt, -1 if after is None else after, limit)
        )
    if after is not None or attempt is not None:
        raise InvalidFilter("after_seq reads across attempts and excludes after and attempt: send it alone")
    return event_page_response(reader().events_across_attempts(checked_run_id(run_id), after_seq, limit))


def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    return app.resolve(event, context)
