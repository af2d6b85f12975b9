"""Reads inputs and documents from arguments, files and standard input. Each error names the argument."""

import json
import math
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn


class Misused(Exception):
    """An argument cannot be used. The text names it."""


def read_inputs(arguments: Iterable[str]) -> dict[str, Any] | None:
    """The inputs that the values of ``-i`` make together; a later value replaces an earlier one. None if there is none.

    ``name=text``, ``name:=json``, ``name:=@file`` with the JSON of a file, and ``@file`` with a JSON object of inputs;
    ``@-`` is standard input. Raises Misused.
    """
    inputs: dict[str, Any] = {}
    given = False
    for argument in arguments:
        given = True
        if argument.startswith("@"):
            inputs |= read_object(argument[1:], f"-i {argument}")
            continue
        name, equals, value = argument.partition("=")
        if not equals or name in ("", ":"):
            raise Misused(f"-i {argument}: write name=text, name:=json or @file.json")
        if name.endswith(":") and value.startswith("@"):
            _utf8(name, f"-i {argument}")
            inputs[name[:-1]] = _parse(_read(value[1:], f"-i {argument}"), f"-i {argument}")
        else:
            inputs |= _pair(name, value, "-i")
    return inputs if given else None


def read_object(file: str, argument: str) -> dict[str, Any]:
    """The JSON object in a file, or on standard input for ``-``.

    Raises Misused, in whose text ``argument`` names the file.
    """
    value = _parse(_read(file, argument), argument)
    if not isinstance(value, dict):
        raise Misused(f"{argument}: a JSON object is needed, not {_kind(value)}")
    return value


def read_pairs(arguments: Iterable[str], option: str) -> dict[str, Any]:
    """Attributes from ``name=text`` and ``name:=json``. Raises Misused."""
    pairs: dict[str, Any] = {}
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if not equals or name in ("", ":"):
            raise Misused(f"{option} {argument}: write name=text or name:=json")
        pairs |= _pair(name, value, option)
    return pairs


def _pair(name: str, value: str, option: str) -> dict[str, Any]:
    """The name and the value of ``name=text``, or of ``name:=json``, whose name ends with a colon here."""
    if not name.endswith(":"):
        return {_utf8(name, f"{option} {name}"): _utf8(value, f"{option} {name}")}
    place = f"{option} {name[:-1]}"
    return {_utf8(name[:-1], place): _parse(_utf8(value, place), place, remedy="; text is given by name=text")}


def _read(file: str, argument: str) -> str:
    if file == "-" and sys.stdin is None:  # It was closed before the start.
        raise Misused(f"{argument} cannot be read: it is closed")
    try:
        return sys.stdin.buffer.read().decode() if file == "-" else Path(file).read_bytes().decode()
    except OSError as reason:
        raise Misused(f"{argument} cannot be read: {reason.strerror or reason}") from reason
    except UnicodeDecodeError as reason:
        raise Misused(f"{argument} is not UTF-8 at byte {reason.start}") from reason


def _parse(text: str, argument: str, *, remedy: str = "") -> Any:
    """The value of a JSON text, which the API can take. Raises Misused, with the remedy if the text is no JSON."""
    if not text.strip():
        raise Misused(f"{argument}: this is empty, and JSON is needed{remedy}")
    try:
        value = json.loads(text, parse_constant=_refuse, parse_float=_finite)
        json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as reason:
        place = f"line {reason.lineno}, column {reason.colno}"
        raise Misused(f"{argument}: this is no JSON: {reason.msg} ({place}){remedy}") from reason
    except UnicodeEncodeError as reason:
        found = json.dumps(reason.object[reason.start])
        raise Misused(f"{argument}: the text {found} is half a character, and cannot be sent as UTF-8") from reason
    except (ValueError, RecursionError) as reason:
        raise Misused(f"{argument}: this is no JSON: {reason}") from reason
    return value


def _refuse(number: str) -> NoReturn:
    raise ValueError(f"{number} is no JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text} is too large")
    return number


def _utf8(text: str, argument: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as reason:
        raise Misused(f"{argument}: the value is not UTF-8") from reason
    return text


def _kind(value: Any) -> str:
    kinds = {list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return kinds.get(type(value), "a number")
