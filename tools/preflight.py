"""Finds the mistakes that would make a target fail after minutes, and names the remedy of each.

    python3 -m tools.preflight run --port 4600
    python3 -m tools.preflight reload --port 4600
    python3 -m tools.preflight redeliver --config-env default --port '' --run <id> --from-seq <n>
    python3 -m tools.preflight replay --config-env default --port ''
    python3 -m tools.preflight deploy --config-env default

An empty value counts as missing. It needs only the standard library, because it runs before anything is installed.
Exits with 1 and a sentence for the first mistake.
"""

import argparse
import configparser
import os
import sys
import tomllib
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

from local import emulator, endpoint

LOCAL = "local"
"""The environment of the stack that `make run` starts."""

_INSTANCE_METADATA = "http://169.254.169.254/latest/api/token"
"""AWS's address on every EC2 instance: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/configuring-IMDS-existing-instances.html"""
_METADATA_LIMIT_S = 1.0

_CREDENTIAL_VARIABLES = (
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)
_CREDENTIAL_OPTIONS = (
    "aws_access_key_id",
    "credential_process",
    "credential_source",
    "login_session",
    "role_arn",
    "sso_session",
    "sso_start_url",
)


class Mistake(Exception):
    """The command has a mistake. The text names it and the remedy."""


def check_environment(name: str, samconfig: Path = Path("samconfig.toml")) -> None:
    """Raises Mistake if samconfig.toml has no section of that name."""
    known = [section for section, value in tomllib.loads(samconfig.read_text()).items() if isinstance(value, dict)]
    if name not in known:
        raise Mistake(f"ENV={name} is no section of samconfig.toml. It has {', '.join(known)}.")


def check_deployable(name: str) -> None:
    """Raises Mistake for the environment of the local stack, whose limits and shards no account should get."""
    if name == LOCAL:
        raise Mistake("ENV=local is the stack of `make run`, which deploys by itself. To AWS: make deploy ENV=dev")


def check_region(environ: Mapping[str, str]) -> None:
    """Raises Mistake if the AWS tools would find no region."""
    if environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION"):
        return
    if not any(section.get("region") for section in _profile(environ)):
        raise Mistake("No AWS region is set. Choose one: export AWS_REGION=eu-central-1")


def check_credentials(environ: Mapping[str, str]) -> None:
    """Raises Mistake if the AWS tools would find no credentials. Does not check that they are valid."""
    if any(environ.get(name) for name in _CREDENTIAL_VARIABLES):
        return
    if any(option in section for section in _profile(environ) for option in _CREDENTIAL_OPTIONS):
        return
    if environ.get("AWS_EC2_METADATA_DISABLED", "").lower() != "true" and _is_on_ec2():
        return
    profile = environ.get("AWS_PROFILE")
    raise Mistake(
        (f"The AWS profile {profile} has no credentials. " if profile else "No AWS credentials are set. ")
        + "Log in (aws sso login, aws configure), or set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
    )


def check_port(text: str) -> None:
    """Raises Mistake if the text is neither empty nor a port."""
    if text and not (text.isascii() and text.isdigit() and 0 < int(text) < 65536):
        raise Mistake(f"PORT={text} is no port. Choose one from 1024 to 65535: PORT=4600")


def check_free(port: int) -> None:
    """Raises Mistake if something listens on the port."""
    try:
        emulator.check_port(port)
    except emulator.PortTaken as taken:
        raise Mistake(str(taken)) from taken


def check_local_stack(port: str) -> None:
    """Raises Mistake if the local stack does not answer."""
    try:
        endpoint.find(int(port) if port else None)
    except endpoint.NoStack as reason:
        raise Mistake(str(reason)) from reason


def check_redelivery(run_id: str, from_seq: str) -> None:
    """Raises Mistake if the run is missing, or if ``from_seq`` is not a whole number from -1 on."""
    usage = "make redeliver RUN=<id> FROM_SEQ=<n>, where -1 begins with the creation"
    if not run_id or not from_seq:
        raise Mistake(f"A run and a number to begin with are needed: {usage}")
    try:
        fits = int(from_seq) >= -1
    except ValueError:
        fits = False
    if not fits:
        raise Mistake(f"FROM_SEQ={from_seq} is no number from -1 on: {usage}")


def _profile(environ: Mapping[str, str]) -> Iterator[Mapping[str, str]]:
    """The sections of AWS's two files for the current profile."""
    name = environ.get("AWS_PROFILE") or "default"
    home = Path(environ.get("HOME", "/"))
    for variable, file, section in [
        ("AWS_CONFIG_FILE", home / ".aws/config", name if name == "default" else f"profile {name}"),
        ("AWS_SHARED_CREDENTIALS_FILE", home / ".aws/credentials", name),
    ]:
        parser = configparser.RawConfigParser(strict=False)
        try:
            parser.read(environ.get(variable) or file)
        except configparser.Error:
            continue
        if parser.has_section(section):
            yield parser[section]


def _is_on_ec2() -> bool:
    request = urllib.request.Request(
        _INSTANCE_METADATA, method="PUT", headers={"X-aws-ec2-metadata-token-ttl-seconds": "60"}
    )
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=_METADATA_LIMIT_S):
            return True
    except OSError:
        return False


def check(options: argparse.Namespace, environ: Mapping[str, str]) -> None:
    """Raises Mistake for the first mistake in a target's options."""
    check_port(options.port)
    if options.target == "run":
        check_free(int(options.port or 4566))
    if options.target == "redeliver":
        check_redelivery(options.run, options.from_seq)
    if options.config_env:
        check_environment(options.config_env)
    if options.target == "deploy":
        check_deployable(options.config_env)
    if options.target == "reload" or options.config_env == LOCAL:
        check_local_stack(options.port)
    elif options.config_env:
        check_region(environ)
        check_credentials(environ)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", choices=["run", "reload", "redeliver", "replay", "deploy"])
    parser.add_argument("--port", default="")
    parser.add_argument("--config-env", default="")
    parser.add_argument("--run", default="")
    parser.add_argument("--from-seq", default="")
    options = parser.parse_args()
    try:
        check(options, os.environ)
    except Mistake as mistake:
        print(mistake, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
