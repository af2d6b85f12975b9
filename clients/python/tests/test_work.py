"""Tests the jobs of `work` against the handlers of the API."""

import json
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from clients.python.tests.handlers import answer_of
from clients.python.tests.scripted_server import HANG_UP, Asked, Reply, ScriptedServer
from gyoza_client import GyozaClient, Job, JobCancelled, Jobs, LeaseLost, TooLarge, ValidationFailed
from gyoza_client._lease.boottime import boottime
from gyoza_client._work.job import _failure
from testing.gateway import Gateway

Hook = Callable[[Asked, Callable[[], Reply]], Reply]


class Handlers:
    """The server, which asks the handlers. A test may put a hook in between."""

    def __init__(self, server: ScriptedServer, api: Gateway) -> None:
        self.server = server
        self.api = api
        self._priority = 9999
        self.hook: Hook = lambda _asked, act: act()
        server.answers_with(lambda asked: self.hook(asked, lambda: answer_of(api, asked)))

    def create(self, **fields: Any) -> str:
        """A new run. Runs are claimed in the order of their creation."""
        self._priority -= 1
        run_id: str = self.api.create(queue="q", priority=self._priority, **fields)["id"]
        return run_id

    def run(self, run_id: str) -> Any:
        return self.api.get(f"/runs/{run_id}").json

    def events(self, run_id: str) -> list[tuple[str, Any]]:
        """The types and messages of all events; ASSIGNED and STARTED, with which all begin, are left out."""
        events = self.api.get(f"/runs/{run_id}/events", after_seq=-1).json["events"]
        assert [event["seq"] for event in events] == list(range(len(events)))
        assert [event["type"] for event in events[:2]] == ["ASSIGNED", "STARTED"]
        return [(event["type"], event["msg"]) for event in events[2:]]

    def posted(self, type_: str) -> list[Asked]:
        """The requests that post such an event, repeats included."""
        return [asked for asked in self.server.asked if asked.body and asked.body.get("type") == type_]


def type_of(asked: Asked) -> str:
    """The type of an event, or the last word of the path."""
    return str((asked.body or {}).get("type") or asked.path.rpartition("/")[2])


@pytest.fixture
def handlers(server: ScriptedServer, api: Gateway) -> Handlers:
    return Handlers(server, api)


@pytest.fixture
def client(handlers: Handlers, monkeypatch: pytest.MonkeyPatch) -> Iterator[GyozaClient]:
    """A client without long pauses. At the end of the test no thread of a job is left."""
    monkeypatch.setattr("gyoza_client._calling._LONGEST_PAUSE_S", 0.01)
    monkeypatch.setattr("gyoza_client._work.progress._INTERVAL_S", 0.01)
    with GyozaClient(handlers.server.url, "key") as client:
        yield client
    end = time.monotonic() + 5
    while any(thread.name.startswith("gyoza-") for thread in threading.enumerate()):
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture
def beats_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gyoza_client._lease.beats._pause_s", lambda _lease_s, _failures: 0.02)


def jobs_of(client: GyozaClient, **options: Any) -> Jobs:
    """The jobs that wait."""
    return client.work(queues=["q"], idle_s=0, **options)


def until(met: Callable[[], bool]) -> bool:
    """Waits, and returns True."""
    end = time.monotonic() + 5
    while not met():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.01)
    return True


def test_jobs_are_taken_reported_and_completed_one_after_another(client: GyozaClient, handlers: Handlers) -> None:
    runs = [handlers.create(inputs={"width": width}) for width in (320, 640)]
    jobs = jobs_of(client, capacity={"cpu": 2}, lease_s=60)
    for job in jobs:
        with job:
            assert (job.attempt, job.run.lease_s, job.holds_lease) == (1, 60, True)
            job.progress(40)
            until(lambda: bool(handlers.posted("PROGRESS")))
            job.info("halfway", {"left": 1})
            job.complete({"width": job.inputs["width"]})
    assert [handlers.run(run_id)["outputs"] for run_id in runs] == [{"width": 320}, {"width": 640}]
    assert handlers.events(runs[0]) == [("PROGRESS", 40), ("INFO", "halfway"), ("COMPLETED", "")]
    assert {handlers.run(run_id)["execution_summary"]["worker_id"] for run_id in runs} == {jobs.worker_id}
    claim = handlers.server.asked[0].body
    assert claim == {"worker_id": jobs.worker_id, "queues": ["q"], "capacity": {"cpu": 2}, "lease_s": 60}


def test_each_worker_has_a_name_of_its_own(client: GyozaClient) -> None:
    assert len({jobs_of(client).worker_id for _ in range(10)}) == 10
    assert jobs_of(client, worker_id="w7").worker_id == "w7"


def test_a_block_that_is_left_without_complete_completes_without_outputs(
    client: GyozaClient, handlers: Handlers
) -> None:
    runs = [handlers.create(), handlers.create()]
    for job in jobs_of(client):
        with job:
            break
    for job in jobs_of(client):
        with job:
            continue
    assert [(handlers.run(run_id)["state"], handlers.run(run_id)["outputs"]) for run_id in runs] == [
        ("COMPLETED", {})
    ] * 2


def test_the_loop_ends_after_max_jobs(client: GyozaClient, handlers: Handlers) -> None:
    for _ in range(3):
        handlers.create()
    done = 0
    for job in client.work(queues=["q"], max_jobs=2):
        with job:
            done += 1
    assert done == 2
    assert len([asked for asked in handlers.server.asked if asked.path == "/runs/claim"]) == 2


def test_an_exception_fails_the_run_is_logged_and_the_loop_goes_on(
    client: GyozaClient, handlers: Handlers, caplog: pytest.LogCaptureFixture
) -> None:
    runs = [handlers.create(inputs={"n": n}) for n in (0, 1)]
    for job in jobs_of(client):
        with job:
            job.complete({"inverse": 1 / job.inputs["n"]})
    failed, completed = map(handlers.run, runs)
    assert (failed["state"], failed["execution_summary"]["error_message"]) == (
        "FAILED",
        "ZeroDivisionError: division by zero",
    )
    assert 'job.complete({"inverse": 1 / job.inputs["n"]})' in failed["events"][-1]["payload"]["traceback"]
    assert completed["outputs"] == {"inverse": 1.0}
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.exc_info
    assert record.getMessage() == f"An exception left attempt 1 of run {runs[0]}"


def test_an_exception_after_the_end_is_logged_and_changes_nothing(
    client: GyozaClient, handlers: Handlers, caplog: pytest.LogCaptureFixture
) -> None:
    run_id = handlers.create()
    for job in jobs_of(client):
        with job:
            job.complete()
            raise OSError("disk full")
    assert handlers.events(run_id) == [("COMPLETED", "")]
    assert "after its end" in caplog.text


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_fails_the_run_as_interrupted_and_goes_on(
    interrupt: type[BaseException], client: GyozaClient, handlers: Handlers
) -> None:
    run_id = handlers.create(retry_policy={"max_attempts": 1, "max_lost": 1})
    with pytest.raises(interrupt):  # noqa: PT012
        for job in jobs_of(client):
            with job:
                raise interrupt
    attempts = handlers.api.get(f"/runs/{run_id}/attempts").json
    assert [(attempt["state"], attempt["execution_summary"]["reason"]) for attempt in attempts] == [
        ("FAILED", "interrupted"),
        ("PENDING", None),
    ]


@pytest.mark.usefixtures("beats_often")
def test_a_cancel_that_asks_is_raised_by_the_calls_and_acknowledged(client: GyozaClient, handlers: Handlers) -> None:
    run_id, after = handlers.create(), handlers.create()
    for job in jobs_of(client):
        with job:
            if job.run.id == run_id:
                assert not job.cancel_requested
                client.cancel_run(run_id, mode="ask", grace_s=60)
                until(lambda: job.cancel_by is not None)  # noqa: B023
                for call in (job.check, lambda: job.progress(1), lambda: job.info("x")):  # noqa: B023
                    with pytest.raises(JobCancelled):
                        call()
                job.progress(50)
    assert (handlers.run(run_id)["state"], handlers.run(run_id)["cancel"]["outcome"]) == ("CANCELLED", "acknowledged")
    assert handlers.run(after)["state"] == "COMPLETED"


@pytest.mark.usefixtures("beats_often")
@pytest.mark.parametrize(
    ("leave", "state"),
    [
        (lambda job: until(lambda: job.cancel_requested), "CANCELLED"),
        (lambda job: until(lambda: job.cancel_by is not None), "COMPLETED"),
        (lambda job: until(lambda: job.cancel_requested) and job.complete(), "COMPLETED"),
        (lambda job: until(lambda: job.cancel_requested) and int("x"), "CANCELLED"),
    ],
    ids=["seen", "not seen", "completed", "failed"],
)
def test_a_block_that_has_seen_the_cancel_ends_as_cancelled(
    leave: Callable[[Job], object], state: str, client: GyozaClient, handlers: Handlers
) -> None:
    run_id = handlers.create()
    for job in jobs_of(client):
        with job:
            client.cancel_run(run_id, mode="ask", grace_s=60)
            leave(job)
    assert handlers.run(run_id)["state"] == state


@pytest.mark.usefixtures("beats_often")
@pytest.mark.parametrize("route", ["cancel", "retry"])
def test_a_job_that_lost_its_lease_refuses_late_calls_and_the_loop_goes_on(
    route: str, client: GyozaClient, handlers: Handlers
) -> None:
    run_id, after = handlers.create(), handlers.create()
    for job in jobs_of(client, max_jobs=2):
        if job.run.id == run_id and job.attempt == 1:
            with job:
                handlers.api.post(f"/runs/{run_id}/{route}", {})
                handlers.api.patch(f"/runs/{run_id}", {"priority": 1})
                until(lambda: job._lost is not None)  # noqa: B023
                for call in (job.check, job.complete, lambda: job.progress(1), lambda: job.error("x")):  # noqa: B023
                    with pytest.raises(LeaseLost):
                        call()
                assert not job.holds_lease
                job.progress(50)
        else:
            with job:
                assert job.run.id == after
    assert handlers.run(after)["state"] == "COMPLETED"
    assert [event for event, _ in handlers.events(run_id)] == (["CANCELLED"] if route == "cancel" else ["RETRIED"])
    assert len(handlers.posted("COMPLETED")) == 1


def test_an_end_that_comes_too_late_is_lease_lost_to_the_job_itself(client: GyozaClient, handlers: Handlers) -> None:
    run_id = handlers.create()
    for job in jobs_of(client):
        with job:
            handlers.api.post(f"/runs/{run_id}/cancel", {})
            with pytest.raises(LeaseLost) as lost:
                job.complete({"n": 1})
            assert "run_locked" in lost.value.reason
    assert [event for event, _ in handlers.events(run_id)] == ["CANCELLED"]


@pytest.mark.usefixtures("beats_often")
def test_an_end_without_an_answer_is_repeated_with_its_key_whatever_the_beats_are_told(
    client: GyozaClient, handlers: Handlers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beats are refused once the end counts; its repeats go on all the same, and learn that it counted."""
    monkeypatch.setattr("gyoza_client._calling._LONGEST_PAUSE_S", 0.2)
    run_id = handlers.create()
    refused = []

    def lose_ends(asked: Asked, act: Callable[[], Reply]) -> Reply:
        reply = act()
        if asked.path.endswith("/heartbeat") and reply.status == 400:
            refused.append(reply)
        return HANG_UP if type_of(asked) == "COMPLETED" and not refused else reply

    handlers.hook = lose_ends
    for job in jobs_of(client):
        with job:
            job.complete({"n": 1})
            assert job._lost is None
    assert refused
    ends = handlers.posted("COMPLETED")
    assert len(ends) > 1
    assert len({asked.headers["idempotency-key"] for asked in ends}) == 1
    assert handlers.events(run_id) == [("COMPLETED", "")]


def test_a_job_whose_lease_is_in_doubt_may_still_complete(client: GyozaClient, handlers: Handlers) -> None:
    run_id = handlers.create()
    for job in jobs_of(client):
        with job:
            held, job._held_until = job.holds_lease, boottime()
            assert (held, job.holds_lease) == (True, False)
            job.complete()
    assert handlers.run(run_id)["state"] == "COMPLETED"


def test_a_call_that_finds_the_lease_over_by_the_clock_ends_the_work(client: GyozaClient, handlers: Handlers) -> None:
    run_id = handlers.create()
    for job in jobs_of(client):
        with job:
            job._held_until = boottime()
            for call in (job.check, job.complete, lambda: job.progress(1), lambda: job.info("x")):  # noqa: B023
                with pytest.raises(LeaseLost, match="no request was acknowledged while its lease lasted"):
                    call()
            job.progress(1)
    assert (handlers.run(run_id)["state"], handlers.events(run_id)) == ("RUNNING", [])


def test_an_end_is_given_up_when_the_lease_is_over(
    client: GyozaClient, handlers: Handlers, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("gyoza_client._work.job._REPORT_S", 0.1)
    handlers.create()
    handlers.hook = lambda asked, act: Reply(503) if type_of(asked) == "COMPLETED" else act()
    for job in jobs_of(client):
        with job:
            job._held_until = boottime()
            with pytest.raises(LeaseLost, match="no answer while the lease lasted"):
                job.complete()
    assert "Nothing more is reported" in caplog.text


@pytest.mark.usefixtures("beats_often")
def test_each_event_is_posted_once_though_every_second_answer_is_lost(client: GyozaClient, handlers: Handlers) -> None:
    runs = [handlers.create(inputs={"n": n}) for n in range(3)]
    lost: set[str] = set()

    def lose_first_answers(asked: Asked, act: Callable[[], Reply]) -> Reply:
        reply = act()
        key = asked.headers.get("idempotency-key", "")
        if len(handlers.server.asked) % 2 and key not in lost:
            lost.add(key)
            return HANG_UP
        return reply

    handlers.hook = lose_first_answers
    for job in jobs_of(client):
        with job:
            job.info("begun")
            job.complete({"n": job.inputs["n"]})
    assert len(lost) > 3
    assert [handlers.run(run_id)["outputs"] for run_id in runs] == [{"n": n} for n in range(3)]
    assert [handlers.events(run_id) for run_id in runs] == [[("INFO", "begun"), ("COMPLETED", "")]] * 3


def test_the_newest_progress_wins_and_the_job_does_not_wait(
    client: GyozaClient, handlers: Handlers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gyoza_client._work.progress._INTERVAL_S", 30.0)
    runs = [handlers.create(), handlers.create()]
    for job in jobs_of(client):
        with job:
            job.progress(0)
            until(lambda: ("PROGRESS", 0) in handlers.events(job.run.id))  # noqa: B023
            begun = time.monotonic()
            for percent in range(1000):
                job.progress(percent / 4)
            assert time.monotonic() - begun < 1
            if job.run.id == runs[0]:
                raise OSError("it fails with its last progress")
    assert handlers.events(runs[0]) == [("PROGRESS", 0), ("PROGRESS", 100), ("FAILED", "")]
    assert handlers.events(runs[1]) == [("PROGRESS", 0), ("COMPLETED", "")]


def test_outputs_that_are_refused_leave_the_job_to_go_on(client: GyozaClient, handlers: Handlers) -> None:
    runs = [handlers.create(), handlers.create()]
    for job in jobs_of(client):
        with job:
            if job.run.id == runs[0]:
                with pytest.raises(TypeError):
                    job.complete({"data": {1, 2}})
                with pytest.raises(TooLarge):
                    job.complete({"data": "x" * 300_000})
                job.progress(99)
                job.complete({"data": "x"})
            else:
                job.complete({"data": "x" * 300_000})
    assert handlers.run(runs[0])["outputs"] == {"data": "x"}
    assert handlers.run(runs[1])["execution_summary"]["error_message"].startswith("gyoza_client._errors.TooLarge: 413")


CIRCULAR: dict[str, Any] = {}
CIRCULAR["x"] = CIRCULAR
NESTED: dict[str, Any] = {}
for _ in range(70):
    NESTED = {"x": NESTED}


@pytest.mark.parametrize(
    ("outputs", "refusal"),
    [
        (["ab", "cd"], TypeError),
        ([], TypeError),
        ("", TypeError),
        (0, TypeError),
        ({"x": math.nan}, ValueError),
        ({"x": "\ud800"}, ValueError),
        ({"x": 10**5000}, ValueError),
        (CIRCULAR, ValueError),
        (NESTED, ValidationFailed),
    ],
    ids=["pairs", "list", "text", "number", "nan", "surrogate", "digits", "circular", "nested"],
)
def test_a_block_whose_outputs_were_refused_does_not_complete_without_them(
    outputs: Any, refusal: type[Exception], client: GyozaClient, handlers: Handlers
) -> None:
    runs = [handlers.create(), handlers.create()]
    for job in jobs_of(client):
        with job:
            with pytest.raises(refusal):
                job.complete(outputs)
            if job.run.id == runs[1]:
                job.complete({"n": 1})
    failed, completed = map(handlers.run, runs)
    assert failed["state"] == "FAILED"
    assert failed["execution_summary"]["error_message"].startswith("The outputs were refused: ")
    assert (completed["state"], completed["outputs"]) == ("COMPLETED", {"n": 1})


def test_of_threads_that_complete_at_once_one_ends_the_job(client: GyozaClient, handlers: Handlers) -> None:
    run_id = handlers.create()
    together = threading.Barrier(5)
    told: list[str] = []

    def complete(job: Job, number: int) -> None:
        together.wait(5)
        try:
            job.complete({"by": number})
        except Exception as error:  # noqa: BLE001 - the test compares it
            told.append(repr(error))

    def answer_slowly(asked: Asked, act: Callable[[], Reply]) -> Reply:
        time.sleep(0.1 if type_of(asked) == "COMPLETED" else 0)
        return act()

    handlers.hook = answer_slowly
    for job in jobs_of(client):
        with job:
            threads = [threading.Thread(target=complete, args=(job, number)) for number in range(5)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    assert told == ["RuntimeError('The job has ended')"] * 4
    assert len(handlers.posted("COMPLETED")) == 1
    assert handlers.events(run_id) == [("COMPLETED", "")]


def test_a_job_that_was_taken_out_of_its_loop_cannot_be_begun(client: GyozaClient, handlers: Handlers) -> None:
    run_id = handlers.create()
    job = next(iter(jobs_of(client)))
    assert handlers.run(run_id)["execution_summary"]["reason"] == "interrupted"
    assert not job.holds_lease
    with pytest.raises(LeaseLost, match="the loop that gave the job has gone on or ended"), job:
        pytest.fail("the block was begun")


def test_a_job_that_has_ended_holds_no_lease(client: GyozaClient, handlers: Handlers) -> None:
    handlers.create()
    for job in jobs_of(client):
        with job:
            assert job.holds_lease
            job.complete()
            assert not job.holds_lease
        assert not job.holds_lease


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Python 3.12 and later warn of a fork beside threads.
@pytest.mark.parametrize("way", ["exit", "raise", "call", "go on"])
def test_a_process_that_was_forked_in_the_block_reports_nothing(
    way: str, client: GyozaClient, handlers: Handlers
) -> None:
    runs = [handlers.create(), handlers.create()]
    parent = os.getpid()
    ended: list[int] = []
    try:
        for job in jobs_of(client, max_jobs=1 if way != "go on" else 2):
            with job:
                child = os.fork() if job.run.id == runs[0] else None
                if child == 0:
                    leave(job, way)
                if child:
                    ended.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
                job.complete({"by": "parent"}) if os.getpid() == parent else None
    except BaseException as error:
        if os.getpid() != parent:
            os._exit({"SystemExit": 10, "OSError": 11, "RuntimeError": 12}.get(type(error).__name__, 13))
        raise
    finally:
        if os.getpid() != parent:
            os._exit(14)
    assert ended == [{"exit": 10, "raise": 11, "call": 12, "go on": 12}[way]]
    assert handlers.events(runs[0]) == [("COMPLETED", "")]
    assert handlers.run(runs[0])["outputs"] == {"by": "parent"}
    claims = [asked for asked in handlers.server.asked if asked.path == "/runs/claim"]
    assert len(claims) == (2 if way == "go on" else 1)


def leave(job: Job, way: str) -> None:
    """Leave the block of a job in a process that was forked."""
    if way == "exit":
        raise SystemExit(0)
    if way == "raise":
        raise OSError("disk full")
    if way == "call":
        job.complete({"by": "child"})


def test_calls_outside_the_block_are_errors(client: GyozaClient, handlers: Handlers) -> None:
    handlers.create()
    for job in jobs_of(client):
        with pytest.raises(RuntimeError, match="inside `with job:`"):
            job.progress(1)
        with job:
            job.complete()
            with pytest.raises(RuntimeError, match="has ended"):
                job.complete()
        with pytest.raises(RuntimeError, match="has ended"):
            job.check()
        with pytest.raises(RuntimeError, match="begun once"), job:
            pass


def test_a_loop_without_a_block_is_an_error_and_leaves_no_run_behind(client: GyozaClient, handlers: Handlers) -> None:
    runs = [handlers.create(), handlers.create()]
    with pytest.raises(RuntimeError, match="without `with job:`"):  # noqa: PT012
        for job in jobs_of(client):
            assert job.inputs == {}
    for job in jobs_of(client):
        assert job.attempt == 1
        break
    assert [handlers.run(run_id)["execution_summary"]["reason"] for run_id in runs] == ["interrupted"] * 2


@pytest.mark.parametrize("body", [{}, {"mode": "ask", "grace_s": 60}])
def test_a_run_that_is_cancelled_before_its_start_is_not_begun(
    body: dict[str, Any], client: GyozaClient, handlers: Handlers
) -> None:
    run_id = handlers.create()
    after = handlers.create()

    def cancel_what_is_claimed(asked: Asked, act: Callable[[], Reply]) -> Reply:
        reply = act()
        if asked.path == "/runs/claim" and len(handlers.server.asked) == 1:
            handlers.api.post(f"/runs/{run_id}/cancel", body)
        return reply

    handlers.hook = cancel_what_is_claimed
    assert [job.run.id for job in jobs_of(client) if job.__enter__().__exit__(None, None, None) is False] == [after]
    assert handlers.run(run_id)["state"] == "CANCELLED"


def test_stop_ends_the_loop_after_the_current_job(client: GyozaClient, handlers: Handlers) -> None:
    runs = [handlers.create(), handlers.create()]
    jobs = client.work(queues=["q"])
    for job in jobs:
        with job:
            jobs.stop()
            job.complete()
    assert [handlers.run(run_id)["state"] for run_id in runs] == ["COMPLETED", "PENDING"]


def test_stop_from_another_thread_ends_an_idle_loop_at_once(client: GyozaClient, handlers: Handlers) -> None:
    jobs = client.work(queues=["empty"])
    threading.Timer(0.3, jobs.stop).start()
    begun = time.monotonic()
    assert list(jobs) == []
    assert time.monotonic() - begun < 2
    assert len(handlers.server.asked) == 1


def test_the_payload_of_a_failure_fits_whatever_the_exception_says() -> None:
    text = "\x00\x1b[31m\udc80" + "🥟" * 20_000 + '"\\' * 20_000
    payload = _failure(ValueError(text))
    assert payload["error_message"].startswith("ValueError: [31m?🥟")
    assert len(json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()) <= 16 * 1024
