"""A Lambda worker's part, in a process of its own: imports `app` and calls its handler. Only the standard library.

    python -P -S child.py once EVENT_FILE      one invocation, then the end
    python -P -S child.py serve                commands as lines of JSON on stdin, answers on stdout

Commands: `{"invoke": event}` answers what the handler returned. `{"repeat": event, "times": n}` answers the CPU seconds
of n invocations; the events are parsed before the clock runs, as Lambda's runtime parses them outside the handler.
`{"memory": true}` answers the process's peak of resident bytes. `{"profile": event, "times": n}` answers seconds by
file and function, what is built in counted to who called it.
"""

import json
import os
import sys
import time
from importlib import import_module
from typing import Any

_KILOBYTE = 1024


class Context:
    """What frameworks read of Lambda's context."""

    function_name = "bench"
    function_version = "1"
    memory_limit_in_mb = 1024
    invoked_function_arn = "arn:aws:lambda:us-east-1:000000000000:function:bench"
    aws_request_id = "00000000-0000-4000-8000-000000000000"
    log_group_name = "bench"
    log_stream_name = "bench"

    def get_remaining_time_in_millis(self) -> int:
        return 25_000


class RequestFailed(Exception):
    """The handler answered with an error: whatever was measured is not what was meant."""


def once(event_file: str) -> None:
    with open(event_file, encoding="utf-8") as file:  # noqa: PTH123 - pathlib would be part of what is measured
        event = json.load(file)
    _checked(import_module("app").lambda_handler(event, Context()))


def serve() -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    handler = import_module("app").lambda_handler
    for line in sys.stdin:
        answers.write(json.dumps(_obey(json.loads(line), handler)) + "\n")


def _obey(command: dict[str, Any], handler: Any) -> Any:
    if "memory" in command:
        return _peak_bytes()
    if "invoke" in command:
        return handler(command["invoke"], Context())
    if "profile" in command:
        return _profiled(command["profile"], command["times"], handler)
    text = json.dumps(command["repeat"])
    events = [json.loads(text) for _ in range(command["times"])]
    context = Context()
    _checked(handler(json.loads(text), context))
    started = time.process_time()
    for event in events:
        handler(event, context)
    return time.process_time() - started


def _profiled(event: dict[str, Any], times: int, handler: Any) -> dict[str, float]:
    profiler = import_module("cProfile").Profile(time.process_time)
    context = Context()
    for _ in range(times):
        profiler.runcall(handler, event, context)
    profiler.create_stats()
    seconds: dict[str, float] = {}

    def add(place: str, taken: float) -> None:
        seconds[place] = seconds.get(place, 0.0) + taken

    for (file, _, function), (_, _, own, _, callers) in profiler.stats.items():
        if file != "~":
            add(f"{file}:{function}", own)
            continue
        for (caller, _, caller_function), (_, _, own_for_caller, _) in callers.items():
            add(f"{caller}:{caller_function}", own_for_caller)
    return seconds


def _checked(answer: dict[str, Any]) -> None:
    if answer["statusCode"] not in (200, 201):
        raise RequestFailed(answer)


def _peak_bytes() -> int:
    """Of this process alone; getrusage also tells of the one that forked it."""
    with open("/proc/self/status", encoding="ascii") as file:  # noqa: PTH123 - as above
        (line,) = [line for line in file if line.startswith("VmHWM:")]
    return int(line.split()[1]) * _KILOBYTE


if __name__ == "__main__":
    if sys.argv[1] == "once":
        once(sys.argv[2])
    else:
        serve()
