"""The files by which the command gets its inputs and gives its outputs."""

import errno
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

INPUTS: Final = "inputs.json"
OUTPUTS: Final = "outputs.json"

MAX_FILE_BYTES: Final = 1024 * 1024
"""The most of an outputs file that is read: four times what the API takes as compact JSON, for indents and escapes."""


class BadOutputs(Exception):
    """The outputs file cannot be reported. The text says why, and goes after "the outputs file"."""


class Documents:
    """A folder of mode 0700 with the inputs, in which the command writes the outputs."""

    def __init__(self, inputs: Mapping[str, Any]) -> None:
        """Raises OSError, and ValueError for inputs that are no JSON."""
        self.folder: Final = Path(tempfile.mkdtemp(prefix="gyoza-"))
        try:
            self._opened = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            (self.folder / INPUTS).write_bytes(_json(inputs))
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise

    @property
    def inputs(self) -> Path:
        return self.folder / INPUTS

    @property
    def outputs(self) -> Path:
        return self.folder / OUTPUTS

    def read_outputs(self) -> dict[str, Any]:
        """The JSON object that the command wrote; an empty one if it wrote no file. Raises BadOutputs.

        The folder is the one that was made, whatever stands at its path. The file may be anything, and it is never
        waited for: the command may have made it a pipe.
        """
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        try:
            file = os.open(OUTPUTS, flags, dir_fd=self._opened)
        except FileNotFoundError:
            return {}
        except OSError as problem:
            raise _unreadable(problem) from problem
        try:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise BadOutputs("is no regular file")
            text = _read_up_to(file, MAX_FILE_BYTES + 1)
        except OSError as problem:
            raise _unreadable(problem) from problem
        finally:
            os.close(file)
        return parse_outputs(text)

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def parse_outputs(text: bytes) -> dict[str, Any]:
    """The JSON object in the text. Raises BadOutputs for whatever the API would not take as an object."""
    if len(text) > MAX_FILE_BYTES:
        raise BadOutputs(f"has more than {MAX_FILE_BYTES} bytes")
    if not text.strip():
        raise BadOutputs("is empty")
    try:
        value = json.loads(text.decode(), parse_constant=_no_constant, parse_int=_integer)
        if isinstance(value, dict):
            _json(value)
            return value
    except UnicodeDecodeError as problem:
        raise BadOutputs(f"is not UTF-8 (byte {problem.start})") from problem
    except RecursionError as problem:
        raise BadOutputs("is nested too deeply") from problem
    except UnicodeEncodeError as problem:
        raise BadOutputs("holds half of a surrogate pair") from problem
    except ValueError as problem:
        raise BadOutputs(f"is no JSON: {problem}") from problem
    raise BadOutputs(f"is no JSON object but {_NAMES[type(value)]}")


_NAMES: Final = {
    list: "an array",
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "a boolean",
    type(None): "null",
}


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _read_up_to(file: int, limit: int) -> bytes:
    text = b""
    while chunk := os.read(file, limit - len(text)):
        text += chunk
    return text


def _integer(digits: str) -> int:
    try:
        return int(digits)
    except ValueError as problem:
        raise ValueError(f"a number of {len(digits)} digits is too long") from problem


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is none of its numbers")


def _unreadable(problem: OSError) -> BadOutputs:
    if problem.errno == errno.ELOOP:
        return BadOutputs("is a symbolic link")
    return BadOutputs(f"cannot be read: {problem.strerror}")
