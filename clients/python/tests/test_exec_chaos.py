"""Tests `gyoza exec` against the handlers while its processes are killed, frozen and cut off, and requests are lost.

In the first two tests, whenever a run waits for an attempt, `gyoza exec` is started for it, as a container would be. In
the last, `gyoza worker` starts it, and is killed and frozen. The command, and a daemon that it leaves, write the time
each 50 ms into a file of their attempt.
"""

import os
import random
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from clients.python.tests.executing import SOURCE, Execution, Starter, bytecode, descendants, eventually, starter
from gyoza_client import GyozaClient, Run, State
from testing.http_api import ServedApi
from testing.lossy_proxy import LossyProxy

__all__ = ["bytecode"]  # a fixture

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="gyoza exec needs Linux"),
    pytest.mark.long,
    pytest.mark.contention,
]

LEASE_S = 15
LONGEST_FREEZE_S = 30.0
THAW_S = 1.0
"""The time that the guard gets after a freeze of everything to see what time it is."""

_COMMAND = """
import os, sys, time
folder, seconds = os.environ["LOG"], float(sys.argv[1])
end = time.monotonic() + seconds
if not os.fork():
    os.setsid()
    if os.fork(): os._exit(0)
    end += 60
log = os.open(f"{folder}/{os.environ['GYOZA_ATTEMPT']}-{os.getpid()}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
while (now := time.monotonic()) < end:
    os.write(log, b"%f %d\\n" % (now, os.getpid()))
    time.sleep(0.05)
open(os.environ["GYOZA_OUTPUTS"], "w").write('{"attempt": %s}' % os.environ["GYOZA_ATTEMPT"])
"""

Killer = Callable[["Job", Execution], None]


@dataclass
class Job:
    run_id: str
    proxy: LossyProxy
    folder: Path
    dice: random.Random
    thawed: dict[int, float] = field(default_factory=dict)
    """When the frozen whole of an attempt went on."""
    executions: list[Execution] = field(default_factory=list)
    hits: list[str] = field(default_factory=list)
    """The attacks that met a process that ran."""
    attempt: int = 0
    """The one that was started last."""

    def freeze_s(self) -> float:
        return self.dice.uniform(1, LONGEST_FREEZE_S)

    @property
    def has_begun(self) -> bool:
        """Whether a command of the attempt has written."""
        return any(self.folder.glob(f"{self.attempt}-*"))


def kill_the_wrapper(_job: Job, execution: Execution) -> None:
    os.kill(execution.process.pid, signal.SIGKILL)


def kill_the_guard(_job: Job, execution: Execution) -> None:
    os.kill(execution.guard, signal.SIGKILL)


def _freeze(pid: int, seconds: float) -> None:
    os.kill(pid, signal.SIGSTOP)
    time.sleep(seconds)
    with suppress(ProcessLookupError):  # it was killed meanwhile
        os.kill(pid, signal.SIGCONT)


def stop_the_wrapper(job: Job, execution: Execution) -> None:
    _freeze(execution.process.pid, job.freeze_s())


def stop_the_guard(job: Job, execution: Execution) -> None:
    _freeze(execution.guard, job.freeze_s())


def stop_the_guard_and_cut_it_off(job: Job, execution: Execution) -> None:
    job.proxy.down()
    stop_the_guard(job, execution)


def stop_all(job: Job, execution: Execution) -> None:
    attempt = job.attempt
    # The wrapper first: it would let the guard go on.
    frozen = [execution.process.pid]
    os.kill(execution.process.pid, signal.SIGSTOP)
    frozen += descendants(execution.process.pid)
    for pid in frozen[1:]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
    time.sleep(job.freeze_s())
    job.thawed[attempt] = time.monotonic()
    for pid in frozen:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def cut_off(job: Job, _execution: Execution) -> None:
    job.proxy.down()
    time.sleep(job.freeze_s())


def hold_up(job: Job, _execution: Execution) -> None:
    job.proxy.hold()
    time.sleep(job.freeze_s())


def terminate(_job: Job, execution: Execution) -> None:
    execution.process.terminate()


def leave_alone(_job: Job, _execution: Execution) -> None:
    pass


KILLERS: list[Killer] = [
    kill_the_wrapper,
    kill_the_guard,
    stop_the_wrapper,
    stop_the_guard,
    stop_the_guard_and_cut_it_off,
    stop_all,
    cut_off,
    hold_up,
    terminate,
    leave_alone,
]

FREEZERS = [stop_the_wrapper, stop_the_guard_and_cut_it_off, stop_all, cut_off, hold_up]


@pytest.mark.parametrize(("jobs", "at_once"), [(100, 20)])
def test_no_command_is_alive_after_another_attempt_began_whatever_is_killed_frozen_and_cut_off(
    jobs: int, at_once: int, served_api: ServedApi, bytecode: Path, tmp_path: Path
) -> None:
    with (
        GyozaClient(served_api.url, served_api.api_key) as client,
        starter(served_api.url, bytecode, tmp_path) as start,
    ):

        def whole_job(number: int) -> Job:
            dice = random.Random(number)
            folder = tmp_path / f"job-{number}"
            folder.mkdir()
            policy = {"max_attempts": 20, "max_lost": 20}
            run = client.create_run("busybox:1", retry_policy=policy, queue=f"chaos-{number}")
            with LossyProxy(served_api.url, loss=0.1, seed=number) as proxy:
                job = Job(run.id, proxy, folder, dice)
                # Two attempts of each job are attacked.
                attacks = [KILLERS[number % len(KILLERS)], dice.choice(KILLERS)]
                _run_to_its_end(job, client, start, attacks)
                return job

        with ThreadPoolExecutor(at_once) as pool:
            done = list(pool.map(whole_job, range(jobs)))
        ended = [client.get_run(job.run_id) for job in done]
        for job, run in zip(done, ended, strict=True):
            assert (run.state, run.outputs) == (State.COMPLETED, {"attempt": run.current_attempt})
            for execution in job.executions:
                execution.wait(LONGEST_FREEZE_S + LEASE_S)
            _assert_attempts_apart(job.run_id, job.folder, job.thawed)
        attempts = Counter(run.current_attempt for run in ended)
    hits = Counter(hit for job in done for hit in job.hits)
    print(f"\n{jobs} jobs; attacks that hit: {dict(hits)}; jobs by their attempts: {dict(sorted(attempts.items()))}")
    assert sum(number * many for number, many in attempts.items()) > jobs
    assert set(hits) == {each.__name__ for each in KILLERS}


def _run_to_its_end(job: Job, client: GyozaClient, start: Starter, attacks: list[Killer]) -> None:
    """Starts an execution for each attempt, as soon as the run waits for it."""
    end = time.monotonic() + 180
    with ThreadPoolExecutor(2) as pool:
        under_way = []
        while not (run := client.get_run(job.run_id)).is_terminal:
            assert time.monotonic() < end, f"the run does not end: {run}"
            is_new = run.current_attempt > job.attempt
            if run.state == State.PENDING and (is_new or job.executions[-1].process.poll() is not None):
                job.attempt = run.current_attempt
                # A long command would outlive its lease if nobody killed it.
                is_long = attacks[:1] != [] and attacks[0] in FREEZERS and job.dice.random() < 0.75
                seconds = 40.0 if is_long else 3.0
                execution = _start(job, start, seconds)
                if attacks:
                    under_way.append(pool.submit(_attack, attacks.pop(0), job, execution, seconds))
            time.sleep(0.5)
        for each in under_way:
            each.result()


def _start(job: Job, start: Starter, seconds: float) -> Execution:
    environ = {
        "GYOZA_URL": job.proxy.url,
        "GYOZA_API_KEY": "test-key",
        "GYOZA_RUN_ID": job.run_id,
        "GYOZA_ATTEMPT": str(job.attempt),
        "LOG": str(job.folder),
    }
    options = ["--lease", str(LEASE_S), "--grace", "2"]
    words = [sys.executable, "-S", "-E", "-c", _COMMAND, str(seconds)]
    with (job.folder / "stderr").open("ab") as errors:
        execution = start(*words, options=options, environ=environ, stdout=subprocess.DEVNULL, stderr=errors)
    job.executions.append(execution)
    return execution


def _attack(attack: Killer, job: Job, execution: Execution, seconds: float) -> None:
    """Attacks at a random moment: one attack in five while the command begins, the others while it runs."""
    if job.dice.random() < 0.2:
        time.sleep(job.dice.uniform(0, 1))
    else:
        while not job.has_begun and execution.process.poll() is None:
            time.sleep(0.05)
        time.sleep(job.dice.uniform(0, min(0.9 * seconds, 8.0)))
    if execution.process.poll() is None:
        with suppress(ProcessLookupError, AssertionError):  # the guard has ended
            attack(job, execution)
            job.hits.append(attack.__name__)
    job.proxy.up()


def _assert_attempts_apart(run_id: str, folder: Path, thawed_at: Mapping[int, float]) -> None:
    logs: dict[int, list[float]] = {}
    for path in folder.glob("[0-9]*-[0-9]*"):
        times = [float(line.split()[0]) for line in path.read_text().splitlines()]
        logs.setdefault(int(path.name.split("-")[0]), []).extend(times)
    for attempt, times in logs.items():
        others = [min(later) for number, later in logs.items() if number > attempt and later]
        if not others:
            continue
        late = [at for at in times if at >= min(others)]
        thawed = thawed_at.get(attempt)
        if thawed is not None:
            late = [at for at in late if not thawed <= at <= thawed + THAW_S]
        assert late == [], f"attempt {attempt} of {run_id} was alive after another began"


def _events_in_order(client: GyozaClient, run: Run) -> list[str]:
    events = [event for page in client.list_events(run, after_seq=-1).pages() for event in page.events]
    assert [event.seq for event in events] == list(range(len(events)))
    return [str(event.type) for event in events]


def test_two_hundred_jobs_end_once_each_though_two_in_five_requests_are_lost(
    served_api: ServedApi, bytecode: Path, tmp_path: Path
) -> None:
    jobs = 200
    with (
        GyozaClient(served_api.url, served_api.api_key) as client,
        LossyProxy(served_api.url, loss=0.4, seed=16) as proxy,
        starter(proxy.url, bytecode, tmp_path) as start,
    ):
        runs = [client.create_run("busybox:1", {"number": number}, queue="losses") for number in range(jobs)]

        def whole_job(run: Run) -> int:
            environ = {"GYOZA_RUN_ID": run.id, "GYOZA_API_KEY": served_api.api_key}
            script = "cp $GYOZA_INPUTS $GYOZA_OUTPUTS; echo ::gyoza progress=50; sleep 0.5"
            execution = start.sh(script, environ=environ)
            return execution.ended(120)[0]

        with ThreadPoolExecutor(8) as pool:
            codes = Counter(pool.map(whole_job, runs))
        ended = [client.get_run(run) for run in runs]
        assert Counter(run.state for run in ended) == {State.COMPLETED: jobs}
        assert [run.outputs for run in ended] == [{"number": number} for number in range(jobs)]
        timelines = Counter(tuple(_events_in_order(client, run)) for run in runs)
        assert all(
            timeline in {("STARTED", "COMPLETED"), ("STARTED", "PROGRESS", "COMPLETED")} for timeline in timelines
        )
        assert codes == {0: jobs}
        print(f"\n{jobs} jobs; {proxy.counts}; {dict(timelines)}")
        assert 0.3 < proxy.counts.closed / proxy.counts.requests < 0.5


_WORKER_COMMAND = f"""
import json, os
folder = os.environ["LOG"] + "/" + os.environ["GYOZA_RUN_ID"]
os.makedirs(folder, exist_ok=True)
os.environ["LOG"] = folder
import sys
sys.argv[1:] = [str(json.load(open(os.environ["GYOZA_INPUTS"]))["seconds"])]
{_COMMAND}"""


@dataclass
class Workers:
    """Keeps a `gyoza worker` running, whatever becomes of it, and kills or freezes it at random moments."""

    environ: Mapping[str, str]
    words: list[str]
    stderr: Path
    dice: random.Random
    hits: list[str] = field(default_factory=list)

    def work_until(self, is_done: threading.Event) -> None:
        process = self._start()
        try:
            while not is_done.wait(self.dice.uniform(0.3, 4.0)):
                if process.poll() is not None:
                    process = self._start()
                elif self.dice.random() < 0.7:
                    process.kill()
                    self.hits.append("kill")
                else:
                    process.send_signal(signal.SIGSTOP)
                    self.hits.append("freeze")
                    is_done.wait(self.dice.uniform(0.5, LONGEST_FREEZE_S))
                    process.send_signal(signal.SIGCONT)
        finally:
            process.kill()
            process.wait()

    def _start(self) -> "subprocess.Popen[bytes]":
        with self.stderr.open("ab") as errors:
            return subprocess.Popen(
                [sys.executable, "-m", "gyoza_client", "worker", *self.words],
                env=self.environ,
                stdout=subprocess.DEVNULL,
                stderr=errors,
            )


def test_every_run_completes_and_no_two_attempts_overlap_though_its_workers_are_killed_and_frozen(
    served_api: ServedApi, bytecode: Path, tmp_path: Path
) -> None:
    jobs, dice = 120, random.Random(16)
    (log := tmp_path / "log").mkdir()
    (temporary := tmp_path / "tmp").mkdir()
    (tmp_path / "command.py").write_text(_WORKER_COMMAND)
    command = shlex.join([sys.executable, "-S", "-E", str(tmp_path / "command.py")])
    words = ["--queue", "worker-chaos", "--command", command, "--slots", "3", "--lease", str(LEASE_S), "--grace", "2"]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GYOZA_", "AWS_"))}
    with (
        GyozaClient(served_api.url, served_api.api_key) as client,
        LossyProxy(served_api.url, loss=0.1, seed=16) as proxy,
        ThreadPoolExecutor(4) as pool,
    ):
        environ = kept | {
            "GYOZA_URL": proxy.url,
            "GYOZA_API_KEY": served_api.api_key,
            "PYTHONPATH": SOURCE,
            "PYTHONPYCACHEPREFIX": str(bytecode),
            "LOG": str(log),
            "TMPDIR": str(temporary),
        }
        policy = {"max_attempts": 20, "max_lost": 20}
        runs = [
            client.create_run(
                "busybox:1", {"seconds": dice.uniform(0.1, 2.0)}, queue="worker-chaos", retry_policy=policy
            )
            for _ in range(jobs)
        ]
        workers = [Workers(environ, words, tmp_path / f"worker-{n}", random.Random(n)) for n in range(4)]
        is_done = threading.Event()
        try:
            under_way = [pool.submit(each.work_until, is_done) for each in workers]
            eventually(lambda: all(client.get_run(run).is_terminal for run in runs), 400)
        finally:
            is_done.set()
        for each in under_way:
            each.result()
        eventually(lambda: not list(temporary.iterdir()), LONGEST_FREEZE_S)
        ended = [client.get_run(run) for run in runs]
        timelines = [_events_in_order(client, run) for run in runs]
    for run, timeline in zip(ended, timelines, strict=True):
        assert (run.state, run.outputs) == (State.COMPLETED, {"attempt": run.current_attempt})
        assert timeline.count("COMPLETED") == 1
        _assert_attempts_apart(run.id, log / run.id, {})
    hits = Counter(hit for each in workers for hit in each.hits)
    attempts = Counter(run.current_attempt for run in ended)
    print(f"\n{jobs} runs; workers were hit: {dict(hits)}; runs by their attempts: {dict(sorted(attempts.items()))}")
    assert min(hits["kill"], hits["freeze"]) >= 5
