"""Plays the job of `make run`: a run that succeeds, one that fails and is retried, and one from a definition.

A queue subscribes to their topic and shows the pushed messages.
"""

import json
import os
import sys
import time
from contextlib import closing
from pathlib import Path

from .client import Json, RunClient
from .processes import running
from .screen import Screen
from .stack import ROOT, Endpoint
from .subscriber import Subscriber

_WORKER = ROOT / "examples/text_worker.py"
_IMAGE = "example/text-statistics:1"
_DEFINITION = ROOT / "examples/text_statistics.json"
_DEFINITION_NAME = "text-statistics"
_TOPIC = "demo.fifo"
_PACE_S = 0.3
_POLL_INTERVAL_S = 0.2
_RUN_LIMIT_S = 60.0
_TERMINAL = ("COMPLETED", "FAILED", "CANCELLED")
_CHARACTERS_A_DOCUMENT = 20_000


class DemoFailed(Exception):
    """A run of the demo did not end as it should."""


def play(endpoint: Endpoint, screen: Screen, folder: Path) -> None:
    """Play the runs with a worker in another process. Its log is in ``folder``.

    The screen shows their timelines as they grow.
    """
    log = folder / "worker.log"
    client = RunClient(endpoint)
    delivery = {"topic": _TOPIC}
    worker_env = os.environ | {
        "GYOZA_URL": endpoint.url,
        "GYOZA_API_KEY": endpoint.api_key,
        "WORKER_PACE_S": str(_PACE_S),
        "NO_PROXY": "127.0.0.1",
    }
    with (
        closing(Subscriber(endpoint, _TOPIC)) as subscriber,
        running([sys.executable, str(_WORKER)], env=worker_env, log=log),
    ):
        documents = _own_sources()
        screen.title("A run: statistics of this project's own sources")
        run = client.create(image=_IMAGE, inputs={"documents": documents}, event_delivery=delivery)
        run = _follow(client, subscriber, run, screen, log)
        words = sum(document["words"] for document in run["outputs"]["documents"].values())
        screen.line(f"  outputs: {words:,} words in {len(documents)} documents")

        screen.title("A run whose first attempt fails, with max_attempts 2")
        run = client.create(
            image=_IMAGE,
            inputs={"documents": documents, "fail_attempts": [1]},
            retry_policy={"max_attempts": 2},
            event_delivery=delivery,
        )
        _follow(client, subscriber, run, screen, log)

        screen.title("A run from a definition, which checks its inputs and fills in what is missing")
        run = _run_from_definition(client, documents)
        screen.line(f"  {run['op_definition']} {run['op_version']}, revision {run['op_revision']}")
        _follow(client, subscriber, run, screen, log)


def _run_from_definition(client: RunClient, documents: dict[str, str]) -> Json:
    """Put the definition of the example worker, and create a run from it."""
    definition = json.loads(_DEFINITION.read_text())
    client.define(_DEFINITION_NAME, **definition, event_delivery={"topic": _TOPIC})
    return client.create_from(_DEFINITION_NAME, inputs={"documents": documents})


def run_to_try(endpoint: Endpoint) -> str:
    """The id of a new run that no worker of the demo takes."""
    run_id: str = RunClient(endpoint).create(image="busybox:1", inputs={"n": 1})["id"]
    return run_id


def _own_sources() -> dict[str, str]:
    paths = sorted(Path(ROOT / "functions").glob("*/app.py"))
    return {str(path.relative_to(ROOT)): path.read_text()[:_CHARACTERS_A_DOCUMENT] for path in paths}


def _follow(client: RunClient, subscriber: Subscriber, run: Json, screen: Screen, worker_log: Path) -> Json:
    """Show the polled and the pushed events of each attempt until the run is COMPLETED and all have come.

    Raises DemoFailed if the run ends otherwise or if an event is not pushed.
    """
    screen.line(f"  run {run['id']}")
    deadline = time.monotonic() + _RUN_LIMIT_S
    attempt, last_id, last_pushed = 1, -1, None
    while time.monotonic() < deadline:
        # The run is read first: what it calls past has all its events by then.
        run = client.run(run["id"])
        for event in client.events(run["id"], attempt, last_id):
            screen.event(event)
            last_id = event["id"]
        for message, _ in subscriber.receive(wait_s=0):
            screen.pushed(message)
            last_pushed = message["data"]["seq"]
        if run["current_attempt"] > attempt:
            attempt, last_id = attempt + 1, -1
        elif run["state"] in _TERMINAL and last_pushed == run["last_seq"]:
            if run["state"] != "COMPLETED":
                break
            return run
        else:
            time.sleep(_POLL_INTERVAL_S)
    raise DemoFailed(
        f"run {run['id']} is {run['state']} and was pushed up to {last_pushed} of {run['last_seq']};"
        f" what the worker says is in {worker_log}"
    )
