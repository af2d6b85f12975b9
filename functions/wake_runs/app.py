"""Wakes the runs that are due: leases, deadlines, cancels, backoffs and retention. A schedule invokes it each minute.

Answers ``{"woken": {deed: count}, "overdue_s": seconds, "deleted_items": count}``, which nobody waits for. Two
invocations may overlap. Ends when nothing is due, or 20 seconds before its timeout; the next one goes on.
Makes five queries of the index and one update if nothing is due, else two calls more a run.
Raises StorageUnavailable if the index cannot be read.
"""

from collections.abc import Mapping
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from gyoza_domain.bootstrap.waking import new_sweep
from gyoza_domain.waking.commands import Deed

METRICS = {
    Deed.LOST: "LostRuns",
    Deed.TIMED_OUT: "TimedOutRuns",
    Deed.EXPIRED: "ExpiredRuns",
    Deed.CANCEL_NOT_ACKNOWLEDGED: "ForcedCancels",
    Deed.INDEXED: "IndexedRuns",
    Deed.SPARED: "SparedLeases",
    Deed.REMOVED: "RemovedRuns",
    Deed.DELAYED: "DelayedRuns",
    Deed.UNWAKEABLE: "UnwakeableRuns",
}
"""The metric of each deed. A metric is charged for by the hour in which it has a value, so a count of 0 is left out."""

logger = Logger(use_rfc3339=True)
metrics = Metrics(namespace="gyoza")


def lambda_handler(event: Mapping[str, Any], context: LambdaContext) -> dict[str, Any]:  # noqa: ARG001 - Lambda's form
    report = new_sweep().sweep(lambda: context.get_remaining_time_in_millis() / 1000)
    for woken in report.failures:
        entry = woken.entry
        logger.error(
            "unwakeable",
            extra={"run_id": entry.run_id, "subject": entry.subject.name, "due_at": entry.due_at.isoformat()},
            exc_info=woken.error,
        )
    # Each sweep tells this one, also as 0: its absence is the sign that no sweep ends.
    metrics.add_metric("OverdueSeconds", MetricUnit.Seconds, report.overdue_s)
    for deed, name in METRICS.items():
        if report.deeds[deed]:
            metrics.add_metric(name, MetricUnit.Count, report.deeds[deed])
    metrics.flush_metrics()
    return {
        "woken": {deed.value: count for deed, count in report.deeds.items()},
        "overdue_s": report.overdue_s,
        "deleted_items": report.deleted_items,
    }
