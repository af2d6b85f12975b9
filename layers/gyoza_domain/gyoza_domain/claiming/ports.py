"""Declares the ports of claiming, each with the promises that its adapter keeps, and the values of a claim."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from ..domain.run import DEFAULT_QUEUE, Constraints
from ..runs.ports import ClaimKey, ClaimUse


@dataclass(frozen=True, slots=True)
class Capacity:
    """The hardware that a worker offers, in cores and MiB, each >= 0. None takes any need."""

    cpu: int | None = None
    ram_mb: int | None = None
    vram_mb: int | None = None


@dataclass(frozen=True, slots=True)
class ClaimRequest:
    """A worker that asks for work. ``queues`` are in order of preference."""

    worker_id: str
    queues: Sequence[str] = (DEFAULT_QUEUE,)
    capacity: Capacity = field(default_factory=Capacity)
    lease_s: int = 90
    start: bool = False
    """True if the run is started at once, and not only assigned."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An entry of the index of claims. The run may have changed since."""

    run_id: str
    priority: int
    claimable_from: datetime
    needs: Constraints


@dataclass(frozen=True, slots=True)
class CandidatePage:
    """Candidates of one partition: the highest priority first, then the oldest.

    ``entries_read`` counts the entries behind them, unreadable ones included. ``cursor`` takes the index to the next
    page; None after the last one.
    """

    candidates: Sequence[Candidate]
    entries_read: int
    cursor: Any = None


class ClaimIndex(Protocol):
    """The runs that wait for a worker. A run may appear and disappear with a delay, normally well under a second."""

    def page(self, queue: str, *, is_gpu: bool, limit: int, cursor: Any = None) -> CandidatePage:
        """At most ``limit`` entries of the runs of a queue that ask for a GPU, or of those that do not.

        Raises StorageUnavailable.
        """


class ClaimKeys(Protocol):
    """The idempotency keys of claims."""

    def use_of(self, key: ClaimKey) -> ClaimUse | None:
        """The claim that the key came with, even if its life is over; None if no claim did, or it is forgotten.

        The read shows every write that an answer has shown. Raises StorageUnavailable.
        """
