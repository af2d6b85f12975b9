"""Exit codes, and the code and the line of each error."""

import os
from collections.abc import Mapping
from typing import Final

from gyoza_client._cli.formats import printable
from gyoza_client._cli.inputs import Misused
from gyoza_client._errors import ApiError, GyozaError, ServerError, WaitTimeout
from gyoza_client._models import Misfit, State

COMPLETED: Final = 0
ERROR: Final = 1
USAGE: Final = 2
FAILED: Final = 3
NOT_AUTHORISED: Final = 4
CANCELLED: Final = 5
TIMED_OUT: Final = 124
INTERRUPTED: Final = 130


_CODES: Final[Mapping[str, int]] = {State.COMPLETED: COMPLETED, State.FAILED: FAILED, State.CANCELLED: CANCELLED}


def code_of_state(state: State | str) -> int:
    """The exit code of a command that waited for a run with this end."""
    return _CODES.get(state, ERROR)


def code_of_error(error: BaseException) -> int:
    if isinstance(error, Misused):
        return USAGE
    if isinstance(error, ApiError) and error.status in (401, 403):
        return NOT_AUTHORISED
    return TIMED_OUT if isinstance(error, WaitTimeout) else ERROR


def line_of_error(error: BaseException) -> str:
    """The error on one line, without any key of the API."""
    return without_keys(printable(_text(error)))


def without_keys(text: str) -> str:
    """The text without the key in the environment, wherever it has come from."""
    key = os.environ.get("GYOZA_API_KEY", "")
    return text.replace(key, "***") if len(key) >= 8 else text


def _text(error: BaseException) -> str:
    if isinstance(error, ApiError):
        return _text_of_refusal(error)
    if isinstance(error, GyozaError | Misused):
        return str(error)
    if isinstance(error, UnicodeEncodeError):
        return "a text is not UTF-8 and cannot be sent"
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror or str(error)
    return str(error) or type(error).__name__


def _text_of_refusal(error: ApiError) -> str:
    if error.misfits:
        return "; ".join(map(_text_of_misfit, error.misfits))
    if error.status in (401, 403):
        return f"not authorised: {error.detail}. Is the key the one of this API?"
    if isinstance(error, ServerError) and error.request_id:
        return f"{error.detail} ({error.status} {error.code}, request {error.request_id})"
    return f"{error.detail} ({error.status}{f' {error.code}' if error.code else ''})"


def _text_of_misfit(misfit: Misfit) -> str:
    """The fault with its place, such as ``inputs.width: ...``, which is how the options and documents name it."""
    place = [str(part) for part in misfit.loc if part not in ("body", "query", "path")]
    return f"{'.'.join(place) or 'body'}: {misfit.msg}"
