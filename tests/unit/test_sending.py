from collections.abc import Sequence

import pytest

from gyoza_domain.publishing.messages import MAX_MESSAGE_BYTES, Message
from gyoza_domain.publishing.sending import next_batch


def lane(run_id: str, *sizes: int) -> list[Message]:
    return [Message(run_id, seq, f"{run_id}/{seq}", "x" * size, {}) for seq, size in enumerate(sizes)]


def ids(batch: Sequence[Message]) -> list[str]:
    return [message.id for message in batch]


@pytest.mark.parametrize(
    ("lanes", "one_of_each", "expected"),
    [
        ([lane("a", 1, 1), lane("b", 1)], False, ["a/0", "a/1", "b/0"]),
        ([lane("a", 1, 1), lane("b", 1)], True, ["a/0", "b/0"]),
        ([lane("a", *[1] * 12)], False, [f"a/{seq}" for seq in range(10)]),
        ([lane(f"{n:02}", 1) for n in range(12)], True, [f"{n:02}/0" for n in range(10)]),
        ([lane("a", MAX_MESSAGE_BYTES - 1, 1), lane("b", 1)], False, ["a/0", "a/1"]),
        ([lane("a", MAX_MESSAGE_BYTES - 1, 2), lane("b", 1)], False, ["a/0"]),
        ([lane("a", MAX_MESSAGE_BYTES, 1)], True, ["a/0"]),
        ([lane("a", MAX_MESSAGE_BYTES + 1, 1)], False, ["a/0"]),
    ],
)
def test_a_batch_is_as_full_as_one_call_takes(
    lanes: list[list[Message]], one_of_each: bool, expected: list[str]
) -> None:
    assert ids(next_batch(lanes, one_of_each=one_of_each)) == expected
