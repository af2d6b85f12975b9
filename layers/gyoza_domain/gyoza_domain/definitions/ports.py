"""Declares the ports of definitions, each with the promises that its adapter keeps, and the values that they pass."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from ..domain.definition import Definition
from ..domain.errors import DefinitionBusy
from ..runs.pausing import Pauses
from ..runs.ports import IdempotencyKey, KeyUse, NotWritten


@dataclass(frozen=True, slots=True)
class Stored:
    """A name as a decision reads it, and one of its versions.

    ``definition``: the version that was asked for; None if the name has no such version. ``origin``: the store's own
    record of its reading; ``put`` and ``delete`` take it back.
    """

    latest: str
    deleted_at: datetime | None
    definition: Definition | None
    origin: Any = None


@dataclass(frozen=True, slots=True)
class PutKey(IdempotencyKey):
    """The key of ``POST /definitions``. It lives until ``expires_at``."""

    expires_at: datetime


@dataclass(frozen=True, slots=True)
class PutUse:
    """The put that a PutKey came with. ``fingerprint``: of its body. ``is_new``: whether the put made the version."""

    fingerprint: str
    name: str
    version: str
    is_new: bool
    expires_at: datetime


class PutKeyUsed(Exception):
    """A put found its idempotency key used; nothing was written."""

    def __init__(self, use: PutUse) -> None:
        super().__init__("the idempotency key is used")
        self.use = use


class DefinitionChanged(NotWritten):
    """Another request wrote to the name since it was loaded.

    ``was_resent`` is true if an earlier sending of this write may have taken effect.
    """

    def __init__(self, name: str, *, was_resent: bool = False) -> None:
        super().__init__(DefinitionBusy(name))
        self.was_resent = was_resent


@dataclass(frozen=True, slots=True)
class Put:
    """A decision to write.

    ``after``: the version that becomes the latest. ``changes``: whether it differs from what is stored. ``is_new``:
    whether the put makes the version.
    """

    after: Definition
    changes: bool
    is_new: bool
    now: datetime


@dataclass(frozen=True, slots=True)
class DefinitionPage:
    """Definitions without their ``input_specs``, in the direction of the query.

    ``next_cursor`` is None on the last page. ``unreadable`` counts the rows that are left out because a newer release
    wrote them.
    """

    rows: Sequence[Definition]
    next_cursor: str | None
    unreadable: int = 0


class DefinitionStore(Protocol):
    """Definitions, one name at a time. A read shows every write that an answer has shown.

    Every method raises StorageUnavailable, and UnreadableDefinition if a newer release wrote what it reads.
    """

    def load(self, name: str, version: str | None = None, pauses: Pauses | None = None) -> Stored | None:
        """The name and the version; without a version the one that was put last. None if the name never was.

        Shows a deleted name too. ``pauses``: those that are left to the request; a second of them if it is None.
        """

    def versions(self, name: str) -> tuple[Stored, Sequence[Definition]] | None:
        """Every version without its ``input_specs``, the one that was put last first. None if the name never was."""

    def put(self, put: Put, stored: Stored | None, key: PutKey | None = None) -> None:
        """Write the version, make it the latest, revive the name and record the key, all at once.

        ``stored``: the reading that the decision rests on; None if the name never was. Raises DefinitionChanged if
        another request wrote to the name since then, PutKeyUsed, Overloaded and OutcomeUnknown.
        """

    def delete(self, name: str, stored: Stored, now: datetime) -> None:
        """Delete the name and keep its versions. Raises DefinitionChanged, Overloaded and OutcomeUnknown."""

    def use_of(self, key: PutKey) -> PutUse | None:
        """The put that the key came with, even if its life is over; None if no put did, or it is forgotten."""


class DefinitionLists(Protocol):
    """Lists definitions, many names at a time. A list may trail a write by the delay of the index."""

    def page(self, limit: int, after: str | None, *, backwards: bool) -> DefinitionPage:
        """The latest version of each name that is not deleted, by name, right behind ``after``.

        ``backwards`` goes down from ``after``. Raises InvalidCursor if no such name ever was, and StorageUnavailable.
        """


class CreationKeys(Protocol):
    """The idempotency keys of creations, for requests that are about to be refused."""

    def use_of(self, run_id: str, key: IdempotencyKey) -> KeyUse | None:
        """The creation of the run that the key derives; None if there was none.

        Raises RunExpired if the run was deleted, StorageUnavailable and UnreadableRun.
        """
