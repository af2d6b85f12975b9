"""Starts the emulator, changed in three ways. Runs in the emulator's environment, as a script.

    python local/launch_emulator.py INVOCATIONS

Requests queue for one of INVOCATIONS function processes. By itself the emulator starts a process for every request that
finds none free: a hundred clients make it start a hundred processes of 70 MB, and all wait for the slowest.

An invocation is over when its function has answered. By itself the emulator waits 50 ms more for a log line, ten times
what a request takes; a line that comes too late is recorded with the function's next invocation.

A call for several messages is allowed by the action for one, as AWS has it. By itself the emulator asks for actions
that IAM does not know.
"""

import asyncio
import sys
from typing import Any

from ministack import app
from ministack.core import iam_actions, lambda_runtime
from ministack.services import apigateway_v1

_ACTION_OF_BATCH = {
    "sns:PublishBatch": "sns:Publish",
    "sqs:ChangeMessageVisibilityBatch": "sqs:ChangeMessageVisibility",
    "sqs:SendMessageBatch": "sqs:SendMessage",
}


def main() -> None:
    free = asyncio.Semaphore(int(sys.argv.pop(1)))
    invoke = apigateway_v1._call_lambda_raw

    async def invoke_when_free(*args: Any, **kwargs: Any) -> Any:
        async with free:
            return await invoke(*args, **kwargs)

    action_of = iam_actions.extract_iam_action

    def action_in_iam(*args: Any, **kwargs: Any) -> Any:
        action = action_of(*args, **kwargs)
        return _ACTION_OF_BATCH.get(action, action)

    apigateway_v1._call_lambda_raw = invoke_when_free
    iam_actions.extract_iam_action = action_in_iam
    lambda_runtime.Worker._drain_stderr_bounded = lambda_runtime.Worker._drain_stderr
    app.main()


if __name__ == "__main__":
    main()
