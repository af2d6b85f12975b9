"""Tests invariants of a run under any sequence of commands."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gyoza_domain.domain.errors import InvalidTransition, RetryBudgetSpent, RunLocked, StaleAttempt
from gyoza_domain.domain.run import Change, Event, EventType, JsonText, OpAttempt, OpRun, ResultSource, State
from gyoza_domain.domain.transitions import EventDraft, append_event, patch

CREATED = datetime(2026, 3, 2, 20, 0, tzinfo=UTC)


@dataclass
class Attempt:
    """The model of an attempt."""

    types: list[EventType] = field(default_factory=list)
    given_back: bool = False


class AnyCommands(RuleBasedStateMachine):
    """A run, its timeline, and a model of its attempts that has only the rule of the retry budget."""

    @initialize(max_attempts=st.integers(1, 3))
    def create(self, max_attempts: int) -> None:
        self.now = CREATED
        self.run = OpRun(
            "6f1c2a54-9d1b-4c55-8a39-2f0f5c7be911", CREATED, CREATED, OpAttempt(1), max_attempts=max_attempts
        )
        self.timeline: list[Event] = []
        self.closed: list[OpAttempt] = []
        self.attempts = [Attempt()]

    @rule(seconds=st.integers(-100, 100))
    def time_passes_or_is_set_back(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @rule(
        event_type=st.sampled_from(EventType),
        force=st.booleans(),
        percent=st.integers(0, 100),
        outputs=st.none() | st.sampled_from([JsonText("{}"), JsonText('{"é":2}')]),
    )
    def post(self, event_type: EventType, force: bool, percent: int, outputs: JsonText | None) -> None:
        before, had_budget = self.run, self.has_budget
        draft = EventDraft(
            event_type,
            msg=percent if event_type is EventType.PROGRESS else "",
            worker_id="worker-7",
            outputs=outputs if event_type is EventType.COMPLETED else None,
            error_message="out of memory" if event_type is EventType.FAILED else None,
            force=force and event_type is EventType.RETRIED,
            attempt=before.attempt.number,
        )
        try:
            change = append_event(before, draft, self.now)
        except RunLocked:
            assert before.state.is_terminal
            assert event_type is not EventType.RETRIED or before.state is State.COMPLETED
            return
        except RetryBudgetSpent:
            assert event_type is EventType.RETRIED
            assert before.state in {State.FAILED, State.CANCELLED}
            assert not force
            assert not had_budget
            return
        except InvalidTransition:
            assert not before.state.is_terminal
            return
        assert not before.state.is_terminal or event_type is EventType.RETRIED
        self.apply(change)
        self.attempts[before.attempt.number - 1].given_back = (
            event_type is EventType.RETRIED and before.state is State.ASSIGNED
        )
        if event_type is EventType.FAILED:
            assert (self.run.attempt.number > before.attempt.number) == had_budget

    @rule(offset=st.sampled_from([-1, 1, 7]), event_type=st.sampled_from(EventType))
    def a_superseded_worker_posts(self, offset: int, event_type: EventType) -> None:
        draft = EventDraft(event_type, 5, force=True, attempt=self.run.attempt.number + offset)
        try:
            append_event(self.run, draft, self.now)
        except StaleAttempt:
            return
        raise AssertionError("it wrote into an attempt that is not its own")

    @rule(
        state=st.none() | st.sampled_from(State),
        outputs=st.none() | st.sampled_from([JsonText("{}"), JsonText('{"a":1}')]),
        priority=st.none() | st.integers(0, 9999),
    )
    def edit(self, state: State | None, outputs: JsonText | None, priority: int | None) -> None:
        before = self.run
        change = patch(before, self.now, state=state, outputs=outputs, priority=priority)
        assert (change.events, change.closed) == ((), None)
        self.apply(change)
        assert self.run.state is (state or before.state)
        assert self.run.priority == (before.priority if priority is None else priority)

    def apply(self, change: Change) -> None:
        assert change.before == self.run
        assert change.after.version == self.run.version + 1
        assert change.after.updated_at == max(self.now, self.run.updated_at)
        self.run = change.after
        self.timeline += change.events
        if change.closed is not None:
            self.closed.append(change.closed)
            self.attempts.append(Attempt())
        for event in change.events:
            self.attempts[event.attempt - 1].types.append(event.type)

    @property
    def has_budget(self) -> bool:
        begun = sum(not attempt.given_back for attempt in self.attempts)
        return begun < self.run.max_attempts

    @invariant()
    def seqs_count_the_events_of_the_run_without_a_gap(self) -> None:
        assert [event.seq for event in self.timeline] == list(range(self.run.last_seq + 1))

    @invariant()
    def ids_restart_with_every_attempt(self) -> None:
        expected = [
            (number, event_id, event_type)
            for number, attempt in enumerate(self.attempts, start=1)
            for event_id, event_type in enumerate(attempt.types)
        ]
        assert [(event.attempt, event.id, event.type) for event in self.timeline] == expected

    @invariant()
    def a_retry_opens_every_attempt_but_the_first_and_stands_nowhere_else(self) -> None:
        opens = [event.id == 0 and event.attempt > 1 for event in self.timeline]
        assert [event.type is EventType.RETRIED for event in self.timeline] == opens

    @invariant()
    def attempts_follow_each_other_and_know_their_events(self) -> None:
        every = [*self.closed, self.run.attempt]
        assert [attempt.number for attempt in every] == list(range(1, len(self.attempts) + 1))
        assert [attempt.event_count for attempt in every] == [len(attempt.types) for attempt in self.attempts]
        assert all(attempt.state.is_terminal for attempt in self.closed)

    @invariant()
    def an_attempt_is_finished_exactly_when_it_is_terminal(self) -> None:
        every = [*self.closed, self.run.attempt]
        assert all((attempt.finished_at is not None) == attempt.state.is_terminal for attempt in every)

    @invariant()
    def a_result_has_a_source_and_its_outputs_a_known_size(self) -> None:
        for attempt in (*self.closed, self.run.attempt):
            assert (attempt.result is None) == (attempt.result_source is None)
            outputs = "" if attempt.result is None else attempt.result.outputs
            # An attempt that an event ended without outputs counts no bytes, although it shows an empty object.
            assert attempt.outputs_bytes == len(outputs.encode()) or (attempt.outputs_bytes, outputs) == (0, "{}")

    @invariant()
    def a_result_that_an_event_holds_is_that_of_its_attempts_last_one(self) -> None:
        for attempt in (*self.closed, self.run.attempt):
            if attempt.result_source is ResultSource.EVENT:
                last = self.timeline[attempt.last_seq]
                assert attempt.result is not None
                assert last.type in {EventType.COMPLETED, EventType.FAILED}
                assert (last.outputs or "{}", last.error_message, last.duration_ms) == (
                    attempt.result.outputs,
                    attempt.result.error_message,
                    attempt.result.duration_ms,
                )

    @invariant()
    def no_instant_goes_back(self) -> None:
        instants = [CREATED, *(event.at for event in self.timeline), self.run.updated_at]
        assert instants == sorted(instants)


TestAnyCommands = AnyCommands.TestCase
TestAnyCommands.settings = settings(deadline=None, max_examples=100, stateful_step_count=40)
