"""Decides, saves, and decides again when another request was faster."""

from collections.abc import Callable
from datetime import datetime
from itertools import count
from random import SystemRandom

from ..domain.errors import RunBusy
from ..domain.run import Change, OpRun
from .ports import ChangedMeanwhile, Clock, IdempotencyKey, Loaded, RunStore

CONFLICT_DEADLINE_S = 8.0
"""How long a request fights for a contended run before it answers 409 (contract, section 4)."""

_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 3.2
"""Long: while some pause the others get on. At 32 writers four times shorter pauses let half as many events through."""
_LONGEST_PAUSE_OF_TIME_LEFT = 0.25
"""The older a request grows the shorter it pauses, so that it goes before those that have time."""

_FRESH_S = 0.01
"""How long what a failed write returned is worth deciding on; after a longer pause the run is read again."""

_system_random = SystemRandom()
"""Read from the operating system each time: SnapStart would clone the state of a seeded generator."""


def save_decision(
    store: RunStore,
    clock: Clock,
    loaded: Loaded,
    decide: Callable[[OpRun, datetime], Change],
    reload: Callable[[], Loaded],
    *,
    key: IdempotencyKey | None = None,
) -> OpRun:
    """Decide and save; decide anew on the run as it then is whenever another request was faster."""
    run = loaded.run
    deadline = clock.monotonic() + CONFLICT_DEADLINE_S
    for tries in count():
        change = decide(run, clock.now())
        try:
            store.save(change, key)
        except ChangedMeanwhile as conflict:
            time_left_s = deadline - clock.monotonic()
            if time_left_s <= 0:
                raise RunBusy(run.id) from None
            pause_s = _pause_s(tries, time_left_s)
            clock.sleep(pause_s)
            fresh = conflict.current if pause_s < _FRESH_S else None
            run = fresh or reload().run
        else:
            return change.after
    raise AssertionError("unreachable")


def _pause_s(tries: int, time_left_s: float) -> float:
    """Full jitter, below a bound that doubles with each try and shrinks towards the end."""
    longest = min(_FIRST_PAUSE_S * 2**tries, _LONGEST_PAUSE_S, time_left_s * _LONGEST_PAUSE_OF_TIME_LEFT)
    return _system_random.uniform(0, longest)
