"""A worker of gyoza runs, as a program of your own would be one: it counts the words of texts.

It needs the client of `clients/python`, and two facts, the API's URL and a key:

    GYOZA_URL=https://... GYOZA_API_KEY=... python examples/text_worker.py

A claim takes whatever its queue holds, so this work has a queue of its own: create its runs with ``queue``
``text-statistics``. Their image is ``example/text-statistics:1``. Inputs: ``documents``, an object of name to text, and
optionally ``fail_attempts``, numbers of attempts that shall fail, to watch a retry. Outputs: for each document its
number of lines and words, and its most frequent word.

Any number of workers may run at once. `GyozaClient.work` claims each run for one of them, renews its lease, and reports
its end. If the worker dies, the lease runs out, and the run is given to another worker.

SIGTERM and SIGINT end the worker: a run that it has not started goes back to its queue, and a started one fails as
``interrupted`` unless it ends within 20 seconds. ECS and Batch kill a container 30 seconds after SIGTERM.
"""

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
    counts = Counter(re.findall(r"[\w']+", text.lower()))
    return {
        "lines": len(text.splitlines()),
        "words": counts.total(),
        "most_frequent": max(counts, key=counts.__getitem__, default=None),
    }


def main() -> None:
    """Work until SIGTERM or SIGINT.

    WORKER_LEASE_S is the length of the leases, and WORKER_GRACE_S the time that a run has after SIGTERM. With
    WORKER_IDLE_S the worker also ends if it finds no run for so long. WORKER_PACE_S seconds are spent on each document,
    for people to watch.
    """
    lease_s = int(os.environ.get("WORKER_LEASE_S", "90"))
    grace_s = float(os.environ.get("WORKER_GRACE_S", "20"))
    idle_s = float(os.environ.get("WORKER_IDLE_S", "inf"))
    pace_s = float(os.environ.get("WORKER_PACE_S", "0"))
    signal.signal(signal.SIGINT, lambda *_: signal.raise_signal(signal.SIGTERM))
    try:
        with GyozaClient() as client:
            jobs = client.work(queues=[QUEUE], capacity=CAPACITY, lease_s=lease_s, idle_s=idle_s, grace_s=grace_s)
            for job in jobs:
                print(f"has {job.run.id}, attempt {job.attempt}", flush=True)
                with job:
                    job.complete(outputs(job, pace_s))
    except GyozaError as reason:
        sys.exit(str(reason))


if __name__ == "__main__":
    main()
