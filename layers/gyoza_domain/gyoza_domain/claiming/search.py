"""Walks the index of claims for one request, within the bounds of the request."""

from collections.abc import Iterator
from heapq import merge
from itertools import groupby, islice

from ..runs.ports import Clock
from .choice import MAX_ENTRIES, MAX_HEADS, PAGE_ENTRIES, SOON, fits, order_of, takes_gpu_work, tries
from .memory import SpentEntries
from .ports import Candidate, ClaimIndex, ClaimRequest


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
        for queue in dict.fromkeys(self._request.queues):
            entries = merge(*(self._entries(queue, is_gpu) for is_gpu in kinds), key=order_of)
            while shown := list(islice(entries, PAGE_ENTRIES)):
                for _, group in groupby(shown, key=lambda candidate: candidate.priority):
                    for candidate in tries([each for each in group if self._may_be_tried(each)]):
                        if len(self._given_out) == MAX_HEADS:
                            return
                        self._given_out.add(candidate)
                        yield candidate

    def _entries(self, queue: str, is_gpu: bool) -> Iterator[Candidate]:
        cursor = None
        while self._entries_left > 0:
            limit = min(PAGE_ENTRIES, self._entries_left)
            page = self._index.page(queue, is_gpu=is_gpu, limit=limit, cursor=cursor)
            self._entries_left -= page.entries_read
            yield from page.candidates
            cursor = page.cursor
            if cursor is None:
                return

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
