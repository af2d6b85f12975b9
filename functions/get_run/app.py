"""GET /runs/{id}: the run with the newest events of its current attempt.

200 with the run, 404 if no run has the id, 422 for a query parameter. Makes one query; two if the newest hundred events
lie beyond its first megabyte.
"""

from typing import Any

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.utilities.typing import LambdaContext

from gyoza_domain.bootstrap.api import clock, reader
from gyoza_domain.http.request import checked_run_id
from gyoza_domain.http.resolver import route_resolver
from gyoza_domain.http.responses import run_response

app = route_resolver()


@app.get("/runs/<run_id>")
def get_run(run_id: str) -> Response[str]:
    return run_response(reader().view(checked_run_id(run_id)), clock().now)


def lambda_handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    return app.resolve(event, context)
