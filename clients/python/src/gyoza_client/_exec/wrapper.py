"""The wrapper: the process that speaks with the API, holds the lease, and passes output and signals on.

Its main thread does one thing after the other, from one inbox. Other threads wait for something each and put what
they learn into the inbox: signals, the guard, the two streams of output, the heartbeats, the reports.
"""

import os
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, auto
from functools import partial
from typing import Any, Final

from gyoza_client._configuration import Address
from gyoza_client._errors import ApiError
from gyoza_client._exec import kernel
from gyoza_client._exec.descendants import kill_descendants, reap
from gyoza_client._exec.documents import BadOutputs, Documents
from gyoza_client._exec.ending import (
    End,
    Ended,
    MakeEnd,
    cancelled_before_the_command,
    ends_to_try,
    failed_before_the_command,
)
from gyoza_client._exec.guard import CATCHABLE, Command, Guard, fork_guard, read_message
from gyoza_client._exec.inbox import Inbox
from gyoza_client._exec.output import Pump, Tail
from gyoza_client._exec.progress import ProgressReports
from gyoza_client._exec.reporting import Reporter, StartAnswer, Started, StartRefused, StartUnknown
from gyoza_client._exec.stderr import say
from gyoza_client._lease.beats import Beat, Beats
from gyoza_client._lease.boottime import SLICE_S, boottime
from gyoza_client._models import RunMinimal
from gyoza_client._sync import GyozaClient

UNKNOWN: Final = 75
"""EX_TEMPFAIL: nobody knows whether the run was begun, or ended."""

LOST: Final = 137
"""As of a process that got SIGKILL."""

FENCE: Final = 0.8
"""The part of the lease after which the command is killed if no heartbeat was acknowledged."""

_KILLING_PAUSE_S: Final = 0.01
_PROMPT_ROUNDS: Final = 200
"""The rounds of killing with short pauses between them. Processes that outlive them are in uninterruptible sleep."""

_DRAIN_S: Final = 10.0
"""The longest time that a reader of our output that does not read holds up the end."""

_LOST_S: Final = 10.0
"""The longest wait for processes that do not die, once the lease is lost."""

_ENDING: Final = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT})
"""The signals that end a run before its command begins. A command that runs decides by itself, but for SIGTERM."""

_CANCEL_MARGIN_S: Final = 2.0
"""The time before a cancel's end that is left for the report."""


@dataclass(frozen=True)
class Settings:
    words: list[str]
    """The command and its arguments."""
    environ: Mapping[str, str]
    """The command's environment, without the variables of the run."""
    run_id: str
    attempt: int
    worker_id: str
    lease_s: int
    grace_s: float
    address: Address


class _Phase(Enum):
    STARTING = auto()
    RUNNING = auto()
    CLEARING = auto()
    """The command has ended. Its descendants are being killed, and its output drained."""
    REPORTING = auto()
    LOST = auto()
    """The lease is over. All is being killed, and nothing is reported."""


def execute(settings: Settings) -> int:
    """Runs the command as the attempt. Returns the exit code of this process, which must be the only thread of it."""
    _open_standard_files()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, CATCHABLE)
    # A parent that ignored SIGCHLD would make the kernel forget how children ended.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    kernel.adopt_orphans()
    kernel.hide_memory()
    stdout, stderr = os.pipe(), os.pipe()
    command = Command(settings.words, settings.environ, stdout[1], stderr[1], frozenset(int(signum) for signum in mask))
    try:
        wrapper = _Wrapper(settings, fork_guard(command), (stdout[0], stderr[0]))
        wrapper.start()
    except (OSError, RuntimeError) as problem:
        # A limit of processes, which bounds threads too. Nothing was sent yet.
        say(f"the run could not be begun: {problem}")
        return UNKNOWN
    return wrapper.run()


class _Wrapper:
    def __init__(self, settings: Settings, guard: Guard, output: tuple[int, int]) -> None:
        self._settings = settings
        self._guard = guard
        self._output = output
        self._inbox = Inbox()
        address = settings.address
        self._client = GyozaClient(address.url, address.api_key)
        self._reporter = Reporter(
            self._client,
            settings.run_id,
            settings.attempt,
            settings.worker_id,
            settings.lease_s,
            broke=self._inbox.posting(self._broke),
        )
        self._tail = Tail()
        self._progress = ProgressReports(self._send_progress)
        self._phase = _Phase.STARTING
        self._exit_code: int | None = None
        self._documents: Documents | None = None
        self._lease_end = 0.0
        """By `boottime`: the guard's deadline is earlier."""

        self._command: int | None = None
        """The number of the process that was begun."""
        self._code_without_a_command = 1
        self._status: int | None = None
        self._all_dead = False
        self._guard_is_gone = False
        self._guard_was_stopped = False
        self._guard_told_the_end = False
        self._guard_died = False
        """Whether somebody else killed the guard while the command ran."""
        self._killing = False
        self._killing_rounds = 0
        self._streams = len(output)
        self._drained_by = 0.0
        self._lost_by = 0.0

        self._told_to_stop = False
        self._asked_to_cancel = False
        self._kill_at: float | None = None

    def start(self) -> None:
        """Starts the threads and sends STARTED. Raises RuntimeError if a thread cannot be started."""
        self._in_thread("signals", self._wait_for_signals)
        self._in_thread("guard", self._listen_to_the_guard)
        self._reporter.start(self._inbox.posting(self._started))

    def run(self) -> int:
        try:
            while self._exit_code is None:
                self._inbox.act(self._pause_s())
                if self._exit_code is None:
                    self._look_at_the_clock()
        finally:
            if self._documents is not None:
                self._documents.remove()
        return self._exit_code

    # Threads

    def _in_thread(self, name: str, work: Callable[[], None]) -> None:
        threading.Thread(target=work, name=name, daemon=True).start()

    def _wait_for_signals(self) -> None:
        while True:
            self._inbox.post(self._signalled, signal.sigwait(CATCHABLE))

    def _listen_to_the_guard(self) -> None:
        while (message := read_message(self._guard.link)) is not None:
            self._inbox.post(self._guard_said, message)
        self._inbox.post(self._guard_ended)

    def _renewed(self, beat: Beat) -> None:
        """Moves the deadline at once, whatever the main thread does."""
        self._hold(beat.sent_at, beat.lease_s)
        if beat.cancel_by is not None:
            self._inbox.post(self._asked, beat.cancel_by)

    def _progressed(self, percent: int) -> None:
        if self._progress.put(percent):
            self._inbox.wake()

    # The beginning

    def _started(self, answer: StartAnswer) -> None:
        match answer:
            case StartRefused(why):
                say(f"the run is not ours to begin: {why}")
                self._exit_code = 0
            case StartUnknown(why):
                say(f"the run could not be begun: {why}")
                self._exit_code = UNKNOWN
            case Started(run, sent_at, lease_s):
                self._hold(sent_at, lease_s)
                try:
                    self._start_beats(lease_s)
                except RuntimeError as problem:
                    self._report_failure(f"The command did not begin: {problem}")
                    return
                if run.cancel_by is not None:
                    self._code_without_a_command = 0
                    self._report([lambda _refusal: cancelled_before_the_command()])
                elif self._told_to_stop:
                    self._code_without_a_command = 128 + signal.SIGTERM
                    self._report_failure("The command did not begin: it was told to stop", interrupted=True)
                elif self._guard_is_gone:
                    self._report_failure("The command did not begin: its guard died")
                else:
                    self._begin(run.image, run.inputs)

    def _start_beats(self, lease_s: int) -> None:
        Beats(
            self._client,
            self._settings.run_id,
            self._settings.attempt,
            self._settings.worker_id,
            lease_s,
            renewed=self._renewed,
            refused=self._inbox.posting(self._refused),
        ).start()

    def _begin(self, image: str, inputs: Mapping[str, Any]) -> None:
        if not _can_be_a_variable(image):
            self._report_failure(
                f"The command did not begin: its image {image[:200]!a} cannot be an environment variable"
            )
            return
        try:
            documents = self._documents = Documents(inputs)
        except (OSError, ValueError) as problem:
            self._report_failure(f"The command did not begin: its inputs cannot be written: {problem}")
            return
        try:
            for source, target in zip(self._output, (1, 2), strict=True):
                stream_ended = partial(self._inbox.post, self._stream_ended)
                Pump(source, target, self._tail, self._progressed, stream_ended).start()
        except RuntimeError as problem:
            self._report_failure(f"The command did not begin: {problem}")
            return
        self._phase = _Phase.RUNNING
        self._guard.begin(
            {
                "GYOZA_RUN_ID": self._settings.run_id,
                "GYOZA_ATTEMPT": str(self._settings.attempt),
                "GYOZA_WORKER_ID": self._settings.worker_id,
                "GYOZA_IMAGE": image,
                "GYOZA_INPUTS": str(documents.inputs),
                "GYOZA_OUTPUTS": str(documents.outputs),
            },
            str(documents.folder),
        )

    # Messages of the other threads

    def _signalled(self, signum: int) -> None:
        if signum == signal.SIGCHLD:
            reap(self._reaped)
            return
        self._guard.pass_on(signum)
        is_running = self._phase is _Phase.RUNNING and self._status is None
        if (is_running and signum == signal.SIGTERM) or (self._phase is _Phase.STARTING and signum in _ENDING):
            self._told_to_stop = True
            self._kill_within(self._settings.grace_s)

    def _asked(self, cancel_by: datetime) -> None:
        if self._phase is _Phase.RUNNING and not self._asked_to_cancel:
            self._asked_to_cancel = True
            self._guard.pass_on(signal.SIGTERM)
        # A command that was told to stop may have ended, while the rest of its process group has the grace.
        if self._phase in (_Phase.RUNNING, _Phase.CLEARING):
            left = (cancel_by - datetime.now(UTC)).total_seconds() - _CANCEL_MARGIN_S
            self._kill_within(min(self._settings.grace_s, max(left, 0.0)))

    def _refused(self, refusal: ApiError) -> None:
        # While the end is being reported, the refusal may say that it has arrived: the report will tell.
        if self._phase in (_Phase.RUNNING, _Phase.CLEARING):
            self._lose(f"the run is no longer ours: {refusal}")

    def _guard_said(self, message: list[Any]) -> None:
        match message:
            case ["begun", pid]:
                self._command = pid
            case ["not begun", why]:
                self._report_failure(f"The command did not begin: no process can be started: {why}")
            case ["ended", status]:
                self._guard_told_the_end = True
                self._ended(status)
            case ["fenced"] if self._phase in (_Phase.RUNNING, _Phase.CLEARING):
                self._lose("no heartbeat was acknowledged in time; the guard killed the command")
            case ["dead"]:
                self._all_dead = True

    def _guard_ended(self) -> None:
        self._guard_is_gone = True
        if self._all_dead or self._phase not in (_Phase.RUNNING, _Phase.CLEARING):
            return
        # Its children are ours once it is a zombie, which the loop over our children waits for.
        self._guard_died = not self._guard_told_the_end and not self._killing
        self._kill()

    def _reaped(self, pid: int, status: int) -> None:
        if pid == self._guard.pid and os.WIFSTOPPED(status):
            if not self._guard_was_stopped:
                say("the guard was stopped; it is told to go on")
            self._guard_was_stopped = True
            os.kill(pid, signal.SIGCONT)
        elif pid == self._command and not os.WIFSTOPPED(status):
            self._ended(status)

    def _ended(self, status: int) -> None:
        if self._status is None:
            self._status = status
        if self._phase is _Phase.RUNNING:
            self._clear()

    def _stream_ended(self) -> None:
        self._streams -= 1

    def _progress_sent(self, answer: RunMinimal | None) -> None:
        self._progress.answered()
        if answer is not None and answer.cancel_by is not None:
            self._asked(answer.cancel_by)

    def _broke(self, problem: BaseException) -> None:
        say(f"nothing can be reported: {problem!r}")
        if self._phase in (_Phase.STARTING, _Phase.REPORTING):
            self._exit_code = UNKNOWN
        else:
            self._lose("the run is left to its lease")

    # Instants

    def _hold(self, sent_at: float, lease_s: int) -> None:
        self._guard.deadline.set(sent_at + FENCE * lease_s)
        self._lease_end = sent_at + lease_s

    def _pause_s(self) -> float:
        if self._killing and not self._all_dead:
            return _KILLING_PAUSE_S if self._killing_rounds < _PROMPT_ROUNDS else SLICE_S
        now = boottime()
        is_reporting = self._phase is _Phase.REPORTING
        instants = [self._lease_end if is_reporting else self._guard.deadline.get(), now + SLICE_S]
        if self._kill_at is not None:
            instants.append(self._kill_at)
        if self._phase is _Phase.CLEARING and self._all_dead:
            instants.append(self._drained_by)
        if self._phase is _Phase.RUNNING:
            instants.append(self._progress.due_at)
        return max(min(instants) - now, 0.001)

    def _look_at_the_clock(self) -> None:
        now = boottime()
        if self._phase in (_Phase.RUNNING, _Phase.CLEARING) and now >= self._guard.deadline.get():
            self._lose("no heartbeat was acknowledged in time")
        if self._kill_at is not None and now >= self._kill_at:
            self._lose_patience()
        if self._killing and not self._all_dead:
            self._killing_rounds += 1
            kill_descendants()
            self._all_dead = not reap(self._reaped)
        self._go_on(now)

    def _go_on(self, now: float) -> None:
        match self._phase:
            case _Phase.RUNNING if self._all_dead:
                self._clear()
            case _Phase.RUNNING:
                self._progress.report_if_due(now)
            case _Phase.CLEARING if self._all_dead:
                self._drain(now)
            case _Phase.REPORTING if now >= self._lease_end:
                say("the end could not be reported before the lease ran out")
                self._exit_code = UNKNOWN
            case _Phase.LOST if self._all_dead or now >= self._lost_by:
                if not self._all_dead:
                    say("processes of the command do not die")
                self._exit_code = LOST

    def _lose_patience(self) -> None:
        self._kill_at = None
        if self._phase is _Phase.STARTING:
            say("told to stop before the API answered")
            self._exit_code = UNKNOWN
        else:
            self._kill()

    def _send_progress(self, percent: int, not_before: float) -> None:
        self._reporter.progress(percent, not_before, self._inbox.posting(self._progress_sent))

    # The end

    def _kill_within(self, seconds: float) -> None:
        at = boottime() + seconds
        self._kill_at = at if self._kill_at is None else min(self._kill_at, at)

    def _kill(self) -> None:
        """Lets the main loop kill the guard, which makes its children ours, and then them, until none is left."""
        self._killing = True

    def _lose(self, why: str) -> None:
        if self._phase is not _Phase.LOST:
            say(why)
            self._phase = _Phase.LOST
            self._lost_by = boottime() + _LOST_S
            self._kill()

    def _clear(self) -> None:
        self._phase = _Phase.CLEARING
        self._drained_by = 0.0

    def _drain(self, now: float) -> None:
        """Reports the end when all output is passed on, or when its reader has had its time.

        The newest progress goes before it.
        """
        if self._drained_by == 0.0:
            self._drained_by = now + _DRAIN_S
        if self._streams == 0 or now >= self._drained_by:
            if self._streams:
                say("the end of the output is not read; the run ends without it")
            self._progress.flush(now)
            self._report(self._ends())

    def _ends(self) -> list[MakeEnd]:
        ended = Ended(
            self._status,
            told_to_stop=self._told_to_stop,
            asked_to_cancel=self._asked_to_cancel,
            guard_died=self._guard_died,
        )
        outputs: Mapping[str, Any] | BadOutputs = {}
        if ended.succeeded and self._documents is not None:
            try:
                outputs = self._documents.read_outputs()
            except BadOutputs as problem:
                outputs = problem
        return ends_to_try(ended, self._tail.get(), outputs)

    def _report_failure(self, problem: str, *, interrupted: bool = False) -> None:
        self._report([lambda _refusal: failed_before_the_command(problem, interrupted=interrupted)])

    def _report(self, ends: Sequence[MakeEnd]) -> None:
        self._phase = _Phase.REPORTING
        self._kill_at = None
        self._reporter.end(ends, self._inbox.posting(self._was_reported))

    def _was_reported(self, answer: End | ApiError) -> None:
        if isinstance(answer, ApiError):
            say(f"the end was refused: {answer}")
        if self._command is None:
            self._exit_code = self._code_without_a_command
        else:
            self._exit_code = Ended(self._status).exit_code


def _can_be_a_variable(value: str) -> bool:
    try:
        return b"\0" not in os.fsencode(value)
    except UnicodeEncodeError:
        return False


def _open_standard_files() -> None:
    """Opens the standard files that are closed, so that no other file gets their numbers."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
