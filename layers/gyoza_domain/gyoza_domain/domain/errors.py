"""The errors that refuse a request, each named after the fact it states.

::

    GyozaError
    ├── RunNotFound            no run has that id
    ├── RunExpired             the run that the idempotency key names was deleted after its retention
    ├── Refused                the state of the run does not allow the request
    │   ├── RunLocked          the run is terminal
    │   ├── InvalidTransition  the state does not allow the event
    │   ├── RetryBudgetSpent   the retry needs ``force``, because the budget is spent
    │   ├── AttemptRequired    the attempt is leased, and the event does not say which attempt it means
    │   ├── NotYet             the run may not be taken before an instant that it waits for
    │   └── NotLeased          the attempt has no lease to renew
    ├── InvalidRequest         the request names something that does not exist
    │   ├── InvalidState
    │   ├── InvalidFilter
    │   └── InvalidCursor
    ├── DefinitionNotFound     no definition has that name, or it has no such version, or it is deleted
    ├── InvalidInputs          the definition does not take the inputs
    ├── InputsTooLarge         the inputs exceed their limit once the defaults are filled in
    ├── TopicNotAllowed        the deployment does not allow the topic of the definition
    ├── PreconditionFailed     the version is not the one that the put expects
    ├── IdempotencyKeyReused   the key was used before, with another body
    ├── StaleAttempt           the worker's attempt is not the current one, or another worker has it
    ├── NotClaimant            another worker holds the lease
    ├── RunBusy                other requests kept changing the run; nothing was written
    ├── DefinitionBusy         other requests kept changing the definition; nothing was written
    └── StorageUnavailable     the table did not take the request; nothing was written
        ├── OutcomeUnknown     the table did not answer a write; it may have taken effect
        ├── UnreadableRun      a newer release wrote the run; nothing was written
        └── UnreadableDefinition

``str(error)`` is a text for clients. It names the problem and, if there is one, the remedy. It may contain ids and
states, but no keys, no table names and no texts of other systems. It repeats at most 200 characters of the request.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from .instants import instant_to_text
from .run import EventType, State

MAX_REPEATED_CHARACTERS = 200
"""The most characters that an error repeats from one text of a request, so that errors stay small."""

_NOT_STARTED = "Send STARTED first"
_HAS_A_WORKER = "A worker has the run already"

_ADVICE = {
    (State.PENDING, EventType.PROGRESS): _NOT_STARTED,
    (State.PENDING, EventType.COMPLETED): _NOT_STARTED,
    (State.PENDING, EventType.RETRIED): "It waits for a worker already",
    (State.ASSIGNED, EventType.ASSIGNED): _HAS_A_WORKER,
    (State.ASSIGNED, EventType.PROGRESS): _NOT_STARTED,
    (State.ASSIGNED, EventType.COMPLETED): _NOT_STARTED,
    (State.RUNNING, EventType.ASSIGNED): _HAS_A_WORKER,
    (State.RUNNING, EventType.STARTED): _HAS_A_WORKER,
    (State.RUNNING, EventType.RETRIED): (
        'To take it from its worker, send the payload {"force": true} or use POST /runs/{id}/retry'
    ),
}
"""The advice for each event that a state does not allow."""


def shortened(text: str, limit: int = MAX_REPEATED_CHARACTERS) -> str:
    """The text in at most ``limit`` characters. The last of them is an ellipsis if the text was cut."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


class GyozaError(Exception):
    """The base of every error that the API answers."""


class RunNotFound(GyozaError):
    def __init__(self, run_id: str) -> None:
        super().__init__(f"OpRun '{shortened(run_id)}' not found")
        self.run_id = run_id


class RunExpired(GyozaError):
    def __init__(self) -> None:
        super().__init__("The run of this Idempotency-Key was deleted. Send a new request with a new key")


class Refused(GyozaError):
    """A base class: the state of the run does not allow the request."""


class RunLocked(Refused):
    """``refused`` names the event, or another message of a worker, that the run does not take."""

    def __init__(self, state: State, refused: str) -> None:
        advice = "create a new run" if state is State.COMPLETED else "use POST /runs/{id}/retry"
        super().__init__(f"The run is locked: it is {state} and takes no {refused} event. To run it again, {advice}")
        self.state = state
        self.refused = refused


class InvalidTransition(Refused):
    def __init__(self, state: State, event_type: EventType) -> None:
        advice = _ADVICE.get((state, event_type))
        refusal = f"A run that is {state} takes no {event_type} event"
        super().__init__(refusal if advice is None else f"{refusal}. {advice}")
        self.state = state
        self.event_type = event_type


class RetryBudgetSpent(Refused):
    def __init__(self, state: State, max_attempts: int) -> None:
        super().__init__(
            f"The run is {state} and its retry budget of {max_attempts} attempts is spent. "
            'To retry it anyway, send the payload {"force": true} or use POST /runs/{id}/retry'
        )
        self.state = state
        self.max_attempts = max_attempts


class AttemptRequired(Refused):
    def __init__(self, event_type: EventType, current_attempt: int) -> None:
        super().__init__(
            f"A worker holds a lease on the run, so {event_type} needs the field attempt: the number of the attempt "
            f"that you work on. The run is at attempt {current_attempt}"
        )


class NotYet(Refused):
    def __init__(self, not_before: datetime) -> None:
        super().__init__(f"The run waits and may not be taken before {instant_to_text(not_before)}")
        self.not_before = not_before


class NotLeased(Refused):
    def __init__(self, state: State) -> None:
        super().__init__(
            f"The current attempt has no lease: the run is {state}. "
            "Claim a run, or send lease_s with ASSIGNED or STARTED"
        )
        self.state = state


class InvalidRequest(GyozaError):
    """A base class: the request names something that does not exist."""


class InvalidState(InvalidRequest):
    def __init__(self, value: str) -> None:
        super().__init__(f"Unknown state {shortened(repr(value))}. Use one of {', '.join(State)}")
        self.value = value


class InvalidFilter(InvalidRequest):
    """The argument is the text. The caller shortens every part of the request in it with ``shortened``."""


class InvalidCursor(InvalidRequest):
    """The argument is the text, as in InvalidFilter."""


class DefinitionNotFound(GyozaError):
    def __init__(self, name: str, version: str | None = None) -> None:
        named = f"'{shortened(name)}'"
        super().__init__(
            f"Definition {named} not found"
            if version is None
            else f"Version '{shortened(version)}' of definition {named} not found"
        )
        self.name = name
        self.version = version


@dataclass(frozen=True, slots=True)
class InputFault:
    """An input that a definition does not take. ``type`` is ``missing``, ``extra_forbidden`` or ``wrong_type``."""

    name: str
    type: str
    text: str


class InvalidInputs(GyozaError):
    def __init__(self, faults: Sequence[InputFault]) -> None:
        super().__init__("The definition does not take these inputs")
        self.faults = faults


class InputsTooLarge(GyozaError):
    def __init__(self, limit_bytes: int) -> None:
        super().__init__(
            f"inputs, with the definition's defaults, is larger than {limit_bytes} bytes as compact UTF-8 JSON"
        )
        self.limit_bytes = limit_bytes


class TopicNotAllowed(GyozaError):
    def __init__(self, topics: Collection[str]) -> None:
        super().__init__(f"Input should be one of {shortened(', '.join(topics))}")


class PreconditionFailed(GyozaError):
    def __init__(self, version: str) -> None:
        super().__init__(
            f"Version '{version}' is not as If-Match or If-None-Match expects it. Read it before you put it again"
        )
        self.version = version


class IdempotencyKeyReused(GyozaError):
    def __init__(self) -> None:
        super().__init__("The Idempotency-Key was used before with another body. Send a new request with a new key")


class StaleAttempt(GyozaError):
    """The two numbers are equal if the attempt was taken from the worker that names it."""

    def __init__(self, attempt: int, current_attempt: int) -> None:
        if attempt == current_attempt:
            fact = f"Attempt {attempt} is the current one, but this worker does not have it"
        else:
            named = shortened(str(attempt))
            fact = f"Attempt {named} is not the current one: the run is at attempt {current_attempt}"
        super().__init__(f"{fact}. Stop the work on it")
        self.attempt = attempt
        self.current_attempt = current_attempt


class NotClaimant(GyozaError):
    def __init__(self, claimant: str) -> None:
        super().__init__(f"Worker '{shortened(claimant)}' holds the lease of the current attempt. Stop the work on it")
        self.claimant = claimant


class RunBusy(GyozaError):
    def __init__(self, run_id: str) -> None:
        super().__init__(f"Other requests kept changing OpRun '{run_id}'. Nothing was written; send the request again")
        self.run_id = run_id


class DefinitionBusy(GyozaError):
    def __init__(self, name: str) -> None:
        super().__init__(
            f"Other requests kept changing definition '{name}'. Nothing was written; send the request again"
        )
        self.name = name


class StorageUnavailable(GyozaError):
    def __init__(self, text: str = "The service is busy and wrote nothing; send the request again") -> None:
        super().__init__(text)


class OutcomeUnknown(StorageUnavailable):
    """``run_id`` is the run of the write; None for a creation. ``is_keyed`` is true if the request had a key.

    ``is_repeatable`` is true if the request has the same effect when it is sent again.
    """

    def __init__(self, run_id: str | None, *, is_keyed: bool, is_repeatable: bool = False) -> None:
        if is_repeatable:
            advice = "send the request again"
        elif is_keyed:
            advice = "send the request again with the same Idempotency-Key"
        elif run_id is None:
            advice = "look in GET /runs whether the run exists before you send the request again"
        else:
            advice = f"read OpRun '{run_id}' and its timeline before you send the request again"
        super().__init__(f"The service does not know whether the request took effect; {advice}")


class UnreadableRun(StorageUnavailable):
    def __init__(self, run_id: str) -> None:
        super().__init__(f"A newer release wrote OpRun '{run_id}'; send the request again")
        self.run_id = run_id


class UnreadableDefinition(StorageUnavailable):
    def __init__(self, name: str) -> None:
        super().__init__(f"A newer release wrote definition '{name}'; send the request again")
        self.name = name
