"""Remembers entries of the index of claims that no claim can have any more."""

from threading import Lock

from .ports import Candidate

_SIZE = 2_000


class SpentEntries:
    """The newest of the entries whose runs were found taken, past the end of their wait, or unreadable by this release.

    Such an entry never becomes good again, for a run that waits again has another one. So a process need not read the
    run again while the index still shows the entry, and many spent entries hide no others for long. An entry of a run
    that was unreadable comes back only in a new process.
    """

    def __init__(self) -> None:
        self._is_soon: dict[Candidate, bool] = {}
        self._lock = Lock()

    def note(self, candidate: Candidate, *, is_soon: bool) -> None:
        """``is_soon``: true if others have taken the run, and so might leave another one."""
        with self._lock:
            self._is_soon[candidate] = is_soon
            if len(self._is_soon) > _SIZE:
                del self._is_soon[next(iter(self._is_soon))]

    def is_soon(self, candidate: Candidate) -> bool | None:
        """The note; None if the entry is not known to be spent."""
        return self._is_soon.get(candidate)
