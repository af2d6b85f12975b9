"""Tests whole jobs of `work` while two in five requests are lost."""

import threading
from collections import Counter
from uuid import uuid4

import pytest

from gyoza_client import GyozaClient, Jobs
from testing.http_api import ServedApi
from testing.lossy_proxy import LossyProxy

JOBS = 200
WORKERS = 4


def outputs_of(n: int) -> dict[str, int]:
    if n % 10 == 0:
        raise ValueError("a tenth fails")
    return {"n": n}


def work(jobs: Jobs, done: "Counter[str]", errors: list[BaseException]) -> None:
    try:
        for job in jobs:
            with job:
                done[job.run.id] += 1
                job.progress(50)
                job.info("halfway")
                job.complete(outputs_of(job.inputs["n"]))
    except BaseException as error:  # noqa: BLE001 - the test reports it
        errors.append(error)


@pytest.mark.long
def test_each_run_ends_once_and_its_events_are_in_order(served_api: ServedApi, proxy: LossyProxy) -> None:
    queue = f"losses-{uuid4()}"
    done: Counter[str] = Counter()
    errors: list[BaseException] = []
    with GyozaClient(served_api.url, served_api.api_key) as direct:
        runs = [direct.create_run("busybox:1", {"n": n}, queue=queue) for n in range(JOBS)]
        proxy.loss = 0.4
        with GyozaClient(proxy.url, served_api.api_key) as client:
            # A pause of the server's, and the pauses of a claim that lost its answers, are shorter than this.
            jobs = [client.work(queues=[queue], idle_s=30) for _ in range(WORKERS)]
            threads = [threading.Thread(target=work, args=(each, done, errors)) for each in jobs]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert errors == []
        assert proxy.counts.closed > 0.3 * proxy.counts.requests
        print(proxy.counts)
        assert done == {run.id: 1 for run in runs}
        for run in runs:
            n = run.inputs["n"]
            ended = direct.get_run(run)
            expected = ("FAILED", {}) if n % 10 == 0 else ("COMPLETED", {"n": n})
            assert (ended.state, ended.outputs, ended.current_attempt) == (*expected, 1)
            events = list(direct.watch(run))
            assert [event.seq for event in events] == list(range(len(events)))
            types = [str(event.type) for event in events]
            reported = types[2:-1]
            assert (types[:2], types[-1]) == (["ASSIGNED", "STARTED"], expected[0])
            assert Counter(reported) - Counter(["PROGRESS"]) == Counter(["INFO"])
