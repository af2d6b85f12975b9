"""Tests the order in which the two numbers of shards may grow."""

import pytest

from tools.deploy.index_shards import WrongOrder, check_order


def shards(readers: int, writers: int) -> dict[str, str]:
    return {"IndexShardsRead": str(readers), "IndexShards": str(writers)}


@pytest.mark.parametrize(
    ("current", "wanted"),
    [
        (None, shards(1, 1)),
        (None, shards(4, 2)),
        (shards(1, 1), shards(1, 1)),
        (shards(1, 1), shards(4, 1)),
        (shards(4, 1), shards(4, 4)),
        (shards(4, 1), shards(4, 2)),
    ],
)
def test_lists_may_read_more_shards_first_and_creations_then_write_to_them(
    current: dict[str, str] | None, wanted: dict[str, str]
) -> None:
    check_order(current, wanted)


@pytest.mark.parametrize(
    ("current", "wanted", "reason"),
    [
        (None, shards(1, 2), "must not be more"),
        (shards(4, 4), shards(4, 5), "must not be more"),
        (shards(1, 1), shards(4, 4), "deploy IndexShardsRead=4 with IndexShards=1 first"),
        (shards(2, 1), shards(4, 3), "deploy IndexShardsRead=4 with IndexShards=1 first"),
        (shards(4, 1), shards(2, 1), "IndexShardsRead is 4 and must never shrink"),
        (shards(4, 4), shards(4, 2), "IndexShards is 4 and must never shrink"),
    ],
)
def test_a_deployment_that_would_hide_runs_from_lists_is_refused(
    current: dict[str, str] | None, wanted: dict[str, str], reason: str
) -> None:
    with pytest.raises(WrongOrder, match=reason):
        check_order(current, wanted)
