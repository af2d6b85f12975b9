"""The query of ``GET /runs`` as a RunQuery."""

from datetime import UTC, datetime, timedelta

from aws_lambda_powertools.utilities.data_classes import APIGatewayProxyEvent

from ..domain.errors import InvalidCursor, InvalidFilter, InvalidState, RunNotFound
from ..domain.run import State
from ..runs.views import Direction, RowShape, RunQuery
from .errors import does_not_fit
from .request import checked_run_id, query_int, query_text, query_values

DEFAULT_LIMIT = 10
MAX_LIMIT = 100

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TICK = timedelta(microseconds=1)


def runs_query(event: APIGatewayProxyEvent) -> RunQuery:
    """Raises RequestError 422, InvalidState, InvalidFilter or InvalidCursor."""
    limit = query_int(event, "limit", minimum=1, maximum=MAX_LIMIT)
    direction, after = _cursor(event)
    created_from, created_to = _created(event)
    return RunQuery(
        limit=DEFAULT_LIMIT if limit is None else limit,
        direction=direction,
        after=after,
        state=_state(event),
        image=query_text(event, "image") or None,
        op_definition=query_text(event, "op_definition") or None,
        created_from=created_from,
        created_to=created_to,
    )


def row_shape(event: APIGatewayProxyEvent) -> RowShape:
    """The shape of the rows. Raises RequestError 422."""
    is_summary = bool(query_values(event, "fields", ["summary"]))
    with_events = bool(query_values(event, "expand[]", ["events"]))
    if is_summary and with_events:
        raise does_not_fit(["query", "fields"], "fields=summary excludes expand[]", "fields")
    if is_summary:
        return RowShape.SUMMARY
    return RowShape.WITH_EVENTS if with_events else RowShape.WHOLE


def state_named(name: str) -> State:
    """The state of that name, or InvalidState."""
    try:
        return State(name)
    except ValueError:
        raise InvalidState(name) from None


def _state(event: APIGatewayProxyEvent) -> State | None:
    names = {name for name in (query_text(event, "state"), query_text(event, "status")) if name}
    states = [state_named(name) for name in sorted(names)]
    if len(states) > 1:
        raise InvalidFilter("state and status are two names of one filter and were given different values")
    return states[0] if states else None


def _cursor(event: APIGatewayProxyEvent) -> tuple[Direction, str | None]:
    starting_after, ending_before = query_text(event, "starting_after"), query_text(event, "ending_before")
    if starting_after is not None and ending_before is not None:
        raise InvalidCursor("starting_after and ending_before exclude each other")
    direction = Direction.OLDER if ending_before is None else Direction.NEWER
    cursor = starting_after if ending_before is None else ending_before
    try:
        return direction, None if cursor is None else checked_run_id(cursor)
    except RunNotFound:
        raise InvalidCursor(f"The cursor '{cursor}' names no run") from None


def _created(event: APIGatewayProxyEvent) -> tuple[datetime | None, datetime | None]:
    """The bounds, both inclusive."""
    lows = [_instant(event, "created[gte]"), _instant(event, "created[gt]", shift=_TICK)]
    highs = [_instant(event, "created[lte]"), _instant(event, "created[lt]", shift=-_TICK)]
    return (
        max((low for low in lows if low is not None), default=None),
        min((high for high in highs if high is not None), default=None),
    )


def _instant(event: APIGatewayProxyEvent, name: str, shift: timedelta = timedelta(0)) -> datetime | None:
    seconds = query_int(event, name)
    if seconds is None:
        return None
    try:
        return _EPOCH + timedelta(seconds=seconds) + shift
    except OverflowError:
        raise InvalidFilter(f"{name} is an instant out of range") from None
