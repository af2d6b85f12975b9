"""Makes every test of this folder run on DynamoDB Local."""

import pytest

from testing.gateway import Gateway


@pytest.fixture
def api(engine_api: Gateway) -> Gateway:
    return engine_api
