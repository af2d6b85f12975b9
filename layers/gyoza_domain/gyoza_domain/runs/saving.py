"""Decides and saves, and decides again if another request was faster."""

from collections.abc import Callable
from datetime import datetime
from random import SystemRandom

from ..domain.run import Change, OpRun
from .pausing import Pauses
from .ports import ChangedMeanwhile, Clock, IdempotencyKey, Loaded, NotWritten, RunStore

CONFLICT_DEADLINE_S = 8.0
"""The longest time that a request tries to write (docs/guarantees.md, sixteen writers)."""

_FIRST_PAUSE_S = 0.2
_MAX_PAUSE_S = 3.2
"""A long pause lets other writers finish. With 32 writers, pauses of a quarter let half as many events through."""
_MAX_PAUSE_OF_TIME_LEFT = 0.25
"""The pauses of an older request are shorter, so that it comes before requests that have more time."""

_system_random = SystemRandom()
"""The operating system's random source. SnapStart would clone the state of a seeded generator."""


class Patience:
    """The pauses of one request: 8 seconds between its writes, and a second in ``settling`` between its reads."""

    def __init__(self, clock: Clock) -> None:
        self.settling = Pauses(clock)
        self._clock = clock
        self._deadline = clock.monotonic() + CONFLICT_DEADLINE_S
        self._tries = 0

    def pause(self, reason: NotWritten) -> None:
        """Sleep, with full jitter, or raise the refusal if the time is up.

        The bound of the pause doubles with each try and shrinks towards the end.
        """
        time_left_s = self._deadline - self._clock.monotonic()
        if time_left_s <= 0:
            raise reason.refusal from None
        bound_s = min(_FIRST_PAUSE_S * 2**self._tries, _MAX_PAUSE_S, time_left_s * _MAX_PAUSE_OF_TIME_LEFT)
        self._tries += 1
        self._clock.sleep(_system_random.uniform(0, bound_s))


def save_decision(
    store: RunStore,
    clock: Clock,
    load: Callable[[], Loaded],
    decide: Callable[[OpRun, datetime], Change],
    *,
    patience: Patience,
    key: IdempotencyKey | None = None,
) -> tuple[Loaded, Change]:
    """Decide and save. Returns the run as it was read and the change. An empty change is saved only with a key.

    Raises what ``load`` and ``decide`` raise, KeyUsed, OutcomeUnknown, and after 8 seconds RunBusy or
    StorageUnavailable.
    """
    loaded = load()
    while True:
        change = decide(loaded.run, clock.now())
        if change.is_empty and key is None:
            return loaded, change
        try:
            store.save(change, loaded, key)
        except NotWritten as reason:
            patience.pause(reason)
            if isinstance(reason, ChangedMeanwhile):
                loaded = load()
        else:
            return loaded, change
