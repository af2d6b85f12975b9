"""Invoked by an operator, whatever the payload: every parked event is tried once more.

What goes is taken from the queue. Answers ``{"published": count, "kept": count, "reasons": [...]}``: what stays in the
queue, and why, of the first of it.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from gyoza_domain.bootstrap.push import replay

_REASONS = 20


def lambda_handler(_event: Mapping[str, Any], context: LambdaContext) -> dict[str, Any]:
    done = replay().run(lambda: context.get_remaining_time_in_millis() / 1000)
    return {
        "published": done.published,
        "kept": len(done.kept),
        "reasons": [asdict(event) for event in done.kept[:_REASONS]],
    }
