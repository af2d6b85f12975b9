"""Reads the query of ``GET /runs/{id}/events``."""

from aws_lambda_powertools.utilities.data_classes import APIGatewayProxyEvent

from .request import query_int

EVENTS_QUERY = ("after", "after_seq", "attempt", "limit")
"""The query parameters of ``GET /runs/{id}/events``."""

MAX_EVENTS = 1_000
"""The most events of an answer, and as many as there are without ``limit``."""


def events_limit(event: APIGatewayProxyEvent) -> int:
    """The most events that the answer may hold: 1 to 1,000. Raises RequestError 422."""
    limit = query_int(event, "limit", minimum=1, maximum=MAX_EVENTS)
    return MAX_EVENTS if limit is None else limit
