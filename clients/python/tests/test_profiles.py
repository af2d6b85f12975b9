"""Tests the file of profiles and the commands on it."""

import json
import os
import stat
import tomllib
from concurrent.futures import ThreadPoolExecutor
from io import StringIO
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from clients.python.tests.command_line import KEY, Commands, finish, start
from clients.python.tests.examples import list_json
from clients.python.tests.scripted_server import Reply, ScriptedServer
from gyoza_client._cli.inputs import Misused
from gyoza_client._cli.profile_file import read_profiles, write_profile
from gyoza_client._configuration import find_address
from gyoza_client._errors import ConfigurationError

URL = "https://host/live"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config/gyoza/profiles.toml"


@pytest.fixture
def gyoza(server: ScriptedServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Commands:
    commands = Commands(server.url, capsys, monkeypatch)
    for name in ("GYOZA_URL", "GYOZA_API_KEY"):
        monkeypatch.delenv(name)
    return commands


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


class TestFile:
    def test_it_is_its_owners_alone_whatever_the_umask(self, file: Path) -> None:
        before = os.umask(0)
        try:
            write_profile(file, "lab", URL, "key", replace=False)
        finally:
            os.umask(before)
        assert (mode(file), mode(file.parent)) == (0o600, 0o700)
        address = find_address(profile="lab", environ={"XDG_CONFIG_HOME": str(file.parent.parent)})
        assert (address.url, address.api_key) == (URL, "key")

    def test_other_profiles_and_comments_stay_as_they_are(self, file: Path) -> None:
        file.parent.mkdir(parents=True)
        others = '# mine\n[default]\nurl = "http://a"  # a note\napi_key = "k[lab]"\n\n'
        file.write_text(f'{others}[lab]\nurl = "http://b"\napi_key = "b"\n\n[z]\nurl = "http://z"\napi_key = "z"\n')
        file.chmod(0o644)
        with pytest.raises(Misused, match="--replace"):
            write_profile(file, "lab", URL, "key", replace=False)
        write_profile(file, "lab", URL, 'a"\\key', replace=True)
        assert file.read_text().startswith(others)
        assert read_profiles(file)["lab"] == {"url": URL, "api_key": 'a"\\key'}
        assert (list(read_profiles(file)), mode(file)) == (["default", "z", "lab"], 0o600)

    @pytest.mark.parametrize(
        "text", ['lab = {url = "u"}\n', "[lab.more]\na = 1\n", 'x = """\n[lab]\n"""\n', "not toml"]
    )
    def test_a_file_that_cannot_be_changed_safely_stays_as_it_is(self, text: str, file: Path) -> None:
        file.parent.mkdir(parents=True)
        file.write_text(text)
        with pytest.raises(ConfigurationError):
            write_profile(file, "lab", URL, "key", replace=True)
        assert file.read_text() == text
        assert [each.name for each in file.parent.iterdir()] == [file.name]

    def test_a_link_to_the_file_stays_a_link(self, file: Path, tmp_path: Path) -> None:
        file.parent.mkdir(parents=True)
        kept = tmp_path / "kept.toml"
        kept.write_text("")
        file.symlink_to(kept)
        write_profile(file, "lab", URL, "key", replace=False)
        assert (file.is_symlink(), mode(kept), "lab" in kept.read_text()) == (True, 0o600, True)

    def test_writers_at_once_lose_nothing(self, file: Path) -> None:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda n: write_profile(file, f"p{n}", URL, "key", replace=False), range(16)))
        assert len(tomllib.loads(file.read_text())) == 16


class TestCommands:
    def test_a_key_comes_from_a_file_or_the_environment_and_is_never_shown(
        self, gyoza: Commands, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "key").write_text(f"{KEY}\n")
        assert gyoza("profile", "add", "a", "--url", URL, "--key-file", str(tmp_path / "key")).out == f"a  {URL}\n"
        monkeypatch.setenv("THE_KEY", KEY)
        assert gyoza("profile", "add", "b", "--url", f"{URL}/", "--key-env", "THE_KEY").code == 0
        assert read_profiles(file) == {each: {"url": URL, "api_key": KEY} for each in "ab"}
        assert gyoza("profile", "ls").out.splitlines() == ["NAME  URL", f"a     {URL}", f"b     {URL}"]
        assert [json.loads(row) for row in gyoza("--json", "profile", "ls").out.splitlines()] == [
            {"name": each, "url": URL} for each in "ab"
        ]

    def test_a_key_comes_from_standard_input(self, file: Path) -> None:
        words = ("profile", "add", "--url", URL, "--key-file", "-")
        process = start(*words, environ={"XDG_CONFIG_HOME": str(file.parent.parent)}, stdin=-1)
        out, err = process.communicate(f"{KEY}\n", timeout=30)
        assert (process.returncode, out, err) == (0, f"default  {URL}\n", "")
        assert read_profiles(file)["default"]["api_key"] == KEY

    def test_a_profile_is_used_by_its_name(self, gyoza: Commands, file: Path, server: ScriptedServer) -> None:
        write_profile(file, "lab", server.url, KEY, replace=False)
        server.replies(Reply(200, list_json()))
        assert gyoza("--profile", "lab", "ls").code == gyoza("ls", "--profile", "lab").code == 0
        assert [asked.headers["x-api-key"] for asked in server.asked] == [KEY, KEY]

    @pytest.mark.parametrize(
        ("words", "code", "text"),
        [
            ("a/b --url https://h --key-env K", 2, "NAME"),
            ("lab --key-env K", 2, "--url: it is missing"),
            ("lab --url https://h", 2, "--key-file or --key-env: it is missing"),
            ("lab --url https://h --key-env NONE", 2, "--key-env NONE"),
            ("lab --url https://h --key-file /no/such", 2, "--key-file /no/such"),
            ("lab --url https://h --key-env K --key-file x", 2, "give one of them"),
            ("lab --url h --key-env K", 1, "is no address of an API"),
            ("lab --url https://h --region r --key-env K", 2, "--stack"),
            ("lab --url https://h --stack s", 2, "--stack"),
        ],
    )
    def test_what_cannot_be_written_is_named(  # noqa: PLR0917
        self, words: str, code: int, text: str, gyoza: Commands, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("K", KEY)
        monkeypatch.setattr("sys.stdin", StringIO())
        result = gyoza("profile", "add", *words.split())
        assert (result.code, text in result.err, result.err.count("\n"), file.exists()) == (code, True, 1, False)


class TestStack:
    @pytest.fixture
    def aws(self, monkeypatch: pytest.MonkeyPatch) -> dict[str, Stubber]:
        """Stubs of both services, whose answers a test adds."""
        settings: dict[str, Any] = {
            "region_name": "eu-central-1",
            "aws_access_key_id": "x",
            "aws_secret_access_key": "x",
        }
        clients: dict[str, Any] = {name: boto3.client(name, **settings) for name in ("cloudformation", "apigateway")}
        stubs = {name: Stubber(client) for name, client in clients.items()}
        for stub in stubs.values():
            stub.activate()

        class Session:
            def __init__(self, **_settings: Any) -> None:
                pass

            def client(self, name: str) -> Any:
                return clients[name]

        monkeypatch.setattr(boto3, "Session", Session)
        return stubs

    def test_url_and_key_are_read_from_aws(self, gyoza: Commands, file: Path, aws: dict[str, Stubber]) -> None:
        outputs = [{"OutputKey": "ApiUrl", "OutputValue": URL}, {"OutputKey": "ApiKeyId", "OutputValue": "k1"}]
        aws["cloudformation"].add_response("describe_stacks", stacks(outputs), {"StackName": "gyoza"})
        aws["apigateway"].add_response(
            "get_api_key", {"id": "k1", "value": KEY}, {"apiKey": "k1", "includeValue": True}
        )
        assert gyoza("profile", "add", "live", "--stack", "gyoza").out == f"live  {URL}\n"
        assert read_profiles(file) == {"live": {"url": URL, "api_key": KEY}}

    def test_a_stack_that_is_none_of_gyoza_or_is_not_there_is_one_line(
        self, gyoza: Commands, file: Path, aws: dict[str, Stubber]
    ) -> None:
        aws["cloudformation"].add_response("describe_stacks", stacks([]))
        result = gyoza("profile", "add", "live", "--stack", "other")
        assert (result.code, "has no output 'ApiKeyId'" in result.err) == (1, True)
        aws["cloudformation"].add_client_error("describe_stacks", "ValidationError", "Stack with id x does not exist")
        result = gyoza("profile", "add", "live", "--stack", "x")
        assert (result.code, result.err) == (1, "gyoza: --stack x: AWS refused: Stack with id x does not exist\n")
        assert not file.exists()

    def test_without_the_extra_a_line_names_it(self, file: Path) -> None:
        program = (
            "import sys\nsys.modules['boto3'] = None\n"
            "from gyoza_client._cli.main import main\nsys.exit(main(sys.argv[1:]))"
        )
        words = ("profile", "add", "live", "--stack", "gyoza")
        result = finish(start(*words, program=("-c", program), environ={"XDG_CONFIG_HOME": str(file.parent.parent)}))
        assert (result.code, "[aws]" in result.err, result.err.count("\n")) == (1, True, 1)

    def test_missing_credentials_are_one_line(self, file: Path) -> None:
        environ = {
            "XDG_CONFIG_HOME": str(file.parent.parent),
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": "/nonexistent",
        }
        result = finish(start("profile", "add", "live", "--stack", "gyoza", environ=environ))
        assert (result.code, result.err) == (1, "gyoza: --stack gyoza: You must specify a region.\n")


def stacks(outputs: list[dict[str, str]]) -> dict[str, Any]:
    stack = {"StackName": "gyoza", "CreationTime": "2026-03-02", "StackStatus": "CREATE_COMPLETE", "Outputs": outputs}
    return {"Stacks": [stack]}
