"""The table's stream: every new event of a run with an event_delivery, and every creation, published to its topic.

Answers with the records to bring again (``batchItemFailures``): those of runs whose events SNS could not take now, from
the first such event on. What SNS refuses for good, or nobody can read, is parked and does not come again.
One BatchGetItem for 100 events, one PublishBatch for ten.
"""

from collections.abc import Mapping
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from gyoza_domain.bootstrap.push import delivery
from gyoza_domain.dynamodb.stream import change_of

logger = Logger()
delivery()


def lambda_handler(event: Mapping[str, Any], context: LambdaContext) -> dict[str, Any]:
    changes = [change_of(record) for record in event["Records"]]
    report, again = delivery().publish_changes(changes, lambda: context.get_remaining_time_in_millis() / 1000)
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
        logger.warning(
            "delayed", extra={"records": len(again), "runs": len(report.pending), "reasons": sorted(report.delays)}
        )
    return {"batchItemFailures": [{"itemIdentifier": number} for number in again]}
