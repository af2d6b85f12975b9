"""Tests that TornTable answers as the engine does, except for items that are not visible yet."""

import os
import threading
from collections.abc import Iterator
from itertools import product
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from testing.gateway import Answer, Gateway
from tests.support.torn import (
    HEAD_LAST,
    Choose,
    ItemKey,
    TornTable,
    TransactGet,
    UnknownForm,
    at_random,
    handlers_client,
    torn,
)

DONE = Answer(200, {}, "{}")


@pytest.fixture
def table(api: Gateway) -> Iterator[TornTable]:
    assert api
    with torn() as table:
        yield table


def key(sk: str, pk: str = "p") -> dict[str, Any]:
    return {"pk": {"S": pk}, "sk": {"S": sk}}


def put(sk: str, pk: str = "p", **attributes: Any) -> dict[str, Any]:
    item = key(sk, pk) | {name: {"S": value} for name, value in attributes.items()}
    return {"Put": {"TableName": os.environ["GYOZA_TABLE"], "Item": item}}


def delete(sk: str) -> dict[str, Any]:
    return {"Delete": {"TableName": os.environ["GYOZA_TABLE"], "Key": key(sk)}}


def write(*writes: dict[str, Any]) -> Answer:
    handlers_client().transact_write_items(TransactItems=list(writes))
    return DONE


def get(sk: str) -> Any:
    answer = handlers_client().get_item(TableName=os.environ["GYOZA_TABLE"], Key=key(sk), ConsistentRead=True)
    return answer.get("Item", {}).get("v", {}).get("S")


def batch(*sort_keys: str) -> dict[str, str]:
    name = os.environ["GYOZA_TABLE"]
    asked = {"Keys": [key(sk) for sk in sort_keys], "ConsistentRead": True}
    items = handlers_client().batch_get_item(RequestItems={name: asked})["Responses"][name]
    return {item["sk"]["S"]: item["v"]["S"] for item in items}


def query(client: Any = None, **more: Any) -> Any:
    request = {
        "TableName": os.environ["GYOZA_TABLE"],
        "KeyConditionExpression": "pk = :pk AND sk BETWEEN :first AND :last",
        "ExpressionAttributeValues": {":pk": {"S": "p"}, ":first": {"S": "a"}, ":last": {"S": "z"}},
        "ConsistentRead": True,
    } | more
    return (client or handlers_client()).query(**request)


def found(answer: Any) -> list[tuple[str, str]]:
    return [(item["sk"]["S"], item["v"]["S"]) for item in answer["Items"]]


def reasons(error: ClientError) -> list[Any]:
    found: list[Any] = error.response["CancellationReasons"]
    return found


def named(*sort_keys: str) -> Choose:
    return lambda items: [item for item in items if item.sk in sort_keys]


@pytest.fixture
def world(table: TornTable) -> TornTable:
    """A table with the items a, c and e."""
    write(*[put(sk, v="old") for sk in "ace"])
    return table


def change() -> Answer:
    """A transaction that creates item b, changes c and deletes e."""
    return write(put("b", v="new"), put("c", v="new"), delete("e"))


OLD = {"a": "old", "c": "old", "e": "old"}
EFFECT = {"b": "new", "c": "new", "e": None}


@pytest.mark.parametrize("shown", ["", "b", "c", "e", "bc", "be", "ce", "bce"])
def test_every_read_shows_what_is_visible_and_else_what_was_before(world: TornTable, shown: str) -> None:
    expected = {sk: v for sk, v in {**OLD, **{sk: EFFECT[sk] for sk in shown}}.items() if v is not None}
    with world.half_visible(change, shows=named(*shown)) as half:
        assert {sk: v for sk in "abcde" if (v := get(sk)) is not None} == expected
        assert batch(*"abcde") == expected
        assert found(query()) == sorted(expected.items())
        assert found(query(ScanIndexForward=False)) == sorted(expected.items(), reverse=True)
    assert half.answer is DONE
    assert found(query()) == [("a", "old"), ("b", "new"), ("c", "new")]
    assert batch(*"abcde") == {"a": "old", "b": "new", "c": "new"}


def test_pages_count_what_is_visible(world: TornTable) -> None:
    with world.half_visible(change, shows=named("b")):
        first = query(Limit=2)
        assert (found(first), first["LastEvaluatedKey"]) == ([("a", "old"), ("b", "new")], key("b"))
        second = query(Limit=2, ExclusiveStartKey=first["LastEvaluatedKey"])
        assert found(second) == [("c", "old"), ("e", "old")]


def test_the_writer_is_answered_when_all_is_visible(world: TornTable) -> None:
    answered = threading.Event()

    def change_and_tell() -> Answer:
        change()
        answered.set()
        return DONE

    with world.half_visible(change_and_tell, shows=named("b", "c"), reads=2):
        get("a")
        assert not answered.wait(0.1)
        get("a")
        assert answered.wait(5)
        assert get("e") is None


def test_a_writer_whose_items_become_visible_at_random_reads_its_own_write(api: Gateway) -> None:
    assert api
    with torn(delays=at_random(3, longest_s=0.05)) as table:
        for number in range(10):
            write(put("a", v=str(number)), put("b", v=str(number)))
            assert batch("a", "b") == {"a": str(number), "b": str(number)}
            assert found(query()) == [("a", str(number)), ("b", str(number))]
    assert table.figures.transactions == 10


def test_conditions_see_the_truth_at_once_and_return_it(world: TornTable) -> None:
    absent = put("b", v="mine")
    absent["Put"] |= {"ConditionExpression": "attribute_not_exists(pk)"}
    absent["Put"] |= {"ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
    with world.half_visible(change, shows=named()):
        with pytest.raises(ClientError) as refused:
            write(absent)
        assert get("b") is None
    [reason] = reasons(refused.value)
    assert (reason["Code"], reason["Item"]["v"]) == ("ConditionalCheckFailed", {"S": "new"})


def test_a_later_write_of_an_item_may_be_visible_first(world: TornTable) -> None:
    with world.half_visible(change, shows=named()):
        write(put("c", v="newest"))
        assert (get("b"), get("c"), get("e")) == (None, "newest", "old")
    assert (get("b"), get("c"), get("e")) == ("new", "newest", None)


def test_a_single_write_is_visible_at_once(world: TornTable) -> None:
    handlers_client().put_item(TableName=os.environ["GYOZA_TABLE"], Item=put("a", v="new")["Put"]["Item"])
    assert get("a") == "new"
    handlers_client().delete_item(TableName=os.environ["GYOZA_TABLE"], Key=key("a"))
    assert (get("a"), world.figures.torn_reads) == (None, 0)


@pytest.mark.parametrize("behaviour", TransactGet)
def test_a_transaction_is_read_whole_or_not_at_all(api: Gateway, behaviour: TransactGet) -> None:
    def read() -> list[Any]:
        gets = [{"Get": {"TableName": os.environ["GYOZA_TABLE"], "Key": key(sk)}} for sk in "bce"]
        answer = handlers_client().transact_get_items(TransactItems=gets)
        return [each.get("Item", {}).get("v", {}).get("S") for each in answer["Responses"]]

    assert api
    with torn(transact_get=lambda: behaviour) as table:
        write(*[put(sk, v="old") for sk in "ace"])
        with table.half_visible(change, shows=named("b", "c"), reads=3):
            if behaviour is TransactGet.REFUSE:
                with pytest.raises(ClientError) as refused:
                    read()
                assert [each["Code"] for each in reasons(refused.value)] == ["None", "None", "TransactionConflict"]
            else:
                assert read() == ["new", "new", None]
        assert read() == ["new", "new", None]


def test_an_index_shows_an_item_as_it_is_visible_there(api: Gateway) -> None:
    with torn() as table:
        run_id = api.create()["id"]
        with table.half_visible(lambda: api.start(run_id), shows=HEAD_LAST):
            assert [run["id"] for run in api.get("/runs", state="RUNNING").json["data"]] == []
    with torn(index_delay_s=lambda: 60.0):
        api.start(api.create(image="late")["id"])
        assert api.get("/runs", image="late").json["data"] == []
        assert [run["id"] for run in api.get("/runs", state="RUNNING").json["data"]] == [run_id]
    assert len(api.get("/runs", state="RUNNING").json["data"]) == 2


def test_no_item_goes_back_and_the_last_write_stays(api: Gateway) -> None:
    """Two writers make transactions of twelve items, visible after up to 50 ms, while four readers read."""
    assert api
    sort_keys = [f"META#ATTEMPT#{n:08d}" for n in range(12)]
    torn_reads = 0
    stop = threading.Event()
    problems: list[str] = []

    def read() -> None:
        nonlocal torn_reads
        last = dict.fromkeys(sort_keys, -1)
        while not stop.is_set():
            now = {sk: int(v) for sk, v in found(query(ExpressionAttributeValues=values))}
            problems.extend(f"{sk}: {now[sk]} after {last[sk]}" for sk in sort_keys if now[sk] < last[sk])
            torn_reads += len(set(now.values())) > 1
            last = now

    values = {":pk": {"S": "p"}, ":first": {"S": "META"}, ":last": {"S": "N"}}
    with torn(delays=at_random(1, longest_s=0.05)) as table:
        turns = threading.Lock()
        numbers = iter(range(24))

        def write_some() -> None:
            for _ in range(12):
                with turns:
                    number = next(numbers)
                write(*[put(sk, v=str(number)) for sk in sort_keys])

        write(*[put(sk, v="0") for sk in sort_keys])
        readers = [threading.Thread(target=read) for _ in range(4)]
        # The writers take turns, because nobody could tell which of two simultaneous numbers is later.
        for thread in readers:
            thread.start()
        write_some()
        write_some()
        stop.set()
        for thread in readers:
            thread.join()
        table.settle()
        assert {v for _, v in found(query(ExpressionAttributeValues=values))} == {"23"}
    assert problems == []
    assert torn_reads > 0


def test_a_page_made_anew_is_the_engines_own(table: TornTable) -> None:
    """Items of many sizes are read in both directions, with limits, filters, projections and start keys."""
    for n in range(30):
        write(put(f"s{n:02d}", v="x" * (90_000 if n % 3 else 10), w="odd" if n % 2 else "even"))
    engine = boto3.client("dynamodb")
    compared = 0
    for forward, limit, filtered, projected, start in product(
        (True, False), (None, 1, 7, 28, 29), (True, False), (True, False), (None, "s04", "s28")
    ):
        if (filtered or projected) and limit not in (1, 7):
            # The engine measures the filtered items of a page. DynamoDB measures the items that it reads.
            continue
        request: dict[str, Any] = {
            "TableName": os.environ["GYOZA_TABLE"],
            "KeyConditionExpression": "#p = :pk AND sk BETWEEN :first AND :last",
            "ExpressionAttributeNames": {"#p": "pk"},
            "ExpressionAttributeValues": {":pk": {"S": "p"}, ":first": {"S": "s02"}, ":last": {"S": "s3"}},
            "ScanIndexForward": forward,
            "ConsistentRead": True,
        }
        if limit is not None:
            request["Limit"] = limit
        if filtered:
            request["FilterExpression"] = "w = :odd AND attribute_exists(v)"
            request["ExpressionAttributeValues"] |= {":odd": {"S": "odd"}}
        if projected:
            request["ProjectionExpression"] = "sk, w"
        if start is not None:
            request["ExclusiveStartKey"] = key(start)
        expected = engine.query(**request)
        assert table.page_made_anew(request) == (expected["Items"], expected.get("LastEvaluatedKey"))
        compared += 1
    assert compared == 66


@pytest.mark.parametrize(
    "condition",
    ["sk >= :first", "sk > :first", "sk <= :first", "sk < :first", "sk = :first", "begins_with(sk, :first)"],
)
def test_each_form_of_a_condition_on_the_sort_key_is_the_engines_own(table: TornTable, condition: str) -> None:
    write(*[put(f"s{n}", v="x") for n in (0, 1, 2, 10, 11)])
    request = {
        "TableName": os.environ["GYOZA_TABLE"],
        "KeyConditionExpression": f"pk = :pk AND {condition}",
        "ExpressionAttributeValues": {":pk": {"S": "p"}, ":first": {"S": "s1"}},
    }
    expected = boto3.client("dynamodb").query(**request)  # type: ignore[arg-type]
    assert table.page_made_anew(request) == (expected["Items"], None)


@pytest.mark.parametrize(
    "change",
    [
        {"KeyConditionExpression": "pk = :pk AND NOT sk = :first"},
        {"KeyConditionExpression": "pk = :pk OR sk = :first"},
        {"KeyConditionExpression": "(pk = :pk)"},
        {"FilterExpression": "size(v) > :first"},
        {"FilterExpression": "v.w = :first"},
        {"KeyConditions": {}},
    ],
)
def test_a_query_in_an_unknown_form_is_refused(table: TornTable, change: dict[str, Any]) -> None:
    assert table
    with pytest.raises(UnknownForm):
        query(**change)


def test_a_call_that_the_layer_does_not_know_is_refused(table: TornTable) -> None:
    assert table
    with pytest.raises(UnknownForm, match="Scan"):
        handlers_client().scan(TableName=os.environ["GYOZA_TABLE"])


def test_random_moments_are_the_same_for_a_seed_and_at_most_300_ms() -> None:
    items = [ItemKey("RUN#1", sk) for sk in ("META#HEAD", "META#SPEC", "EVENT#0000000000")]
    drawn = [[delays(items) for _ in range(50)] for delays in (at_random(7), at_random(7), at_random(8))]
    assert drawn[0] == drawn[1] != drawn[2]
    assert 0.0 <= min(min(each) for each in drawn[0]) < max(max(each) for each in drawn[0]) <= 0.3
