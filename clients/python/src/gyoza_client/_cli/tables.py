"""Prints runs, events and definitions: on a terminal in colours and cut to its width, elsewhere plain and whole."""

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Final

from gyoza_client._cli.formats import (
    age,
    clock,
    duration,
    event_text,
    instant,
    json_text,
    last_line,
    printable,
    printable_lines,
)
from gyoza_client._cli.screen import Screen
from gyoza_client._models import Attempt, Definition, DefinitionRow, Event, InputSpec, Run, RunSummary, State

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_AT_ONCE: Final = 100
"""The number of rows that are laid out together, so that a long list is shown while it is read."""

_WITH_BARS: Final = 110
"""The width of a terminal from which on progress is drawn."""

_DOCUMENT_LINES: Final = 24
"""The number of lines of inputs, of outputs or of an error that a terminal shows."""

_STATE_OR_TYPE: Final = re.compile(r" {2}[\d:. -]+ ([A-Z]+)(?= |$)")
"""The state of an attempt, or the type of an event, behind numbers and times."""

_EVENTS: Final = 10
"""The number of events, the newest, that are shown with a run."""


def print_runs(screen: Screen, rows: Iterable[RunSummary]) -> bool:
    """Print rows of the list of runs below a heading, and tell whether there were any."""
    walk = iter(rows)
    first = True
    while part := list(islice(walk, _AT_ONCE)):
        if screen.out:
            _print_runs_on(screen.out, part, screen, show_heads=first)
        else:
            heads = ("ID", "STATE", "PROGRESS", "ATTEMPT", "CREATED", "QUEUE", "DEFINITION", "IMAGE")
            screen.columns(heads, map(_plain_row, part), show_heads=first)
        first = False
    return not first


def _plain_row(run: RunSummary) -> Sequence[str]:
    cells = (
        run.id,
        str(run.state),
        str(run.progress),
        str(run.current_attempt),
        instant(run.created_at),
        run.queue,
        _definition_of(run) or "-",
        run.image,
    )
    return tuple(map(printable, cells))


def _definition_of(run: RunSummary | Run) -> str:
    return f"{run.op_definition}@{run.op_version}" if run.op_definition else ""


def _print_runs_on(console: "Console", rows: Sequence[RunSummary], screen: Screen, *, show_heads: bool) -> None:
    from rich.text import Text  # noqa: PLC0415 - only on a terminal

    from gyoza_client._cli.drawing import Column, print_columns  # noqa: PLC0415

    bars = console.width >= _WITH_BARS
    columns = [
        Column("ID", [Text(printable(run.id)) for run in rows]),
        Column("STATE", [_state_of(run) for run in rows], width=9),
        Column("PROGRESS", [_progress_of(run, console, bars=bars) for run in rows], width=17 if bars else 8, worth=4),
        Column("AGE", [Text(age(run.created_at, screen.now)) for run in rows], width=4, right=True, worth=3),
        Column("TOOK", [Text(_took(run, screen.now)) for run in rows], width=8, right=True, worth=1),
        Column("TRY", [Text(_tries(run)) for run in rows], right=True, worth=2),
        Column("QUEUE", [Text(printable(run.queue), style="dim") for run in rows], worth=0),
        Column("IMAGE", [_image_of(run) for run in rows]),
    ]
    print_columns(console, columns, show_heads=show_heads)


def _state_of(run: RunSummary) -> "Text":
    from gyoza_client._cli.drawing import state_text  # noqa: PLC0415 - only on a terminal

    word = state_text(str(run.state))
    return word.append(" asked to stop", style="magenta") if run.cancel_by else word


def _progress_of(run: RunSummary, console: "Console", *, bars: bool) -> "Text":
    from rich.text import Text  # noqa: PLC0415 - only on a terminal

    from gyoza_client._cli.drawing import STYLES, bar  # noqa: PLC0415

    if not run.progress and run.state != State.RUNNING:
        return Text()
    percent = Text(f"{run.progress:>3} %")
    if not bars:
        return percent
    return Text.assemble(bar(console, run.progress, 10, STYLES.get(str(run.state), "cyan")), "  ", percent)


def _took(run: RunSummary, now: datetime) -> str:
    if run.started_at is None:
        return ""
    return duration(((run.finished_at or now) - run.started_at).total_seconds() * 1000)


def _tries(run: RunSummary) -> str:
    most = run.retry_policy.max_attempts
    return str(run.current_attempt) if most == 1 else f"{run.current_attempt}/{most}"


def _image_of(run: RunSummary) -> "Text":
    from rich.text import Text  # noqa: PLC0415 - only on a terminal

    image = printable(run.image)
    return Text.assemble((printable(_definition_of(run)), "bold"), f"  {image}") if run.op_definition else Text(image)


class EventPrinter:
    """Prints events, each as soon as it comes, in columns."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._begun = False

    def print(self, event: Event) -> None:
        screen = self._screen
        if screen.json:
            screen.row(event.raw)
            return
        if not self._begun and screen.out:
            time = "TIME".ljust(len(clock(event.t, screen.now)))
            screen.out.print(f"{time}  {'SEQ':>4}  TRY  {'TYPE':<9}  TEXT", style="dim", no_wrap=True, crop=True)
        self._begun = True
        if screen.out:
            screen.out.print(_event_text(event, screen), no_wrap=True, overflow="ellipsis", crop=True)
        else:
            kind = printable(str(event.type))
            words = (instant(event.t), f"{event.seq:>4}", f"{event.attempt:>3}", f"{kind:<9}", event_text(event))
            screen.line("  ".join(words).rstrip())


def _event_text(event: Event, screen: Screen) -> "Text":
    from rich.text import Text  # noqa: PLC0415 - only on a terminal

    from gyoza_client._cli.drawing import STYLES  # noqa: PLC0415

    kind = printable(str(event.type))
    return Text.assemble(
        (clock(event.t, screen.now), "dim"),
        f"  {event.seq:>4}  {event.attempt:>3}  ",
        (f"{kind:<9}", STYLES.get(kind, "")),
        "  ",
        event_text(event, brief=True),
    )


def print_run(screen: Screen, run: Run, attempts: Sequence[Attempt]) -> None:
    """Print all that people ask about one run: the newest events, and the end of a long error, are among it."""
    facts, console = _facts_of_run(run, screen), screen.out
    if console is None:
        screen.columns(("", ""), [("id", printable(run.id)), ("state", _standing(run)), *facts], show_heads=False)
        for title, lines in _sections(run, attempts, screen):
            screen.line(f"\n{title}")
            for line in lines:
                screen.line(f"  {line}".rstrip())
        return
    from rich.text import Text  # noqa: PLC0415 - only on a terminal

    from gyoza_client._cli.drawing import STYLES, bar, symbol  # noqa: PLC0415

    state = printable(str(run.state))
    head = Text.assemble(symbol(console, state), " ", (_standing(run), f"bold {STYLES.get(state, '')}"))
    if state == "RUNNING":
        head = Text.assemble(head, "  ", bar(console, run.progress, 30), f" {run.progress} %")
    console.print(Text(printable(run.id), style="bold"), no_wrap=True, crop=True)
    console.print(head, no_wrap=True, overflow="ellipsis")
    console.print()
    print_facts(console, facts)
    for title, lines in _sections(run, attempts, screen):
        print_section(console, title, lines)


def print_facts(console: "Console", facts: Iterable[tuple[str, str]]) -> None:
    from rich.text import Text  # noqa: PLC0415 - only on a terminal

    rows = list(facts)
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        console.print(Text.assemble((name.ljust(width), "dim"), "  ", value), overflow="fold")


def print_section(console: "Console", title: str, lines: Sequence[str]) -> None:
    """Print lines below a title, cut to the width, in colours that fit the title."""
    from rich.highlighter import JSONHighlighter  # noqa: PLC0415 - only on a terminal
    from rich.text import Text  # noqa: PLC0415

    console.print(Text(f"\n{title}", style="dim"))
    left_out = len(lines) - _DOCUMENT_LINES
    if title == "error" and left_out > 0:
        console.print(Text(f"  ... {left_out} lines before these; --json prints all", style="dim"))
    # The end of an error tells most.
    for line in lines[-_DOCUMENT_LINES:] if title == "error" else lines[:_DOCUMENT_LINES]:
        text = Text(f"  {line}")
        if title == "error":
            text.stylize("red")
        elif title in ("inputs", "outputs"):
            text = JSONHighlighter()(text)
        else:
            _colour_words(text)
        console.print(text, no_wrap=True, overflow="ellipsis", crop=True)
    if title != "error" and left_out > 0:
        console.print(Text(f"  ... {left_out} lines more; --json prints all", style="dim"))


def _colour_words(text: "Text") -> None:
    from gyoza_client._cli.drawing import STYLES  # noqa: PLC0415 - only on a terminal

    # The first such word only, and in the first columns: a message may hold one too.
    found = _STATE_OR_TYPE.match(text.plain)
    if found:
        text.stylize(STYLES.get(found[1], ""), found.start(1), found.end(1))


def _standing(run: Run) -> str:
    """The state of a run with whatever explains it."""
    summary, words = run.execution_summary, printable(str(run.state))
    if summary.duration_ms is not None and run.is_terminal:
        words += f" after {duration(summary.duration_ms)}"
    if summary.reason:
        words += f" ({printable(summary.reason)})"
    if run.cancel_by:
        words += f", asked to stop until {instant(run.cancel_by)}"
    return words


def _facts_of_run(run: Run, screen: Screen) -> list[tuple[str, str]]:
    def when(value: datetime | None) -> str | None:
        if value is None:
            return None
        return (
            f"{instant(value)} ({age(value, screen.now)} ago)" if screen.out and value < screen.now else instant(value)
        )

    def length(value: int | None) -> str | None:
        return None if value is None else f"{value} s"

    policy, needs = run.retry_policy, run.constraints
    limits = {"cpu": needs.cpu, "ram_mb": needs.ram_mb, "vram_mb": needs.vram_mb}
    delivery = run.event_delivery
    facts = {
        "image": run.image,
        "definition": _definition_of(run) + f" (revision {run.op_revision})" if run.op_definition else None,
        "queue": run.queue,
        "priority": str(run.priority),
        "progress": f"{run.progress} %",
        "attempt": f"{run.current_attempt} of {max(policy.max_attempts, run.current_attempt)}",
        "worker": run.execution_summary.worker_id,
        "needs": ", ".join(f"{name} {value}" for name, value in limits.items() if value is not None) or None,
        "topic": delivery.topic if delivery else None,
        "created": when(run.created_at),
        "updated": when(run.updated_at),
        "start_at": when(run.start_at),
        "not_before": when(run.not_before),
        "deadline": when(run.deadline),
        "lease_until": when(run.lease_until),
        "queue_ttl_s": length(run.queue_ttl_s),
        "attempt_timeout_s": length(run.attempt_timeout_s),
        "retain_s": length(run.retain_s),
    }
    return [(name, printable(value)) for name, value in facts.items() if value is not None]


def _sections(run: Run, attempts: Sequence[Attempt], screen: Screen) -> Iterator[tuple[str, list[str]]]:
    for title, value in (("inputs", run.inputs), ("outputs", run.outputs)):
        if value:
            yield title, json_text(value, indent=2).split("\n")
    if run.execution_summary.error_message:
        yield "error", printable_lines(run.execution_summary.error_message)
    if len(attempts) > 1:
        yield "attempts", [_attempt_line(attempt) for attempt in attempts]
    if run.events:
        shown = run.events[-_EVENTS:]
        title = "events" if run.event_count == len(shown) else f"events (the newest {len(shown)} of {run.event_count})"
        yield title, [_event_line(event, screen) for event in shown]


def _attempt_line(attempt: Attempt) -> str:
    summary = attempt.execution_summary
    took = "" if summary.duration_ms is None else duration(summary.duration_ms)
    error = printable(last_line(summary.error_message or "") or summary.reason or "")
    return (
        f"{attempt.attempt:>3}  {attempt.state:<9}  {took:>10}  {printable(summary.worker_id or '-')}  {error}".rstrip()
    )


def _event_line(event: Event, screen: Screen) -> str:
    at = clock(event.t, screen.now) if screen.out else instant(event.t)
    words = (at, f"{event.seq:>4}", f"{printable(str(event.type)):<9}", event_text(event, brief=True, outputs=False))
    return "  ".join(words).rstrip()


def print_definitions(screen: Screen, rows: Iterable[DefinitionRow]) -> None:
    """Print rows of a list of definitions, or of the versions of one."""
    heads = ("NAME", "VERSION", "REVISION", "UPDATED", "QUEUE", "IMAGE")
    if screen.out is None:
        cells = [
            tuple(
                map(
                    printable, (row.name, row.version, str(row.revision), instant(row.updated_at), row.queue, row.image)
                )
            )
            for row in rows
        ]
        if cells:
            screen.columns(heads, cells)
        return
    from rich.text import Text  # noqa: PLC0415 - only on a terminal

    from gyoza_client._cli.drawing import Column, print_columns  # noqa: PLC0415

    shown = list(rows)
    if shown:
        columns = [
            Column("NAME", [Text(printable(row.name), style="bold") for row in shown]),
            Column("VERSION", [Text(printable(row.version)) for row in shown]),
            Column("REVISION", [Text(str(row.revision)) for row in shown], right=True, worth=1),
            Column("UPDATED", [Text(f"{age(row.updated_at, screen.now)} ago") for row in shown], right=True, worth=2),
            Column("QUEUE", [Text(printable(row.queue), style="dim") for row in shown], worth=0),
            Column("IMAGE", [Text(printable(row.image)) for row in shown]),
        ]
        print_columns(screen.out, columns)


def print_definition(screen: Screen, definition: Definition) -> None:
    """Print all that people ask about a version of a definition."""
    policy = {name: value for name, value in definition.retry_policy.raw.items() if value is not None}
    needs = {name: value for name, value in definition.constraints.raw.items() if value is not None}
    delivery = definition.event_delivery
    facts = {
        "name": definition.name,
        "version": f"{definition.version} (revision {definition.revision})",
        "etag": definition.etag,
        "image": definition.image,
        "queue": definition.queue,
        "priority": str(definition.priority),
        "needs": json_text(needs) if needs else None,
        "retries": json_text(policy),
        "topic": delivery.topic if delivery else None,
        "queue_ttl_s": definition.queue_ttl_s,
        "attempt_timeout_s": definition.attempt_timeout_s,
        "retain_s": definition.retain_s,
        "created": instant(definition.created_at),
        "updated": instant(definition.updated_at),
        "deleted": instant(definition.deleted_at) if definition.deleted_at else None,
    }
    rows = [(name, printable(str(value))) for name, value in facts.items() if value is not None]
    inputs = [_spec_line(name, spec) for name, spec in definition.input_specs.items()]
    if screen.out:
        print_facts(screen.out, rows)
        if inputs:
            print_section(screen.out, "takes", inputs)
        return
    screen.columns(("", ""), rows, show_heads=False)
    if inputs:
        screen.line("\ntakes")
        for line in inputs:
            screen.line(f"  {line}")


def _spec_line(name: str, spec: InputSpec) -> str:
    need = "required" if spec.required else "optional" if spec.default is None else f"default {json_text(spec.default)}"
    return printable("  ".join(each for each in (f"{name}: {spec.type}", need, spec.description) if each))
