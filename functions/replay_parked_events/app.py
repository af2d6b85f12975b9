"""Publishes the parked events again for an operator, who invokes it with ``{}``, and removes the published ones.

Answers ``{"published": count, "dropped": count, "kept": count, "reasons": [...], "more": bool, "tried": [...]}``.
``dropped`` counts second copies of an event and messages whose event no longer exists. ``kept`` counts the events that
this request tried and that stay in the queue; the reasons belong to the first of them. ``more`` is true if the time was
up before the queue was empty: invoke again with the ``tried`` of the answer until ``more`` is false. No event is tried
twice. Ends within five minutes.
Raises ValueError for another payload, QueueUnavailable.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from gyoza_domain.bootstrap.push import replay

_MAX_REASONS = 20


def lambda_handler(event: Mapping[str, Any], context: LambdaContext) -> dict[str, Any]:
    tried = event.get("tried", [])
    if not isinstance(tried, list) or not all(isinstance(key, str) for key in tried):
        raise ValueError("tried must be a list of texts, as an earlier answer has it")
    done = replay().run(tried, lambda: context.get_remaining_time_in_millis() / 1000)
    return {
        "published": done.published,
        "dropped": done.dropped,
        "kept": len(done.kept),
        "reasons": [asdict(event) for event in done.kept[:_MAX_REASONS]],
        "more": done.has_more,
        "tried": done.tried if done.has_more else [],
    }
