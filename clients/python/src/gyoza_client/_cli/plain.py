"""The commands that `main.py` sends on by itself. Their places in the help, and a way to them past other options."""

from typing import Annotated

from cyclopts import Parameter

from gyoza_client._cli.main import main

Words = Annotated[str, Parameter(allow_leading_hyphen=True)]


def worker(*words: Words) -> int:
    return main(["worker", *words])


def execute(*words: Words) -> int:
    return main(["exec", *words])
