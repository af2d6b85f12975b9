"""Tests the values that the bodies of leases, claims and time give to the commands."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aws_lambda_powertools.utilities.data_classes import APIGatewayProxyEvent
from pydantic import ValidationError

from gyoza_domain.claiming.ports import Capacity, ClaimRequest
from gyoza_domain.domain.run import Backoff, Constraints, EventType, Reason, Terms
from gyoza_domain.http.bodies import AddEventBody, ClaimBody, CreateRunBody, HeartbeatBody
from gyoza_domain.http.cancel_body import grace_s
from gyoza_domain.http.claims import claim_request
from gyoza_domain.http.errors import RequestError
from testing.gateway import proxy_event

NOW = datetime(2026, 3, 2, 20, 0, tzinfo=UTC)


def terms(**fields: Any) -> Terms:
    return CreateRunBody.model_validate({"image": "busybox:1"} | fields).terms(lambda: NOW)


def draft_of(type_: str, **fields: Any) -> Any:
    return AddEventBody.model_validate({"type": type_} | fields).draft()


# -- creations


def test_without_further_fields_the_terms_are_the_defaults() -> None:
    assert terms() == Terms()


def test_the_terms_hold_each_field_that_was_given() -> None:
    assert terms(
        queue="gpu-1",
        start_at="2026-03-02T21:00:00Z",
        queue_ttl_s=10,
        attempt_timeout_s=1_209_600,
        retain_s=0,
        constraints={"cpu": 2, "vram_mb": 0},
        retry_policy={"backoff_s": 0.5, "backoff_factor": 1, "max_backoff_s": 86_400, "max_lost": 100},
        event_delivery={"topic": "t"},
    ) == Terms(
        queue="gpu-1",
        needs=Constraints(cpu=2, vram_mb=0),
        start_at=NOW + timedelta(hours=1),
        queue_ttl_s=10,
        attempt_timeout_s=1_209_600,
        backoff=Backoff(0.5, 1, 86_400),
        max_lost=100,
        retain_s=0,
        is_delivering=True,
    )


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2026-03-02T20:00:01Z", NOW + timedelta(seconds=1)),
        ("2026-03-02t20:00:01z", NOW + timedelta(seconds=1)),
        ("2026-03-02T20:00:01.5Z", NOW + timedelta(seconds=1.5)),
        ("2026-03-02T20:00:00.123456789Z", NOW + timedelta(microseconds=123_456)),
        ("2026-03-02T21:30:00+01:30", NOW),
        ("2026-03-02T20:00:00-00:00", NOW),
        ("2026-03-01T21:01:00-22:59", NOW),
        ("0001-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=UTC)),
        ("2027-03-03T20:00:00Z", NOW + timedelta(days=366)),
    ],
)
def test_a_start_is_an_instant_of_rfc_3339_and_becomes_utc(text: str, instant: datetime) -> None:
    start_at = terms(start_at=text).start_at
    assert start_at == instant
    assert start_at is not None
    assert start_at.tzinfo == UTC


@pytest.mark.parametrize(
    "value",
    [
        *("", "now", "2026-03-02", "2026-03-02T20:00:00", "2026-03-02 20:00:00Z", "20260302T200000Z"),
        *("2026-03-02T20:00Z", "2026-03-02T20:00:00+0100", "2026-03-02T20:00:00+24:00", "2026-03-02T20:00:00+01:60"),
        *("2026-02-30T20:00:00Z", "2026-13-01T20:00:00Z", "2026-03-02T24:00:01Z", "2026-03-02T20:00:60Z"),
        *("2026-03-02T20:00:00Z\n", "2026-03-02T20:00:00.Z", "٢٠٢٦-03-02T20:00:00Z", "0001-01-01T00:00:00+01:00"),
        *("9999-12-31T23:59:59-01:00", 1_772_481_600, True, [], {}),
    ],
)
def test_any_other_start_does_not_fit(value: Any) -> None:
    with pytest.raises(ValidationError) as refused:
        terms(start_at=value)
    assert [error["loc"] for error in refused.value.errors()] == [("start_at",)]


def test_a_start_more_than_366_days_ahead_does_not_fit() -> None:
    with pytest.raises(RequestError) as refused:
        terms(start_at="2027-03-03T20:00:00.000001Z")
    assert (refused.value.status, refused.value.detail[0]["loc"]) == (422, ["body", "start_at"])  # type: ignore[index]


def test_the_clock_is_asked_only_about_a_start() -> None:
    def never() -> datetime:
        raise AssertionError("asked")

    assert CreateRunBody.model_validate({"image": "i"}).terms(never) == Terms()


@pytest.mark.parametrize(
    ("given", "kept"), [(1, 1), (0.1, 0.1), (0.123_456_789, 0.123_457), (1e-9, 0.0), (3_600.0, 3_600)]
)
def test_a_backoff_has_as_many_decimals_as_are_kept(given: float, kept: float) -> None:
    assert terms(retry_policy={"backoff_s": given}).backoff.initial_s == kept


@pytest.mark.parametrize("field", ["executor", "report"])
def test_what_is_not_built_yet_may_be_null_only(field: str) -> None:
    assert terms(**{field: None}) == Terms()
    values: list[Any] = ["batch", "worker", {}, False]
    for value in values:
        with pytest.raises(ValidationError):
            terms(**{field: value})


# -- events


@pytest.mark.parametrize("type_", ["ASSIGNED", "STARTED"])
def test_an_event_with_which_a_worker_takes_a_run_may_ask_for_a_lease(type_: str) -> None:
    draft = draft_of(type_, payload={"worker_id": "w", "lease_s": 15})
    assert (draft.worker_id, draft.lease_s, draft.payload) == ("w", 15, '{"worker_id":"w","lease_s":15}')
    assert draft_of(type_, payload={"worker_id": "w", "lease_s": None}).lease_s is None


@pytest.mark.parametrize("worker", [{}, {"worker_id": None}, {"worker_id": ""}])
def test_a_lease_needs_a_worker(worker: dict[str, Any]) -> None:
    with pytest.raises(RequestError) as refused:
        draft_of("ASSIGNED", payload={"lease_s": 15} | worker)
    assert refused.value.status == 422
    assert [misfit["loc"] for misfit in refused.value.detail] == [["body", "payload", "worker_id"]]  # type: ignore[index]


@pytest.mark.parametrize("type_", ["INFO", "PROGRESS", "FAILED", "RETRIED", "COMPLETED", "CANCELLED"])
def test_in_other_events_a_lease_is_payload_only(type_: str) -> None:
    draft = draft_of(type_, msg=5, payload={"lease_s": "long"})
    assert (draft.lease_s, draft.payload) == (None, '{"lease_s":"long"}')


def test_a_worker_that_was_told_to_stop_says_so() -> None:
    draft = draft_of("FAILED", payload={"reason": "interrupted", "error_message": "gone"})
    assert (draft.reason, draft.error_message) == (Reason.INTERRUPTED, "gone")
    assert draft.payload == '{"reason":"interrupted"}'


@pytest.mark.parametrize("reason", [*sorted(set(Reason) - {Reason.INTERRUPTED}), "no idea", 5, None, ["interrupted"]])
def test_any_other_reason_is_payload_only(reason: Any) -> None:
    assert draft_of("FAILED", payload={"reason": reason}).reason is None


@pytest.mark.parametrize("type_", sorted(set(EventType) - {EventType.FAILED}))
def test_only_a_failure_is_interrupted(type_: str) -> None:
    assert draft_of(type_, msg=5, payload={"reason": "interrupted", "worker_id": "w"}).reason is None


# -- heartbeats, claims and cancels


@pytest.mark.parametrize(
    "body",
    [
        *({}, {"attempt": 1}, {"worker_id": "w"}, {"attempt": None, "worker_id": "w"}),
        *({"attempt": True, "worker_id": "w"}, {"attempt": 1, "worker_id": ""}, {"attempt": 1, "worker_id": "w" * 129}),
        {"attempt": 1, "worker_id": "w", "lease_s": 60},
    ],
)
def test_a_heartbeat_needs_its_attempt_and_its_worker_and_nothing_else(body: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        HeartbeatBody.model_validate(body)
    assert HeartbeatBody.model_validate({"attempt": 1, "worker_id": "w" * 128}).attempt == 1


def test_a_claim_needs_its_worker_only() -> None:
    assert claim_request(ClaimBody.model_validate({"worker_id": "w"})) == ClaimRequest("w")


def test_a_claim_holds_each_field_and_a_queue_once() -> None:
    body = {
        "worker_id": "w",
        "queues": ["b", "a", "b"],
        "capacity": {"cpu": 0, "ram_mb": 10**12, "vram_mb": None},
        "lease_s": 15,
        "start": True,
    }
    expected = ClaimRequest("w", ("b", "a"), Capacity(0, 10**12), 15, start=True)
    assert claim_request(ClaimBody.model_validate(body)) == expected


UNFIT: dict[str, list[Any]] = {
    "worker_id": ["", "w" * 129, 1, None],
    "queues": [[], ["a"] * 6, ["a b"], [""], ["x" * 65], ["a", None], "a"],
    "capacity": [{"cpu": -1}, {"cpu": 10**12 + 1}, {"cpu": True}, {"gpu": 1}, []],
    "lease_s": [14, 3_601, "60", 60.5],
    "start": [1, "true"],
}


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, values in UNFIT.items() for value in values])
def test_a_claim_that_does_not_fit_is_refused(field: str, value: Any) -> None:
    with pytest.raises(ValidationError):
        ClaimBody.model_validate({"worker_id": "w"} | {field: value})


UNFIT_GRACES: list[Any] = [0, 3_601, 5.0, "5", True, []]


def cancel(body: Any) -> int | None:
    return grace_s(APIGatewayProxyEvent(proxy_event("POST", "/runs/x/cancel", body)))


@pytest.mark.parametrize("body", [None, {}, b"{}", "null", {"mode": None, "grace_s": None, "note": None}])
def test_a_cancel_without_fields_is_immediate(body: Any) -> None:
    assert cancel(body) is None


@pytest.mark.parametrize("grace", [1, 3_600])
def test_a_cancel_that_asks_has_its_grace(grace: int) -> None:
    assert cancel({"mode": "ask", "grace_s": grace}) == grace


@pytest.mark.parametrize(
    ("body", "locs"),
    [
        ({"mode": "ask"}, [["body", "grace_s"]]),
        ({"mode": "ask", "grace_s": None}, [["body", "grace_s"]]),
        ({"grace_s": 5}, [["body", "mode"]]),
        ({"mode": "tell", "grace_s": 0}, [["body", "mode"], ["body", "grace_s"]]),
        ({"mode": ["ask"], "grace_s": 5}, [["body", "mode"]]),
        *[({"mode": "ask", "grace_s": grace}, [["body", "grace_s"]]) for grace in UNFIT_GRACES],
        ({"mode": "ask", "grace_s": 5, "msg": "x"}, [["body", "msg"]]),
        ([], [["body"]]),
        ("false", [["body"]]),
    ],
)
def test_a_cancel_that_does_not_fit_names_each_field(body: Any, locs: list[list[str]]) -> None:
    with pytest.raises(RequestError) as refused:
        cancel(body)
    assert refused.value.status == 422
    assert [misfit["loc"] for misfit in refused.value.detail] == locs  # type: ignore[index]
