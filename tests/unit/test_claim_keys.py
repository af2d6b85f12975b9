"""The key of a claim in the claim's transaction, on a table in memory."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from gyoza_domain.domain.errors import StorageUnavailable, UnreadableRun
from gyoza_domain.domain.run import OpRun, RunSpec, Terms
from gyoza_domain.domain.transitions import claim, new_attempt
from gyoza_domain.dynamodb.claim_keys import DynamoDBClaimKeys
from gyoza_domain.dynamodb.run_store import DynamoDBRunStore
from gyoza_domain.runs.ports import ClaimKey, ClaimUse, Extent, KeyUsed
from tests.support.memory import TableInMemory
from tests.support.virtual_time import VirtualTime

CLOCK = VirtualTime()
NOW = CLOCK.now()
RUNS = tuple(
    OpRun(f"{digit}f1c2a54-9d1b-4c55-8a39-2f0f5c7be911", NOW, NOW, new_attempt(Terms(), NOW)) for digit in "12"
)
KEY = ClaimKey("0a1b", "the body", "worker", NOW + timedelta(days=1))
PLACE = ("CLAIM_KEY#0a1b", "CLAIM_KEY")


@pytest.fixture
def table() -> TableInMemory:
    return TableInMemory()


@pytest.fixture
def store(table: TableInMemory) -> DynamoDBRunStore:
    store = DynamoDBRunStore(table.client, "runs", CLOCK)
    for run in RUNS:
        store.add(run, RunSpec("busybox:1"))
    return store


@pytest.fixture
def claim_keys(table: TableInMemory) -> DynamoDBClaimKeys:
    return DynamoDBClaimKeys(table.client, "runs")


def claim_with(store: DynamoDBRunStore, run: OpRun, key: ClaimKey, now: datetime = NOW) -> None:
    loaded = store.load(run.id, Extent.SMALL)
    store.save(claim(loaded.run, key.worker_id, 60, now, start=False), loaded, key)


def test_a_claim_keeps_its_run_with_its_key(store: DynamoDBRunStore, claim_keys: DynamoDBClaimKeys) -> None:
    assert claim_keys.use_of(KEY) is None

    claim_with(store, RUNS[0], KEY)

    assert claim_keys.use_of(KEY) == ClaimUse("the body", 2, RUNS[0].id, 1, "worker", KEY.expires_at)


def test_the_table_deletes_a_key_by_its_seconds(store: DynamoDBRunStore, table: TableInMemory) -> None:
    claim_with(store, RUNS[0], KEY)

    assert table.items[PLACE]["expires_at"] == {"N": str(int(KEY.expires_at.timestamp()))}


def test_a_used_key_refuses_another_claim_and_names_the_first(
    store: DynamoDBRunStore, claim_keys: DynamoDBClaimKeys
) -> None:
    claim_with(store, RUNS[0], KEY)

    with pytest.raises(KeyUsed) as used:
        claim_with(store, RUNS[1], replace(KEY, fingerprint="another", worker_id="another"))

    assert used.value.use == claim_keys.use_of(KEY)
    assert store.load(RUNS[1].id, Extent.SMALL).run == RUNS[1]


def test_a_key_whose_life_is_over_may_be_used_again(store: DynamoDBRunStore, claim_keys: DynamoDBClaimKeys) -> None:
    claim_with(store, RUNS[0], KEY)
    later = replace(KEY, expires_at=KEY.expires_at + timedelta(days=1))
    just_before = KEY.expires_at - timedelta(microseconds=1)

    with pytest.raises(KeyUsed):
        claim_with(store, RUNS[1], later, just_before)
    claim_with(store, RUNS[1], later, KEY.expires_at)

    use = claim_keys.use_of(KEY)
    assert use is not None
    assert (use.run_id, use.expires_at) == (RUNS[1].id, later.expires_at)


def test_a_key_that_a_newer_release_wrote_claims_nothing(
    store: DynamoDBRunStore, table: TableInMemory, claim_keys: DynamoDBClaimKeys
) -> None:
    claim_with(store, RUNS[0], KEY)
    table.items[PLACE]["schema"] = {"N": "2"}

    with pytest.raises(UnreadableRun):
        claim_with(store, RUNS[1], KEY)
    with pytest.raises(StorageUnavailable):
        claim_keys.use_of(KEY)


def test_the_instants_of_keys_are_in_utc(store: DynamoDBRunStore, claim_keys: DynamoDBClaimKeys) -> None:
    claim_with(store, RUNS[0], KEY)
    use = claim_keys.use_of(KEY)
    assert use is not None
    assert use.expires_at.tzinfo is UTC
