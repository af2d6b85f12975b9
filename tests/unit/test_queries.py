"""The queries of the lists, as values."""

from typing import Any

import pytest
from aws_lambda_powertools.utilities.data_classes import APIGatewayProxyEvent

from gyoza_domain.http.errors import RequestError
from gyoza_domain.http.events_query import events_limit
from gyoza_domain.http.runs_query import RowFields, row_fields


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
    ("query", "fields"),
    [
        ({}, RowFields.WITHOUT_EVENTS),
        ({"expand[]": ["events"]}, RowFields.WITH_EVENTS),
        ({"expand[]": ["events", "events"]}, RowFields.WITH_EVENTS),
        ({"fields": ["summary"]}, RowFields.SUMMARY),
        ({"fields": ["summary", "summary"]}, RowFields.SUMMARY),
    ],
)
def test_rows_have_the_fields_that_are_asked_for(query: dict[str, list[str]], fields: RowFields) -> None:
    assert row_fields(with_query(query)) is fields


@pytest.mark.parametrize("value", ["", "Summary", "summary ", "id", "summary,id"])
def test_another_value_of_fields_is_refused(value: str) -> None:
    for values in ([value], [value, "summary"], ["summary", value]):
        assert place_of_refusal(row_fields, {"fields": values}) == ["query", "fields"]


def test_fields_and_expand_exclude_each_other() -> None:
    assert place_of_refusal(row_fields, {"fields": ["summary"], "expand[]": ["events"]}) == ["query", "fields"]


@pytest.mark.parametrize(("values", "limit"), [(None, 1_000), (["1"], 1), (["1000"], 1_000), (["5", "7"], 7)])
def test_a_page_of_events_has_at_most_as_many_as_asked_for(values: list[str] | None, limit: int) -> None:
    assert events_limit(with_query({} if values is None else {"limit": values})) == limit


@pytest.mark.parametrize("value", ["0", "-1", "1001", "", "x", "1.0"])
def test_a_limit_of_events_that_does_not_fit_is_refused(value: str) -> None:
    assert place_of_refusal(events_limit, {"limit": [value]}) == ["query", "limit"]
