"""Runs a short form of `make bench`: counts and units by the benchmark's own functions, without times."""

from collections.abc import Iterator

import boto3
import pytest

from benchmarks.goals import PRICE_FACTOR, UNITS_GROWTH, Goal
from benchmarks.growth import Points, all_runs_points, one_run_points, table_of_runs
from benchmarks.price import MEMORY_GB, added, bill, bills, times
from testing.gateway import Gateway

FEW, MANY = 600, 2_400
CPU = {"create_run": 0.002, "event_minimal": 0.004, "cold_start": 0.5}
BOUNDED = "GET /runs, state=FAILED and image"
"""The request that reads up to 2,000 index entries to compare their states."""


def first_and_last(points: Points) -> Iterator[Points]:
    """The first and the last point of each request: at the smallest and at the largest size."""
    for request in dict.fromkeys(point["request"] for point in points):
        first, *_, last = (point for point in points if point["request"] == request)
        yield [first, last]


def test_a_page_each_filter_and_a_creation_cost_the_same_units_among_more_runs(api: Gateway) -> None:  # noqa: ARG001
    client = boto3.client("dynamodb")
    points = all_runs_points({size: table_of_runs(client, size) for size in (FEW, MANY)}, rounds=0)
    for few, many in first_and_last(points):
        assert many["calls"] == few["calls"], few
        assert many["rows"] == few["rows"], few
        assert many["units"] / few["units"] <= UNITS_GROWTH or few["request"] == BOUNDED, few


def test_a_longer_run_costs_the_same_units_once_it_fills_an_answer(api: Gateway) -> None:  # noqa: ARG001
    for short, long in first_and_last(one_run_points((100, 1_000), rounds=0)):
        assert long["calls"] == short["calls"], short
        # If a few of a run's other items are missing, its page holds up to three more events: once, one unit.
        assert (long["units"] - 1) / short["units"] <= UNITS_GROWTH, short


def test_an_event_costs_a_third_of_a_transition_of_step_functions(api: Gateway) -> None:  # noqa: ARG001
    found = {each["a million"]: each["times"] for each in bills(CPU)}
    assert found["event, without a key, not pushed"] >= PRICE_FACTOR
    assert min(found.values()) > 1


def test_a_bill_is_the_sum_of_quantities_times_prices() -> None:
    basket = {
        "rest_request": 1,
        "read_unit": 2,
        "write_unit": 4,
        "lambda_request": 1.5,
        "lambda_gb_second": 0.02 * MEMORY_GB,
        "sns_publish": 1,
        "sqs_request": 0.2,
        "log_byte": 1_000,
    }
    by_hand = 3.50 + 2 * 0.125 + 4 * 0.625 + 1.5 * 0.20 + 0.02 * MEMORY_GB * 13.3334 + 0.50 + 0.2 * 0.40 + 0.50
    assert bill("x", 1, basket)["dollars"] == pytest.approx(by_hand)


def test_baskets_add_up_quantity_by_quantity() -> None:
    assert added({"read_unit": 1, "log_byte": 5}, times(3, {"read_unit": 2})) == {"read_unit": 7, "log_byte": 5}


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
