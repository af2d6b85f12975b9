"""The event that ends the attempt, made from the way the command ended. No I/O happens here."""

import json
import os
import re
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from gyoza_client._exec.documents import BadOutputs
from gyoza_client._models import EventType

MAX_PAYLOAD_BYTES: Final = 16 * 1024
"""The most that the API takes of a payload as compact JSON, outputs aside."""

_TERMINAL_SEQUENCE: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_LINE_BREAK: Final = re.compile(r"\r\n?")


@dataclass(frozen=True)
class End:
    """An event that ends the attempt."""

    type: EventType
    payload: Mapping[str, Any]


MakeEnd = Callable[[str], End]
"""Makes an end from the API's refusal of the end before it. The first gets an empty text."""


@dataclass(frozen=True)
class Ended:
    """The way a command ended."""

    status: int | None
    """The wait status; None if nobody was left to learn it."""
    told_to_stop: bool = False
    """By SIGTERM, before it ended."""
    asked_to_cancel: bool = False
    guard_died: bool = False

    @property
    def succeeded(self) -> bool:
        return self.status == 0

    @property
    def exit_code(self) -> int:
        """The code that `gyoza exec` exits with: the command's, or 128 and the number of the signal."""
        code = -signal.SIGKILL if self.status is None else os.waitstatus_to_exitcode(self.status)
        return code if code >= 0 else 128 - code


def ends_to_try(ended: Ended, output: bytes, outputs: Mapping[str, Any] | BadOutputs) -> list[MakeEnd]:
    """The ends by which the attempt may be reported, the best first: the API may refuse the size or shape of one.

    ``output`` is the end of the output. The outputs count only if the command succeeded.
    """
    if ended.asked_to_cancel and not ended.succeeded:
        return [lambda _refusal: cancelled(ended)]
    if not ended.succeeded:
        return _failures(ended, output, None)
    if isinstance(outputs, BadOutputs):
        return _failures(ended, output, f"The command ended with exit code 0, but its outputs file {outputs}")
    text = "The command ended with exit code 0, but the API refused its outputs"
    return [
        lambda _refusal: completed(outputs),
        lambda refusal: failed(ended, output, f"{text}: {refusal}"),
        lambda _refusal: failed(ended, b"", text),
    ]


def _failures(ended: Ended, output: bytes, problem: str | None) -> list[MakeEnd]:
    return [lambda _refusal: failed(ended, output, problem), lambda _refusal: failed(ended, b"", problem)]


def completed(outputs: Mapping[str, Any]) -> End:
    return End(EventType.COMPLETED, {"outputs": outputs})


def cancelled(ended: Ended) -> End:
    return End(EventType.CANCELLED, _facts(ended))


def failed(ended: Ended, output: bytes, problem: str | None = None) -> End:
    """FAILED with the end of the output. ``problem`` says why where the command's own end does not show it."""
    facts = _facts(ended)
    if ended.told_to_stop:
        facts["reason"] = "interrupted"
    headline = problem or _headline(ended)
    return End(EventType.FAILED, facts | {"error_message": _message(headline, output, facts)})


def failed_before_the_command(problem: str, *, interrupted: bool = False) -> End:
    return End(EventType.FAILED, {"error_message": problem, **({"reason": "interrupted"} if interrupted else {})})


def cancelled_before_the_command() -> End:
    return End(EventType.CANCELLED, {})


def readable(output: bytes) -> str:
    """The text without control characters. Whatever is not UTF-8 is replaced; line breaks and tabs stay."""
    text = _LINE_BREAK.sub("\n", output.decode(errors="replace"))
    return _CONTROL.sub("", _TERMINAL_SEQUENCE.sub("", text)).strip("\n")


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _facts(ended: Ended) -> dict[str, Any]:
    if ended.status is None:
        return {}
    code = os.waitstatus_to_exitcode(ended.status)
    return {"exit_code": code} if code >= 0 else {"signal": signal_name(-code)}


def _headline(ended: Ended) -> str:
    facts = _facts(ended)
    way = (
        f"ended with exit code {facts['exit_code']}" if "exit_code" in facts else f"was killed by {facts.get('signal')}"
    )
    if ended.guard_died:
        return "The guard of the command died, and the command was killed"
    if ended.told_to_stop:
        return f"The command was told to stop and {way}"
    return f"The command {way}"


def _message(headline: str, output: bytes, facts: Mapping[str, Any]) -> str:
    """The headline and as much of the end of the output as the payload has room for."""
    payload = {**facts, "error_message": headline + "\n"}
    room = MAX_PAYLOAD_BYTES - len(_compact(payload))
    text = readable(output)
    start = len(text)
    while start > 0:
        room -= len(_compact(text[start - 1])) - 2  # the quotes
        if room < 0:
            break
        start -= 1
    return f"{headline}\n{text[start:]}" if text[start:] else headline


def _compact(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
