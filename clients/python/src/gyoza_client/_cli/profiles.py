"""The commands on profiles. Their help is in the table of `app.py`."""

import os
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from gyoza_client._cli.failures import COMPLETED
from gyoza_client._cli.formats import printable
from gyoza_client._cli.inputs import Misused
from gyoza_client._cli.options import PassedSession
from gyoza_client._cli.profile_file import check_name, read_profiles, write_profile
from gyoza_client._configuration import check_address, profiles_path


def add(
    name: Annotated[
        str, Parameter(help="The name of the profile; default is used where nothing else is said.")
    ] = "default",
    /,
    *,
    url: Annotated[str | None, Parameter(help="The address of the API.")] = None,
    key_file: Annotated[
        str | None, Parameter(help="Read the key from this file; - is standard input.", allow_leading_hyphen=True)
    ] = None,
    key_env: Annotated[str | None, Parameter(help="Read the key from this environment variable.")] = None,
    stack: Annotated[
        str | None, Parameter(help="Read address and key of this CloudFormation stack from AWS (extra aws).")
    ] = None,
    region: Annotated[str | None, Parameter(help="The stack's region, if AWS's own settings do not say.")] = None,
    aws_profile: Annotated[str | None, Parameter(help="The profile of AWS's own settings.")] = None,
    replace: Annotated[bool, Parameter(help="Write a profile that exists anew.")] = False,
    session: PassedSession,
) -> int:
    check_name(name)
    screen = session.screen
    if stack is not None:
        if url is not None or key_file is not None or key_env is not None:
            raise Misused("--stack: it gives address and key, so --url, --key-file and --key-env do not go with it")
        from gyoza_client._cli.stack import address_of_stack  # noqa: PLC0415 - boto3 is loaded for nothing else

        url, key = address_of_stack(stack, region, aws_profile)
    else:
        if region is not None or aws_profile is not None:
            raise Misused("--region and --aws-profile: they go with --stack, which is missing")
        url = url if url is not None else _ask("URL of the API: ", "--url")
        key = _key(key_file, key_env)
    address = check_address(f"the profile {name}", url, key)
    path = profiles_path(os.environ)
    write_profile(path, name, address.url, address.api_key, replace=replace)
    if screen.json:
        screen.row({"name": name, "url": address.url})
    else:
        screen.line(f"{name}  {address.url}")
        screen.hint(f"Written to {path}. Try it: gyoza --profile {name} ls")
    return COMPLETED


def ls(*, session: PassedSession) -> int:
    screen = session.screen
    rows = [
        (printable(name), printable(str(values.get("url", "-"))))
        for name, values in read_profiles(profiles_path(os.environ)).items()
        if isinstance(values, dict)
    ]
    if screen.json:
        for name, url in rows:
            screen.row({"name": name, "url": url})
    elif rows:
        screen.columns(("NAME", "URL"), rows)
    return COMPLETED


def _key(file: str | None, variable: str | None) -> str:
    if file is not None and variable is not None:
        raise Misused("--key-file and --key-env: give one of them")
    if variable is not None:
        if not os.environ.get(variable):
            raise Misused(f"--key-env {variable}: the environment has no such variable")
        return os.environ[variable]
    if file is None:
        return _ask("Key of the API (it is not shown): ", "--key-file or --key-env", hidden=True)
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text()
    except (OSError, UnicodeDecodeError) as reason:
        raise Misused(
            f"--key-file {file}: it cannot be read: {getattr(reason, 'strerror', None) or reason}"
        ) from reason
    return text.strip()


def _ask(question: str, option: str, *, hidden: bool = False) -> str:
    """The answer of whoever sits at the terminal. Raises Misused if nobody does."""
    if not sys.stdin.isatty():
        raise Misused(f"{option}: it is missing, and standard input is no terminal to ask at")
    if hidden:
        from getpass import getpass  # noqa: PLC0415 - only where somebody is asked

        return getpass(question, stream=sys.stderr).strip()
    print(question, end="", file=sys.stderr, flush=True)
    answer = sys.stdin.readline().strip()
    if not answer:
        raise Misused(f"{option}: no answer was given")
    return answer
