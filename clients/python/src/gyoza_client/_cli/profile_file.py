"""Writes the file of profiles: whole or not at all, for its owner only, and without a change to other profiles."""

import fcntl
import json
import os
import re
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from gyoza_client._cli.inputs import Misused
from gyoza_client._errors import ConfigurationError

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SECTION: Final = re.compile(r"^[ \t]*\[[^\n]*$", re.MULTILINE)


def check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise Misused(f"NAME {name!r}: it is 1 to 64 letters, digits, - and _")


def read_profiles(path: Path) -> dict[str, Any]:
    """The profiles by their names; empty if there is no file. Raises ConfigurationError."""
    return _parse(_read(path), path)


def write_profile(path: Path, name: str, url: str, api_key: str, *, replace: bool) -> None:
    """Add a profile to the file. Raises Misused if there is one with this name and ``replace`` is false."""
    path.parent.parent.mkdir(parents=True, exist_ok=True)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    with _locked(path.parent):
        before = _read(path)
        profiles = _parse(before, path)
        if name in profiles and not replace:
            raise Misused(f"NAME {name}: there is such a profile. --replace writes it anew")
        section = f"[{name}]\nurl = {json.dumps(url)}\napi_key = {json.dumps(api_key)}\n"
        rest = _without(before, name).rstrip()
        after = f"{rest}\n\n{section}" if rest else section
        wanted = profiles | {name: {"url": url, "api_key": api_key}}
        if _parse(after, path) != wanted:
            raise ConfigurationError(f"{path} is written in a way that cannot be changed safely. Edit [{name}] by hand")
        _replace(path.resolve(), after)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as reason:
        raise ConfigurationError(f"{path} cannot be read: {reason}") from reason


def _parse(text: str, path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as reason:
        raise ConfigurationError(f"{path} cannot be read: {reason}") from reason


def _without(text: str, name: str) -> str:
    """The text without the section, which ends where the next begins."""
    starts = [found.start() for found in _SECTION.finditer(text)] + [len(text)]
    heading = re.compile(rf"[ \t]*\[[ \t]*{re.escape(name)}[ \t]*\]")
    kept = text[: starts[0]]
    for start, end in pairwise(starts):
        if not heading.match(text, start):
            kept += text[start:end]
    return kept


def _replace(path: Path, text: str) -> None:
    """Put the text in the place of the file, in one step. The file is of mode 0600 from its first byte on."""
    draft = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        with suppress(FileNotFoundError):
            draft.unlink()
        raise


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Exclude other processes that write the file meanwhile."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
