"""Plays a Lambda worker in its own process: imports `app` and calls its handler. Needs only the standard library.

    python -P -S child.py once EVENT_FILE      one invocation, then the end
    python -P -S child.py serve                commands as lines of JSON on stdin, answers on stdout

`{"invoke": event}` answers the handler's result. `{"repeat": event, "times": n}` answers the CPU seconds of n
invocations; the events are parsed before the clock runs, because Lambda's runtime parses them outside the handler.
`{"memory": true}` answers the peak of resident bytes. `{"profile": event, "times": n}` answers seconds by file; the
time of built-in functions counts for the file that calls them.
"""

import json
import os
import sys
import time
from importlib import import_module
from typing import Any


class RequestFailed(Exception):
    """The handler answered with an error, so the measurement has no meaning."""


def once(event_file: str) -> None:
    with open(event_file, encoding="utf-8") as file:  # noqa: PTH123 - pathlib would be part of what is measured
        event = json.load(file)
    _checked(import_module("app").lambda_handler(event, None))


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
        return handler(command["invoke"], None)
    if "profile" in command:
        return _profiled(command["profile"], command["times"], handler)
    text = json.dumps(command["repeat"])
    events = [json.loads(text) for _ in range(command["times"])]
    _checked(handler(json.loads(text), None))
    started = time.process_time()
    for event in events:
        handler(event, None)
    return time.process_time() - started


def _profiled(event: dict[str, Any], times: int, handler: Any) -> dict[str, float]:
    profiler = import_module("cProfile").Profile(time.process_time)
    for _ in range(times):
        profiler.runcall(handler, event, None)
    profiler.create_stats()
    seconds: dict[str, float] = {}
    for (file, _, _), (_, _, own, _, callers) in profiler.stats.items():
        parts = {(file, 0, ""): (0, 0, own)} if file != "~" else callers
        for (place, _, _), (_, _, taken, *_) in parts.items():
            seconds[place] = seconds.get(place, 0.0) + taken
    return seconds


def _checked(answer: dict[str, Any]) -> None:
    if answer["statusCode"] not in (200, 201):
        raise RequestFailed(answer)


def _peak_bytes() -> int:
    """The peak of this process alone. getrusage would include the process that forked it."""
    with open("/proc/self/status", encoding="ascii") as file:  # noqa: PTH123 - as above
        (line,) = [line for line in file if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    once(sys.argv[2]) if sys.argv[1] == "once" else serve()
