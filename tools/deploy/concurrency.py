"""Checks how many functions the account may run at the same time."""

from typing import Any

from botocore.exceptions import ClientError

LOW = 100
"""The load at the default of ThrottleRate: a hundred requests a second that take a second each."""


def concurrency_warning(lambda_: Any) -> str | None:
    """A warning if the account's limit is low, as in a new account (10); otherwise None."""
    try:
        limit: int = lambda_.get_account_settings()["AccountLimit"]["ConcurrentExecutions"]
    except ClientError as error:
        return f"Concurrency: not told ({error.response['Error']['Code']}); a new account has 10, which is too few"
    if limit >= LOW:
        return None
    return (
        f"Concurrency: the account allows {limit} executions of functions at once. Requests beyond it answer 500, and"
        " push waits. Ask for more: aws service-quotas request-service-quota-increase --service-code lambda"
        " --quota-code L-B99A9384 --desired-value 1000"
    )
