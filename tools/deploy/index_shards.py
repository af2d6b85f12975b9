"""Keeps a deployment from lowering IndexShards, which would hide runs from every list.

    python -m tools.shard_check --config-env default

Compares the parameter of a samconfig.toml environment with that of the stack it would update, by the credentials of the
environment. Exits with 1 and the reason where it is lower; a stack that does not exist yet has nothing to hide.
"""

import argparse
import sys
import tomllib
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import ClientError

PARAMETER = "IndexShards"


def configured(config: dict[str, Any], environment: str) -> tuple[str, int]:
    """Stack name and number of shards that an environment of samconfig.toml deploys."""
    parameters = config[environment]
    overrides = dict(pair.split("=", 1) for pair in parameters["deploy"]["parameters"]["parameter_overrides"].split())
    return parameters["global"]["parameters"]["stack_name"], int(overrides[PARAMETER])


def deployed(cloudformation: Any, stack_name: str) -> int | None:
    """Number of shards of a stack; None where there is no such stack."""
    try:
        [stack] = cloudformation.describe_stacks(StackName=stack_name)["Stacks"]
    except ClientError as error:
        if error.response["Error"]["Code"] == "ValidationError":
            return None
        raise
    values = {parameter["ParameterKey"]: parameter["ParameterValue"] for parameter in stack.get("Parameters", [])}
    return int(values[PARAMETER]) if PARAMETER in values else None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config-env", default="default")
    environment = parser.parse_args().config_env
    config = tomllib.loads(Path("samconfig.toml").read_text())
    stack_name, wanted = configured(config, environment)
    current = deployed(boto3.client("cloudformation"), stack_name)
    if current is not None and wanted < current:
        print(
            f"{PARAMETER} of {stack_name} is {current} and must never shrink, not to {wanted} either", file=sys.stderr
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
