"""Tests where the address and the key come from."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from gyoza_client import ConfigurationError
from gyoza_client._configuration import Address, find_address


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def environment(home: Path, **variables: str) -> dict[str, str]:
    return {"XDG_CONFIG_HOME": str(home), **variables}


def write_profiles(home: Path, text: str, mode: int = 0o600) -> None:
    file = home / "gyoza/profiles.toml"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    file.chmod(mode)


def write_stack(folder: Path, port: int, url: str) -> None:
    file = folder / f".local/stacks/{port}/endpoint.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"url": url, "api_key": f"key-{port}", "region": "us-east-1"}))


@pytest.fixture
def stack() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


@pytest.fixture
def local(stack: socket.socket) -> str:
    """The URL of a local stack that runs."""
    return f"http://127.0.0.1:{stack.getsockname()[1]}/_aws/execute-api/abc/live"


DEFAULT = '[default]\nurl = "https://default/live"\napi_key = "d"\n[lab]\nurl = "https://lab/live/"\napi_key = "l"\n'


def test_sources_are_asked_in_their_order(home: Path, tmp_path: Path, local: str) -> None:
    write_profiles(home, DEFAULT)
    write_stack(tmp_path, 4566, local)
    everything = environment(home, GYOZA_URL="https://env/live", GYOZA_API_KEY="e", GYOZA_PROFILE="lab")
    without_url = {name: value for name, value in everything.items() if name not in ("GYOZA_URL", "GYOZA_API_KEY")}
    found = [
        find_address("https://arg/live", "a", environ=everything, folder=tmp_path),
        find_address(environ=everything, folder=tmp_path),
        find_address(environ=without_url, folder=tmp_path),
        find_address(profile="lab", environ=environment(home), folder=tmp_path),
        find_address(environ=environment(home), folder=tmp_path),
        find_address(environ=environment(home), folder=tmp_path / "elsewhere"),
    ]
    assert [(address.url, address.api_key) for address in found] == [
        ("https://arg/live", "a"),
        ("https://env/live", "e"),
        ("https://lab/live", "l"),
        ("https://lab/live", "l"),
        (local, "key-4566"),
        ("https://default/live", "d"),
    ]
    assert [address.is_loopback for address in found] == [False, False, False, False, True, False]


def test_the_other_name_of_the_url_is_taken(home: Path, tmp_path: Path) -> None:
    environ = environment(home, GYOZA_SERVER_URL="https://env/live", GYOZA_API_KEY="e", GYOZA_URL="")
    assert find_address(environ=environ, folder=tmp_path) == Address("https://env/live", "e", is_loopback=False)
    with pytest.raises(ConfigurationError, match="differ"):
        find_address(environ=environ | {"GYOZA_URL": "https://other/live"}, folder=tmp_path)


@pytest.mark.parametrize(
    ("variables", "text"),
    [
        ({"GYOZA_URL": "https://env/live"}, r"The environment .* give the URL without the key"),
        ({"GYOZA_API_KEY": "e"}, r"The environment .* give the key without the URL"),
        ({"GYOZA_PROFILE": "half"}, r"The profile \[half\] in .* give the URL without the key"),
        ({"GYOZA_PROFILE": "nobody"}, r"has no profile \[nobody\]"),
        ({"GYOZA_PROFILE": "empty"}, "neither url nor api_key"),
    ],
)
def test_a_source_that_is_given_by_half_is_an_error_that_names_it(
    home: Path, tmp_path: Path, local: str, variables: dict[str, str], text: str
) -> None:
    write_profiles(home, DEFAULT + '[half]\nurl = "https://half"\n[empty]\n')
    write_stack(tmp_path, 4566, local)
    with pytest.raises(ConfigurationError, match=text):
        find_address(environ=environment(home, **variables), folder=tmp_path)


def test_half_of_the_arguments_is_not_completed_from_the_environment(home: Path, tmp_path: Path) -> None:
    environ = environment(home, GYOZA_URL="https://env/live", GYOZA_API_KEY="e")
    with pytest.raises(ConfigurationError, match="The arguments give the URL without the key"):
        find_address("https://arg/live", environ=environ, folder=tmp_path)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_a_file_of_profiles_that_others_may_read_is_refused(home: Path, tmp_path: Path, mode: int) -> None:
    write_profiles(home, DEFAULT, mode)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        find_address(environ=environment(home), folder=tmp_path)


def test_of_several_local_stacks_the_port_chooses(home: Path, tmp_path: Path, local: str) -> None:
    write_stack(tmp_path, 4566, local)
    write_stack(tmp_path, 4600, local)
    assert find_address(environ=environment(home, PORT="4600"), folder=tmp_path).api_key == "key-4600"
    with pytest.raises(ConfigurationError, match="Choose one: PORT=4566 or PORT=4600"):
        find_address(environ=environment(home), folder=tmp_path)


def test_a_stack_that_was_killed_and_left_its_file_is_passed_over(home: Path, tmp_path: Path, local: str) -> None:
    write_profiles(home, DEFAULT)
    with socket.create_server(("127.0.0.1", 0)) as ended:
        write_stack(tmp_path, 4566, f"http://127.0.0.1:{ended.getsockname()[1]}/live")
    assert find_address(environ=environment(home), folder=tmp_path).url == "https://default/live"
    write_stack(tmp_path, 4600, local)
    assert find_address(environ=environment(home), folder=tmp_path).api_key == "key-4600"


def test_a_stack_that_is_too_busy_to_take_a_connection_runs(home: Path, tmp_path: Path) -> None:
    with ExitStack() as stack:
        busy = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):  # They fill its queue.
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(busy.getsockname())
        write_stack(tmp_path, 4566, f"http://127.0.0.1:{busy.getsockname()[1]}/live")
        begun = time.monotonic()
        assert find_address(environ=environment(home), folder=tmp_path).api_key == "key-4566"
        assert time.monotonic() - begun < 1


def test_a_local_stack_that_is_not_on_loopback_or_on_another_port_is_passed_over(home: Path, tmp_path: Path) -> None:
    write_stack(tmp_path, 4566, "http://10.0.0.1/live")
    for environ in (environment(home), environment(home, PORT="4600")):
        with pytest.raises(ConfigurationError, match="Set GYOZA_URL and GYOZA_API_KEY"):
            find_address(environ=environ, folder=tmp_path)


@pytest.mark.parametrize(
    "url", ["env/live", "ftp://env/live", "https://", "https://e:x/", "https://é/", "https://e/?a=1"]
)
def test_an_url_that_is_no_address_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigurationError, match="is no address"):
        find_address(url, "a", environ={}, folder=tmp_path)


@pytest.mark.parametrize("key", ["é", "a\n", " a", "a\x00b"])
def test_a_key_that_no_header_can_hold_is_refused(tmp_path: Path, key: str) -> None:
    with pytest.raises(ConfigurationError, match="printable ASCII"):
        find_address("https://e", key, environ={}, folder=tmp_path)


def test_the_text_of_an_address_does_not_show_the_key() -> None:
    assert "s3cret" not in repr(Address("https://e", "s3cret", is_loopback=False))
