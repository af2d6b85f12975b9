"""Starts the emulator with five changes. Runs as a script in the emulator's environment.

    python local/launch_emulator.py INVOCATIONS

Requests queue for one of INVOCATIONS function processes. The original emulator starts a process for every request that
finds none free: a hundred clients start a hundred processes of 70 MB, and all wait for the slowest.

An invocation ends when its function answers. The original emulator waits 50 ms more for a log line, ten times as long
as a request takes. A late line is recorded with the function's next invocation.

The action for one message allows a call for several messages, as on AWS. The original emulator asks for actions that
IAM does not know.

Streams begin again at each start. The original emulator keeps the positions of their readers but not the records, so a
reader skips records or reads them twice after a restart.

The emulator ends as soon as its state is saved. The original emulator waits for sleeping threads.

It also ends when its standard input does, so that it never outlives the process that started it.
"""

import asyncio
import os
import signal
import sys
import threading
from importlib.metadata import version
from typing import Any

from ministack import app
from ministack.core import iam_actions, lambda_runtime
from ministack.services import apigateway_v1

_WRITTEN_FOR = "1.5.33"
"""The version of ministack whose private functions are replaced here."""

_ACTION_OF_BATCH = {
    "sns:PublishBatch": "sns:Publish",
    "sqs:ChangeMessageVisibilityBatch": "sqs:ChangeMessageVisibility",
    "sqs:SendMessageBatch": "sqs:SendMessage",
}


def main() -> None:
    installed = version("ministack")
    if installed != _WRITTEN_FOR:
        sys.exit(
            f"ministack {installed} is installed, but local/launch_emulator.py replaces private functions of"
            f" {_WRITTEN_FOR}. Compare each with its original, then change _WRITTEN_FOR."
        )
    _queue_invocations(int(sys.argv.pop(1)))
    _spare_the_wait_for_logs()
    _allow_batches_by_their_action()
    _forget_stream_positions()
    _end_once_saved()
    threading.Thread(target=_end_with_input, daemon=True).start()
    app.main()


def _queue_invocations(at_once: int) -> None:
    free = asyncio.Semaphore(at_once)
    invoke = apigateway_v1._call_lambda_raw

    async def invoke_when_free(*args: Any, **kwargs: Any) -> Any:
        async with free:
            return await invoke(*args, **kwargs)

    apigateway_v1._call_lambda_raw = invoke_when_free


def _spare_the_wait_for_logs() -> None:
    lambda_runtime.Worker._drain_stderr_bounded = lambda_runtime.Worker._drain_stderr


def _allow_batches_by_their_action() -> None:
    action_of = iam_actions.extract_iam_action

    def action_in_iam(*args: Any, **kwargs: Any) -> Any:
        action = action_of(*args, **kwargs)
        return _ACTION_OF_BATCH.get(action, action)

    iam_actions.extract_iam_action = action_in_iam


def _forget_stream_positions() -> None:
    load_state = app.load_state

    def load_without_positions(service: str) -> Any:
        state = load_state(service)
        if service == "lambda" and state:
            state.pop("dynamodb_stream_positions", None)
        return state

    app.load_state = load_without_positions


def _end_once_saved() -> None:
    save_all = app.save_all

    def save_and_end(services: Any) -> None:
        save_all(services)
        os._exit(0)

    app.save_all = save_and_end


def _end_with_input() -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
