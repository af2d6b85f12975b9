"""Reads the table's stream and publishes creations and events of each run with an event_delivery to the run's topic.

Answers with the records that must come again (``batchItemFailures``): those with an event that SNS does not take now or
that cannot be read yet, and the later ones of the same run. An event that SNS refuses for good, or that cannot be read
a minute after its write, is parked and does not come again.
Makes one BatchGetItem for 100 events and one PublishBatch for ten.
"""

from collections.abc import Mapping
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from gyoza_domain.bootstrap.push import delivery
from gyoza_domain.dynamodb.stream import change_of

logger = Logger(use_rfc3339=True)
delivery()


def lambda_handler(event: Mapping[str, Any], context: LambdaContext) -> dict[str, Any]:
    changes = [change_of(record) for record in event["Records"]]
    report, again = delivery().publish(changes, lambda: context.get_remaining_time_in_millis() / 1000)
    for parked in report.parked:
        logger.warning(
            "parked",
            extra={
                "run_id": parked.run_id,
                "seq": parked.seq,
                "topic": parked.topic,
                "reason": parked.reason,
                "gap": parked.leaves_gap,
            },
        )
    if again:
        logger.warning("delayed", extra={"records": len(again), "reasons": sorted(report.delays)})
    return {"batchItemFailures": [{"itemIdentifier": number} for number in again]}
