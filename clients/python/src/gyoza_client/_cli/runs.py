"""The commands on runs. Their help is in the table of `app.py`."""

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Annotated, Any, Final

from cyclopts import Parameter

from gyoza_client._cli.failures import (
    COMPLETED,
    ERROR,
    INTERRUPTED,
    NOT_AUTHORISED,
    TIMED_OUT,
    code_of_error,
    code_of_state,
    line_of_error,
)
from gyoza_client._cli.following import (
    Progress,
    TimeIsOver,
    carried_on,
    create_and_follow,
    events_again,
    events_to_the_end,
    follow,
    runs_as_they_end,
    wait_again,
)
from gyoza_client._cli.formats import instant, json_text, printable
from gyoza_client._cli.inputs import Misused, read_inputs
from gyoza_client._cli.options import (
    NO_COMMON_OPTIONS,
    NO_FILTERS,
    NO_IMAGE_OPTIONS,
    CommonOptions,
    Filters,
    IdempotencyKey,
    ImageOptions,
    Inputs,
    PassedSession,
    RunId,
    Timeout,
    Watch,
)
from gyoza_client._cli.session import Session
from gyoza_client._cli.tables import EventPrinter, print_run, print_runs
from gyoza_client._errors import GyozaError
from gyoza_client._models import Run

_ROWS: Final = 20
"""The number of runs that `ls` lists without ``--limit``."""

_PAGE: Final = 100


def run(
    image: Annotated[str, Parameter(help="The container image.")],
    /,
    *,
    inputs: Inputs = (),
    watch: Watch = False,
    timeout: Timeout = None,
    common: CommonOptions = NO_COMMON_OPTIONS,
    of_image: ImageOptions = NO_IMAGE_OPTIONS,
    idempotency_key: IdempotencyKey = None,
    session: PassedSession,
) -> int:
    read, fields = read_inputs(inputs), common.fields() | of_image.fields()
    return create_and_follow(
        session,
        lambda key: session.client.create_run(image, read, **fields, idempotency_key=key),
        idempotency_key,
        watch=watch,
        timeout_s=timeout,
    )


def ls(
    *,
    filters: Filters = NO_FILTERS,
    limit: Annotated[int, Parameter(name=["--limit", "-n"], help="List at most so many runs.")] = _ROWS,
    all: Annotated[bool, Parameter(name=["--all", "-a"], help="List all that match.")] = False,  # noqa: A002
    quiet: Annotated[bool, Parameter(name=["--quiet", "-q"], help="Print ids only.")] = False,
    session: PassedSession,
) -> int:
    if limit < 1:
        raise Misused("--limit: it is at least 1")
    screen, wanted = session.screen, filters.arguments()
    wanted["limit"] = _PAGE if all else min(limit + 1, _PAGE)
    if screen.json:
        for whole in islice(session.client.list_runs(**wanted), None if all else limit):
            screen.row(whole.raw)
        return COMPLETED
    rows = iter(session.client.list_run_summaries(**wanted))
    shown = rows if all else islice(rows, limit)
    if quiet:
        for row in shown:
            screen.line(printable(row.id))
    elif not print_runs(screen, shown):
        screen.hint("No run matches")
    if not all and not quiet and next(rows, None) is not None:
        screen.hint(f"More runs match: --limit {limit * 5}, or --all")
    return COMPLETED


def show(run: RunId, /, *, session: PassedSession) -> int:
    found = session.client.get_run(run)
    if session.screen.json:
        session.screen.document(found.raw)
        return COMPLETED
    attempts = list(session.client.list_attempts(run)) if found.current_attempt > 1 else []
    print_run(session.screen, found, attempts)
    return COMPLETED


def events(
    run: RunId,
    /,
    *,
    follow: Annotated[bool, Parameter(name=["--follow", "-f"], help="Go on until the run has ended.")] = False,
    after_seq: Annotated[int, Parameter(help="Begin after the event with this number.")] = -1,
    attempt: Annotated[int | None, Parameter(help="The events of this attempt only.")] = None,
    timeout: Timeout = None,
    session: PassedSession,
) -> int:
    printer = EventPrinter(session.screen)
    if not follow:
        if timeout is not None:
            raise Misused("--timeout: it bounds --follow, which is missing")
        where: dict[str, Any] = {"after_seq": after_seq} if attempt is None else {"attempt": attempt}
        for event in session.client.list_events(run, **where):
            if event.seq > after_seq:
                printer.print(event)
        return COMPLETED
    if attempt is not None:
        raise Misused("--attempt: it does not go with --follow, which goes on through all attempts")
    session.client.get_run(run)  # A wrong address is an error at once, and no reason to try again.
    progress = Progress(after_seq)
    ended = carried_on(
        session,
        events_to_the_end(session, run, progress, session.screen.note, timeout),
        progress,
        show=printer.print,
        stop=lambda: None,
        again=lambda: events_again(session, run, progress),
    )
    return ended if isinstance(ended, int) else code_of_state(ended.state)


def wait(
    run: RunId,
    /,
    *others: Annotated[str, Parameter(help="Further runs. Each is then a line with its id and state.")],
    timeout: Timeout = None,
    session: PassedSession,
) -> int:
    if not others:
        found = session.client.get_run(run)
        return _wait_follow(session, found, timeout)
    return _wait_for_all(session, [run, *others], timeout)


def cancel(
    *runs: Annotated[str, Parameter(name="RUN", help="The ids of runs.")],
    ask: Annotated[
        int | None,
        Parameter(help="Ask the worker to stop within so many seconds, and cancel the run if it does not."),
    ] = None,
    session: PassedSession,
) -> int:
    def cancel_one(run_id: str) -> Run:
        if ask is None:
            return session.client.cancel_run(run_id)
        return session.client.cancel_run(run_id, mode="ask", grace_s=ask)

    return _change_each(session, runs, cancel_one)


def retry(
    *runs: Annotated[str, Parameter(name="RUN", help="The ids of runs.")],
    watch: Watch = False,
    timeout: Timeout = None,
    session: PassedSession,
) -> int:
    if not watch:
        if timeout is not None:
            raise Misused("--timeout: it bounds --watch, which is missing")
        return _change_each(session, runs, session.client.retry_run)
    if len(runs) != 1:
        raise Misused("--watch: it follows one run")
    found = session.client.retry_run(runs[0])
    if session.screen.json:
        session.screen.row(found.raw)
    # The event that begins the attempt is not shown again.
    return follow(session, found, after_seq=found.last_seq, timeout_s=timeout)


def _wait_follow(session: Session, run: Run, timeout_s: int | None) -> int:
    return follow(session, run, after_seq=run.last_seq, timeout_s=timeout_s, only_end=True)


def _wait_for_all(session: Session, run_ids: list[str], timeout_s: int | None) -> int:
    screen = session.screen
    pending, codes = dict.fromkeys(run_ids), set()
    try:
        for ended in runs_as_they_end(session, run_ids, screen.note, timeout_s):
            pending.pop(ended.id, None)
            codes.add(code_of_state(ended.state))
            if screen.json:
                screen.row(ended.raw)
            else:
                screen.line(f"{printable(ended.id)}  {printable(ended.state):<9}  {_result(ended)}".rstrip())
    except KeyboardInterrupt:
        screen.note(f"\nThe runs go on. Wait again: {wait_again(session, list(pending))}")
        return INTERRUPTED
    except TimeIsOver:
        screen.note(
            f"gyoza: the time is over and {len(pending)} of the runs go on. Wait again:"
            f" {wait_again(session, list(pending))}"
        )
        return TIMED_OUT
    return next((code for code in (3, 5, 1) if code in codes), COMPLETED)


def _result(run: Run) -> str:
    summary = run.execution_summary
    return json_text(run.outputs) if run.outputs else printable(summary.error_message or summary.reason or "")


def _change_each(session: Session, run_ids: Iterable[str], change: Callable[[str], Run]) -> int:
    """Change each run, print how it then stands, and go on past those whose change is refused."""
    screen, code, any_given = session.screen, COMPLETED, False
    for run_id in run_ids:
        any_given = True
        try:
            run = change(run_id)
        except GyozaError as error:
            screen.note(f"gyoza: {printable(run_id)}: {line_of_error(error)}")
            code = code_of_error(error)
            if code == NOT_AUTHORISED:
                return code
            code = ERROR
            continue
        if screen.json:
            screen.row(run.raw)
        else:
            asked = f"  asked to stop until {instant(run.cancel_by)}" if run.cancel_by else ""
            screen.line(f"{printable(run.id)}  {printable(run.state)}{asked}")
    if not any_given:
        raise Misused("RUN: the id of a run is missing")
    return code
