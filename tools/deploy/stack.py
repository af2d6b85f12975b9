"""Reads a stack's description from CloudFormation."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError


@dataclass(frozen=True)
class DeployedStack:
    status: str
    parameters: Mapping[str, str]


def deployed_stack(cloudformation: Any, name: str) -> DeployedStack | None:
    """The description of the stack; None if there is no stack, or only a change set for one."""
    try:
        [stack] = cloudformation.describe_stacks(StackName=name)["Stacks"]
    except ClientError as error:
        if error.response["Error"]["Code"] == "ValidationError":
            return None
        raise
    if stack["StackStatus"] == "REVIEW_IN_PROGRESS":
        return None
    parameters = {each["ParameterKey"]: each["ParameterValue"] for each in stack.get("Parameters", [])}
    return DeployedStack(stack["StackStatus"], parameters)


def physical_id(cloudformation: Any, stack_name: str, logical_id: str) -> str | None:
    """The physical id of a resource; None if the stack does not have it."""
    answer = cloudformation.describe_stack_resources(StackName=stack_name)
    for resource in answer["StackResources"]:
        if resource["LogicalResourceId"] == logical_id and resource["ResourceStatus"] != "DELETE_COMPLETE":
            found: str | None = resource.get("PhysicalResourceId")
            return found
    return None
