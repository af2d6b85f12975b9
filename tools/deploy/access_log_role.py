"""Creates the role with which API Gateway writes access logs. The setting belongs to a whole account and region.

It is not a resource of the stack. A stack with the resource fails at first, because its role is too new, and it
replaces the setting of everybody else in the account.
"""

import json
import time
from collections.abc import Callable
from typing import Any

from botocore.exceptions import ClientError

ROLE = "gyoza-api-gateway-access-logs"
POLICY = "service-role/AmazonAPIGatewayPushToCloudWatchLogs"
"""https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-logging.html"""

_TRIES = 10
_PAUSE_S = 3.0
"""API Gateway knows a new role only some seconds after IAM creates it."""

_FORBIDDEN = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"})
_NO_REMEDY = "deploy with AccessLogs=false, or have the account's role for API Gateway's logs set first"


def ensure_access_log_role(
    apigateway: Any, iam: Any, *, partition: str = "aws", sleep: Callable[[float], None] = time.sleep
) -> str:
    """Create the role and the setting if the account has none. Returns a sentence that says what was done.

    It replaces nothing. If the caller lacks the permission, the sentence says so and the deployment goes on, because
    the setting may exist already. Raises ClientError if API Gateway refuses the role for another reason or too long.
    """
    try:
        current = apigateway.get_account().get("cloudwatchRoleArn")
    except ClientError as error:
        if _code(error) not in _FORBIDDEN:
            raise
        return f"Access logs: not allowed to see whether the account has a role for them; if it has none, {_NO_REMEDY}"
    if current:
        return f"Access logs: the account's role is {current}; left as it is"
    try:
        arn = _role(iam, partition)
        _set(apigateway, arn, sleep)
    except ClientError as error:
        if _code(error) not in _FORBIDDEN:
            raise
        return f"Access logs: the account has no role for them, and setting one is not allowed; {_NO_REMEDY}"
    return f"Access logs: the account had no role for them; {arn} is set for this account and region"


def _role(iam: Any, partition: str) -> str:
    """The ARN of the role. It is created, or taken from an earlier try."""
    trust = {"Effect": "Allow", "Principal": {"Service": "apigateway.amazonaws.com"}, "Action": "sts:AssumeRole"}
    try:
        role = iam.create_role(
            RoleName=ROLE,
            AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]}),
            Description="Lets API Gateway write logs to CloudWatch; made by gyoza's make deploy, for the whole account",
        )
    except ClientError as error:
        if _code(error) != "EntityAlreadyExists":
            raise
        role = iam.get_role(RoleName=ROLE)
    iam.attach_role_policy(RoleName=ROLE, PolicyArn=f"arn:{partition}:iam::aws:policy/{POLICY}")
    arn: str = role["Role"]["Arn"]
    return arn


def _set(apigateway: Any, arn: str, sleep: Callable[[float], None]) -> None:
    operation = {"op": "replace", "path": "/cloudwatchRoleArn", "value": arn}
    for tries_left in reversed(range(_TRIES)):
        try:
            apigateway.update_account(patchOperations=[operation])
        except ClientError as error:
            # The answer to a role that API Gateway cannot assume yet.
            if _code(error) != "BadRequestException" or tries_left == 0:
                raise
            sleep(_PAUSE_S)
        else:
            return


def _code(error: ClientError) -> str:
    return error.response["Error"]["Code"]
