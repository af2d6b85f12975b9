"""Shows a run while it goes on: on a terminal its messages above a bar, elsewhere a plain line for each event."""

import time
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from gyoza_client._cli.formats import clock, duration, event_text, instant, printable, printable_lines
from gyoza_client._cli.screen import Screen
from gyoza_client._models import Event, EventType, Run, State

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_ERROR_LINES: Final = 20
"""The number of lines of an error, the last ones, that are shown."""

_STATE_AFTER: Final = {
    "ASSIGNED": State.ASSIGNED,
    "STARTED": State.RUNNING,
    "COMPLETED": State.COMPLETED,
    "FAILED": State.FAILED,
    "CANCELLED": State.CANCELLED,
    "RETRIED": State.PENDING,
}


class Live:
    """Shows events and notes on standard error; with JSON, events are data on standard output.

    With ``only_end`` it has no line for events.
    """

    def __init__(self, screen: Screen, run: Run, *, only_end: bool = False) -> None:
        self._screen = screen
        self._run_id = printable(run.id)
        self._only_end = only_end
        # A bar and JSON would write over each other on one terminal.
        self._bar = _Bar(screen.err, run) if screen.err and not (screen.json and screen.stdout.isatty()) else None

    def event(self, event: Event) -> None:
        if self._bar is not None:
            self._bar.event(event, lines=not self._only_end)
        elif not self._screen.json and not self._only_end:
            words = [instant(event.t), f"{printable(str(event.type)):<9}", event_text(event, outputs=False)]
            self._screen.note("  ".join(words).rstrip())
        if self._screen.json and not self._only_end:
            self._screen.row(event.raw)

    def note(self, text: str) -> None:
        if self._bar is not None:
            self._bar.note(text)
        else:
            self._screen.note(text)

    def stop(self) -> None:
        if self._bar is not None:
            self._bar.live.stop()

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.note(self._run_id, style="bold")
            self._bar.live.start()
        elif not self._screen.json and not self._only_end:
            self._screen.note(self._run_id)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class _Bar:
    """The last line of the terminal while a run goes on."""

    def __init__(self, console: "Console", run: Run) -> None:
        from rich.live import Live as RichLive  # noqa: PLC0415 - only on a terminal

        self._console = console
        self._max_attempts = run.retry_policy.max_attempts
        self._attempt = run.current_attempt
        self._state: State | str = run.state
        self._percent: int | None = None
        self._began = time.time() - max(time.time() - run.created_at.timestamp(), 0.0)
        self.live = RichLive(
            get_renderable=self._render,
            console=console,
            transient=True,
            refresh_per_second=10,
            redirect_stdout=False,
            redirect_stderr=False,
            vertical_overflow="crop",
        )

    def event(self, event: Event, *, lines: bool) -> None:
        self._attempt = event.attempt
        state = _STATE_AFTER.get(str(event.type))
        if event.type == EventType.PROGRESS and isinstance(event.msg, int):
            self._percent = event.msg
            return
        if state is not None:
            self._state, self._percent = state, None
        if lines:
            self._print(event_line(event))

    def note(self, text: str, style: str = "yellow") -> None:
        from rich.text import Text  # noqa: PLC0415

        self._print(Text(text, style=style))

    def _print(self, text: "Text") -> None:
        self._console.print(text, no_wrap=True, overflow="ellipsis", crop=True)

    def _render(self) -> Any:
        from rich.text import Text  # noqa: PLC0415

        from gyoza_client._cli.drawing import bar, pulse, spinner, state_text  # noqa: PLC0415

        passed = time.time() - self._began
        head = Text.assemble(spinner(self._console, passed), " ", state_text(str(self._state), 9))
        if self._max_attempts > 1 or self._attempt > 1:
            head.append(f"  attempt {self._attempt} of {max(self._max_attempts, self._attempt)}", style="dim")
        tail = Text(f"  {_elapsed(passed)}", style="dim")
        if self._percent is not None:
            tail = Text.assemble(f"  {self._percent:>3} %", tail)
        width = min(self._console.width - head.cell_len - tail.cell_len - 4, 48)
        drawn = Text()
        if width >= 4:
            cells = (
                pulse(self._console, passed, width)
                if self._percent is None
                else bar(self._console, self._percent, width)
            )
            drawn = Text.assemble("  ", cells)
        line = Text.assemble(head, drawn, tail)
        line.no_wrap, line.overflow = True, "ellipsis"
        return line


def event_line(event: Event) -> "Text":
    """An event below the heading of its run: its time, type and text."""
    from rich.text import Text  # noqa: PLC0415

    from gyoza_client._cli.drawing import STYLES  # noqa: PLC0415

    return Text.assemble(
        (f"  {clock(event.t, datetime.now(UTC))}  ", "dim"),
        (f"{printable(str(event.type)):<9}  ", STYLES.get(str(event.type), "")),
        event_text(event, brief=True, outputs=False),
    )


def outcome(screen: Screen, run: Run) -> None:
    """Print how a run ended, with its error, beside the data."""
    summary, state = run.execution_summary, printable(str(run.state))
    took = "" if summary.duration_ms is None else f" after {duration(summary.duration_ms)}"
    attempts = f", attempt {run.current_attempt}" if run.current_attempt > 1 else ""
    reason = f" ({printable(summary.reason)})" if summary.reason else ""
    lines = printable_lines(summary.error_message) if summary.error_message else []
    left_out = len(lines) - _ERROR_LINES
    shown = ([f"... {left_out} lines before these"] if left_out > 0 else []) + lines[-_ERROR_LINES:]
    console = screen.err
    if console is None:
        screen.note(f"{state}{took}{attempts}{reason}" + (f": {shown[0]}" if len(shown) == 1 else ""))
        for line in shown if len(shown) > 1 else []:
            screen.note(f"  {line}")
        return
    from rich.text import Text  # noqa: PLC0415

    from gyoza_client._cli.drawing import STYLES, symbol  # noqa: PLC0415

    head = Text.assemble(symbol(console, state), " ", (state, f"bold {STYLES.get(state, '')}"), took, attempts, reason)
    console.print(head)
    for line in shown:
        console.print(Text(f"  {line}"), overflow="fold")


def _elapsed(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
