"""The commands that `make run` gives people to try first."""

from collections.abc import Mapping

from .demo import IMAGE, QUEUE

USUAL_PORT = 4566

_COMMAND_LINE = ".local/bin/gyoza"
_ADDRESS_VARIABLES = ("GYOZA_URL", "GYOZA_SERVER_URL", "GYOZA_API_KEY", "GYOZA_PROFILE")
"""The command line goes by them first. They name another API than the local stack."""


def first_commands(port: int, retried: str | None, environ: Mapping[str, str]) -> list[str]:
    """Three commands for a shell in the checkout. ``retried`` is a run of the demo, or None if none was played.

    They reach the stack on ``port`` from a shell with these variables.
    """
    elsewhere = " ".join(f"-u {name}" for name in _ADDRESS_VARIABLES if environ.get(name))
    gyoza = " ".join(
        [
            *([f"env {elsewhere}"] if elsewhere else []),
            *([f"PORT={port}"] if port != USUAL_PORT or environ.get("PORT") else []),
            _COMMAND_LINE,
        ]
    )
    if retried is None:
        return [f"{gyoza} run busybox:1 -i n:=1", f"{gyoza} ls", f"{gyoza} show $({gyoza} ls -q -n 1)"]
    return [
        f"{gyoza} run {IMAGE} --queue {QUEUE} -i @examples/rhymes.json --watch",
        f"{gyoza} ls",
        f"{gyoza} show {retried}",
    ]
