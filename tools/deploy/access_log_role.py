"""The role with which API Gateway writes access logs: one setting for a whole account and region.

It is made apart from the stack. A stack that has it as a resource fails at first, for its role was made a moment
before, and takes the setting from whoever shares the account.
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
"""A new role is known to API Gateway some seconds after IAM has made it."""

_FORBIDDEN = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"})
_NO_REMEDY = "deploy with AccessLogs=false, or have the account's role for API Gateway's logs set first"


def ensure_access_log_role(
    apigateway: Any, iam: Any, *, partition: str = "aws", sleep: Callable[[float], None] = time.sleep
) -> str:
    """Make role and setting where the account has none, and never replace one; a sentence that says what was done.

    Where it may not look or not set, it says so: the deployment goes on and may be right without it. Raises ClientError
    where API Gateway refuses the role for another reason, or goes on refusing it.
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
    """The role's ARN; one that an earlier try has made is taken."""
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
