"""The commands of definitions on a store that refuses, conflicts and loses answers."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from gyoza_domain.definitions.commands import Draft, delete_definition, put_definition
from gyoza_domain.definitions.ports import DefinitionChanged, Put, PutKey, PutUse, Stored
from gyoza_domain.domain.definition import Definition, Template
from gyoza_domain.domain.errors import DefinitionBusy, OutcomeUnknown, PreconditionFailed, StorageUnavailable
from gyoza_domain.runs.pausing import Pauses
from gyoza_domain.runs.ports import NotWritten, Overloaded

BEGINNING = datetime(2026, 3, 2, 20, 0, 0, 42_000, tzinfo=UTC)
DRAFT = Draft("d", "1", Template("mine"))
OTHER = Definition("d", "1", 1, BEGINNING, BEGINNING, Template("other"))


class Clock:
    """Time that goes on by what is slept."""

    def __init__(self) -> None:
        self.slept_s = 0.0

    def now(self) -> datetime:
        return BEGINNING + timedelta(seconds=self.slept_s)

    def monotonic(self) -> float:
        return self.slept_s

    def sleep(self, seconds: float) -> None:
        self.slept_s += max(seconds, 0.001)


@dataclass
class Store:
    """Raises ``refusals`` in order, the last one for ever; None is no refusal.

    ``stands``: a refused write takes effect all the same.
    """

    stored: Stored | None = None
    refusals: list[NotWritten | None] = field(default_factory=list)
    stands: bool = False
    overtaken_by: Definition | None = None
    puts: list[Put] = field(default_factory=list)

    def load(self, _name: str, _version: str | None = None, _pauses: Pauses | None = None) -> Stored | None:
        return self.stored

    def put(self, put: Put, _stored: Stored | None, _key: PutKey | None = None) -> None:
        self.puts.append(put)
        refusal = self.refusals[0] if self.refusals else None
        if len(self.refusals) > 1:
            self.refusals.pop(0)
        if refusal is None or self.stands:
            self.stored = Stored(put.after.version, None, put.after)
        if self.overtaken_by is not None:
            self.stored = Stored("1", None, self.overtaken_by)
        if refusal is not None:
            raise refusal

    def delete(self, name: str, _stored: Stored, _now: datetime) -> None:
        raise DefinitionChanged(name)

    def use_of(self, _key: PutKey) -> PutUse | None:
        return None

    def versions(self, _name: str) -> None:
        raise AssertionError


def test_a_put_that_others_keep_overtaking_is_busy_after_eight_seconds() -> None:
    clock = Clock()
    with pytest.raises(DefinitionBusy):
        put_definition(Store(refusals=[DefinitionChanged("d")]), clock, DRAFT, lambda _: True)
    assert 8 <= clock.slept_s < 10


def test_a_deletion_that_others_keep_overtaking_is_busy_after_eight_seconds() -> None:
    clock = Clock()
    with pytest.raises(DefinitionBusy):
        delete_definition(Store(Stored("1", None, OTHER)), clock, "d")
    assert 8 <= clock.slept_s < 10


def test_a_put_without_capacity_is_unavailable_after_eight_seconds() -> None:
    with pytest.raises(StorageUnavailable):
        put_definition(Store(refusals=[Overloaded()]), Clock(), DRAFT, lambda _: True)


def test_an_earlier_sending_that_stands_is_this_request_s_own_effect() -> None:
    store = Store(refusals=[DefinitionChanged("d", was_resent=True)], stands=True)
    outcome = put_definition(store, Clock(), DRAFT, lambda current: current is None)
    assert (outcome.is_new, outcome.definition.revision, len(store.puts)) == (True, 1, 1)


def test_an_earlier_sending_that_another_put_may_have_replaced_is_not_sent_again() -> None:
    store = Store(refusals=[DefinitionChanged("d", was_resent=True)], stands=True, overtaken_by=OTHER)
    with pytest.raises(OutcomeUnknown):
        put_definition(store, Clock(), DRAFT, lambda _: True)
    assert len(store.puts) == 1


@pytest.mark.parametrize("key", [None, PutKey("digest", "fingerprint", BEGINNING + timedelta(days=1))])
def test_a_put_of_what_stands_is_sent_until_its_version_is_the_latest(key: PutKey | None) -> None:
    mine = Definition("d", "1", 1, BEGINNING, BEGINNING, DRAFT.template)
    store = Store(Stored("2", None, mine), refusals=[DefinitionChanged("d", was_resent=True), None])
    outcome = put_definition(store, Clock(), DRAFT, lambda _: True, key=key)
    assert (outcome.definition, len(store.puts)) == (mine, 2)
    assert store.stored == Stored("1", None, mine)


def test_a_precondition_is_judged_anew_once_another_put_was_faster() -> None:
    store = Store(refusals=[DefinitionChanged("d")], overtaken_by=OTHER)
    with pytest.raises(PreconditionFailed):
        put_definition(store, Clock(), DRAFT, lambda current: current is None)
    assert len(store.puts) == 1
