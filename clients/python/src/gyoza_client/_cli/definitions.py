"""The commands on definitions. Their help is in the table of `app.py`."""

import sys
from typing import Annotated

from cyclopts import Parameter

from gyoza_client._calling import json_of, read
from gyoza_client._cli.failures import COMPLETED
from gyoza_client._cli.following import create_and_follow
from gyoza_client._cli.formats import printable
from gyoza_client._cli.inputs import read_inputs, read_object
from gyoza_client._cli.options import (
    NO_COMMON_OPTIONS,
    CommonOptions,
    IdempotencyKey,
    Inputs,
    PassedSession,
    Timeout,
    Watch,
)
from gyoza_client._cli.tables import print_definition, print_definitions
from gyoza_client._models import Definition
from gyoza_client._operations import definition_path

Name = Annotated[str, Parameter(help="The name of the definition.")]
Version = Annotated[str | None, Parameter(help="This version; without it, the one that was put last.")]


def put(
    name: Name,
    file: Annotated[
        str,
        Parameter(help="A file with the definition as a JSON object; - is standard input.", allow_leading_hyphen=True),
    ] = "-",
    /,
    *,
    if_match: Annotated[
        str | None, Parameter(help="Only if the version has this etag (gyoza def get shows it); '*': if it exists.")
    ] = None,
    create: Annotated[bool, Parameter(help="Only if the version does not exist.")] = False,
    session: PassedSession,
) -> int:
    if file == "-" and sys.stdin.isatty():
        session.screen.hint("Reading the definition from standard input; Ctrl-D ends it")
    body = read_object(file, file if file != "-" else "standard input")
    headers = {"If-Match": if_match} if if_match is not None else {}
    if create:
        headers["If-None-Match"] = "*"
    answer = session.client.request("PUT", definition_path(name), body=body, headers=headers)
    definition = read(Definition, json_of(answer), etag=answer.headers.get("etag"))
    if session.screen.json:
        session.screen.document(definition.raw)
    else:
        session.screen.line(printable(f"{definition.name}@{definition.version}  revision {definition.revision}"))
    return COMPLETED


def get(name: Name, /, *, version: Version = None, session: PassedSession) -> int:
    definition = session.client.get_definition(name, version=version)
    if session.screen.json:
        session.screen.document(definition.raw)
    else:
        print_definition(session.screen, definition)
    return COMPLETED


def ls(
    name: Annotated[str | None, Parameter(help="List the versions of this definition.")] = None,
    /,
    *,
    session: PassedSession,
) -> int:
    client, screen = session.client, session.screen
    rows = client.list_definitions(limit=100) if name is None else client.list_definition_versions(name, limit=100)
    if screen.json:
        for row in rows:
            screen.row(row.raw)
    else:
        print_definitions(screen, rows)
    return COMPLETED


def run(
    name: Name,
    /,
    *,
    version: Version = None,
    inputs: Inputs = (),
    watch: Watch = False,
    timeout: Timeout = None,
    common: CommonOptions = NO_COMMON_OPTIONS,
    idempotency_key: IdempotencyKey = None,
    session: PassedSession,
) -> int:
    given, fields = read_inputs(inputs), common.fields()
    return create_and_follow(
        session,
        lambda key: session.client.create_run_from_definition(
            name, given, version=version, **fields, idempotency_key=key
        ),
        idempotency_key,
        watch=watch,
        timeout_s=timeout,
    )


def rm(name: Name, /, *, session: PassedSession) -> int:
    session.client.delete_definition(name)
    return COMPLETED
