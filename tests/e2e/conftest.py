"""One stack for all end-to-end tests: the real template, every function held to its policy."""

from collections.abc import Iterator

import pytest

from local.emulator import free_port
from local.stack import Endpoint, running_stack
from tests.e2e.api import Api


@pytest.fixture(scope="session")
def endpoint() -> Iterator[Endpoint]:
    with running_stack(free_port(), enforce_iam=True) as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def api(endpoint: Endpoint) -> Api:
    return Api(endpoint)
