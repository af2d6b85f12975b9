"""Tests the answers to a busy table, to a run under contention and to defects."""

from collections.abc import Callable
from typing import Any

import pytest
from botocore.client import BaseClient
from botocore.exceptions import ClientError, ReadTimeoutError

from gyoza_domain.bootstrap import clients
from gyoza_domain.http.resolver import logger
from testing.gateway import REQUEST_ID, Answer, Gateway
from tests.functions.conftest import Stored
from tests.functions.expected import assert_refused

ROUTES: dict[str, Callable[[Gateway, str], Answer]] = {
    "create_run": lambda api, _: api.post("/runs", {"image": "busybox:1"}),
    "list_runs": lambda api, _: api.get("/runs"),
    "get_run": lambda api, run_id: api.get(f"/runs/{run_id}"),
    "update_run": lambda api, run_id: api.patch(f"/runs/{run_id}", {"priority": 1}),
    "retry_run": lambda api, run_id: api.post(f"/runs/{run_id}/retry"),
    "cancel_run": lambda api, run_id: api.post(f"/runs/{run_id}/cancel"),
    "add_event": lambda api, run_id: api.event(run_id, "INFO"),
    "list_events": lambda api, run_id: api.get(f"/runs/{run_id}/events"),
    "list_attempts": lambda api, run_id: api.get(f"/runs/{run_id}/attempts"),
}
WRITING_TO_A_RUN = ["update_run", "retry_run", "cancel_run", "add_event"]

INSIDE = "arn:aws:dynamodb:us-east-1:123456789012:table/runs"


def client_error(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": INSIDE}}, "AnyOperation")


def lost_race() -> ClientError:
    """The error of a transaction whose first write met another version."""
    error = client_error("TransactionCanceledException")
    reasons: Any = [{"Code": "ConditionalCheckFailed", "Message": INSIDE}, {"Code": "None"}]
    error.response["CancellationReasons"] = reasons
    return error


class Failing:
    """Makes a number of DynamoDB's calls fail, or all if no number is given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    def __call__(self, error: Exception, *, operation: str | None = None, times: int | None = None) -> None:
        real, left = BaseClient._make_api_call, [times]  # type: ignore[attr-defined]

        def call(client: BaseClient, name: str, params: dict[str, Any]) -> Any:
            if operation in {None, name} and left[0] != 0:
                left[0] = None if left[0] is None else left[0] - 1
                raise error
            return real(client, name, params)

        self._monkeypatch.setattr(BaseClient, "_make_api_call", call)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Failing:
    return Failing(monkeypatch)


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replaces the clock: time passes by pauses, and by a hundredth of a second with each look at the clock."""
    seconds = [0.0]

    def passes(by: float) -> float:
        seconds[0] += by
        return seconds[0]

    monkeypatch.setattr(clients.SystemClock, "monotonic", lambda _: passes(0.01))
    monkeypatch.setattr(clients.SystemClock, "sleep", lambda _, by: passes(by))


def assigned(api: Gateway) -> str:
    """A run for which every route has an answer."""
    run_id: str = api.create()["id"]
    api.event(run_id, "ASSIGNED")
    return run_id


@pytest.mark.parametrize(
    "error",
    [
        client_error("ThrottlingException"),
        client_error("ProvisionedThroughputExceededException"),
        client_error("InternalServerError"),
        ReadTimeoutError(endpoint_url=INSIDE),
    ],
    ids=["throttled", "throughput", "internal", "timeout"],
)
@pytest.mark.parametrize("route", ROUTES)
def test_a_busy_table_is_told_as_unavailable_and_nothing_more(
    api: Gateway, stored: Stored, failing: Failing, route: str, error: Exception
) -> None:
    run_id = assigned(api)
    before = stored()
    failing(error)
    assert_refused(ROUTES[route](api, run_id), 503, "unavailable")
    assert stored() == before


@pytest.mark.parametrize("route", ROUTES)
def test_a_defect_fails_the_invocation(api: Gateway, failing: Failing, route: str) -> None:
    run_id = assigned(api)
    failing(client_error("ValidationException"))
    with pytest.raises(ClientError, match="ValidationException"):
        ROUTES[route](api, run_id)


@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize("route", WRITING_TO_A_RUN)
def test_a_run_that_keeps_changing_is_409_and_safe_to_send_again(
    api: Gateway, stored: Stored, failing: Failing, route: str
) -> None:
    run_id = assigned(api)
    before = stored()
    failing(lost_race(), operation="TransactWriteItems")
    assert_refused(ROUTES[route](api, run_id), 409, "run_busy", run_id, "again")
    assert stored() == before


@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize("error", [lost_race(), client_error("TransactionConflictException")], ids=["version", "lock"])
@pytest.mark.parametrize("route", WRITING_TO_A_RUN)
def test_a_write_that_loses_three_races_is_decided_again_and_succeeds(
    api: Gateway, failing: Failing, route: str, error: Exception
) -> None:
    run_id = assigned(api)
    failing(error, operation="TransactWriteItems", times=3)
    answer = ROUTES[route](api, run_id)
    assert (answer.status, answer.json) == (200, api.get(f"/runs/{run_id}").json)


@pytest.mark.usefixtures("no_waiting")
def test_only_what_an_operator_should_look_at_is_logged(
    api: Gateway, failing: Failing, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[dict[str, Any]] = []
    monkeypatch.setattr(logger, "warning", lambda _, extra: logged.append(extra))
    run_id = assigned(api)
    for answer in (
        api.get("/runs/x"),
        api.post("/runs", {}),
        api.event(run_id, "PROGRESS", msg=5),
        api.event(run_id, "INFO", attempt=7),
    ):
        assert answer.status >= 400
    failing(lost_race(), operation="TransactWriteItems")
    api.event(run_id, "INFO")
    failing(client_error("ThrottlingException"))
    api.get("/runs")
    assert logged == [
        {"status": 409, "code": "stale_attempt", "request_id": REQUEST_ID},
        {"status": 409, "code": "run_busy", "request_id": REQUEST_ID},
        {"status": 503, "code": "unavailable", "request_id": REQUEST_ID},
    ]
