"""Tests whole jobs of `work` while requests are lost, and while the worker is frozen or cut off."""

import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest

from gyoza_client import GyozaClient, Jobs
from testing.http_api import ServedApi
from testing.lossy_proxy import LossyProxy

SOURCE = str(Path(__file__).resolve().parents[1] / "src")

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


WORKER = """
import sys, time
from gyoza_client import GyozaClient, LeaseLost

with GyozaClient() as client:
    for job in client.work(queues=[sys.argv[1]], lease_s=15, max_jobs=2):
        with job:
            print("begun", job.attempt, flush=True)
            try:
                while job.attempt == 1:
                    job.check()
                    time.sleep(0.1)
            except LeaseLost:
                print("lost", job.holds_lease, flush=True)
                raise
            job.complete({"by": job.attempt})
"""


def freeze(worker: "subprocess.Popen[str]", _proxy: LossyProxy) -> None:
    worker.send_signal(signal.SIGSTOP)


def thaw(worker: "subprocess.Popen[str]", _proxy: LossyProxy) -> None:
    worker.send_signal(signal.SIGCONT)


def cut_off(_worker: "subprocess.Popen[str]", proxy: LossyProxy) -> None:
    proxy.down()


def connect(_worker: "subprocess.Popen[str]", proxy: LossyProxy) -> None:
    proxy.up()


@pytest.mark.long
@pytest.mark.parametrize(("end_contact", "restore"), [(freeze, thaw), (cut_off, connect)], ids=["frozen", "cut off"])
def test_a_worker_that_comes_back_too_late_learns_it_and_goes_on(
    end_contact: Callable[..., None], restore: Callable[..., None], served_api: ServedApi, proxy: LossyProxy
) -> None:
    queue = f"late-{uuid4()}"
    with GyozaClient(served_api.url, served_api.api_key) as direct:
        run = direct.create_run("busybox:1", queue=queue, retry_policy={"max_attempts": 2})
        worker = subprocess.Popen(
            [sys.executable, "-c", WORKER, queue],
            env={"GYOZA_URL": proxy.url, "GYOZA_API_KEY": served_api.api_key, "PYTHONPATH": SOURCE},
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "begun 1\n"
            end_contact(worker, proxy)
            end = time.monotonic() + 40
            while direct.get_run(run).current_attempt == 1:
                assert time.monotonic() < end
                time.sleep(0.5)
            restore(worker, proxy)
            out, _ = worker.communicate(timeout=60)
        finally:
            worker.kill()
            worker.wait()
        assert (worker.returncode, out) == (0, "lost False\nbegun 2\n")
        attempts = [(each.state, each.execution_summary.reason, each.outputs) for each in direct.list_attempts(run)]
        assert attempts == [("FAILED", "lost", {}), ("COMPLETED", None, {"by": 2})]
