"""Makes a thread stand for one Lambda environment."""

import threading
from typing import Any

from aws_lambda_powertools.event_handler import APIGatewayRestResolver
from aws_lambda_powertools.utilities.data_classes.common import BaseProxyEvent

from testing.versions import require_version

_POWERTOOLS = "3.37.0"
"""The version whose private method and class attributes are replaced here."""


def one_environment_a_thread() -> None:
    """Makes Powertools keep the current request for each thread.

    Powertools keeps it on a class, because a Lambda environment handles one request at a time. Raises
    WrittenForAnotherVersion.
    """
    require_version("aws-lambda-powertools", _POWERTOOLS, __name__)
    kept = threading.local()
    to_event = APIGatewayRestResolver._to_proxy_event

    def keep_event(resolver: APIGatewayRestResolver, event: dict[str, Any]) -> BaseProxyEvent:
        kept.event = parsed = to_event(resolver, event)
        return parsed

    def context(resolver: APIGatewayRestResolver) -> dict[str, Any]:
        found: dict[str, Any] = vars(kept).setdefault(f"context of {id(resolver)}", {})
        return found

    resolver: Any = APIGatewayRestResolver
    resolver._to_proxy_event = keep_event
    resolver.current_event = property(lambda _: kept.event)
    resolver.context = property(context, lambda resolver, new: context(resolver).update(new))
