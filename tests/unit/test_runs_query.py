"""Tests how the query of the list of runs is read."""

from typing import Any

import pytest
from aws_lambda_powertools.utilities.data_classes import APIGatewayProxyEvent

from gyoza_domain.http.errors import RequestError
from gyoza_domain.http.runs_query import row_shape
from gyoza_domain.runs.views import RowShape


def with_query(query: dict[str, list[str]]) -> APIGatewayProxyEvent:
    return APIGatewayProxyEvent({"multiValueQueryStringParameters": query or None})


def place_of_refusal(read: Any, query: dict[str, list[str]]) -> list[str]:
    with pytest.raises(RequestError) as refusal:
        read(with_query(query))
    assert refusal.value.status == 422
    assert not isinstance(refusal.value.detail, str)
    [misfit] = refusal.value.detail
    loc: list[str] = misfit["loc"]
    return loc


@pytest.mark.parametrize(
    ("query", "shape"),
    [
        ({}, RowShape.WHOLE),
        ({"expand[]": ["events"]}, RowShape.WITH_EVENTS),
        ({"expand[]": ["events", "events"]}, RowShape.WITH_EVENTS),
        ({"fields": ["summary"]}, RowShape.SUMMARY),
        ({"fields": ["summary", "summary"]}, RowShape.SUMMARY),
    ],
)
def test_rows_have_the_shape_that_is_asked_for(query: dict[str, list[str]], shape: RowShape) -> None:
    assert row_shape(with_query(query)) is shape


@pytest.mark.parametrize("value", ["", "Summary", "summary ", "id", "summary,id"])
def test_another_value_of_fields_is_refused(value: str) -> None:
    for values in ([value], [value, "summary"], ["summary", value]):
        assert place_of_refusal(row_shape, {"fields": values}) == ["query", "fields"]


def test_fields_and_expand_exclude_each_other() -> None:
    assert place_of_refusal(row_shape, {"fields": ["summary"], "expand[]": ["events"]}) == ["query", "fields"]
