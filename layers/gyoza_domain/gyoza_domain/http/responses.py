"""Builds the responses of the routes and cuts lists so that Lambda can send every answer.

``now`` is as in ``rendering``.
"""

from collections.abc import Iterable
from typing import TypeVar

from aws_lambda_powertools.event_handler import Response

from ..runs.commands import Beat, Outcome
from ..runs.views import AttemptPage, Direction, EventPage, RowShape, RunPage, RunQuery, RunView
from . import rendering
from .metrics import count_unreadable_rows
from .rendering import Now

Key = TypeVar("Key")

_FRAME_BYTES = 1_000
"""The bytes of an answer beside its rows, at most: the list's own fields, status and headers."""


def json_response(status: int, body: str, headers: dict[str, str] | None = None) -> Response[str]:
    return Response(status_code=status, content_type="application/json", body=body, headers=dict(headers or {}))


def run_response(view: RunView, now: Now) -> Response[str]:
    return json_response(200, rendering.run_json(view, now))


def beat_response(beat: Beat) -> Response[str]:
    return json_response(200, rendering.heartbeat_json(beat.run, beat.lease))


def outcome_response(outcome: Outcome, now: Now, *, minimal: bool, status: int = 200) -> Response[str]:
    """The whole run, or the minimal answer if the request asks for it. A header marks a replay."""
    headers = {"Idempotent-Replayed": "true"} if outcome.is_replay else {}
    if outcome.view is not None and not minimal:
        return json_response(status, rendering.run_json(outcome.view, now), headers)
    return json_response(
        status, rendering.minimal_json(outcome.run), headers | {"Preference-Applied": "return=minimal"}
    )


def run_page_response(page: RunPage, query: RunQuery, shape: RowShape, now: Now) -> Response[str]:
    """The rows, newest first. If not all of them fit one answer, those nearest the cursor stay."""
    if page.unreadable:
        count_unreadable_rows(page.unreadable)
    rows = ((view.run.id, rendering.row_json(view, shape, now)) for view in page.rows)
    shown, is_cut = _within_answer(rows)
    next_cursor = shown[-1][0] if is_cut else page.next_cursor
    if query.direction is Direction.NEWER:
        shown.reverse()
    body = rendering.page_json((row for _, row in shown), next_cursor=next_cursor, url="/runs")
    return json_response(200, body)


def event_page_response(page: EventPage) -> Response[str]:
    return json_response(200, rendering.event_page_json(page))


def attempts_response(page: AttemptPage, *, limit: int) -> Response[str]:
    """The attempts, with a ``Link`` to the next page if there is one. The link is relative and so keeps the stage."""
    rows = ((view.attempt.number, rendering.attempt_json(page.run, page.spec, view)) for view in page.attempts)
    shown, _ = _within_answer(rows)
    headers = {}
    if shown and shown[-1][0] < page.run.attempt.number:
        headers["Link"] = f'<attempts?limit={limit}&after={shown[-1][0]}>; rel="next"'
    return json_response(200, rendering.attempt_list_json(row for _, row in shown), headers)


def _within_answer(rows: Iterable[tuple[Key, str]]) -> tuple[list[tuple[Key, str]], bool]:
    """The first rows that fit one answer, at least one; and True if rows were left out."""
    shown: list[tuple[Key, str]] = []
    size = _FRAME_BYTES
    for key, row in rows:
        size += rendering.answer_bytes(row)
        if shown and size > rendering.MAX_ANSWER_BYTES:
            return shown, True
        shown.append((key, row))
    return shown, False
