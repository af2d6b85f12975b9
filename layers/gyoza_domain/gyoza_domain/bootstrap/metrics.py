"""Writes the metrics of runs, each where it happens, as a line in CloudWatch's embedded format.

The lines are written by hand: Powertools' metrics would lengthen the cold start of routes that write one line.
``POWERTOOLS_METRICS_DISABLED`` turns them off, as it does Powertools' own.
"""

import json
import os
import sys
import time
from contextlib import suppress
from datetime import timedelta

from ..domain.run import OpRun

_NAMESPACE = "gyoza"


def count_created() -> None:
    _write("CreatedRuns", 1, "Count")


def count_ended(run: OpRun) -> None:
    """Count a run that became terminal, by its state and the reason of its attempt."""
    reason = run.attempt.reason
    _write("EndedRuns", 1, "Count", state=run.state.value, reason="none" if reason is None else reason.value)


def note_claim(waited: timedelta) -> None:
    """Note the time from the instant from which the run could be claimed until a worker got it."""
    # The clocks of two hosts may differ.
    _write("ClaimLatency", max(round(waited.total_seconds() * 1000), 0), "Milliseconds")


def _write(name: str, value: int, unit: str, **dimensions: str) -> None:
    if os.environ.get("POWERTOOLS_METRICS_DISABLED", "false").lower() in {"true", "1"}:
        return
    dimensions = {"service": os.environ.get("POWERTOOLS_SERVICE_NAME", "service_undefined"), **dimensions}
    declared = {
        "Namespace": _NAMESPACE,
        "Dimensions": [list(dimensions)],
        "Metrics": [{"Name": name, "Unit": unit}],
    }
    embedded = {"Timestamp": time.time_ns() // 1_000_000, "CloudWatchMetrics": [declared]}
    # The run stands by now: a line that cannot be written must not make of it an error that says "send again".
    with suppress(OSError):
        # One call: the threads of a sweep share the stream.
        sys.stdout.write(json.dumps({"_aws": embedded, **dimensions, name: value}) + "\n")
