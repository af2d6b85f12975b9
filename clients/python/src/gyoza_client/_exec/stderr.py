"""Lines of `gyoza exec` itself, on the error output that it shares with the command."""

import os
import re
import select
from contextlib import suppress
from typing import Final

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def say(text: str) -> None:
    """Writes a line to stderr, with its control characters as escapes, since a server may have sent them.

    It is left out where the reader of stderr is stuck or gone: nothing waits for it.
    """
    writable = select.poll()
    writable.register(2, select.POLLOUT)
    with suppress(OSError):
        if writable.poll(0):
            line = _CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)
            os.write(2, f"gyoza exec: {line}\n".encode(errors="replace"))
