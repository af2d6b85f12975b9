"""Publishes a run's events from n on again for an operator, who invokes it with ``{"run_id": ..., "from_seq": n}``.

-1 begins with the creation. Answers ``{"published": count, "refused": count, "reasons": [...], "next_seq": n}``. The
reasons belong to the first refused events. ``next_seq`` is the first event that was not tried, because the time was up
or SNS took no more, or null. Ends within five minutes. A FIFO topic drops the events that it got within the last five
minutes.
Raises ValueError for another payload, RunNotFound, RunUnreadable, StorageUnavailable.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from gyoza_domain.bootstrap.push import redelivery
from gyoza_domain.publishing.messages import CREATION

_MAX_REASONS = 20


def lambda_handler(event: Mapping[str, Any], context: LambdaContext) -> dict[str, Any]:
    run_id, from_seq = event.get("run_id"), event.get("from_seq")
    if not isinstance(run_id, str):
        raise ValueError("run_id must be text")  # noqa: TRY004 - one error for every payload that does not fit
    if type(from_seq) is not int or from_seq < CREATION:
        raise ValueError("from_seq must be an integer, -1 or more")
    done = redelivery().run(run_id, from_seq, lambda: context.get_remaining_time_in_millis() / 1000)
    return {
        "published": done.published,
        "refused": len(done.refused),
        "reasons": [asdict(event) for event in done.refused[:_MAX_REASONS]],
        "next_seq": done.next_seq,
    }
