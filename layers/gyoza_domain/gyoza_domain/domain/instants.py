"""Instants as text: RFC 3339 in UTC, microseconds, ``Z``; of fixed width, so that their order is the texts' order."""

from datetime import UTC, datetime


def instant_to_text(instant: datetime) -> str:
    return f"{instant.replace(tzinfo=None).isoformat(timespec='microseconds')}Z"


def instant_from_text(text: str) -> datetime:
    return datetime.fromisoformat(text[:-1]).replace(tzinfo=UTC)
