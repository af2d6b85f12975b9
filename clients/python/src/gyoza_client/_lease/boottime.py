"""The clock by which leases are counted."""

import time
from typing import Final

_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

SLICE_S: Final = 1.0
"""The longest wait by another clock, which may stand still while the machine sleeps. `boottime` is read after it."""


def boottime() -> float:
    """Seconds from a fixed instant. On Linux they go on while the machine sleeps; elsewhere they may not."""
    return time.clock_gettime(_CLOCK)
