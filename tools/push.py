"""Publishes events again for an operator, through the functions of the stack.

    python -m tools.push redeliver --config-env default --run <id> --from-seq <n>
    python -m tools.push replay --config-env default

`redeliver` publishes a run's events again from a number on (-1 begins with the creation). `replay` publishes every
parked event again. Both continue until all is done, or exit with 1 and the reasons. The environment `local` is the
stack of `make run`.
"""

import argparse
import json
import sys
import tomllib
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from local.endpoint import STACKS, NoStack, find

FUNCTION_LIMIT_S = 300
"""The timeout of both functions in template.yaml."""


class Refused(Exception):
    """The function or AWS refused the request. The text holds the reason."""


class Stack:
    """A deployed stack with the name from an environment of samconfig.toml."""

    def __init__(self, environment: str, port: int | None, stacks: Path) -> None:
        config = tomllib.loads(Path("samconfig.toml").read_text())
        self._name: str = config[environment]["global"]["parameters"]["stack_name"]
        self._session: Any = boto3.Session()
        self._url = None
        if environment == "local":
            local = find(port, stacks)
            self._session = boto3.Session("test", "test", region_name=local.region)
            self._url = local.aws_endpoint_url

    def invoke(self, output: str, payload: dict[str, Any]) -> dict[str, Any]:
        """The answer of the function that an output of the stack names. Raises Refused."""
        [stack] = self._client("cloudformation").describe_stacks(StackName=self._name)["Stacks"]
        names = {each["OutputKey"]: each["OutputValue"] for each in stack["Outputs"]}
        answer = self._client("lambda").invoke(FunctionName=names[output], Payload=json.dumps(payload))
        body: dict[str, Any] = json.loads(answer["Payload"].read())
        if "FunctionError" in answer:
            raise Refused(body.get("errorMessage", "The function failed; its log says why"))
        return body

    def _client(self, service: str) -> Any:
        config = Config(read_timeout=FUNCTION_LIMIT_S + 10, retries={"total_max_attempts": 1})
        return self._session.client(service, endpoint_url=self._url, config=config)


def redeliver(stack: Stack, run_id: str, from_seq: int) -> int:
    """Publish from ``from_seq`` to the end of the run's timeline. Returns the number of published events.

    Raises Refused if an event is refused, or if SNS takes none.
    """
    published = 0
    next_seq: int | None = from_seq
    while next_seq is not None:
        done = stack.invoke("RedeliverEventsName", {"run_id": run_id, "from_seq": next_seq})
        published += done["published"]
        if done["refused"]:
            raise Refused(f"{published} published, {done['refused']} refused: {_reasons(done)}")
        if done["next_seq"] == next_seq:
            raise Refused(f"{published} published; SNS takes nothing now. Go on later with FROM_SEQ={next_seq}")
        next_seq = done["next_seq"]
    return published


def replay(stack: Stack) -> int:
    """Try every parked event once. Returns the number of published events. Raises Refused if any stays parked."""
    published: int = 0
    kept: int = 0
    reasons: list[dict[str, Any]] = []
    tried: list[str] = []
    while True:
        done = stack.invoke("ReplayParkedEventsName", {"tried": tried})
        published += done["published"]
        kept += done["kept"]
        reasons += done["reasons"]
        if not done["more"]:
            break
        if not (done["published"] or done["dropped"] or done["kept"]):
            raise Refused(f"{published} published, {kept} kept; the function has no time to try another")
        tried = done["tried"]
    if kept:
        raise Refused(f"{published} published, {kept} kept: {_reasons({'reasons': reasons})}")
    return published


def _reasons(done: dict[str, Any]) -> str:
    return "".join(f"\n  run {each['run_id']} seq {each['seq']}: {each['reason']}" for each in done["reasons"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["redeliver", "replay"])
    parser.add_argument("--config-env", default="default")
    parser.add_argument("--port", type=int, help="of the local stack, where several run here")
    parser.add_argument("--stacks", type=Path, default=STACKS, help="where local stacks say how they are reached")
    parser.add_argument("--run")
    parser.add_argument("--from-seq", type=int)
    options = parser.parse_args()
    if options.what == "redeliver" and (not options.run or options.from_seq is None):
        parser.error("redeliver needs --run and --from-seq")
    try:
        stack = Stack(options.config_env, options.port, options.stacks)
        published = replay(stack) if options.what == "replay" else redeliver(stack, options.run, options.from_seq)
    except (Refused, NoStack, BotoCoreError, ClientError) as refusal:
        print(refusal, file=sys.stderr)
        return 1
    print(f"{published} published")
    return 0


if __name__ == "__main__":
    sys.exit(main())
