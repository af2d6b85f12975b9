"""Reads inputs and documents from arguments, files and standard input. Each error names the argument."""

import json
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
        if not name.endswith(":"):
            inputs[name] = _utf8(value, f"-i {name}")
        elif value.startswith("@"):
            inputs[name[:-1]] = _parse(_read(value[1:], f"-i {name[:-1]}"), f"-i {name[:-1]}: {value[1:]}")
        else:
            inputs[name[:-1]] = _parse(_utf8(value, f"-i {name[:-1]}"), f"-i {name[:-1]}")
    return inputs if given else None


def read_object(file: str, argument: str) -> dict[str, Any]:
    """The JSON object in a file, or on standard input for ``-``. Raises Misused."""
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
        if name.endswith(":"):
            pairs[name[:-1]] = _parse(value, f"{option} {name[:-1]}")
        else:
            pairs[name] = _utf8(value, f"{option} {name}")
    return pairs


def _read(file: str, argument: str) -> str:
    try:
        return sys.stdin.buffer.read().decode() if file == "-" else Path(file).read_bytes().decode()
    except OSError as reason:
        raise Misused(f"{argument}: {file} cannot be read: {reason.strerror or reason}") from reason
    except UnicodeDecodeError as reason:
        raise Misused(f"{argument}: {file} is not UTF-8 at byte {reason.start}") from reason


def _parse(text: str, argument: str) -> Any:
    def refuse(number: str) -> NoReturn:
        raise ValueError(f"{number} is no JSON")

    try:
        return json.loads(text, parse_constant=refuse)
    except json.JSONDecodeError as reason:
        place = f"line {reason.lineno}, column {reason.colno}"
        raise Misused(f"{argument}: this is no JSON: {reason.msg} ({place}); text is given by name=text") from reason
    except (ValueError, RecursionError) as reason:
        raise Misused(f"{argument}: this is no JSON: {reason}") from reason


def _utf8(text: str, argument: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as reason:
        raise Misused(f"{argument}: the value is not UTF-8") from reason
    return text


def _kind(value: Any) -> str:
    kinds = {list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return kinds.get(type(value), "a number")
