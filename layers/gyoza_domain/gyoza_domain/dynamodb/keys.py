"""Describes the table. No other module spells a key or the name of an index.

A run is one partition, ``pk = RUN#<run id>``. No id that a client sends can spell another item's key, for ids are
checked to be UUIDs before they get here. The sort keys put the items of a run in this order, and the order is used.

=======  =========================  ==================================  =====================  =====================
item     sk                         holds                               written by             read by
=======  =========================  ==================================  =====================  =====================
ATTEMPT  ``ATTEMPT#<n>``            a closed attempt but its result     a retry                attempts
         ``ATTEMPT#<n>#OUTPUTS``    the result of a closed attempt      a retry after a PATCH  attempts
                                    that a PATCH wrote
KEY      ``CLIENT_KEY#<digest>``    what an idempotency key came with   the POST it came with  a keyed refusal
EVENT    ``EVENT#<seq>``            a line of the timeline; the last    an event, once         timelines, the run
                                    of an attempt holds its result
HEAD     ``HEAD``                   state, counters and index keys      every write; its       everything
                                                                        ``version`` guards
                                                                        the whole run
CLAIM    ``HEAD#CLAIM``             the current attempt's worker        ASSIGNED, STARTED;     decisions, the run
                                                                        a retry deletes it
OUTPUTS  ``OUTPUTS``                the current attempt's result, if a  PATCH, and an event    the run
                                    PATCH wrote it                      that ends the attempt
SPEC     ``SPEC``                   image, delivery, constraints, and   creation               the run, list rows,
                                    inputs up to 1 KB                                          push
INPUTS   ``SPEC#INPUTS``            SPEC again, with larger inputs      creation               the run, list rows
=======  =========================  ==================================  =====================  =====================

- A poll is one query upwards, from the first new event to HEAD.
- A decision is one query over the small items, from HEAD to CLAIM.
- A whole run is one query downwards, from the top to its newest hundred events.

Only HEAD carries the keys of the lists' indexes, each a value (long ones hashed) and the run's shard. These four
indexes sort by ``created_key`` (``<created_at>#<run id>``), which is also what a cursor stands for.

====================  ====================  ==============================
index                 hash key              serves
====================  ====================  ==============================
``by_created``        ``<shard>``           no filter, or creation time
``by_state``          ``<state>#<shard>``   ``state``
``by_image``          ``<hash>#<shard>``    ``image``
``by_op_definition``  ``<hash>#<shard>``    ``op_definition``
====================  ====================  ==============================

Two more indexes have no entries: ``by_due`` and ``claimable`` (docs/adr/0009-indexes-for-time-and-claims.md).
"""

from base64 import urlsafe_b64encode
from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256

from ..domain.instants import instant_to_text

HEAD = "HEAD"
CLAIM = "HEAD#CLAIM"
OUTPUTS = "OUTPUTS"
SPEC = "SPEC"
INPUTS = "SPEC#INPUTS"

SMALL_ITEMS = (HEAD, CLAIM)
"""The first and the last of the items that a decision reads."""

TOP = INPUTS
"""The last item of a run."""

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

KEYS_OF_SPARSE_INDEXES = ("due_shard", "due_at", "claim_queue", "claim_order")
"""The keys of ``by_due`` and ``claimable``. An item is in these indexes only while it is current."""

_MAX_SEQ = 9_999_999_999
_MAX_ATTEMPT = 99_999_999

_ABOVE = "~"
"""Sorts after every character of an instant and of a UUID."""


def run_pk(run_id: str) -> str:
    return f"RUN#{run_id}"


def run_id_of_pk(pk: str) -> str:
    return pk.removeprefix(run_pk(""))


def event_sk(seq: int) -> str:
    """The sort key of an event, with ten digits. A larger number gives the last key, which no event has."""
    return f"EVENT#{min(seq, _MAX_SEQ):010d}"


FIRST_EVENT = event_sk(0)


def is_event(sk: str) -> bool:
    return sk.startswith("EVENT#")


def idempotency_sk(digest: str) -> str:
    return f"CLIENT_KEY#{digest}"


def attempt_sk(number: int) -> str:
    """The sort key of an attempt, with eight digits. A larger number gives the last key, which no attempt has."""
    return f"ATTEMPT#{min(number, _MAX_ATTEMPT):08d}"


def attempt_outputs_sk(number: int) -> str:
    """Sorts right after the attempt, before the next one."""
    return f"{attempt_sk(number)}#OUTPUTS"


def index_hash_key(value: str, shard: int) -> str:
    """The hash key of an index of runs by a value; ``by_created`` has none and its key is the shard alone."""
    return f"{value}#{shard}" if value else str(shard)


def digest(value: str) -> str:
    """128 bits, in 22 characters, of a value that may be longer than the 2,048 bytes a key may have."""
    return urlsafe_b64encode(sha256(value.encode()).digest()[:16]).decode().rstrip("=")


def right_after(sk: str) -> str:
    """A bound that excludes ``sk`` and includes every key behind it."""
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
