"""Every test of this folder runs on DynamoDB Local."""

import pytest

from tests.support.gateway import Gateway


@pytest.fixture
def api(engine_api: Gateway) -> Gateway:
    return engine_api
