"""Turns values into texts for people, and texts of people into values. Nothing here does I/O."""

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from gyoza_client._models import Event, EventType

Json = Mapping[str, Any]

_UNSAFE: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff\U000e0000-\U000e007f]"
)
"""Characters that a terminal obeys or that hide or reorder others: controls, marks of direction, tags, surrogates."""

_NAMED_ESCAPES: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}

_SECONDS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_DURATION: Final = re.compile(r"(\d+)([smhd]?)")


def printable(text: str) -> str:
    """The text on one line, with an escape in the place of each character that a terminal would obey."""
    return _UNSAFE.sub(lambda found: _escape(found[0]), text)


def printable_lines(text: str) -> list[str]:
    """The lines of a text, each printable."""
    return [printable(line.expandtabs()) for line in re.split(r"\r?\n", text.rstrip())]


def json_text(value: Any, *, indent: int | None = None, only_ascii: bool = False) -> str:
    """JSON for a stream or a terminal. Unsafe characters are escaped as JSON escapes them, so the value is the same."""
    separators = (",", ":") if indent is None else (",", ": ")
    text = json.dumps(value, ensure_ascii=only_ascii, indent=indent, separators=separators, default=dict)
    # A line feed can stand between values only; json.dumps escapes those in strings.
    return _UNSAFE.sub(lambda found: found[0] if found[0] == "\n" else _json_escape(found[0]), text)


def instant(value: datetime) -> str:
    """An instant in UTC with milliseconds, as RFC 3339."""
    return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def clock(value: datetime, now: datetime) -> str:
    """The time of day in the zone of this machine, with the date if it is more than half a day away."""
    local = value.astimezone()
    return f"{local:%H:%M:%S}" if abs(now - value) < timedelta(hours=12) else f"{local:%Y-%m-%d %H:%M:%S}"


def age(value: datetime, now: datetime) -> str:
    """The time since an instant in its largest unit: ``40s``, ``12m``, ``3h``, ``9d``."""
    seconds = max(int((now - value).total_seconds()), 0)
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= size * (2 if unit == "m" else 1):
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def duration(milliseconds: float) -> str:
    """A length of time: ``0.4 s``, ``12.3 s``, ``3 min 20 s``, ``2 h 5 min``."""
    seconds = milliseconds / 1000
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def seconds(text: str) -> int:
    """The seconds of a length of time such as ``90``, ``90s``, ``15m``, ``2h`` or ``7d``. Raises ValueError."""
    found = _DURATION.fullmatch(text.strip())
    if not found:
        raise ValueError(f"{text!r} is no length of time such as 90, 90s, 15m, 2h or 7d")
    return int(found[1]) * _SECONDS[found[2]]


def past(text: str, now: datetime) -> datetime:
    """The instant of RFC 3339, of UNIX seconds, or of an age such as ``2h``. Raises ValueError."""
    if text.isdecimal():
        return _instant(text, lambda: datetime.fromtimestamp(int(text), UTC))
    if _DURATION.fullmatch(text):
        return _instant(text, lambda: now - timedelta(seconds=seconds(text)))
    return _instant(text, lambda: datetime.fromisoformat(text))


def future(text: str, now: datetime) -> datetime:
    """The instant of RFC 3339, or a length of time from now such as ``10m``. Raises ValueError."""
    if _DURATION.fullmatch(text):
        return _instant(text, lambda: now + timedelta(seconds=seconds(text)))
    return _instant(text, lambda: datetime.fromisoformat(text))


def event_text(event: Event, *, brief: bool = False, outputs: bool = True) -> str:
    """The message of an event and then its payload, on one line.

    If it is ``brief``, it has of an error only the last line.
    """
    payload = dict(event.payload)
    if not outputs:
        payload.pop("outputs", None)
    if event.type == EventType.PROGRESS and isinstance(event.msg, int):
        words = [f"{event.msg} %"]
    else:
        words = [str(event.msg)] if event.msg != "" else []
    if event.type in (EventType.ASSIGNED, EventType.STARTED):
        words += [str(payload.pop("worker_id"))] if "worker_id" in payload else []
        payload.pop("lease_s", None)
    if event.type == EventType.FAILED:
        error = str(payload.pop("error_message", None) or "")
        words += [last_line(error) if brief else error] if error else []
    words += [json_text(payload)] if payload else []
    return printable(" ".join(words))


def last_line(text: str) -> str:
    """The last line that holds anything: in most languages' traces it names the error."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def _instant(text: str, make: Callable[[], datetime]) -> datetime:
    try:
        found = make()
    except (ValueError, OverflowError, OSError) as reason:
        raise ValueError(f"{text!r} is no instant such as 2026-03-02T20:00:01Z, and no time such as 2h") from reason
    if found.tzinfo is None:
        raise ValueError(f"{text!r} names no zone: write {text}Z for UTC")
    return found


def _escape(character: str) -> str:
    if character in _NAMED_ESCAPES:
        return _NAMED_ESCAPES[character]
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _json_escape(character: str) -> str:
    return json.dumps(character)[1:-1] if ord(character) != 0x7F else "\\u007f"
