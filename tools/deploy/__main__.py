"""Deploys a build to AWS, with checks before and settings after.

    python -m tools.deploy --config-env default

The steps, in order: the account's role for access logs, the leftovers of a failed first try, the number of index
shards, a change set that must keep the table, its execution, termination protection for the environment `default`,
and the account's concurrency. A check that fails exits with 1 and the reason before the stack changes.
"""

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

import boto3

from tools.deploy.access_log_role import ensure_access_log_role
from tools.deploy.change_set import TableWouldBeLost, check_change_set, ready_change_sets
from tools.deploy.concurrency import concurrency_warning
from tools.deploy.digest import digest_of
from tools.deploy.environment import Environment, EnvironmentUnknown, load_environment
from tools.deploy.execution import DeploymentFailed, execute
from tools.deploy.failed_first_try import MustBeRemoved, check_first_try
from tools.deploy.index_shards import WrongOrder, check_order
from tools.deploy.stack import deployed_stack
from tools.deploy.template import TEMPLATE

BUILD = Path(".aws-sam/build")
PROTECTED = "default"
"""The environment whose stack is protected from deletion."""


def deploy(environment: Environment, session: Any) -> None:
    """Raises WrongOrder, MustBeRemoved, TableWouldBeLost, DeploymentFailed and CalledProcessError."""
    cloudformation = session.client("cloudformation")
    name = environment.stack_name
    if environment.parameters.get("AccessLogs", "true") == "true":
        partition = session.get_partition_for_region(session.region_name)
        say(ensure_access_log_role(session.client("apigateway"), session.client("iam"), partition=partition))
    for advice in check_first_try(cloudformation, session.client("dynamodb"), name):
        say(advice)
    stack = deployed_stack(cloudformation, name)
    check_order(None if stack is None else stack.parameters, environment.parameters)

    earlier = ready_change_sets(cloudformation, name)
    create_change_set(environment, digest_of(BUILD, TEMPLATE, environment.parameters))
    for change_set in ready_change_sets(cloudformation, name) - earlier:
        try:
            check_change_set(cloudformation, name, change_set)
        except TableWouldBeLost:
            cloudformation.delete_change_set(ChangeSetName=change_set)
            raise
        execute(cloudformation, change_set)
    if environment.name == PROTECTED:
        cloudformation.update_termination_protection(StackName=name, EnableTerminationProtection=True)
    for output in cloudformation.describe_stacks(StackName=name)["Stacks"][0].get("Outputs", []):
        say(f"{output['OutputKey']}: {output['OutputValue']}")
    if warning := concurrency_warning(session.client("lambda")):
        say(warning)


def create_change_set(environment: Environment, digest: str) -> None:
    """Upload the build and create a change set. Raises CalledProcessError."""
    sam = Path(sys.executable).with_name("sam")
    command = [str(sam), "deploy", "--config-env", environment.name, "--no-execute-changeset", "--no-progressbar"]
    subprocess.run([*command, "--parameter-overrides", *environment.overrides(CodeDigest=digest)], check=True)


def say(text: str) -> None:
    print(text, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config-env", default=PROTECTED)
    try:
        deploy(load_environment(parser.parse_args().config_env), boto3.Session())
    except (EnvironmentUnknown, MustBeRemoved, WrongOrder, TableWouldBeLost, DeploymentFailed) as refusal:
        print(refusal, file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        return error.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
