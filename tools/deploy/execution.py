"""Executes a change set and waits for its end."""

from typing import Any

from botocore.exceptions import WaiterError

_POLL_S = 5
_POLLS = 720
"""An hour, because an index over a full table takes long."""


class DeploymentFailed(Exception):
    """The deployment failed. The text holds CloudFormation's reasons, oldest first."""


def execute(cloudformation: Any, change_set: str, *, poll_s: float = _POLL_S) -> None:
    """Execute the change set and wait for the stack.

    Raises DeploymentFailed if the stack is rolled back or is not done after an hour.
    """
    change = cloudformation.describe_change_set(ChangeSetName=change_set)
    stack_id = change["StackId"]
    [before] = cloudformation.describe_stacks(StackName=stack_id)["Stacks"]
    is_new = before["StackStatus"] == "REVIEW_IN_PROGRESS"
    cloudformation.execute_change_set(ChangeSetName=change_set)
    waiter = cloudformation.get_waiter("stack_create_complete" if is_new else "stack_update_complete")
    try:
        waiter.wait(StackName=stack_id, WaiterConfig={"Delay": poll_s, "MaxAttempts": _POLLS})
    except WaiterError:
        [stack] = cloudformation.describe_stacks(StackName=stack_id)["Stacks"]
        reasons = "".join(f"\n  {reason}" for reason in _reasons(cloudformation, stack_id))
        raise DeploymentFailed(f"{stack['StackName']} is in {stack['StackStatus']}:{reasons}") from None


def _reasons(cloudformation: Any, stack_id: str) -> list[str]:
    """The reasons of the resources that failed since the deployment began, without those that were cancelled."""
    reasons = []
    for event in cloudformation.describe_stack_events(StackName=stack_id)["StackEvents"]:
        reason = event.get("ResourceStatusReason", "")
        if event["ResourceStatus"].endswith("_FAILED") and "cancelled" not in reason.lower():
            reasons.append(f"{event['LogicalResourceId']}: {reason}")
        begins = event["ResourceStatus"] in ("CREATE_IN_PROGRESS", "UPDATE_IN_PROGRESS")
        if begins and event["PhysicalResourceId"] == stack_id:
            break
    return reasons[::-1]
