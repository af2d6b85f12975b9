"""The table of commands, and the way from a command line to an exit code."""

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from threading import current_thread, main_thread
from types import FrameType
from typing import Annotated, Any, Final

from cyclopts import App, CycloptsError, Group, Parameter, UnusedCliTokensError

from gyoza_client import __version__
from gyoza_client._cli.failures import ERROR, INTERRUPTED, USAGE, code_of_error, line_of_error, without_keys
from gyoza_client._cli.formats import printable
from gyoza_client._cli.inputs import Misused
from gyoza_client._cli.screen import Screen
from gyoza_client._cli.session import Session
from gyoza_client._errors import GyozaError

_EVERYWHERE: Final = Group("Options of every command", sort_key=9)
_RUNS: Final = Group("Runs", sort_key=1)
_WORK: Final = Group("Work", sort_key=2)
_SETUP: Final = Group("Setup", sort_key=3)

_HELP: Final = """Create runs of a gyoza deployment, follow them to their ends, and work on them.

Data goes to standard output; bars, notes and errors go to standard error.

Exit codes: 0 completed or done, 1 error, 2 wrong command line, 3 the run failed, 4 not authorised, 5 the run was
cancelled, 124 the time is over, 130 Ctrl-C.
"""

_ID: Final = "6f1c2a54-9d1b-4c55-8a39-2f0f5c7be911"

app = App(
    name="gyoza",
    help="\n\n".join(" ".join(paragraph.split()) for paragraph in _HELP.split("\n\n")),
    help_format="plaintext",
    help_epilogue=f"""Examples:

    gyoza run example/resize:1 -i width:=640 --watch
    gyoza ls --state FAILED --created-gte 2h
    gyoza events -f {_ID}""",
    version=f"gyoza {__version__}",
    default_parameter=Parameter(negative=(), show_default=False),
    suppress_keyboard_interrupt=False,
)
definitions = App(name="def", help="Put, read, list, run and delete definitions.", group=_RUNS, help_epilogue="")
profiles = App(name="profile", help="Keep the addresses and keys of deployments.", group=_SETUP, help_epilogue="")


_places = count()


def _add(  # noqa: PLR0917 - it is a row of the table below
    parent: App, name: str, target: str, text: str, examples: str, group: Group | None = None
) -> None:
    """Add a command, whose module is imported when it is used.

    ``text`` is its help, whose first paragraph stands in lists. It is not the docstring of the function, so that a list
    imports no module.
    """
    paragraphs = [" ".join(paragraph.split()) for paragraph in text.split("\n\n")]
    epilogue = "Examples:\n\n" + "\n".join(f"    {line}" for line in examples.splitlines()) if examples else ""
    parent.command(
        f"gyoza_client._cli.{target}",
        name=name,
        help="\n\n".join(paragraphs),
        help_epilogue=epilogue,
        sort_key=next(_places),
        group=group,
    )


_add(
    app,
    "run",
    "runs:run",
    """Create a run of a container image, and print its id.

With --watch it follows the run to its end and prints its outputs; the exit code is 0 completed, 3 failed, 5 cancelled.
With --json it prints the run; with both the run, each event, and the run as it ended, a line each.""",
    """gyoza run example/resize:1 -i width:=640 -i name=cat --watch
gyoza run example/train:2 -i @inputs.json --queue gpu --max-attempts 3
gyoza run example/resize:1 -i width:=640 --idempotency-key order-7""",
    _RUNS,
)
_add(
    app,
    "ls",
    "runs:ls",
    """List runs, newest first.

With --json each is a whole run on a line.""",
    """gyoza ls --state RUNNING
gyoza ls --image example/resize:1 --created-gte 2h --all
gyoza ls -q --state FAILED | xargs gyoza retry""",
    _RUNS,
)
_add(
    app,
    "show",
    "runs:show",
    "Show a run: its state, documents, attempts and newest events.",
    f"""gyoza show {_ID}
gyoza show {_ID} --json | jq .outputs""",
    _RUNS,
)
_add(
    app,
    "events",
    "runs:events",
    """Print the events of a run, of all its attempts; with -f, follow it to its end.

With -f the exit code is that of the run: 0 completed, 3 failed, 5 cancelled. Ctrl-C ends the command, not the run.""",
    f"""gyoza events -f {_ID}
gyoza events -f {_ID} --after-seq 41
gyoza events {_ID} --json | jq -r .msg""",
    _RUNS,
)
_add(
    app,
    "wait",
    "runs:wait",
    """Wait until a run has ended, and print its outputs.

If it waits for several runs, it prints a line as each ends: id, state and outputs. The exit code is 0 completed,
3 failed, 5 cancelled; of several runs, 3 if one failed.""",
    f"""gyoza wait {_ID} --timeout 15m
gyoza ls -q --state RUNNING | xargs gyoza wait""",
    _RUNS,
)
_add(
    app,
    "cancel",
    "runs:cancel",
    "Cancel runs at once; with --ask 30, ask their workers to stop within 30 seconds.",
    f"""gyoza cancel {_ID}
gyoza cancel {_ID} --ask 30""",
    _RUNS,
)
_add(
    app,
    "retry",
    "runs:retry",
    "Begin a new attempt of runs, whatever their retry budgets say.",
    f"""gyoza retry {_ID}
gyoza retry {_ID} --watch""",
    _RUNS,
)
_add(app, "worker", "base_commands:worker", "Claim runs from queues and run a command for each.", "", _WORK)
_add(app, "exec", "base_commands:execute", "Run a command as one attempt of a run, and report for it.", "", _WORK)
_add(
    definitions,
    "put",
    "definitions:put",
    """Put a version of a definition from a JSON file, or from standard input.

It replaces the version whole. The JSON object has version and image at least; the output of gyoza def get
--json is one.""",
    """gyoza def put resize resize.json
gyoza def get resize --json | jq '.priority = 7' | gyoza def put resize""",
)
_add(
    definitions,
    "get",
    "definitions:get",
    "Show a definition: the version that was put last, or another.",
    """gyoza def get resize
gyoza def get resize --version 1 --json > resize.json""",
)
_add(definitions, "ls", "definitions:ls", "List definitions, or the versions of one.", "gyoza def ls resize")
_add(
    definitions,
    "run",
    "definitions:run",
    """Create a run of a definition, and print its id.

With --watch it follows the run to its end and prints its outputs, as gyoza run does.""",
    "gyoza def run resize -i width:=640 --watch",
)
_add(definitions, "rm", "definitions:rm", "Delete a definition with all its versions. Its runs stay as they are.", "")
_add(
    profiles,
    "add",
    "profiles:add",
    """Write a profile: an address and its key.

It asks for the URL and the key unless options give them. The key is no argument, because other users of the machine
see those. The file is ~/.config/gyoza/profiles.toml, of mode 0600.""",
    """gyoza profile add
gyoza profile add lab --url https://host/live --key-file key.txt
gyoza profile add production --stack gyoza --region eu-central-1""",
)
_add(profiles, "ls", "profiles:ls", "List the profiles, without their keys.", "")
app.command(definitions)
app.command(profiles)
_add(app, "--install-completion", "completion:install", "Install completion for bash, zsh or fish.", "", _SETUP)


@app.meta.default
def _launch(
    *words: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    json: Annotated[
        bool,
        Parameter(
            group=_EVERYWHERE,
            help="Print JSON (all but exec); of a list or a stream, a JSON value a line.",
        ),
    ] = False,
    profile: Annotated[
        str | None, Parameter(group=_EVERYWHERE, help="Use this profile of gyoza profile ls (also GYOZA_PROFILE).")
    ] = None,
) -> int:
    command, bound, unparsed = app.parse_args(words, exit_on_error=False, print_error=False)
    session = Session(Screen(json=json), profile)
    given: dict[str, Any] = {"session": session} if "session" in unparsed else {}
    try:
        return _code(command, *bound.args, **bound.kwargs, **given)
    finally:
        session.close()


def run_app(words: Sequence[str]) -> int:
    """Run a command line and return its exit code. An error is one line on standard error."""
    with _ended_in_order():
        return _run(words)


def _run(words: Sequence[str]) -> int:
    try:
        code: int = app.meta(words, exit_on_error=False, print_error=False, verbose=False, result_action="return_value")
        if sys.stdout is not None:  # It is None if it was closed before the start.
            sys.stdout.flush()
    except CycloptsError as error:
        _complain(f"{without_keys(printable(_text_of(error)))} See {_help_command(error)}")
        return USAGE
    except BrokenPipeError:
        _let_go_of_stdout()
        return ERROR
    except KeyboardInterrupt:
        return INTERRUPTED
    except (GyozaError, Misused, OSError, ValueError, TypeError) as error:
        _complain(line_of_error(error))
        return code_of_error(error)
    return code


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """Leave by an exception on SIGTERM during the block, so that the terminal gets its cursor back."""
    if current_thread() is not main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _end(signum: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + signum)


def _code(command: Callable[..., Any], *args: Any, **kwargs: Any) -> int:
    """The exit code that the command returns; help and version return none."""
    code = command(*args, **kwargs)
    return code if isinstance(code, int) else 0


def _complain(text: str) -> None:
    print(f"gyoza: {text}", file=sys.stderr)


def _text_of(error: CycloptsError) -> str:
    if isinstance(error, UnusedCliTokensError):
        return f"Unexpected argument: {' '.join(error.unused_tokens or ())}."
    return str(error)


def _help_command(error: CycloptsError) -> str:
    return " ".join(["gyoza", *(error.command_chain or ()), "--help"])


def _let_go_of_stdout() -> None:
    """Keep the interpreter from flushing into the pipe that nobody reads."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
