"""The command of claiming: finds a run that fits a worker and gives it to the worker."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from ..domain.errors import (
    IdempotencyKeyReused,
    OutcomeUnknown,
    RunExpired,
    RunNotFound,
    StaleAttempt,
    StorageUnavailable,
    UnreadableRun,
)
from ..domain.run import OpRun, State
from ..domain.transitions import NotClaimable, claim
from ..runs.commands import Outcome
from ..runs.ports import ChangedMeanwhile, ClaimKey, ClaimUse, Clock, Extent, KeyUse, KeyUsed, NotWritten, RunStore
from ..runs.saving import CONFLICT_DEADLINE_S, Patience
from .choice import SOON, pause_s
from .memory import SpentEntries
from .ports import Candidate, ClaimIndex, ClaimKeys, ClaimRequest
from .search import Search

KEY_LIFE = timedelta(days=1)
"""The time for which the idempotency key of a claim answers with the run that the claim got."""


@dataclass(frozen=True, slots=True)
class Claimed(Outcome):
    """The run that a worker got. ``waited``: the time from claimable to claimed; None for a replay."""

    waited: timedelta | None = None


@dataclass(frozen=True, slots=True)
class NothingFits:
    """No run that fits was found. ``retry_after_s``: the seconds after which the worker asks again."""

    retry_after_s: int


def claim_run(
    store: RunStore,
    keys: ClaimKeys,
    index: ClaimIndex,
    clock: Clock,
    request: ClaimRequest,
    *,
    whole: bool,
    key: ClaimKey | None = None,
    spent: SpentEntries | None = None,
    wake_due: Callable[[], int] | None = None,
) -> Claimed | NothingFits:
    """Give the worker the run of the highest priority that fits it, ASSIGNED or RUNNING and with a lease.

    ``spent``: what earlier claims of this process learned. ``wake_due`` handles what is due and returns the number of
    runs that it changed. It is called once if nothing fits.

    Raises StorageUnavailable and OutcomeUnknown. With a key also IdempotencyKeyReused, and RunExpired and StaleAttempt
    if the claim with that key got a run that the worker has no more.
    """
    if key is not None:
        use = keys.use_of(key)
        if use is not None and clock.now() < use.expires_at:
            return _replay(store, key, use, whole=whole)
    spent = SpentEntries() if spent is None else spent
    search = Search(index, clock, request, spent)
    tries = _Tries(store, clock, request, search=search, spent=spent, key=key, whole=whole)
    try:
        claimed = tries.first_success()
        if claimed is None and tries.refusal is None and wake_due is not None and wake_due() > 0:
            # The index may show the woken runs only after this request.
            search.is_soon = True
            claimed = tries.first_success()
        if claimed is not None:
            return claimed
        if tries.refusal is not None:
            raise tries.refusal
    except KeyUsed as used:
        return _replay(store, key, used.use, whole=whole)
    except StorageUnavailable as refusal:
        unknown = refusal if isinstance(refusal, OutcomeUnknown) else tries.refusal
        if key is None or not isinstance(unknown, OutcomeUnknown):
            raise
        return _replay_of_unknown(store, keys, clock, key, unknown, whole=whole)
    return NothingFits(pause_s(is_soon=search.is_soon))


class _Tries:
    """The tries of one request.

    ``refusal``: the error to raise if no later try succeeds. No other error takes the place of an OutcomeUnknown.
    """

    def __init__(
        self,
        store: RunStore,
        clock: Clock,
        request: ClaimRequest,
        *,
        search: Search,
        spent: SpentEntries,
        key: ClaimKey | None,
        whole: bool,
    ) -> None:
        self.refusal: StorageUnavailable | None = None
        self._store = store
        self._clock = clock
        self._request = request
        self._search = search
        self._spent = spent
        self._key = key
        self._extent = Extent.WHOLE if whole else Extent.SMALL
        self._patience = Patience(clock)
        self._deadline = clock.monotonic() + CONFLICT_DEADLINE_S

    def first_success(self) -> Claimed | None:
        for candidate in self._search.candidates():
            if self._clock.monotonic() >= self._deadline:
                break
            claimed = self._claimed(candidate)
            if claimed is not None:
                return claimed
        return None

    def _claimed(self, candidate: Candidate) -> Claimed | None:
        """The run, or None if this worker cannot have it. Raises KeyUsed and OutcomeUnknown."""
        try:
            loaded = self._store.load(candidate.run_id, self._extent, self._patience.settling)
        except (RunNotFound, UnreadableRun):
            # No further reading by this release shows anything else.
            self._spent.note(candidate, is_soon=False)
            return None
        except StorageUnavailable as refusal:
            self._note(refusal)
            return None
        run, now = loaded.run, self._clock.now()
        if run.priority != candidate.priority:
            # The index will show it in its new place.
            self._search.is_soon = True
            return None
        try:
            change = claim(run, self._request.worker_id, self._request.lease_s, now, start=self._request.start)
        except NotClaimable:
            self._note_not_claimable(candidate, run, now)
            return None
        try:
            self._store.save(change, loaded, self._key)
        except NotWritten as reason:
            self._search.is_soon = True
            if isinstance(reason.refusal, StorageUnavailable):
                self._note(reason.refusal)
            if not isinstance(reason, ChangedMeanwhile):
                self._patience.pause(reason)
            return None
        self._spent.note(candidate, is_soon=True)
        view = loaded.view and loaded.view.after(change)
        return Claimed(change.after, view, waited=change.after.updated_at - candidate.claimable_from)

    def _note(self, refusal: StorageUnavailable) -> None:
        if not isinstance(self.refusal, OutcomeUnknown):
            self.refusal = refusal

    def _note_not_claimable(self, candidate: Candidate, run: OpRun, now: datetime) -> None:
        not_before = run.attempt.not_before
        if run.state is State.PENDING and not_before is not None and now < not_before:
            self._search.is_soon |= not_before - now <= SOON
            return
        is_taken = run.state is not State.PENDING
        self._search.is_soon |= is_taken
        self._spent.note(candidate, is_soon=is_taken)


def _replay(store: RunStore, key: ClaimKey | None, use: KeyUse, *, whole: bool) -> Claimed:
    """The run that the claim with this key got, as it stands."""
    if key is None or not isinstance(use, ClaimUse) or use.fingerprint != key.fingerprint:
        raise IdempotencyKeyReused
    try:
        loaded = store.load(use.run_id, Extent.WHOLE if whole else Extent.SMALL, at_least=use.version)
    except RunNotFound:
        raise RunExpired from None
    except UnreadableRun:
        raise
    except StorageUnavailable:
        # The claim stands, so "nothing was written" would be wrong.
        raise OutcomeUnknown(use.run_id, is_keyed=True) from None
    attempt = loaded.run.attempt
    holder = None if attempt.claim is None or attempt.state is State.PENDING else attempt.claim.worker_id
    if attempt.number != use.attempt or holder != use.worker_id:
        raise StaleAttempt(use.attempt, attempt.number)
    return Claimed(loaded.run, loaded.view, is_replay=True)


def _replay_of_unknown(
    store: RunStore, keys: ClaimKeys, clock: Clock, key: ClaimKey, unknown: OutcomeUnknown, *, whole: bool
) -> Claimed:
    """The run that this request got after all. Raises ``unknown`` if the table does not show the claim."""
    try:
        use = keys.use_of(key)
    except StorageUnavailable:
        raise unknown from None
    if use is None or use.expires_at <= clock.now():
        raise unknown
    return _replay(store, key, use, whole=whole)
