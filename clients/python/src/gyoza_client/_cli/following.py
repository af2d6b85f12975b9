"""Follows runs to their ends: past lost answers, within a time, and until Ctrl-C, which says how to go on."""

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final
from uuid import uuid4

from gyoza_client._cli.failures import INTERRUPTED, TIMED_OUT, code_of_state, line_of_error
from gyoza_client._cli.formats import printable
from gyoza_client._cli.inputs import Misused
from gyoza_client._cli.interrupts import deferred_interrupts
from gyoza_client._cli.live import Live, outcome
from gyoza_client._cli.session import Session
from gyoza_client._errors import GyozaError, NoAnswer, ServerError, Throttled, UnexpectedAnswer
from gyoza_client._models import Event, Run, State
from gyoza_client._steps import Answer, Lost, Send, Sleep
from gyoza_client._sync import Driver, GyozaClient, client_of, core_of

_PATIENCE_S: Final = 900.0
"""A run is followed on for this long without any answer. A call of the client gives up after a minute."""

_PAUSE_S: Final = 5.0

_PASSING: Final = (NoAnswer, ServerError, Throttled, UnexpectedAnswer)
"""Errors of the way to the API and of the API itself, which may pass by."""

_SHORTEST_REQUEST_S: Final = 0.5
"""A request gets this long, even if less is left: an answer that is under way is worth it."""


class TimeIsOver(GyozaError):
    """The time that the command line gives has passed. The run goes on."""


@dataclass
class Progress:
    """The place in the run's timeline up to which events were shown."""

    seq: int = -1


def create_and_follow(
    session: Session,
    create: Callable[[str], Run],
    idempotency_key: str | None,
    *,
    watch: bool,
    timeout_s: int | None,
) -> int:
    """Create a run with a key, print it, and follow it if that is wanted. Returns the exit code."""
    if timeout_s is not None and not watch:
        raise Misused("--timeout: it bounds --watch, which is missing")
    key, screen = idempotency_key or str(uuid4()), session.screen
    try:
        run = create(key)
    except KeyboardInterrupt:
        screen.note(f"\n{_perhaps_created(key)}")
        return INTERRUPTED
    except _PASSING as problem:
        screen.note(_perhaps_created(key))
        raise problem from None
    if screen.json:
        screen.row(run.raw)
    if watch:
        return follow(session, run, timeout_s=timeout_s)
    if not screen.json:
        screen.line(printable(run.id))
        screen.hint(f"Follow it: {session.command('events', '-f', run.id)}")
    return 0


def _perhaps_created(key: str) -> str:
    return f"The run may have been created. The same command with --idempotency-key {key} creates one run at most."


def follow(
    session: Session, run: Run, *, after_seq: int = -1, timeout_s: int | None = None, only_end: bool = False
) -> int:
    """Show a run to its end beside the data, print its outputs as data, and return the exit code.

    With ``only_end`` its events are shown by the bar alone.
    """
    screen, progress = session.screen, Progress(after_seq)

    def again() -> str:
        return wait_again(session, [run.id]) if only_end else events_again(session, run.id, progress)

    with Live(screen, run, only_end=only_end) as live:
        ended = carried_on(
            session,
            events_to_the_end(session, run.id, progress, live.note, timeout_s),
            progress,
            show=live.event,
            stop=live.stop,
            again=again,
        )
    if isinstance(ended, int):
        return ended
    print_end(session, ended)
    return code_of_state(ended.state)


def carried_on(
    session: Session,
    events: Generator[Event, None, Run],
    progress: Progress,
    *,
    show: Callable[[Event], None],
    stop: Callable[[], None],
    again: Callable[[], str],
) -> Run | int:
    """Show the events and return the run that has ended, or the exit code of whatever came before its end.

    An event is shown whole and counted in ``progress``, or neither, whenever Ctrl-C comes. ``again`` is the command
    that goes on from there, and is printed then.
    """
    try:
        with deferred_interrupts() as interrupts:
            while True:
                try:
                    event = next(events)
                except StopIteration as end:
                    ended: Run = end.value
                    return ended
                with interrupts.held_back():
                    show(event)
                    progress.seq = event.seq
    except KeyboardInterrupt:
        stop()
        session.screen.note(f"\nThe run goes on. Follow it again: {again()}")
        return INTERRUPTED
    except TimeIsOver:
        stop()
        session.screen.note(f"gyoza: the time is over and the run goes on. Follow it again: {again()}")
        return TIMED_OUT
    except _PASSING:
        stop()
        session.screen.note(f"Follow the run again: {again()}")
        raise


def events_to_the_end(
    session: Session, run_id: str, progress: Progress, note: Callable[[str], None], timeout_s: int | None
) -> Generator[Event, None, Run]:
    """Yield each event after ``progress``, which the caller moves, and return the run as it ended. Raises TimeIsOver.

    It goes on after calls that gave up, until none was answered for 15 minutes. A run that is retried at its very end
    is followed through its next attempt.
    """
    client, pause = _within(session.client, timeout_s)
    answered = time.monotonic()
    while True:
        try:
            for event in client.watch(run_id, after_seq=progress.seq):
                answered = time.monotonic()
                yield event
            run = client.get_run(run_id)
        except _PASSING as problem:
            if time.monotonic() - answered > _PATIENCE_S:
                raise
            note(f"{line_of_error(problem)}. Trying again")
            pause(_PAUSE_S)
            continue
        answered = time.monotonic()
        if run.is_terminal and run.last_seq <= progress.seq:
            return run


def runs_as_they_end(
    session: Session, run_ids: Sequence[str], note: Callable[[str], None], timeout_s: int | None
) -> Iterator[Run]:
    """Yield each run once it has ended, and go on after calls that gave up. Raises TimeIsOver."""
    client, pause = _within(session.client, timeout_s)
    pending = dict.fromkeys(run_ids)
    answered = time.monotonic()
    while pending:
        try:
            for run in client.as_completed(list(pending)):
                answered = time.monotonic()
                pending.pop(run.id, None)
                yield run
            pending.clear()
        except _PASSING as problem:
            if time.monotonic() - answered > _PATIENCE_S:
                raise
            note(f"{line_of_error(problem)}. Trying again")
            pause(_PAUSE_S)


def print_end(session: Session, run: Run) -> None:
    """Print how the run ended beside the data, and its outputs as data; with JSON, the run as data."""
    screen = session.screen
    if screen.json:
        screen.row(run.raw)
        return
    outcome(screen, run)
    if run.state == State.COMPLETED:
        screen.document(run.outputs)


def events_again(session: Session, run_id: str, progress: Progress) -> str:
    """The command that prints the events that were not printed, and follows the run."""
    after = [] if progress.seq < 0 else ["--after-seq", str(progress.seq)]
    return session.command("events", "-f", run_id, *after)


def wait_again(session: Session, run_ids: Sequence[str]) -> str:
    return session.command("wait", *run_ids)


def _within(client: GyozaClient, seconds: int | None) -> tuple[GyozaClient, Callable[[float], None]]:
    """The client on the same connections, and a pause. Both raise TimeIsOver once ``seconds`` have passed."""
    if seconds is None:
        return client, time.sleep
    core = core_of(client)
    driver = _TimedDriver(core.driver, time.monotonic() + seconds)
    return client_of(replace(core, driver=driver)), driver.pause


class _TimedDriver(Driver):
    """Takes the steps of operations until an instant, and then raises TimeIsOver."""

    def __init__(self, driver: Driver, end: float) -> None:
        super().__init__(driver.transport)
        self._driver = driver
        self._end = end

    def pause(self, seconds: float) -> None:
        self.do(Sleep(seconds))

    def do(self, step: Send | Sleep) -> Answer | Lost | None:
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeIsOver
        if isinstance(step, Sleep):
            return self._driver.do(Sleep(min(step.seconds, left)))
        return self._driver.do(replace(step, timeout_s=min(step.timeout_s, max(left, _SHORTEST_REQUEST_S))))
