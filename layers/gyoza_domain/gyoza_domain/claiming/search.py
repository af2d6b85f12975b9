"""Walks the index of claims for one request, within the bounds of the request."""

from collections.abc import Iterator
from dataclasses import dataclass
from heapq import merge
from itertools import groupby, islice
from typing import Any

from ..runs.ports import Clock
from .choice import MAX_ENTRIES, MAX_HEADS, PAGE_ENTRIES, SOON, fits, order_of, takes_gpu_work, tries
from .memory import SpentEntries
from .ports import Candidate, ClaimIndex, ClaimRequest


@dataclass
class _Place:
    """The place in a partition of the index up to which a walk has read."""

    queue: str
    is_gpu: bool
    cursor: Any = None
    is_end: bool = False


class Search:
    """The candidates of one request. No candidate is given out twice, also not by another walk.

    ``is_soon`` is true once the search met something that the worker, or another one, may take soon.
    """

    def __init__(self, index: ClaimIndex, clock: Clock, request: ClaimRequest, spent: SpentEntries) -> None:
        self.is_soon = False
        self._spent = spent
        self._index = index
        self._clock = clock
        self._request = request
        self._entries_left = MAX_ENTRIES
        self._given_out: set[Candidate] = set()

    def candidates(self) -> Iterator[Candidate]:
        """The candidates that fit, may be claimed by now and are not known to be spent, in the order of the tries.

        A lower priority follows when every entry shown of the higher one was given out. Pages of the index are read
        only when the candidates of the earlier ones are used up. Raises StorageUnavailable.
        """
        kinds = (False, True) if takes_gpu_work(self._request.capacity) else (False,)
        queues = list(dict.fromkeys(self._request.queues))
        places = {queue: [_Place(queue, is_gpu) for is_gpu in kinds] for queue in queues}
        reserves = [PAGE_ENTRIES * len(kinds) * later for later in range(len(queues) - 1, -1, -1)]
        # A queue of entries that do not fit leaves a page of each later queue to read. It is read on last.
        for queue, reserve in (*zip(queues, reserves, strict=True), *((queue, 0) for queue in queues[:-1])):
            entries = merge(*(self._entries(place, reserve) for place in places[queue]), key=order_of)
            while shown := list(islice(entries, PAGE_ENTRIES)):
                for _, group in groupby(shown, key=lambda candidate: candidate.priority):
                    for candidate in tries([each for each in group if self._may_be_tried(each)]):
                        if len(self._given_out) == MAX_HEADS:
                            return
                        self._given_out.add(candidate)
                        yield candidate

    def _entries(self, place: _Place, reserve: int) -> Iterator[Candidate]:
        """The entries from the place on, while the request may read more than the reserve."""
        while self._entries_left > reserve and not place.is_end:
            limit = min(PAGE_ENTRIES, self._entries_left - reserve)
            page = self._index.page(place.queue, is_gpu=place.is_gpu, limit=limit, cursor=place.cursor)
            self._entries_left -= page.entries_read
            place.cursor = page.cursor
            place.is_end = page.cursor is None
            yield from page.candidates

    def _may_be_tried(self, candidate: Candidate) -> bool:
        if candidate in self._given_out:
            return False
        if not fits(candidate.needs, self._request.capacity):
            self.is_soon = True
            return False
        is_soon = self._spent.is_soon(candidate)
        if is_soon is not None:
            self.is_soon |= is_soon
            return False
        wait = candidate.claimable_from - self._clock.now()
        if wait.total_seconds() > 0:
            self.is_soon |= wait <= SOON
            return False
        return True
