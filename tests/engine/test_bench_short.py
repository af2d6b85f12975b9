"""The short form of `make bench`: counts and units by the benchmark's own functions, no times."""

from dataclasses import astuple, fields

import boto3
import pytest

from benchmarks.goals import PRICE_FACTOR, UNITS_GROWTH, Goal
from benchmarks.growth import Curve, all_runs_curves, one_run_curves, table_of_runs
from benchmarks.price import Basket, Cpu, bill, bills, list_prices, memory_gb
from tests.support.gateway import Gateway

FEW, MANY = 600, 2_400
BOUNDED = "GET /runs, state=FAILED and image"
"""Its entries are looked through for the state, 2,000 a request at most."""


def ratios(curves: list[Curve]) -> dict[str, float]:
    return {curve.request: curve.units_ratio for curve in curves}


def test_a_page_each_filter_and_a_creation_cost_the_same_units_among_more_runs(api: Gateway) -> None:  # noqa: ARG001
    client = boto3.client("dynamodb")
    tables = {size: table_of_runs(client, size) for size in (FEW, MANY)}
    curves = all_runs_curves(tables, rounds=0)
    grown = {request: ratio for request, ratio in ratios(curves).items() if ratio > UNITS_GROWTH}
    assert set(grown) <= {BOUNDED}
    for curve in curves:
        assert len({point.calls for point in curve.points}) == 1, curve
        assert len({point.rows for point in curve.points}) == 1, curve


def test_a_longer_run_costs_the_same_units_once_it_fills_an_answer(api: Gateway) -> None:  # noqa: ARG001
    curves = one_run_curves((100, 1_000), rounds=0)
    assert max(ratios(curves).values()) <= UNITS_GROWTH
    assert all(len({point.calls for point in curve.points}) == 1 for curve in curves)


def test_an_event_costs_a_third_of_a_transition_of_step_functions(api: Gateway) -> None:  # noqa: ARG001
    prices = list_prices()
    found = {bill.what: bill for bill in bills(Cpu(create_run=0.002, add_event=0.004, cold_start=0.5), prices)}
    assert found["event, without a key, not pushed"].against(prices) >= PRICE_FACTOR
    assert all(bill.against(prices) > 1 for bill in found.values())


def test_a_bill_is_the_sum_of_quantities_times_prices() -> None:
    basket = Basket(
        requests=1,
        read_units=2,
        write_units=4,
        invocations=1.5,
        billed_s=0.02,
        sns_publishes=1,
        sqs_requests=0.2,
        log_bytes=1_000,
    )
    by_hand = 3.50 + 2 * 0.125 + 4 * 0.625 + 1.5 * 0.20 + 0.02 * memory_gb() * 13.3334 + 0.50 + 0.2 * 0.40 + 0.50
    assert bill("x", 1, basket, list_prices()).total == pytest.approx(by_hand)


def test_baskets_add_up_field_by_field() -> None:
    one = Basket(*range(1, len(fields(Basket)) + 1))
    assert astuple(one + one) == astuple(one.times(2)) == tuple(2 * value for value in astuple(one))


@pytest.mark.parametrize(
    ("goal", "reached"),
    [
        (Goal("x", 1.304, 1.3), True),
        (Goal("x", 1.306, 1.3), False),
        (Goal("x", 0.396, 0.4, at_least=True), True),
        (Goal("x", 0.39, 0.4, at_least=True), False),
    ],
)
def test_a_goal_is_compared_in_hundredths(goal: Goal, reached: bool) -> None:
    assert goal.is_reached is reached
