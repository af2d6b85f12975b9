"""Which messages go together."""

from collections.abc import Iterable, Sequence
from itertools import islice

from .messages import MESSAGE_BYTES, Message

BATCH_ENTRIES = 10
"""Messages in one PublishBatch at most (SNS quota)."""


def next_batch(lanes: Iterable[Sequence[Message]], *, one_of_each: bool) -> list[Message]:
    """The messages to send next, from the heads of the lanes: as many as one call takes, at least one.

    A lane holds the messages of a run in their order, and none is empty. The verdicts of a batch are per message, so
    where order must be kept a batch holds one message of each run: what must be sent again is never overtaken.
    """
    batch: list[Message] = []
    size_bytes = 0
    for lane in lanes:
        for message in islice(lane, 1 if one_of_each else None):
            size_bytes += message.size_bytes
            if batch and (len(batch) == BATCH_ENTRIES or size_bytes > MESSAGE_BYTES):
                return batch
            batch.append(message)
    return batch
