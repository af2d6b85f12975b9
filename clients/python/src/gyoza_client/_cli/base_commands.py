"""The commands of the base package, as the app lists them in its help. `main.py` runs them without the app."""

from typing import Annotated

from cyclopts import Parameter

from gyoza_client._cli.main import main
from gyoza_client._cli.options import PassedSession

Words = Annotated[str, Parameter(allow_leading_hyphen=True)]


def worker(*words: Words, session: PassedSession) -> int:
    return main([*session.options, "worker", *words])


def execute(*words: Words, session: PassedSession) -> int:
    return main([*session.options, "exec", *words])
