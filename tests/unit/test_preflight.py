"""Tests the mistakes that are found before anything is installed or built."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from local.emulator import free_port
from local.endpoint import Endpoint, published
from local.stack import ROOT

REGION = {"AWS_REGION": "eu-central-1"}
KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}


def preflight(*arguments: str, home: Path, **environ: str) -> tuple[int, str, str]:
    """Run the tool with only the given AWS settings. Returns its exit code, output and errors."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    ended = subprocess.run(
        [sys.executable, "-m", "tools.preflight", *arguments],
        cwd=ROOT,
        env=inherited | {"HOME": str(home), "AWS_EC2_METADATA_DISABLED": "true"} | environ,
        capture_output=True,
        text=True,
        check=False,
    )
    return ended.returncode, ended.stdout, ended.stderr


@pytest.mark.parametrize(
    ("arguments", "environ", "sentence"),
    [
        (["run", "--port", "80000"], {}, "PORT=80000 is no port. Choose one from 1024 to 65535: PORT=4600"),
        (["run", "--port", "web"], {}, "PORT=web is no port. Choose one from 1024 to 65535: PORT=4600"),
        (["reload", "--port", "0"], {}, "PORT=0 is no port. Choose one from 1024 to 65535: PORT=4600"),
        (
            ["redeliver", "--config-env", "default"],
            REGION | KEYS,
            (
                "A run and a number to begin with are needed:"
                " make redeliver RUN=<id> FROM_SEQ=<n>, where -1 begins with the creation"
            ),
        ),
        (
            ["redeliver", "--config-env", "default", "--run", "x", "--from-seq", "all"],
            REGION | KEYS,
            (
                "FROM_SEQ=all is no number from -1 on:"
                " make redeliver RUN=<id> FROM_SEQ=<n>, where -1 begins with the creation"
            ),
        ),
        (
            ["replay", "--config-env", "default"],
            KEYS,
            "No AWS region is set. Choose one: export AWS_REGION=eu-central-1",
        ),
        (
            ["deploy", "--config-env", "default"],
            KEYS,
            "No AWS region is set. Choose one: export AWS_REGION=eu-central-1",
        ),
        (
            ["deploy", "--config-env", "default"],
            REGION,
            (
                "No AWS credentials are set. Log in (aws sso login, aws configure), or set AWS_PROFILE,"
                " or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
            ),
        ),
        (
            ["deploy", "--config-env", "prod"],
            REGION | KEYS,
            "ENV=prod is no section of samconfig.toml. It has default, dev, local.",
        ),
        (
            ["deploy", "--config-env", "local"],
            REGION | KEYS,
            "ENV=local is the stack of `make run`, which deploys by itself. To AWS: make deploy ENV=dev",
        ),
    ],
)
def test_a_mistake_is_one_sentence(
    arguments: list[str], environ: dict[str, str], sentence: str, tmp_path: Path
) -> None:
    assert preflight(*arguments, home=tmp_path, **environ) == (1, "", sentence + "\n")


@pytest.mark.parametrize(
    ("config", "credentials", "environ"),
    [
        ("[default]\nregion = eu-west-1\n", "[default]\naws_access_key_id = test\n", {}),
        ("[default]\nregion = eu-west-1\nsso_session = work\n", "", {}),
        ("[profile work]\nregion = eu-west-1\ncredential_process = keys\n", "", {"AWS_PROFILE": "work"}),
        ("", "", REGION | KEYS),
        ("", "", {"AWS_DEFAULT_REGION": "eu-west-1", "AWS_WEB_IDENTITY_TOKEN_FILE": "/token"}),
    ],
)
def test_region_and_credentials_are_found_where_the_aws_tools_find_them(
    config: str, credentials: str, environ: dict[str, str], tmp_path: Path
) -> None:
    folder = tmp_path / ".aws"
    folder.mkdir()
    (folder / "config").write_text(config)
    (folder / "credentials").write_text(credentials)
    assert preflight("deploy", "--config-env", "dev", home=tmp_path, **environ) == (0, "", "")


def test_another_profiles_credentials_are_none(tmp_path: Path) -> None:
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws/credentials").write_text("[default]\naws_access_key_id = test\n")
    exit_code, _, why = preflight(
        "deploy", "--config-env", "dev", home=tmp_path, AWS_PROFILE="work", AWS_REGION="eu-west-1"
    )
    assert exit_code == 1
    assert why.startswith("The AWS profile work has no credentials. Log in")


def test_a_port_that_is_taken_is_said_before_anything_is_installed(tmp_path: Path) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        said = f"Port {port} is taken. Choose another: make run PORT={port + 1}\n"
        assert preflight("run", "--port", str(port), home=tmp_path) == (1, "", said)


def test_a_local_stack_that_is_gone_is_said_by_its_port(tmp_path: Path) -> None:
    port = free_port()
    folder = ROOT / ".local/stacks" / str(port)
    folder.mkdir(parents=True)
    endpoint = Endpoint("http://x", "key", f"http://127.0.0.1:{port}", "us-east-1", "gyoza", "table")
    try:
        with published(endpoint, folder):
            killed = f"Nothing answers on port {port}: its stack was killed. `make run PORT={port}` starts it again.\n"
            assert preflight("replay", "--config-env", "local", "--port", str(port), home=tmp_path) == (1, "", killed)
        absent = f"No local stack runs on port {port}. `make run PORT={port}` starts it.\n"
        assert preflight("reload", "--port", str(port), home=tmp_path) == (1, "", absent)
    finally:
        folder.rmdir()
