"""Threads in place of Lambda's environments."""

import threading
from typing import Any

from aws_lambda_powertools.event_handler import APIGatewayRestResolver
from aws_lambda_powertools.utilities.data_classes.common import BaseProxyEvent


def one_environment_a_thread() -> None:
    """Powertools keeps the request under way on a class, for a Lambda environment has one at a time. A thread stands
    for an environment here, so what is kept is kept for each thread.
    """
    kept = threading.local()
    to_event = APIGatewayRestResolver._to_proxy_event

    def keep_event(resolver: APIGatewayRestResolver, event: dict[str, Any]) -> BaseProxyEvent:
        kept.event = event_ = to_event(resolver, event)
        return event_

    def context(resolver: APIGatewayRestResolver) -> dict[str, Any]:
        found: dict[str, Any] = vars(kept).setdefault(f"context of {id(resolver)}", {})
        return found

    resolver: Any = APIGatewayRestResolver
    resolver._to_proxy_event = keep_event
    resolver.current_event = property(lambda _: kept.event)
    resolver.context = property(context, lambda resolver, new: context(resolver).update(new))
