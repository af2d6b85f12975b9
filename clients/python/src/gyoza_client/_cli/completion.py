"""Installs completion for the shell."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from gyoza_client._cli.failures import COMPLETED
from gyoza_client._cli.inputs import Misused
from gyoza_client._cli.options import PassedSession


def install(
    *,
    shell: Annotated[
        Literal["bash", "zsh", "fish"] | None, Parameter(help="For this shell; without it, for the one that runs.")
    ] = None,
    output: Annotated[Path | None, Parameter(help="Write the script there, and leave the shell's settings.")] = None,
    session: PassedSession,
) -> int:
    from cyclopts.completion.detect import ShellDetectionError  # noqa: PLC0415 - it is slow to import

    from gyoza_client._cli.app import app  # noqa: PLC0415 - its table of commands names this module

    try:
        path = app.install_completion(shell=shell, output=output, add_to_startup=output is None)
    except ShellDetectionError as reason:
        raise Misused("--shell: the shell that runs is not known; write bash, zsh or fish") from reason
    session.screen.line(str(path))
    session.screen.hint("Open a new shell to use it")
    return COMPLETED
