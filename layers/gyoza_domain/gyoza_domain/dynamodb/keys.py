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
BEAT     ``HEAD#BEAT``              the lease of the current attempt    the event that begins  decisions, the run,
                                                                        it, heartbeats; the    the timer
                                                                        attempt's end deletes
                                                                        it
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

Two sparse indexes serve time and claims (docs/adr/0009-indexes-for-time-and-claims.md). HEAD and BEAT enter the first,
HEAD the second. A tombstone is in the partition ``remains`` until nothing else of its run is left.

=============  =======================  ==========================================  ==============================
index          hash key                 range key                                   serves
=============  =======================  ==========================================  ==============================
``by_due``     ``<0 to 3>``, and        an instant as text                          the timer
               ``remains``
``claimable``  ``<queue>#cpu`` or gpu   ``<9999 - priority>#<instant as text>``     claims
=============  =======================  ==========================================  ==============================

The key of a claim belongs to no run: ``pk = CLAIM_KEY#<digest>``, ``sk = CLAIM_KEY``. A claim writes and reads it, and
the table's TTL deletes it.

A definition is one partition, ``pk = DEFINITION#<name>`` (docs/adr/0012-definitions.md). A put writes all three items,
a deletion NAME.

=======  =========================  ==============================================  ==================================
item     sk                         holds                                           read by
=======  =========================  ==============================================  ==================================
NAME     ``NAME``                   the versions put last and their revisions;      everything but lists
                                    its ``change`` guards the whole name
VERSION  ``VERSION#<version>``      a version: what rows show, and the beginning    a put, a run, lists
                                    of its input specs, in 4 KB
REST     ``VERSION_REST#<version>`` the remainder of the input specs, if any        a put, a run
=======  =========================  ==============================================  ==================================

NAME is in the partition ``DEFINITIONS`` of ``by_op_definition``, sorted by its name; there ``state``, which the index
projects, is the version that was put last. A deleted name leaves the index.

The key of a put belongs to no definition: ``pk = DEFINITION_KEY#<digest>``, ``sk = DEFINITION_KEY``. The table's TTL
deletes it.

One more item belongs to no run: ``pk = TIMER``, ``sk = SWEEP`` says when a sweep began last (``last_at``), and when the
timer stood still last (from ``stood_from`` to ``stood_until``).
"""

from base64 import urlsafe_b64encode
from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256
from uuid import UUID

from ..domain.instants import instant_from_text, instant_to_text

HEAD = "HEAD"
BEAT = "HEAD#BEAT"
CLAIM = "HEAD#CLAIM"
CLAIM_KEY = "CLAIM_KEY"
OUTPUTS = "OUTPUTS"
SPEC = "SPEC"
INPUTS = "SPEC#INPUTS"

DEFINITIONS = "DEFINITIONS"
"""The partition of ``by_op_definition`` for names. No run is in it: the hash keys of runs end in a shard."""

NAME = "NAME"
LAST_VERSION = "VERSION#~"
"""Sorts after every VERSION and before every REST."""

DEFINITION_KEY = "DEFINITION_KEY"

SMALL_ITEMS = (HEAD, CLAIM)
"""The first and the last of the items that a decision reads."""

TOP = INPUTS
"""The last item of a run."""

BY_CREATED = "by_created"
BY_STATE = "by_state"
BY_IMAGE = "by_image"
BY_OP_DEFINITION = "by_op_definition"
BY_DUE = "by_due"
CLAIMABLE = "claimable"

DUE_SHARDS = 4
"""The partitions of ``by_due``. One takes 1,000 writes a second (docs/adr/0009-indexes-for-time-and-claims.md)."""

DUE_REMAINS = "remains"
"""The partition of ``by_due`` for tombstones, so that many of them do not delay leases and deadlines."""

TIMER = "TIMER"
"""The partition of what the timer keeps about itself."""

SWEEP = "SWEEP"
"""The item of TIMER that says when a sweep began last, and when the timer stood still last."""

MAX_PRIORITY = 9_999

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


def due_shard(run_id: str) -> str:
    """The partition of ``by_due`` for a run."""
    return str(UUID(run_id).int % DUE_SHARDS)


def claim_queue(queue: str, *, is_gpu: bool) -> str:
    """The partition of ``claimable``. Work that asks for a GPU has one of its own."""
    return f"{queue}#{'gpu' if is_gpu else 'cpu'}"


def claim_order(priority: int, claimable_from: datetime) -> str:
    """The place of a run among those of its partition: the highest priority first, then the oldest."""
    return f"{MAX_PRIORITY - priority:04d}#{instant_to_text(claimable_from)}"


def place_in_queue(claim_order_: str) -> tuple[int, datetime]:
    """The priority and the instant in a ``claim_order``. Raises ValueError."""
    rank, _, claimable_from = claim_order_.partition("#")
    return MAX_PRIORITY - int(rank), instant_from_text(claimable_from)


def claim_key_pk(digest_: str) -> str:
    """The partition of a claim's idempotency key."""
    return f"{CLAIM_KEY}#{digest_}"


def definition_pk(name: str) -> str:
    return f"DEFINITION#{name}"


def name_of_pk(pk: str) -> str:
    return pk.removeprefix(definition_pk(""))


def version_sk(version: str) -> str:
    return f"VERSION#{version}"


def version_of_sk(sk: str) -> str:
    return sk.removeprefix(version_sk(""))


def rest_sk(version: str) -> str:
    return f"VERSION_REST#{version}"


def definition_key_pk(digest_: str) -> str:
    """The partition of the idempotency key of a put."""
    return f"{DEFINITION_KEY}#{digest_}"


def right_after(sk: str) -> str:
    """A bound that excludes ``sk`` and includes every key behind it."""
    return sk + " "


def created_key(created_at: datetime, run_id: str) -> str:
    return f"{instant_to_text(created_at)}#{run_id}"


def run_id_of(key: str) -> str:
    return key.partition("#")[2]


def created_at_text_of(key: str) -> str:
    return key.partition("#")[0]


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
