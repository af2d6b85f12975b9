"""Tests the writes of a creation and of every kind of change, and the attributes that they keep."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gyoza_domain.domain.errors import UnreadableRun
from gyoza_domain.domain.run import (
    AttemptResult,
    EventType,
    JsonText,
    OpAttempt,
    OpRun,
    ResultSource,
    RunSpec,
    State,
)
from gyoza_domain.domain.transitions import USER_CANCEL, EventDraft
from gyoza_domain.dynamodb import keys
from gyoza_domain.dynamodb.attributes import Item, attributes
from gyoza_domain.dynamodb.run_reader import DynamoDBRunReader
from gyoza_domain.dynamodb.run_store import DynamoDBRunStore
from gyoza_domain.dynamodb.transactions import creation
from gyoza_domain.runs.commands import RunPatch, add_event, patch_run
from gyoza_domain.runs.ports import IdempotencyKey
from tests.support.memory import TableInMemory

T0 = datetime(2026, 3, 2, 20, 0, tzinfo=UTC)
RUN_ID = "6f1c2a54-9d1b-4c55-8a39-2f0f5c7be911"
PK = f"RUN#{RUN_ID}"
SPEC = RunSpec("busybox:1", JsonText('{"a":1}'))
LARGE_SPEC = replace(SPEC, inputs=JsonText('{"a":"' + "x" * 1_017 + '"}'))
KEY = IdempotencyKey("0a1b", "the body")
OUTPUTS = JsonText('{"patched":true}')
LATER: Item = {"of_a_later_release": {"S": "kept"}}

ASSIGNED = EventDraft(EventType.ASSIGNED, worker_id="worker-7")
STARTED = EventDraft(EventType.STARTED, worker_id="worker-8", gpu_id=1)
INFO = EventDraft(EventType.INFO, "hello")
PROGRESS = EventDraft(EventType.PROGRESS, 40)
COMPLETED = EventDraft(EventType.COMPLETED)
COMPLETED_WITH_OUTPUTS = EventDraft(EventType.COMPLETED, outputs=JsonText('{"b":2}'))
FAILED = EventDraft(EventType.FAILED, error_message="out of memory")
RETRIED = EventDraft(EventType.RETRIED, force=True)

Command = EventDraft | RunPatch


class Clock:
    """A clock that moves by a second with each command."""

    def __init__(self) -> None:
        self.instant = T0

    def now(self) -> datetime:
        return self.instant

    def monotonic(self) -> float:
        return 0.0

    def sleep(self, seconds: float) -> None:
        raise AssertionError(f"a pause of {seconds} s")


@dataclass
class StoredRun:
    """A run in its own table."""

    table: TableInMemory
    clock: Clock
    store: DynamoDBRunStore
    reader: DynamoDBRunReader

    def do(self, *commands: Command, key: IdempotencyKey | None = None) -> None:
        for command in commands:
            self.clock.instant += timedelta(seconds=1)
            if isinstance(command, RunPatch):
                patch_run(self.store, self.clock, RUN_ID, command, whole=False)
            else:
                add_event(self.store, self.clock, RUN_ID, command, whole=False, key=key)

    def item(self, sk: str) -> Item:
        return self.table.items[PK, sk]

    def sks(self) -> set[str]:
        return {sk for _, sk in self.table.items}

    def last_writes(self) -> list[dict[str, Any]]:
        return self.table.written[-1]


def a_run(*commands: Command, max_attempts: int = 1) -> StoredRun:
    table, clock = TableInMemory(), Clock()
    run = StoredRun(
        table,
        clock,
        DynamoDBRunStore(table.client, "runs", clock),
        DynamoDBRunReader(table.client, "runs", clock),
    )
    run.store.add(OpRun(RUN_ID, T0, T0, OpAttempt(1), max_attempts=max_attempts), SPEC)
    run.do(*commands)
    return run


def described(writes: list[dict[str, Any]]) -> list[str]:
    """Describe each write by its kind and its sort key."""
    return [f"{kind} {target(action)['sk']['S']}" for write in writes for kind, action in write.items()]


def target(action: Mapping[str, Any]) -> Item:
    item: Item = action.get("Key") or action["Item"]
    return item


def event(seq: int) -> str:
    return f"Put {keys.event_sk(seq)}"


HEAD = "Update HEAD"
CLAIM, DELETE_CLAIM = "Update HEAD#CLAIM", "Delete HEAD#CLAIM"
RESULT, DELETE_RESULT = "Update OUTPUTS", "Delete OUTPUTS"
ATTEMPT, ATTEMPT_RESULT = f"Put {keys.attempt_sk(1)}", f"Put {keys.attempt_outputs_sk(1)}"
PATCH_OUTPUTS = RunPatch(outputs=OUTPUTS)
REOPEN = RunPatch(State.RUNNING)

CHANGES: list[tuple[str, list[Command], int, Command, list[str]]] = [
    ("a line", [], 1, INFO, [HEAD, event(0)]),
    ("progress", [STARTED], 1, PROGRESS, [HEAD, event(1)]),
    ("a claim", [], 1, ASSIGNED, [HEAD, event(0), CLAIM]),
    ("a start", [], 1, STARTED, [HEAD, event(0), CLAIM]),
    ("a start after a claim", [ASSIGNED], 1, STARTED, [HEAD, event(1), CLAIM]),
    ("an end", [STARTED], 1, COMPLETED_WITH_OUTPUTS, [HEAD, event(1)]),
    ("a failure", [STARTED], 1, FAILED, [HEAD, event(1)]),
    ("a failure before the start", [], 1, FAILED, [HEAD, event(0)]),
    ("an end after a patch", [STARTED, PATCH_OUTPUTS], 1, COMPLETED, [HEAD, event(1), RESULT]),
    ("a failure after a patch", [STARTED, PATCH_OUTPUTS], 1, FAILED, [HEAD, event(1), RESULT]),
    ("a cancel", [STARTED], 1, USER_CANCEL, [HEAD, event(1)]),
    ("a cancel after a patch", [STARTED, PATCH_OUTPUTS], 1, USER_CANCEL, [HEAD, event(1)]),
    ("an automatic retry", [STARTED], 2, FAILED, [HEAD, event(1), event(2), ATTEMPT, DELETE_CLAIM]),
    ("an automatic retry without a worker", [], 2, FAILED, [HEAD, event(0), event(1), ATTEMPT]),
    (
        "an automatic retry after a patch",
        [STARTED, PATCH_OUTPUTS],
        2,
        FAILED,
        [HEAD, event(1), event(2), ATTEMPT, DELETE_CLAIM, ATTEMPT_RESULT, DELETE_RESULT],
    ),
    ("a retry", [STARTED, FAILED], 1, RETRIED, [HEAD, event(2), ATTEMPT, DELETE_CLAIM]),
    (
        "a retry after a patch without a worker",
        [PATCH_OUTPUTS, USER_CANCEL],
        1,
        RETRIED,
        [HEAD, event(1), ATTEMPT, ATTEMPT_RESULT, DELETE_RESULT],
    ),
    ("a run given back", [ASSIGNED], 1, replace(RETRIED, force=False), [HEAD, event(1), ATTEMPT, DELETE_CLAIM]),
    ("a priority", [STARTED], 1, RunPatch(priority=9), [HEAD]),
    ("a state", [STARTED], 1, RunPatch(State.CANCELLED), [HEAD]),
    ("outputs", [STARTED], 1, PATCH_OUTPUTS, [HEAD, RESULT]),
    ("outputs after outputs", [STARTED, PATCH_OUTPUTS], 1, PATCH_OUTPUTS, [HEAD]),
    ("other outputs", [STARTED, PATCH_OUTPUTS], 1, RunPatch(outputs=JsonText("{}")), [HEAD, RESULT]),
    ("reopening", [STARTED, FAILED], 1, REOPEN, [HEAD, RESULT]),
    ("reopening after a patch", [STARTED, PATCH_OUTPUTS, COMPLETED], 1, REOPEN, [HEAD]),
    ("reopening without a result", [STARTED, USER_CANCEL], 1, REOPEN, [HEAD]),
]


@pytest.mark.parametrize(
    ("before", "max_attempts", "command", "writes"), [each[1:] for each in CHANGES], ids=[each[0] for each in CHANGES]
)
def test_a_change_writes_head_first_and_the_items_that_it_touches(
    before: list[Command], max_attempts: int, command: Command, writes: list[str]
) -> None:
    run = a_run(*before, max_attempts=max_attempts)
    run.do(command)
    assert described(run.last_writes()) == writes
    assert all(target(action)["pk"] == {"S": PK} for write in run.last_writes() for action in write.values())
    assert all(action["TableName"] == "runs" for write in run.last_writes() for action in write.values())


@pytest.mark.parametrize(
    ("spec", "key", "writes"),
    [
        (SPEC, None, ["Put HEAD", "Put SPEC"]),
        (SPEC, KEY, ["Put HEAD", "Put CLIENT_KEY#0a1b", "Put SPEC"]),
        (LARGE_SPEC, None, ["Put HEAD", "Put SPEC", "Put SPEC#INPUTS"]),
        (LARGE_SPEC, KEY, ["Put HEAD", "Put CLIENT_KEY#0a1b", "Put SPEC", "Put SPEC#INPUTS"]),
    ],
)
def test_a_creation_writes_head_the_key_and_the_spec(
    spec: RunSpec, key: IdempotencyKey | None, writes: list[str]
) -> None:
    created = creation("runs", OpRun(RUN_ID, T0, T0, OpAttempt(1)), spec, key)
    assert described([dict(write) for write in created]) == writes


@pytest.mark.parametrize("command", [INFO, STARTED, FAILED])
def test_a_key_is_the_second_write_of_a_change(command: EventDraft) -> None:
    run = a_run()
    run.do(command, key=KEY)
    assert described(run.last_writes())[:2] == [HEAD, "Put CLIENT_KEY#0a1b"]
    assert run.item("CLIENT_KEY#0a1b")["fingerprint"] == {"S": "the body"}


# -- conditions


def conditions(writes: list[dict[str, Any]]) -> dict[str, str]:
    """The conditions of the writes by sort key, without the writes that have none."""
    actions = [action for write in writes for action in write.values()]
    return {target(each)["sk"]["S"]: each["ConditionExpression"] for each in actions if "ConditionExpression" in each}


def test_a_change_stands_only_on_the_version_that_its_decision_read() -> None:
    run = a_run(STARTED, PATCH_OUTPUTS, max_attempts=2)
    run.do(FAILED, key=KEY)
    writes = run.last_writes()
    assert conditions(writes) == {"HEAD": "version = :decided_on", "CLIENT_KEY#0a1b": "attribute_not_exists(pk)"}
    assert writes[0]["Update"]["ExpressionAttributeValues"][":decided_on"] == {"N": "3"}
    assert run.item(keys.HEAD)["version"] == {"N": "4"}


@pytest.mark.parametrize(("command", "sk"), [(STARTED, keys.CLAIM), (PATCH_OUTPUTS, keys.OUTPUTS)])
def test_an_item_beside_head_is_changed_only_if_this_release_can_read_it(command: Command, sk: str) -> None:
    run = a_run()
    run.do(command)
    readable = "attribute_not_exists(#schema) OR #schema <= :schema"
    assert conditions(run.last_writes()) == {"HEAD": "version = :decided_on", sk: readable}


def test_a_creation_stands_only_where_neither_its_run_nor_its_key_exists() -> None:
    writes = [dict(write) for write in creation("runs", OpRun(RUN_ID, T0, T0, OpAttempt(1)), LARGE_SPEC, KEY)]
    assert conditions(writes) == dict.fromkeys(("HEAD", "CLIENT_KEY#0a1b"), "attribute_not_exists(pk)")


def test_a_condition_that_fails_returns_the_item_and_no_other_write_does() -> None:
    run = a_run(STARTED)
    run.do(INFO, key=KEY)
    for write in run.last_writes():
        ((_, action),) = write.items()
        returned = action.get("ReturnValuesOnConditionCheckFailure")
        assert returned == ("ALL_OLD" if "ConditionExpression" in action else None)


# -- HEAD


def test_head_names_the_versions_that_last_wrote_the_claim_and_the_result() -> None:
    run = a_run(INFO, ASSIGNED)
    assert versions(run) == ("3", None)
    run.do(PATCH_OUTPUTS)
    assert versions(run) == ("3", "4")
    run.do(STARTED, INFO)
    assert versions(run) == ("5", "4")
    run.do(COMPLETED)
    assert versions(run) == ("5", "7")
    run.do(RunPatch(priority=2))
    assert versions(run) == ("5", "7")
    assert run.item(keys.CLAIM)["version"] == {"N": "5"}
    assert run.item(keys.OUTPUTS)["version"] == {"N": "7"}


def versions(run: StoredRun) -> tuple[str | None, str | None]:
    head = run.item(keys.HEAD)
    claim, result = (head.get(name, {}).get("N") for name in ("claim_version", "result_version"))
    return claim, result


def test_a_retry_takes_from_head_all_that_was_the_attempt_s() -> None:
    run = a_run(STARTED, PATCH_OUTPUTS, COMPLETED, RunPatch(State.FAILED))
    of_attempt = {"started_at", "finished_at", "claim_version", "result_source", "result_version"}
    assert of_attempt <= run.item(keys.HEAD).keys()
    run.do(RETRIED)
    assert not of_attempt & run.item(keys.HEAD).keys()
    assert run.item(keys.HEAD)["outputs_bytes"] == {"N": "0"}
    assert run.sks() == {
        *(keys.attempt_sk(1), keys.attempt_outputs_sk(1)),
        *(keys.event_sk(seq) for seq in range(3)),
        *(keys.HEAD, keys.SPEC),
    }


# -- results


@pytest.mark.parametrize(
    ("command", "result"),
    [
        (COMPLETED, AttemptResult(OUTPUTS, "as before", 1_000)),
        (COMPLETED_WITH_OUTPUTS, AttemptResult(JsonText('{"b":2}'), "as before", 1_000)),
        (FAILED, AttemptResult(OUTPUTS, "out of memory", 1_000)),
        (replace(FAILED, error_message=None), AttemptResult(OUTPUTS, None, 1_000)),
    ],
)
def test_an_end_after_a_patch_writes_only_the_part_of_the_result_that_it_tells(
    command: EventDraft, result: AttemptResult
) -> None:
    """The decision never read the patched result."""
    run = a_run(replace(FAILED, error_message="as before"), PATCH_OUTPUTS, REOPEN, RunPatch(State.PENDING), STARTED)
    run.table.calls.clear()
    run.do(command)
    assert run.table.calls == ["Query", "TransactWriteItems"]
    attempt = run.reader.view(RUN_ID).run.attempt
    assert (attempt.result, attempt.result_source) == (result, ResultSource.PATCH)


def test_an_end_keeps_patched_outputs_that_its_decision_could_not_see() -> None:
    run = a_run(STARTED, PATCH_OUTPUTS)
    outputs = run.table.items.pop((PK, keys.OUTPUTS))
    query = run.table.query

    def query_before_outputs_are_there(**request: Any) -> dict[str, Any]:
        answer = query(**request)
        run.table.items[PK, keys.OUTPUTS] = outputs
        return answer

    run.table.query = query_before_outputs_are_there  # type: ignore[method-assign]
    run.do(COMPLETED)
    result = run.reader.view(RUN_ID).run.attempt.result
    assert result == AttemptResult(OUTPUTS, duration_ms=2_000)


def test_an_event_that_ends_an_attempt_repeats_the_claim_and_no_other_event_does() -> None:
    run = a_run(STARTED, INFO, COMPLETED)
    claim = {"claim_seq": {"N": "0"}, "worker_id": {"S": "worker-8"}, "gpu_id": {"S": "1"}}
    assert run.item(keys.event_sk(2)).items() >= claim.items()
    assert not claim.keys() & {*run.item(keys.event_sk(0)), *run.item(keys.event_sk(1))}


# -- attributes and schemas of a newer release


def mark(run: StoredRun, change: Item = LATER) -> None:
    """Give every item an attribute that this release does not know."""
    for place, item in run.table.items.items():
        run.table.items[place] = {**item, **change}


AFTER_EVERY_COMMAND: list[tuple[list[Command], int, Command]] = [each[1:4] for each in CHANGES]


@pytest.mark.parametrize(("before", "max_attempts", "command"), AFTER_EVERY_COMMAND, ids=[each[0] for each in CHANGES])
def test_attributes_that_are_not_known_stay_on_every_item_or_move_with_it(
    before: list[Command], max_attempts: int, command: Command
) -> None:
    run = a_run(*before, max_attempts=max_attempts)
    mark(run)
    marked = run.sks()
    run.do(command)
    for sk in marked & run.sks():
        assert run.item(sk).items() >= LATER.items(), sk
    moved = {keys.CLAIM: keys.attempt_sk(1), keys.OUTPUTS: keys.attempt_outputs_sk(1)}
    for sk in marked - run.sks():
        assert run.item(moved[sk]).items() >= LATER.items(), sk


def test_an_attribute_that_is_not_known_never_hides_one_of_a_closed_attempt() -> None:
    run = a_run(STARTED, PATCH_OUTPUTS)
    for sk in (keys.CLAIM, keys.OUTPUTS):
        run.table.items[PK, sk] |= {"state": {"S": "of a later release"}, "attempt": {"N": "77"}}
    run.do(RETRIED)
    closed = run.item(keys.attempt_sk(1))
    assert (closed["state"], closed["attempt"]) == ({"S": "CANCELLED"}, {"N": "1"})


def test_a_closed_attempt_takes_no_keys_of_the_indexes_by_due_and_claimable() -> None:
    index_keys: Item = {name: {"S": "0"} for name in ("due_shard", "due_at", "claim_queue", "claim_order")}
    run = a_run(STARTED, PATCH_OUTPUTS)
    for sk in (keys.CLAIM, keys.OUTPUTS):
        run.table.items[PK, sk] |= index_keys | LATER
    run.do(RETRIED)
    for sk in (keys.attempt_sk(1), keys.attempt_outputs_sk(1)):
        assert run.item(sk).items() >= LATER.items()
        assert not run.item(sk).keys() & index_keys.keys()


@pytest.mark.parametrize(
    ("before", "sk", "command"),
    [
        ([STARTED, PATCH_OUTPUTS], keys.OUTPUTS, COMPLETED),
        ([], keys.CLAIM, ASSIGNED),
        ([], keys.OUTPUTS, PATCH_OUTPUTS),
        ([STARTED, PATCH_OUTPUTS], keys.OUTPUTS, COMPLETED_WITH_OUTPUTS),
        ([STARTED, PATCH_OUTPUTS], keys.OUTPUTS, FAILED),
    ],
)
@pytest.mark.parametrize("key", [None, KEY], ids=["no key", "a key"])
def test_a_change_of_an_item_of_a_later_schema_is_not_written_though_its_decision_does_not_read_the_item(
    before: list[Command], sk: str, command: Command, key: IdempotencyKey | None
) -> None:
    run = a_run(*before)
    later = {**run.table.items.get((PK, sk), {"pk": {"S": PK}, "sk": {"S": sk}}), **attributes(schema=2)}
    run.table.items[PK, sk] = later
    stored = dict(run.table.items)
    with pytest.raises(UnreadableRun):
        run.do(command, key=key)
    assert run.table.items == stored


@pytest.mark.parametrize("sk", [keys.HEAD, keys.CLAIM, keys.OUTPUTS])
@pytest.mark.parametrize("command", [RETRIED, FAILED], ids=["a retry", "an automatic retry"])
def test_an_attempt_is_not_closed_on_an_item_of_a_later_schema(command: EventDraft, sk: str) -> None:
    run = a_run(STARTED, PATCH_OUTPUTS, max_attempts=2)
    run.table.items[PK, sk] |= attributes(schema=2)
    before = dict(run.table.items)
    with pytest.raises(UnreadableRun):
        run.do(command)
    assert run.table.items == before


def test_no_update_of_head_touches_its_schema() -> None:
    run = a_run(STARTED, PATCH_OUTPUTS, COMPLETED, REOPEN, RunPatch(priority=3), RETRIED)
    updates = [writes[0]["Update"] for writes in run.table.written[1:]]
    assert len(updates) == 6
    assert not any("schema" in update["ExpressionAttributeNames"].values() for update in updates)


def test_every_new_item_carries_the_schema() -> None:
    run = a_run(ASSIGNED, STARTED, PATCH_OUTPUTS, FAILED, RETRIED, STARTED, PATCH_OUTPUTS)
    assert {sk: item["schema"] for (_, sk), item in run.table.items.items()} == {sk: {"N": "1"} for sk in run.sks()}
    assert run.sks() >= {keys.CLAIM, keys.OUTPUTS, keys.attempt_sk(1), keys.attempt_outputs_sk(1)}
