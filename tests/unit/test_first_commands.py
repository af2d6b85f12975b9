"""Tests the commands that `make run` prints. The walks of the end-to-end tests paste them."""

import pytest

from local.first_commands import first_commands


@pytest.mark.parametrize(
    ("port", "environ", "begins_with"),
    [
        (4566, {}, ".local/bin/gyoza ls"),
        (4600, {}, "PORT=4600 .local/bin/gyoza ls"),
        (4566, {"PORT": "4600"}, "PORT=4566 .local/bin/gyoza ls"),
        (4566, {"GYOZA_URL": "https://api.example"}, "env -u GYOZA_URL .local/bin/gyoza ls"),
        (
            4600,
            {"GYOZA_API_KEY": "key", "GYOZA_PROFILE": "lab"},
            "env -u GYOZA_API_KEY -u GYOZA_PROFILE PORT=4600 .local/bin/gyoza ls",
        ),
    ],
)
def test_a_command_reaches_this_stack_from_any_shell(port: int, environ: dict[str, str], begins_with: str) -> None:
    assert first_commands(port, "a-run", environ)[1] == begins_with
    assert first_commands(port, None, environ)[1] == begins_with
