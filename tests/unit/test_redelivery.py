"""The pauses of a redelivery, for events that are not visible yet."""

import random
from collections.abc import Sequence

import pytest

from gyoza_domain.messaging.sns import SnsTopics
from gyoza_domain.publishing.ports import Absence
from gyoza_domain.publishing.redelivery import Redelivery
from tests.support.outbox import MemoryOutbox
from tests.support.push import ARN_PREFIX, SimulatedSns


def pauses_of_a_redelivery() -> Sequence[float]:
    """The pauses for an event that never becomes visible."""
    sns = SimulatedSns()
    outbox = MemoryOutbox(lacks={("a", 0): Absence.MISSING})
    topics = SnsTopics(sns, ARN_PREFIX)  # type: ignore[arg-type]
    done = Redelivery(outbox, topics, sns.faults.clock).run("a", 0, lambda: 60.0)
    assert [event.seq for event in done.refused] == [0]
    return sns.faults.clock.pauses


def test_a_redelivery_pauses_for_a_second_in_all_and_at_most_300_ms_at_a_time() -> None:
    pauses = pauses_of_a_redelivery()
    assert sum(pauses) == pytest.approx(1.0)
    assert max(pauses) <= 0.3


def test_the_pauses_of_a_redelivery_do_not_repeat_with_a_seed() -> None:
    def made() -> Sequence[float]:
        random.seed(1)
        return pauses_of_a_redelivery()

    assert made() != made()
