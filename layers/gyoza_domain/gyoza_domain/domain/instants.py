"""Writes and reads instants as text: RFC 3339 in UTC with microseconds and ``Z``.

Every text has the same width, so texts sort in the order of time.
"""

from datetime import UTC, datetime


def instant_to_text(instant: datetime) -> str:
    return f"{instant.replace(tzinfo=None).isoformat(timespec='microseconds')}Z"


def instant_from_text(text: str) -> datetime:
    return datetime.fromisoformat(text[:-1]).replace(tzinfo=UTC)
