"""Starts the emulator, changed in two ways that a laptop needs. Runs in the emulator's environment, as a script.

    python local/launch_emulator.py INVOCATIONS

Requests queue for one of INVOCATIONS function processes. By itself the emulator starts a process for every request that
finds none free: a hundred clients make it start a hundred processes of 70 MB, and all wait for the slowest.

An invocation is over when its function has answered. By itself the emulator waits 50 ms more for a log line, ten times
what a request takes; a line that comes too late is recorded with the function's next invocation.
"""

import asyncio
import sys
from typing import Any

from ministack import app
from ministack.core import lambda_runtime
from ministack.services import apigateway_v1


def main() -> None:
    free = asyncio.Semaphore(int(sys.argv.pop(1)))
    invoke = apigateway_v1._call_lambda_raw

    async def invoke_when_free(*args: Any, **kwargs: Any) -> Any:
        async with free:
            return await invoke(*args, **kwargs)

    apigateway_v1._call_lambda_raw = invoke_when_free
    lambda_runtime.Worker._drain_stderr_bounded = lambda_runtime.Worker._drain_stderr
    app.main()


if __name__ == "__main__":
    main()
