"""A worker of gyoza runs, as a program of your own would be one: it counts the words of texts.

It needs the client of `clients/python`, and two facts, the API's URL and a key:

    GYOZA_URL=https://... GYOZA_API_KEY=... python examples/text_worker.py

A claim takes whatever its queue holds, so this work has a queue of its own: create its runs with ``queue``
``text-statistics``. Their image is ``example/text-statistics:1``. Inputs: ``documents``, an object of name to text, and
optionally ``fail_attempts``, numbers of attempts that shall fail, to watch a retry. Outputs: for each document its
number of lines and words, its most frequent words and its SHA-256.

Any number of workers may run at once. `GyozaClient.work` claims each run for one of them, renews its lease, and reports
its end. If the worker dies, the lease runs out, and the run is given to another worker.

SIGTERM and SIGINT end the worker: a run that it has not started goes back to its queue, and a started one fails as
``interrupted`` unless it ends within 20 seconds. ECS and Batch kill a container 30 seconds after SIGTERM.
"""

import hashlib
import os
import re
import signal
import sys
import time
from collections import Counter
from typing import Any

from gyoza_client import GyozaClient, GyozaError, Job

IMAGE = "example/text-statistics:1"
QUEUE = "text-statistics"
CAPACITY = {"vram_mb": 0}
"""The hardware that this worker offers: no GPU, and cores and memory for any run."""

_MOST_FREQUENT = 5


def outputs(job: Job, pace_s: float) -> dict[str, Any]:
    """The outputs of the job's run. Raises whatever is wrong with it, which fails the run."""
    if job.run.image != IMAGE:
        raise ValueError(f"this worker does the work of {IMAGE}, not of {job.run.image}")
    documents = job.inputs["documents"]
    job.info(f"{len(documents)} documents to read")
    statistics = {}
    for count, (name, text) in enumerate(documents.items(), 1):
        time.sleep(pace_s)
        statistics[name] = text_statistics(text)
        job.progress(100 * count // len(documents))  # It raises JobCancelled if somebody has asked for a cancel.
        if job.attempt in job.inputs.get("fail_attempts", ()):
            raise ValueError(f"attempt {job.attempt} shall fail")
    return {"documents": statistics}


def text_statistics(text: str) -> dict[str, Any]:
    """The statistics of one document, in the form of the outputs."""
    words = re.findall(r"[\w']+", text.lower())
    return {
        "lines": len(text.splitlines()),
        "words": len(words),
        "most_frequent": Counter(words).most_common(_MOST_FREQUENT),
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
    }


def main() -> None:
    """Work until SIGTERM or SIGINT.

    WORKER_LEASE_S is the length of the leases, and WORKER_GRACE_S the time that a run has after SIGTERM. WORKER_PACE_S
    seconds are spent on each document, for people to watch.
    """
    lease_s = int(os.environ.get("WORKER_LEASE_S", "90"))
    grace_s = float(os.environ.get("WORKER_GRACE_S", "20"))
    pace_s = float(os.environ.get("WORKER_PACE_S", "0"))
    signal.signal(signal.SIGINT, lambda *_: signal.raise_signal(signal.SIGTERM))
    try:
        with GyozaClient() as client:
            for job in client.work(queues=[QUEUE], capacity=CAPACITY, lease_s=lease_s, grace_s=grace_s):
                print(f"has {job.run.id}, attempt {job.attempt}", flush=True)
                with job:
                    job.complete(outputs(job, pace_s))
    except GyozaError as reason:
        sys.exit(str(reason))


if __name__ == "__main__":
    main()
