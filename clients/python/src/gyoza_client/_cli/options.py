"""The options that commands share, and the values they are read into."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from cyclopts import Group, Parameter, Token

from gyoza_client._cli import formats
from gyoza_client._cli.inputs import read_pairs
from gyoza_client._cli.session import Session
from gyoza_client._models import State


def _seconds(_type: Any, tokens: Sequence[Token]) -> int:
    return formats.seconds(tokens[0].value)


def _past(_type: Any, tokens: Sequence[Token]) -> datetime:
    return formats.past(tokens[0].value, datetime.now(UTC))


def _future(_type: Any, tokens: Sequence[Token]) -> datetime:
    return formats.future(tokens[0].value, datetime.now(UTC))


def _state(_type: Any, tokens: Sequence[Token]) -> str:
    state = tokens[0].value.upper()
    if state not in State.__members__:
        raise ValueError(f"{tokens[0].value!r} is none of {', '.join(State)}")
    return state


PassedSession = Annotated[Session, Parameter(parse=False)]
"""The session, which the app passes to a command. No option gives it."""

RunId = Annotated[str, Parameter(help="The id of the run.")]

Seconds = Annotated[int, Parameter(converter=_seconds)]
Past = Annotated[datetime, Parameter(converter=_past)]

FIELDS = Group("Fields of the run", sort_key=2)
EVENTS = Group("Push of events", sort_key=3)

Inputs = Annotated[
    tuple[str, ...],
    Parameter(
        name=["-i", "--input"],
        help="An input: name=text, name:=json, name:=@file, or @file with a JSON object of inputs (@- reads standard"
        " input). Repeat it for more.",
        allow_leading_hyphen=True,
    ),
]
Watch = Annotated[bool, Parameter(name=["--watch", "-w"], help="Follow the run to its end, and print its outputs.")]
Timeout = Annotated[
    int | None,
    Parameter(converter=_seconds, help="With 90, 15m or 2h: stop waiting after this time. The run goes on."),
]
IdempotencyKey = Annotated[
    str | None,
    Parameter(help="A key of your own. The same command with the same key creates one run, however often it is given."),
]


@Parameter(name="*", group=FIELDS)
@dataclass(frozen=True)
class CommonOptions:
    """The fields of a run of an image and of a run of a definition."""

    queue: Annotated[str | None, Parameter(name=["--queue", "-q"], help="The queue that workers claim it from.")] = None
    priority: Annotated[int | None, Parameter(help="0 to 9999; the higher goes first.")] = None
    start_at: Annotated[
        datetime | None,
        Parameter(converter=_future, help="Not before this instant (2026-03-02T20:00:00Z), or after this time (10m)."),
    ] = None
    retain_s: Annotated[Seconds | None, Parameter(help="Keep the run for this time after its end.")] = None
    topic: Annotated[str | None, Parameter(group=EVENTS, help="Push the run's events to this topic.")] = None
    attribute: Annotated[
        tuple[str, ...],
        Parameter(
            group=EVENTS, help="An attribute of each message: name=text or name:=json.", allow_leading_hyphen=True
        ),
    ] = ()

    def fields(self) -> dict[str, Any]:
        """The fields of the request, without those that are not given."""
        return without_none(
            queue=self.queue,
            priority=self.priority,
            start_at=self.start_at,
            retain_s=self.retain_s,
            event_delivery=without_none(topic=self.topic, attributes=read_pairs(self.attribute, "--attribute") or None)
            or None,
        )


@Parameter(name="*", group=FIELDS)
@dataclass(frozen=True)
class ImageOptions:
    """The fields of a run that only an image leaves open. A definition holds them itself."""

    cpu: Annotated[int | None, Parameter(help="Cores that the worker has at least.")] = None
    ram_mb: Annotated[int | None, Parameter(help="Memory that the worker has at least, in MiB.")] = None
    vram_mb: Annotated[int | None, Parameter(help="Memory that the worker's GPU has at least, in MiB.")] = None
    max_attempts: Annotated[int | None, Parameter(help="Attempts in all; a failed one is retried up to this.")] = None
    backoff_s: Annotated[float | None, Parameter(help="Seconds before the first retry; each later waits longer.")] = (
        None
    )
    backoff_factor: Annotated[float | None, Parameter(help="Each pause is so many times the last; 2 if not given.")] = (
        None
    )
    max_backoff_s: Annotated[float | None, Parameter(help="The longest pause, in seconds.")] = None
    max_lost: Annotated[int | None, Parameter(help="Lost attempts that do not count as attempts.")] = None
    queue_ttl_s: Annotated[Seconds | None, Parameter(help="FAILED if it has waited this long: 90, 15m, 2h, 7d.")] = None
    attempt_timeout_s: Annotated[Seconds | None, Parameter(help="FAILED if an attempt takes this long.")] = None

    def fields(self) -> dict[str, Any]:
        """The fields of the request, without those that are not given."""
        return without_none(
            constraints=without_none(cpu=self.cpu, ram_mb=self.ram_mb, vram_mb=self.vram_mb) or None,
            retry_policy=without_none(
                max_attempts=self.max_attempts,
                backoff_s=self.backoff_s,
                backoff_factor=self.backoff_factor,
                max_backoff_s=self.max_backoff_s,
                max_lost=self.max_lost,
            )
            or None,
            queue_ttl_s=self.queue_ttl_s,
            attempt_timeout_s=self.attempt_timeout_s,
        )


@Parameter(name="*")
@dataclass(frozen=True)
class Filters:
    """The filters of the list of runs."""

    state: Annotated[
        Literal["PENDING", "ASSIGNED", "RUNNING", "COMPLETED", "FAILED", "CANCELLED"] | None,
        Parameter(converter=_state, help="Runs in this state."),
    ] = None
    image: Annotated[str | None, Parameter(help="Runs of exactly this image.")] = None
    op_definition: Annotated[
        str | None, Parameter(name=["--op-definition", "--def"], help="Runs of this definition.")
    ] = None
    created_gte: Annotated[
        Past | None,
        Parameter(help="Created at or after this: 2h (ago), 2026-03-02T20:00:00Z, or UNIX seconds."),
    ] = None
    created_gt: Annotated[Past | None, Parameter(help="Created after this.")] = None
    created_lte: Annotated[Past | None, Parameter(help="Created at or before this.")] = None
    created_lt: Annotated[Past | None, Parameter(help="Created before this.")] = None
    starting_after: Annotated[str | None, Parameter(help="Begin after this run, with the next older one.")] = None
    ending_before: Annotated[str | None, Parameter(help="The runs right before this one, which are newer.")] = None

    def arguments(self) -> dict[str, Any]:
        """The arguments of the client's method, without those that are not given."""
        return without_none(**vars(self))


NO_COMMON_OPTIONS: Final = CommonOptions()
NO_IMAGE_OPTIONS: Final = ImageOptions()
NO_FILTERS: Final = Filters()


def without_none(**fields: Any) -> dict[str, Any]:
    """The fields that have a value."""
    return {name: value for name, value in fields.items() if value is not None}
