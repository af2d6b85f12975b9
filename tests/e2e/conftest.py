"""Provides one stack for all end-to-end tests: the real template, with each function held to its policy."""

from collections.abc import Iterator

import pytest

from local.emulator import free_port
from local.stack import Endpoint, Stack, running_stack
from local.steps import Steps
from tests.e2e.api import Api


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("stack")
    with running_stack(free_port(), folder, Steps(print), enforce_iam=True) as stack:
        yield stack


@pytest.fixture(scope="session")
def endpoint(stack: Stack) -> Endpoint:
    return stack.endpoint


@pytest.fixture(scope="session")
def api(endpoint: Endpoint) -> Api:
    return Api(endpoint)
