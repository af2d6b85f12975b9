"""Lines of `gyoza exec` itself, on the error output that it shares with the command."""

import os
import select
from contextlib import suppress


def say(text: str) -> None:
    """Writes a line to stderr. It is left out where the reader of stderr is stuck or gone: nothing waits for it."""
    writable = select.poll()
    writable.register(2, select.POLLOUT)
    with suppress(OSError):
        if writable.poll(0):
            os.write(2, f"gyoza exec: {text}\n".encode(errors="replace"))
