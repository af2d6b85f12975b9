"""The operations of the client as generators: no I/O happens here, and both clients run the same code."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, Generic, Literal, TypeVar
from urllib.parse import quote

from gyoza_client._calling import (
    Caller,
    Query,
    Repeats,
    instant_text,
    json_of,
    new_key,
    read,
    retry_after,
)
from gyoza_client._errors import NoAnswer, RunCancelled, RunFailed, UnexpectedAnswer, WaitTimeout
from gyoza_client._models import (
    Attempt,
    Definition,
    DefinitionRow,
    Event,
    EventPage,
    EventType,
    Heartbeat,
    Model,
    Page,
    Run,
    RunMinimal,
    RunSummary,
    State,
    is_terminal,
)
from gyoza_client._steps import Answer, Item, Operation, Sleep, Stream

T = TypeVar("T")
P = TypeVar("P")
M = TypeVar("M", bound=Model)

Json = Mapping[str, Any]
RunRef = str | Run | RunSummary | RunMinimal
"""A run, or its id."""

_SHORTEST_PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 5.0
_PAGE: Final = 100
"""The most rows that a page may have."""
_PAGES_IN_VAIN: Final = 2
"""The pages in a row without the run they are read for, after which it is asked for by itself."""

_LEASE_S: Final = 90
"""The lease of a claim that asks for none."""


@dataclass(frozen=True)
class Listing(Generic[T, P]):
    """A list in pages of type P with rows of type T. Each walk begins anew."""

    walk: Callable[[], Stream[P]]
    rows: Callable[[P], Iterable[T]]


class Operations:
    """The methods of both clients. Each yields the steps that the client's driver takes."""

    def __init__(self, caller: Caller) -> None:
        self.caller: Final = caller

    # Runs

    def create_run(
        self,
        image: str,
        inputs: Json | None = None,
        *,
        priority: int | None = None,
        constraints: Json | None = None,
        retry_policy: Json | None = None,
        event_delivery: Json | None = None,
        queue: str | None = None,
        start_at: datetime | str | None = None,
        queue_ttl_s: int | None = None,
        attempt_timeout_s: int | None = None,
        retain_s: int | None = None,
        idempotency_key: str | None = None,
    ) -> Operation[Run]:
        """Create a run of a container image, in PENDING.

        The call and its repeats create one run, because they carry one Idempotency-Key. After a crash of this process
        the same call finds that run only by an ``idempotency_key`` of your own, kept outside the process.
        """
        body = {
            "image": image,
            "inputs": inputs,
            "priority": priority,
            "constraints": constraints,
            "retry_policy": retry_policy,
            "event_delivery": event_delivery,
            "queue": queue,
            "start_at": instant_text(start_at),
            "queue_ttl_s": queue_ttl_s,
            "attempt_timeout_s": attempt_timeout_s,
            "retain_s": retain_s,
        }
        return (yield from self._post(Run, "/runs", body, idempotency_key))

    def get_run(self, run: RunRef) -> Operation[Run]:
        """The run, with the newest 100 events of its current attempt."""
        return (yield from self._get(Run, _run_path(run)))

    def list_runs(
        self,
        *,
        state: State | str | None = None,
        op_definition: str | None = None,
        image: str | None = None,
        created_gte: datetime | int | None = None,
        created_gt: datetime | int | None = None,
        created_lte: datetime | int | None = None,
        created_lt: datetime | int | None = None,
        expand: Sequence[Literal["events"]] = (),
        limit: int | None = None,
        starting_after: RunRef | None = None,
        ending_before: RunRef | None = None,
    ) -> Listing[Run, Page[Run]]:
        """The runs that match, newest first, page after page.

        ``limit`` is the size of a page, 1 to 100; the walk goes on to the end. With ``ending_before`` the pages go to
        newer runs, and each page is newest first. ``created_...`` are instants, or UNIX seconds; an instant's fraction
        is dropped.
        """
        query = _runs_query(state, op_definition, image, created_gte, created_gt, created_lte, created_lt)
        query["expand[]"] = list(expand) or None
        return self._listing(Run, "/runs", query, limit, (_id_or_none(starting_after), _id_or_none(ending_before)))

    def list_run_summaries(
        self,
        *,
        state: State | str | None = None,
        op_definition: str | None = None,
        image: str | None = None,
        created_gte: datetime | int | None = None,
        created_gt: datetime | int | None = None,
        created_lte: datetime | int | None = None,
        created_lt: datetime | int | None = None,
        limit: int | None = None,
        starting_after: RunRef | None = None,
        ending_before: RunRef | None = None,
    ) -> Listing[RunSummary, Page[RunSummary]]:
        """As `list_runs`, but rows without inputs, outputs and whatever else may be large (``fields=summary``)."""
        query = _runs_query(state, op_definition, image, created_gte, created_gt, created_lte, created_lt)
        query["fields"] = "summary"
        return self._listing(
            RunSummary, "/runs", query, limit, (_id_or_none(starting_after), _id_or_none(ending_before))
        )

    def update_run(
        self,
        run: RunRef,
        *,
        state: State | str | None = None,
        outputs: Json | None = None,
        priority: int | None = None,
    ) -> Operation[Run]:
        """Edit a run in an emergency. The rules of states do not apply, and the timeline gets no event.

        The request is repeated only if the server never got it or said that it did nothing. After NoAnswer the edit
        may have been made.
        """
        body = _given({"state": state, "outputs": outputs, "priority": priority})
        answer = yield from self.caller.call("PATCH", _run_path(run), body=body, repeats=Repeats.IF_NOTHING_HAPPENED)
        return read(Run, json_of(answer))

    def retry_run(self, run: RunRef, *, idempotency_key: str | None = None) -> Operation[Run]:
        """Begin a new attempt, whatever the retry budget says. Refused on PENDING and COMPLETED.

        The call and its repeats begin one attempt. After a crash of this process the same call begins no other only
        with an ``idempotency_key`` of your own, kept outside the process.
        """
        return (yield from self._post(Run, _run_path(run, "/retry"), {}, idempotency_key))

    def cancel_run(
        self,
        run: RunRef,
        *,
        mode: Literal["ask"] | None = None,
        grace_s: int | None = None,
        idempotency_key: str | None = None,
    ) -> Operation[Run]:
        """Cancel a run at once, or with ``mode="ask"`` ask its worker to stop within ``grace_s`` seconds.

        The call and its repeats cancel the run once. After a crash of this process the same call spares an attempt that
        was begun meanwhile only with an ``idempotency_key`` of your own, kept outside the process.
        """
        return (
            yield from self._post(Run, _run_path(run, "/cancel"), {"mode": mode, "grace_s": grace_s}, idempotency_key)
        )

    # Events, attempts, workers

    def add_event(
        self,
        run: RunRef,
        type: EventType | str,  # noqa: A002
        msg: str | int | None = None,
        payload: Json | None = None,
        *,
        attempt: int | None = None,
        idempotency_key: str | None = None,
    ) -> Operation[Run]:
        """Append an event to the current attempt. With ``attempt``, only if that attempt is the current one.

        The call and its repeats append one event. After a crash of this process the same call appends no other only
        with an ``idempotency_key`` of your own, kept outside the process.
        """
        body = {"type": type, "msg": msg, "payload": payload, "attempt": attempt}
        return (yield from self._post(Run, _run_path(run, "/events"), body, idempotency_key))

    def report_event(
        self,
        run: RunRef,
        type: EventType | str,  # noqa: A002
        msg: str | int | None = None,
        payload: Json | None = None,
        *,
        attempt: int | None = None,
        idempotency_key: str | None = None,
    ) -> Operation[RunMinimal]:
        """As `add_event`, with the short answer that a worker needs: the header ``Prefer: return=minimal``.

        After a crash of this process the same call appends no other event only with an ``idempotency_key`` of your own,
        kept outside the process.
        """
        body = {"type": type, "msg": msg, "payload": payload, "attempt": attempt}
        prefer = {"Prefer": "return=minimal"}
        return (yield from self._post(RunMinimal, _run_path(run, "/events"), body, idempotency_key, prefer))

    def list_events(
        self,
        run: RunRef,
        *,
        after: int | None = None,
        after_seq: int | None = None,
        attempt: int | None = None,
        limit: int | None = None,
    ) -> Listing[Event, EventPage]:
        """The events so far: of the current attempt, of ``attempt``, or with ``after_seq`` across attempts.

        The walk stays in the attempt that was current when it began. `watch` goes on to the run's end.
        """
        path = _run_path(run, "/events")

        def walk() -> Stream[EventPage]:
            query = {"after": after, "after_seq": after_seq, "attempt": attempt, "limit": limit}
            while True:
                page = yield from self._get(EventPage, path, query)
                yield Item(page)
                if not page.has_more or not page.events:
                    return
                last = page.events[-1]
                query |= (
                    {"after_seq": last.seq} if after_seq is not None else {"after": last.id, "attempt": last.attempt}
                )

        return Listing(walk, lambda page: page.events)

    def list_attempts(
        self, run: RunRef, *, after: int | None = None, limit: int | None = None
    ) -> Listing[Attempt, tuple[Attempt, ...]]:
        """Every attempt, oldest first, after the attempt number ``after``."""
        path = _run_path(run, "/attempts")

        def walk() -> Stream[tuple[Attempt, ...]]:
            query = {"after": after, "limit": limit}
            while True:
                answer = yield from self.caller.call("GET", path, query=query)
                rows = json_of(answer)
                if not isinstance(rows, list):
                    raise UnexpectedAnswer("The attempts are no JSON array")
                page = tuple(read(Attempt, each) for each in rows)
                yield Item(page)
                if 'rel="next"' not in answer.headers.get("link", "") or not page:
                    return
                query["after"] = page[-1].attempt

        return Listing(walk, lambda page: page)

    def heartbeat(self, run: RunRef, attempt: int, worker_id: str) -> Operation[Heartbeat]:
        """Renew the lease of an attempt. The worker counts ``lease_s`` from when it called, not from the answer."""
        body = {"attempt": attempt, "worker_id": worker_id}
        answer = yield from self.caller.call("POST", _run_path(run, "/heartbeat"), body=body)
        return read(Heartbeat, json_of(answer))

    def claim_run(
        self,
        worker_id: str,
        *,
        queues: Sequence[str] | None = None,
        capacity: Json | None = None,
        lease_s: int | None = None,
        start: bool | None = None,
        wait_s: float = 0.0,
        idempotency_key: str | None = None,
    ) -> Operation[Run | None]:
        """Take a run for a worker, or None if nothing fits.

        While nothing fits, it asks again for ``wait_s`` seconds, as often as the server asks for. A claim without an
        answer is repeated within its lease only. ``worker_id`` names one worker that does one run at a time.

        The call and its repeats take one run. After a crash of this process the same call returns that run, for a day
        and while this worker has it, only by an ``idempotency_key`` of your own, kept outside the process.
        """
        key = new_key(idempotency_key)
        end = self.caller.now() + wait_s
        while True:
            found = yield from self.claim_once(
                worker_id, queues=queues, capacity=capacity, lease_s=lease_s, start=start, idempotency_key=key
            )
            if isinstance(found, Run):
                return found
            if self.caller.now() + found > end:
                return None
            yield Sleep(found)

    def claim_once(
        self,
        worker_id: str,
        *,
        queues: Sequence[str] | None = None,
        capacity: Json | None = None,
        lease_s: int | None = None,
        start: bool | None = None,
        idempotency_key: str | None = None,
    ) -> Operation[Run | float]:
        """Take a run, or return the seconds after which to ask again.

        A claim whose answer is lost is repeated, but not once the lease that it may have begun is over.
        """
        body = _given(
            {
                "worker_id": worker_id,
                "queues": None if queues is None else list(queues),
                "capacity": capacity,
                "lease_s": lease_s,
                "start": start,
            }
        )
        answer = yield from self.caller.within(lease_s or _LEASE_S).call(
            "POST", "/runs/claim", body=body, idempotency_key=new_key(idempotency_key)
        )
        if answer.status == 204:
            return retry_after(answer) or _LONGEST_PAUSE_S
        run = read(Run, json_of(answer))
        if run.execution_summary.worker_id != worker_id:
            raise UnexpectedAnswer(f"The answer to a claim of {worker_id!r} shows a run of another worker")
        return run

    # Definitions

    def get_definition(self, name: str, *, version: str | None = None) -> Operation[Definition]:
        """A version of a definition, or the one put last. A deleted definition answers only by ``version``."""
        answer = yield from self.caller.call("GET", definition_path(name), query={"version": version})
        return _definition(answer)

    def list_definitions(
        self, *, limit: int | None = None, starting_after: str | None = None, ending_before: str | None = None
    ) -> Listing[DefinitionRow, Page[DefinitionRow]]:
        """The latest version of each definition, ascending by name."""
        return self._listing(DefinitionRow, "/definitions", {}, limit, (starting_after, ending_before))

    def list_definition_versions(
        self, name: str, *, limit: int | None = None, starting_after: str | None = None
    ) -> Listing[DefinitionRow, Page[DefinitionRow]]:
        """The versions of a definition; the one put last comes first."""
        return self._listing(DefinitionRow, definition_path(name, "/versions"), {}, limit, (starting_after, None))

    def upsert_definition(
        self,
        name: str,
        *,
        version: str,
        image: str,
        input_specs: Json | None = None,
        priority: int | None = None,
        constraints: Json | None = None,
        retry_policy: Json | None = None,
        event_delivery: Json | None = None,
        queue: str | None = None,
        queue_ttl_s: int | None = None,
        attempt_timeout_s: int | None = None,
        retain_s: int | None = None,
        if_match: str | Definition | None = None,
        if_none_match: str | None = None,
    ) -> Operation[Definition]:
        """Put a version of a definition. It replaces the version whole: what is left out is at its default again.

        ``if_match`` takes a Definition as it was read, its etag, or ``"*"`` for "the version exists";
        ``if_none_match="*"`` is "it does not". PreconditionFailed otherwise.
        """
        body = _definition_body(locals())
        headers = _preconditions(if_match, if_none_match)
        return _definition((yield from self.caller.call("PUT", definition_path(name), body=body, headers=headers)))

    def create_definition(
        self,
        name: str,
        *,
        version: str,
        image: str,
        input_specs: Json | None = None,
        priority: int | None = None,
        constraints: Json | None = None,
        retry_policy: Json | None = None,
        event_delivery: Json | None = None,
        queue: str | None = None,
        queue_ttl_s: int | None = None,
        attempt_timeout_s: int | None = None,
        retain_s: int | None = None,
        if_match: str | Definition | None = None,
        if_none_match: str | None = None,
        idempotency_key: str | None = None,
    ) -> Operation[Definition]:
        """As `upsert_definition`, by POST: with an Idempotency-Key, which lives a day.

        The call and its repeats put the version once. After a crash of this process the same call puts it no second
        time only with an ``idempotency_key`` of your own, kept outside the process.
        """
        answer = yield from self.caller.call(
            "POST",
            "/definitions",
            body={"name": name, **_definition_body(locals())},
            headers=_preconditions(if_match, if_none_match),
            idempotency_key=new_key(idempotency_key),
        )
        return _definition(answer)

    def delete_definition(self, name: str) -> Operation[None]:
        """Delete a definition with all its versions. Its runs stay as they are."""
        yield from self.caller.call("DELETE", definition_path(name))

    def create_run_from_definition(
        self,
        name: str,
        inputs: Json | None = None,
        *,
        version: str | None = None,
        priority: int | None = None,
        event_delivery: Json | None = None,
        start_at: datetime | str | None = None,
        queue: str | None = None,
        retain_s: int | None = None,
        idempotency_key: str | None = None,
    ) -> Operation[Run]:
        """Create a run of a definition. Raises InvalidInputs, which names every fault of the inputs.

        The call and its repeats create one run. After a crash of this process the same call finds that run only by an
        ``idempotency_key`` of your own, kept outside the process.
        """
        body = {
            "inputs": inputs,
            "version": version,
            "priority": priority,
            "event_delivery": event_delivery,
            "start_at": instant_text(start_at),
            "queue": queue,
            "retain_s": retain_s,
        }
        return (yield from self._post(Run, definition_path(name, "/runs"), body, idempotency_key))

    # Until the end

    def watch(self, run: RunRef, after_seq: int = -1) -> Stream[Event]:
        """Every event after ``after_seq``, once, in order and across attempts, until the run has ended.

        Raises NoAnswer if a request gives up. To resume after that or a crash, give the ``seq`` of the last event that
        you handled.
        """
        path, pause, seen = _run_path(run, "/events"), _SHORTEST_PAUSE_S, after_seq
        while True:
            page = yield from self._get(EventPage, path, {"after_seq": seen})
            for event in page.events:
                if event.seq > seen:
                    seen = event.seq
                    yield Item(event)
            if page.has_more and page.events:
                continue
            if is_terminal(page.state):
                return
            pause = _SHORTEST_PAUSE_S if page.events else min(pause * 1.5, _LONGEST_PAUSE_S)
            yield Sleep(pause)

    def wait(self, run: RunRef, timeout: float | None = None) -> Operation[Run]:
        """Wait until the run has ended, and return it whatever its end.

        Raises WaitTimeout after ``timeout`` seconds; one request may still be under way then, for a second at most.
        """
        end = self._end(timeout)
        return (yield from self._wait_on((yield from self.get_run(run)), end))

    def run(
        self,
        image: str,
        inputs: Json | None = None,
        *,
        timeout: float | None = None,
        priority: int | None = None,
        constraints: Json | None = None,
        retry_policy: Json | None = None,
        event_delivery: Json | None = None,
        queue: str | None = None,
        start_at: datetime | str | None = None,
        queue_ttl_s: int | None = None,
        attempt_timeout_s: int | None = None,
        retain_s: int | None = None,
        idempotency_key: str | None = None,
    ) -> Operation[Run]:
        """Create a run, wait for its end and return it. Raises RunFailed, RunCancelled or WaitTimeout, with the run.

        The call and its repeats create one run. After a crash of this process the same call finds that run, and waits
        for it, only by an ``idempotency_key`` of your own, kept outside the process.
        """
        created = yield from self.create_run(
            image,
            inputs,
            priority=priority,
            constraints=constraints,
            retry_policy=retry_policy,
            event_delivery=event_delivery,
            queue=queue,
            start_at=start_at,
            queue_ttl_s=queue_ttl_s,
            attempt_timeout_s=attempt_timeout_s,
            retain_s=retain_s,
            idempotency_key=idempotency_key,
        )
        ended = yield from self._wait_on(created, self._end(timeout))
        if ended.state == State.FAILED:
            raise RunFailed(ended)
        if ended.state == State.CANCELLED:
            raise RunCancelled(ended)
        return ended

    def as_completed(self, runs: Iterable[RunRef], timeout: float | None = None) -> Stream[Run]:
        """Yield each run once it has ended. Raises WaitTimeout with one that has not, after ``timeout`` seconds.

        It polls by pages of the list: a hundred runs that were created together cost one request a round, a run created
        long before them one more. A run that the list does not show is asked for by itself.
        """
        end = self._end(timeout)
        pending: dict[str, Run] = {}
        for run_id, run in {run_id_of(run): run for run in runs}.items():
            found = run if isinstance(run, Run) and not run.is_terminal else (yield from self.get_run(run_id))
            if found.is_terminal:
                yield Item(found)
            else:
                pending[run_id] = found
        pause = _SHORTEST_PAUSE_S
        while pending:
            left = end - self.caller.now()
            if left <= 0:
                raise WaitTimeout(next(iter(pending.values())))
            yield Sleep(min(pause, left))
            ended = 0
            for run_id in (yield from self._perhaps_ended(pending)):
                found = yield from self.get_run(run_id)
                if found.is_terminal:
                    del pending[run_id]
                    ended += 1
                    yield Item(found)
            pause = _SHORTEST_PAUSE_S if ended else min(pause * 1.5, _LONGEST_PAUSE_S)

    # Anything else

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Query = (),
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
    ) -> Operation[Answer]:
        """Send what no method wraps, with the same repeats. ``path`` is percent-encoded and begins with a slash.

        A POST gets an Idempotency-Key if none is given; after a crash of this process the same call is known only by a
        key of your own, kept outside the process. Raises ApiError for a status of 300 and above.
        """
        if not path.startswith("/"):
            raise ValueError("A path begins with a slash")
        method = method.upper()
        freely = method != "PATCH"
        return (
            yield from self.caller.call(
                method,
                path,
                query=query,
                body=body,
                headers=headers,
                idempotency_key=new_key(idempotency_key) if method == "POST" or idempotency_key else None,
                repeats=Repeats.FREELY if freely else Repeats.IF_NOTHING_HAPPENED,
            )
        )

    def _get(self, kind: type[M], path: str, query: Query = ()) -> Operation[M]:
        return read(kind, json_of((yield from self.caller.call("GET", path, query=query))))

    def _post(
        self,
        kind: type[M],
        path: str,
        body: Json,
        idempotency_key: str | None,
        headers: Mapping[str, str] | None = None,
    ) -> Operation[M]:
        answer = yield from self.caller.call(
            "POST", path, body=_given(body), headers=headers, idempotency_key=new_key(idempotency_key)
        )
        return read(kind, json_of(answer))

    def _listing(
        self,
        kind: type[M],
        path: str,
        filters: Mapping[str, Any],
        limit: int | None,
        cursors: tuple[str | None, str | None],
    ) -> Listing[M, Page[M]]:
        """The pages that are not empty, after the first of the cursors or before the second."""
        starting_after, ending_before = cursors
        cursor = "starting_after" if ending_before is None else "ending_before"

        def walk() -> Stream[Page[M]]:
            query = {**filters, "limit": limit, "starting_after": starting_after, "ending_before": ending_before}
            while True:
                body = json_of((yield from self.caller.call("GET", path, query=query)))
                page: Page[M] = read(Page, body)
                page = replace(page, data=tuple(read(kind, each) for each in page.data))
                if page.data:
                    yield Item(page)
                if not page.has_more or page.next_cursor is None:
                    return
                query[cursor] = page.next_cursor

        return Listing(walk, lambda page: page.data)

    def _end(self, timeout: float | None) -> float:
        return math.inf if timeout is None else self.caller.now() + timeout

    def _wait_on(self, found: Run, end: float) -> Operation[Run]:
        """Wait from a run as it was a moment ago until it has ended."""
        pause = _SHORTEST_PAUSE_S
        while not found.is_terminal:
            left = end - self.caller.now()
            if left <= 0:
                raise WaitTimeout(found)
            yield Sleep(min(pause, left))
            pause = min(pause * 1.5, _LONGEST_PAUSE_S)
            found = yield from self._look_again(found, end)
        return found

    def _look_again(self, run: Run, end: float) -> Operation[Run]:
        """The run as it stands. It is read whole only once it has ended or the time is over."""
        left = end - self.caller.now()
        hurried = Operations(self.caller.within(max(left, 1.0)))
        try:
            page = yield from hurried._get(
                EventPage, _run_path(run, "/events"), {"after_seq": run.last_seq, "limit": 1}
            )
            if is_terminal(page.state) or end <= self.caller.now():
                return (yield from hurried.get_run(run))
        except NoAnswer:
            if end <= self.caller.now():
                raise WaitTimeout(run) from None
            raise
        return run

    def _perhaps_ended(self, pending: Mapping[str, Run]) -> Operation[list[str]]:
        """The pending runs that the list shows as ended, or does not show.

        A page begins at the newest run that was not looked for yet, or goes on from the page before if that is close.
        """
        unseen = sorted(pending.values(), key=lambda run: run.created_at)
        newest = _second_of(unseen[-1].created_at)
        query = {"fields": "summary", "limit": _PAGE, "created[gte]": _second_of(unseen[0].created_at)}
        cursor, ended, not_shown, in_vain = None, [], [], 0
        while unseen:
            found = query | {"created[lte]": newest + 1, "starting_after": cursor}
            page: Page[Json] = read(Page, json_of((yield from self.caller.call("GET", "/runs", query=found))))
            rows = {row.id: row for row in (read(RunSummary, each) for each in page.data)}
            last = min((row.created_at for row in rows.values()), default=None)
            ended += [run.id for run in unseen if run.id in rows and rows[run.id].is_terminal]
            in_vain = 0 if any(run.id in rows for run in unseen) else in_vain + 1
            unseen = [run for run in unseen if run.id not in rows]
            if page.next_cursor is None:
                passed = len(unseen)
            elif in_vain == _PAGES_IN_VAIN:
                passed, in_vain = 1, 0
            else:
                passed = sum(last is not None and run.created_at > last for run in unseen)
            not_shown += [unseen.pop().id for _ in range(passed)]
            cursor = page.next_cursor
            if unseen and last and _second_of(unseen[-1].created_at) + 1 < _second_of(last):
                newest, cursor = _second_of(unseen[-1].created_at), None
        return [*ended, *not_shown]


def run_id_of(run: RunRef) -> str:
    return run if isinstance(run, str) else run.id


def _id_or_none(run: RunRef | None) -> str | None:
    return None if run is None else run_id_of(run)


def _run_path(run: RunRef, rest: str = "") -> str:
    return f"/runs/{_segment(run_id_of(run))}{rest}"


def definition_path(name: str, rest: str = "") -> str:
    return f"/definitions/{_segment(name)}{rest}"


def _segment(text: str) -> str:
    """The text as one part of a path. Raises ValueError for what would name another path."""
    if text in ("", ".", ".."):
        raise ValueError(f"{text!r} is no id and no name")
    return quote(text, safe="")


def _given(fields: Json) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _runs_query(  # noqa: PLR0917
    state: State | str | None,
    op_definition: str | None,
    image: str | None,
    gte: datetime | int | None,
    gt: datetime | int | None,
    lte: datetime | int | None,
    lt: datetime | int | None,
) -> dict[str, Any]:
    return {
        "state": state,
        "op_definition": op_definition,
        "image": image,
        "created[gte]": _unix(gte),
        "created[gt]": _unix(gt),
        "created[lte]": _unix(lte),
        "created[lt]": _unix(lt),
    }


def _unix(instant: datetime | int | None) -> int | None:
    if isinstance(instant, datetime):
        instant_text(instant)
        return _second_of(instant)
    return instant


def _second_of(instant: datetime) -> int:
    return math.floor(instant.timestamp())


_DEFINITION_FIELDS: Final = (
    "version",
    "image",
    "input_specs",
    "priority",
    "constraints",
    "retry_policy",
    "event_delivery",
    "queue",
    "queue_ttl_s",
    "attempt_timeout_s",
    "retain_s",
)


def _definition_body(arguments: Json) -> dict[str, Any]:
    return _given({name: arguments[name] for name in _DEFINITION_FIELDS})


def _preconditions(if_match: str | Definition | None, if_none_match: str | None) -> dict[str, str]:
    if isinstance(if_match, Definition):
        if if_match.etag is None:
            raise ValueError("The definition was not answered with an ETag")
        if_match = if_match.etag
    return _given({"If-Match": if_match, "If-None-Match": if_none_match})


def _definition(answer: Answer) -> Definition:
    return read(Definition, json_of(answer), etag=answer.headers.get("etag"))
