"""The facts that refuse a request.

::

    GyozaError
    ├── RunNotFound            no run has that id
    ├── Refused                the run, as it stands, does not allow it
    │   ├── RunLocked          the run is terminal
    │   ├── InvalidTransition  the event does not fit the state
    │   └── RetryBudgetSpent   a retry without ``force`` and without budget
    ├── InvalidRequest         well-formed, but it names something that does not exist
    │   ├── InvalidState
    │   ├── InvalidFilter
    │   └── InvalidCursor
    ├── IdempotencyKeyReused   the key came before, with another body
    ├── StaleAttempt           the fencing token is not the current attempt
    ├── RunBusy                the run changed under the request for too long; safe to send again
    └── StorageUnavailable     the table did not take the request; nothing was written
        ├── OutcomeUnknown     the table did not answer a write; it may stand
        └── UnreadableRun      a newer release wrote the run; nothing was written

``str(error)`` is a sentence fit for a client: it holds ids and states, never a key, a table or another system's text.
"""

from .run import EventType, State


class GyozaError(Exception):
    """Base of every refusal that a client may be told."""


class RunNotFound(GyozaError):
    def __init__(self, run_id: str) -> None:
        super().__init__(f"OpRun '{run_id}' not found")
        self.run_id = run_id


class Refused(GyozaError):
    """Base: the run, as it stands, does not allow the request."""


class RunLocked(Refused):
    def __init__(self, state: State, event_type: EventType) -> None:
        super().__init__(f"The run is locked: it is {state} and takes no {event_type} event")
        self.state = state
        self.event_type = event_type


class InvalidTransition(Refused):
    def __init__(self, state: State, event_type: EventType) -> None:
        super().__init__(f"A run that is {state} takes no {event_type} event")
        self.state = state
        self.event_type = event_type


class RetryBudgetSpent(Refused):
    def __init__(self, state: State, max_attempts: int) -> None:
        super().__init__(f"The run is {state} and its retry budget of {max_attempts} attempts is spent")
        self.state = state
        self.max_attempts = max_attempts


class InvalidRequest(GyozaError):
    """Base: the request is well-formed, but names something that does not exist."""


class InvalidState(InvalidRequest):
    def __init__(self, value: str) -> None:
        super().__init__(f"Unknown state {value!r}; one of {', '.join(State)}")
        self.value = value


class InvalidFilter(InvalidRequest):
    pass


class InvalidCursor(InvalidRequest):
    pass


class IdempotencyKeyReused(GyozaError):
    def __init__(self) -> None:
        super().__init__("The Idempotency-Key was used before with another body")


class StaleAttempt(GyozaError):
    def __init__(self, attempt: int, current_attempt: int) -> None:
        super().__init__(f"Attempt {attempt} is not the current one: the run is at attempt {current_attempt}")
        self.attempt = attempt
        self.current_attempt = current_attempt


class RunBusy(GyozaError):
    def __init__(self, run_id: str) -> None:
        super().__init__(f"OpRun '{run_id}' kept changing under the request; nothing was written, send it again")
        self.run_id = run_id


class StorageUnavailable(GyozaError):
    def __init__(self, text: str = "The service is busy and wrote nothing; send the request again") -> None:
        super().__init__(text)


class OutcomeUnknown(StorageUnavailable):
    """``run_id``: the run that was written to; None for a creation. ``is_keyed``: whether the request had a key."""

    def __init__(self, run_id: str | None, *, is_keyed: bool) -> None:
        if is_keyed:
            advice = "send the request again with the same Idempotency-Key"
        elif run_id is None:
            advice = "look in GET /runs whether the run exists before you send the request again"
        else:
            advice = f"read its timeline, GET /runs/{run_id}/events, before you send the request again"
        super().__init__(f"The service does not know whether the request took effect; {advice}")


class UnreadableRun(StorageUnavailable):
    def __init__(self, run_id: str) -> None:
        super().__init__(f"A newer release wrote OpRun '{run_id}'; send the request again")
        self.run_id = run_id
