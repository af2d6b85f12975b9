"""The table: the only module that spells a key or the name of an index.

Every item has ``pk = RUN#<run id>``: one run is one partition, and no id a client sends can spell another item's key,
for ids are checked to be UUIDs before they get here.

=======  ============================  =================================  ===================  =======================
item     sk                            holds                              written by           read by
=======  ============================  =================================  ===================  =======================
EVENT    ``EVENT#<seq>``               a line of the timeline; the one    an event, once       timelines; the run's
                                       that ended an attempt also holds                        outputs and error
                                       its result
KEY      ``KEY#<digest>``              what an idempotency key came with  the POST it came     a repeat, a refusal
                                                                          with
ATTEMPT  ``META#ATTEMPT#<n>``          the claim; once closed, the whole  ASSIGNED, STARTED,   decisions, attempts
                                       attempt but its documents          a retry
PATCHED  ``META#ATTEMPT#<n>#PATCHED``  outputs an operator wrote          PATCH of outputs     the run
HEAD     ``META#HEAD``                 state, counters and index keys in  every write; its     everything
                                       less than 1 KB                     ``version`` guards
                                                                          the whole run
SPEC     ``META#SPEC``                 image, inputs, all that is fixed   creation             the run, list rows
=======  ============================  =================================  ===================  =======================

The order of the META keys is used: read downwards from SPEC or HEAD, one query meets all that is known of the current
attempt.

Only HEAD carries index keys, each a value (long ones hashed) and the run's shard. All four indexes sort by
``created_key`` (``<created_at>#<run id>``), which is also what a cursor stands for.

====================  ====================  ==============================
index                 hash key              serves
====================  ====================  ==============================
``by_created``        ``<shard>``           no filter, or creation time
``by_state``          ``<state>#<shard>``   ``state``
``by_image``          ``<hash>#<shard>``    ``image``
``by_op_definition``  ``<hash>#<shard>``    ``op_definition``
====================  ====================  ==============================
"""

from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256

from ..domain.instants import instant_to_text

HEAD = "META#HEAD"
SPEC = "META#SPEC"
FIRST_ATTEMPT = "META#ATTEMPT#"
"""Sorts before every ATTEMPT and PATCHED."""

BY_CREATED = "by_created"
BY_STATE = "by_state"
BY_IMAGE = "by_image"
BY_OP_DEFINITION = "by_op_definition"

HASH_KEY_OF_INDEX = {
    BY_CREATED: "index_all",
    BY_STATE: "index_state",
    BY_IMAGE: "index_image",
    BY_OP_DEFINITION: "index_op_definition",
}

_ABOVE = "~"
"""Sorts after every character of an instant and of a UUID."""


def run_pk(run_id: str) -> str:
    return f"RUN#{run_id}"


def run_id_of_pk(pk: str) -> str:
    return pk.removeprefix(run_pk(""))


def event_sk(seq: int) -> str:
    """Ten digits: a run may have ten thousand million events."""
    return f"EVENT#{seq:010d}"


def idempotency_sk(digest: str) -> str:
    return f"KEY#{digest}"


def attempt_sk(number: int) -> str:
    return f"{FIRST_ATTEMPT}{number:08d}"


def patched_sk(number: int) -> str:
    return f"{attempt_sk(number)}#PATCHED"


def index_hash_key(value: str, shard: int) -> str:
    """The hash key of an index of runs by a value; ``by_created`` has none and its key is the shard alone."""
    return f"{value}#{shard}" if value else str(shard)


def digest(value: str) -> str:
    """128 bits of a value that may be longer than the 2,048 bytes a key may have."""
    return sha256(value.encode()).hexdigest()[:32]


def right_after(sk: str) -> str:
    """A bound that leaves out ``sk`` and keeps every key behind it."""
    return sk + " "


def created_key(created_at: datetime, run_id: str) -> str:
    return f"{instant_to_text(created_at)}#{run_id}"


def run_id_of(created_key_: str) -> str:
    return created_key_.partition("#")[2]


def created_at_text_of(created_key_: str) -> str:
    return created_key_.partition("#")[0]


def created_bounds(
    created_from: datetime | None, created_to: datetime | None, *, above: str | None, below: str | None
) -> tuple[str, str]:
    """Inclusive bounds on ``created_key``: two instants, inclusive, and two created_keys, exclusive."""
    lows: Sequence[str] = (
        "" if created_from is None else instant_to_text(created_from),
        "" if above is None else above + _ABOVE,
        "0",
    )
    highs: Sequence[str] = (
        _ABOVE if created_to is None else instant_to_text(created_to) + _ABOVE,
        _ABOVE if below is None else below[:-1] + chr(ord(below[-1]) - 1) + _ABOVE,
    )
    return max(lows), min(highs)
