"""The rules of the choice: which entries of the index fit a worker, and in which order a claim tries them.

Many workers ask at once, and the index trails their claims. If each tried the oldest entry, all but one would fail, and
the oldest entries are the ones that others have taken already. So a claim tries a few entries at random, first near the
front and then ever further behind it.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from random import Random, SystemRandom

from ..domain.run import Constraints
from .ports import Candidate, Capacity

BANDS = ((16, 2), (48, 3), (136, 5))
"""The sizes of the bands behind each other, from the oldest entry on, and the tries in each."""

MAX_HEADS = sum(tries for _, tries in BANDS)
"""The runs that a request reads at most (docs/openapi.yaml, claimRun)."""

MAX_ENTRIES = 2_000
"""The index entries that a request reads at most (docs/openapi.yaml, claimRun)."""

PAGE_ENTRIES = sum(size for size, _ in BANDS)
"""The entries that a request looks at before it tries the first one."""

SOON = timedelta(seconds=20)
"""A worker comes back at once for a run that starts within this time."""

_PAUSE_IF_SOON_S = (1, 3)
_PAUSE_S = (5, 20)

_system_random = SystemRandom()
"""The operating system's random source. SnapStart would clone the state of a seeded generator."""


def fits(needs: Constraints, capacity: Capacity) -> bool:
    """True if each need that is given is at most what the worker offers."""
    pairs = ((needs.cpu, capacity.cpu), (needs.ram_mb, capacity.ram_mb), (needs.vram_mb, capacity.vram_mb))
    return all(need is None or offered is None or need <= offered for need, offered in pairs)


def takes_gpu_work(capacity: Capacity) -> bool:
    """True if the worker may take runs that need video memory: it offers some, or sets no bound."""
    return capacity.vram_mb is None or capacity.vram_mb > 0


def order_of(candidate: Candidate) -> tuple[int, datetime]:
    """Sorts as the index does: the highest priority first, then the oldest."""
    return -candidate.priority, candidate.claimable_from


def tries(candidates: Sequence[Candidate], rng: Random | None = None) -> Iterator[Candidate]:
    """Every candidate once, in the order of the tries. All are of one priority, the oldest first."""
    rng = rng or _system_random
    chosen: set[int] = set()
    start = 0
    for size, count in BANDS:
        band = range(start, min(start + size, len(candidates)))
        for place in rng.sample(band, min(count, len(band))):
            chosen.add(place)
            yield candidates[place]
        start += size
    others = [place for place in range(len(candidates)) if place not in chosen]
    rng.shuffle(others)
    yield from (candidates[place] for place in others)


def pause_s(*, is_soon: bool, rng: Random | None = None) -> int:
    """The seconds after which a worker that got nothing asks again, at random so that workers do not ask as one."""
    return (rng or _system_random).randint(*(_PAUSE_IF_SOON_S if is_soon else _PAUSE_S))
