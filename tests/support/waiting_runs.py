"""Runs that wait for workers, in memory: the store and the index of claims, which trails it.

Each call takes virtual time, so that the calls of many workers overlap as they do in a deployment.
"""

from bisect import insort
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from math import inf
from random import Random
from typing import Any, cast

from gyoza_domain.claiming.choice import order_of
from gyoza_domain.claiming.ports import Candidate, CandidatePage
from gyoza_domain.domain.errors import RunNotFound
from gyoza_domain.domain.run import Change, OpRun, RunSpec, State
from gyoza_domain.runs.pausing import Pauses
from gyoza_domain.runs.ports import (
    ChangedMeanwhile,
    ClaimKey,
    ClaimUse,
    Extent,
    IdempotencyKey,
    KeyUsed,
    Loaded,
    RunStore,
)
from gyoza_domain.runs.views import RunView
from tests.support.virtual_time import VirtualTime

SPEC = RunSpec("busybox:1")


NEVER = (inf, inf)

_Place = tuple[tuple[int, datetime], str]


def _place_of(candidate: Candidate) -> _Place:
    return order_of(candidate), candidate.run_id


def candidate_of(run: OpRun) -> Candidate:
    attempt = run.attempt
    claimable_from = attempt.not_before or attempt.began_at or run.created_at
    return Candidate(run.id, run.priority, claimable_from, run.terms.needs)


@dataclass(frozen=True, slots=True)
class Latencies:
    """The longest seconds that a call takes, and the longest that the index trails a write. Each is drawn anew."""

    query_s: float = 0.0
    load_s: float = 0.0
    transaction_s: float = 0.0
    index_s: float = 0.0


class WaitingRuns:
    """RunStore, ClaimIndex and ClaimKeys at once, as far as claims use them.

    A write takes effect in the middle of its call. ``waiting``: the runs in PENDING.
    """

    def __init__(self, clock: VirtualTime, latencies: Latencies | None = None, *, seed: int = 1) -> None:
        self.runs: dict[str, OpRun] = {}
        self.waiting: dict[str, OpRun] = {}
        self.uses: dict[str, ClaimUse] = {}
        self.calls: list[str] = []
        self.entries_read = 0
        self.saved: list[Change] = []
        self._clock = clock
        self._latencies = latencies or Latencies()
        self._rng = Random(seed)
        self._shown: dict[Candidate, tuple[float, float]] = {}
        self._partitions: dict[tuple[str, bool], list[Candidate]] = defaultdict(list)
        self._shown_after: dict[str, float] = defaultdict(float)

    @property
    def store(self) -> RunStore:
        return cast("RunStore", self)

    def put(self, *runs: OpRun) -> None:
        """Write the runs as another request would; the index follows."""
        for run in runs:
            self._write(run)

    def is_shown(self, run: OpRun, *, at: float) -> bool:
        """True if the index shows the run's entry at the instant, which is not in the future."""
        first, last = self._shown.get(candidate_of(run), NEVER)
        return first <= at < last

    def _write(self, run: OpRun) -> None:
        before = self.runs.get(run.id)
        self.runs[run.id] = run
        self.waiting.pop(run.id, None)
        if run.state is State.PENDING:
            self.waiting[run.id] = run
        # The index applies the writes to one item in their order.
        shown_at = self._clock.monotonic() + self._rng.uniform(0, self._latencies.index_s)
        shown_at = self._shown_after[run.id] = max(shown_at, self._shown_after[run.id])
        old = candidate_of(before) if before is not None and before.attempt.is_indexed else None
        new = candidate_of(run) if run.attempt.is_indexed else None
        if old == new:
            return
        if old is not None:
            self._shown[old] = (self._shown[old][0], shown_at)
        if new is not None:
            self.put_entry(run, shown_at)

    def put_entry(self, run: OpRun, shown_at: float = 0.0) -> None:
        """Let the index show the run as it was here, from the instant on."""
        entry = candidate_of(run)
        self._shown[entry] = (shown_at, inf)
        insort(self._partitions[run.terms.queue, bool(run.terms.needs.vram_mb)], entry, key=_place_of)

    def _entries(self, partition: tuple[str, bool]) -> Iterator[Candidate]:
        now = self._clock.monotonic()
        entries = self._partitions[partition]
        entries[:] = [each for each in entries if now < self._shown[each][1]]
        return (each for each in entries if self._shown[each][0] <= now)

    # -- ClaimIndex

    def page(self, queue: str, *, is_gpu: bool, limit: int, cursor: Any = None) -> CandidatePage:
        self.calls.append(f"page {queue} {'gpu' if is_gpu else 'cpu'}")
        self._take(self._latencies.query_s)
        entries = self._entries((queue, is_gpu))
        page = list(islice((each for each in entries if cursor is None or _place_of(each) > cursor), limit + 1))
        is_cut = len(page) > limit
        del page[limit:]
        self.entries_read += len(page)
        return CandidatePage(page, len(page), _place_of(page[-1]) if is_cut else None)

    # -- ClaimKeys

    def use_of(self, key: ClaimKey) -> ClaimUse | None:
        self.calls.append("use_of")
        return self.uses.get(key.digest)

    # -- RunStore

    def load(self, run_id: str, extent: Extent, _pauses: Pauses | None = None, *, at_least: int = 0) -> Loaded:
        self.calls.append(f"load {extent.name}" + " known" * (at_least > 0))
        self._take(self._latencies.load_s)
        run = self.runs.get(run_id)
        if run is None:
            raise RunNotFound(run_id)
        assert run.version >= at_least
        return Loaded(run, RunView(run, SPEC) if extent is Extent.WHOLE else None)

    def save(self, change: Change, loaded: Loaded, key: IdempotencyKey | None = None) -> None:
        self.calls.append("save")
        assert loaded.run == change.before
        latency_s = self._rng.uniform(0, self._latencies.transaction_s)
        self._clock.sleep(latency_s / 2)
        run = change.after
        use = self.uses.get(key.digest) if key is not None else None
        if use is not None and use.expires_at <= self._clock.now():
            use = None
        is_changed = self.runs[run.id].version != change.before.version
        if use is None and not is_changed:
            self._write(run)
            self.saved.append(change)
            if isinstance(key, ClaimKey):
                self.uses[key.digest] = ClaimUse(
                    key.fingerprint, run.version, run.id, run.attempt.number, key.worker_id, key.expires_at
                )
        self._clock.sleep(latency_s / 2)
        if use is not None:
            raise KeyUsed(use)
        if is_changed:
            raise ChangedMeanwhile(run.id)

    def _take(self, longest_s: float) -> None:
        self._clock.sleep(self._rng.uniform(0, longest_s))
