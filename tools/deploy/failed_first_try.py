"""Finds the leftovers of a failed first deployment: a stack that cannot be updated, and a protected table."""

from dataclasses import dataclass
from typing import Any

from tools.deploy.stack import DeployedStack, deployed_stack, physical_id

TABLE = "RunTable"

_DEAD = frozenset({"ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED", "DELETE_FAILED"})
"""The states in which CloudFormation accepts only the deletion of a stack."""


class MustBeRemoved(Exception):
    """The stack can only be deleted. The text names the commands."""


@dataclass(frozen=True)
class LeftTable:
    name: str
    is_empty: bool
    is_protected: bool

    def advice(self) -> str:
        """A description of the table, with the commands that remove it if it is empty."""
        if not self.is_empty:
            return (
                f"The table {self.name} holds runs of an earlier stack, which this deployment will not serve:"
                " docs/deploying.md says how to deploy over it"
            )
        commands = [f"aws dynamodb delete-table --table-name {self.name}"]
        if self.is_protected:
            commands.insert(0, f"aws dynamodb update-table --table-name {self.name} --no-deletion-protection-enabled")
        lines = "".join(f"\n    {command}" for command in commands)
        return f"The table {self.name} is left of an earlier deployment and is empty. To remove it:{lines}"


def check_first_try(cloudformation: Any, dynamodb: Any, stack_name: str) -> list[str]:
    """Returns one text for each table that an earlier deployment of the stack left.

    Raises MustBeRemoved if CloudFormation accepts only the deletion of the stack.
    """
    stack = deployed_stack(cloudformation, stack_name)
    is_dead = stack is not None and stack.status in _DEAD
    own = None if stack is None or is_dead else physical_id(cloudformation, stack_name, TABLE)
    advice = [_look_at(dynamodb, name).advice() for name in _table_names(dynamodb, stack_name) if name != own]
    if stack is not None and is_dead:
        raise MustBeRemoved("\n".join([_removal(stack, stack_name), *advice]))
    return advice


def _removal(stack: DeployedStack, stack_name: str) -> str:
    return (
        f"The stack {stack_name} is in {stack.status} and can only be deleted. To do so:"
        f"\n    aws cloudformation delete-stack --stack-name {stack_name}"
        f"\n    aws cloudformation wait stack-delete-complete --stack-name {stack_name}"
    )


def _table_names(dynamodb: Any, stack_name: str) -> list[str]:
    """The tables with a name that CloudFormation gives the stack's: ``<stack>-RunTable-<random>``."""
    pages = dynamodb.get_paginator("list_tables").paginate()
    return [name for page in pages for name in page["TableNames"] if name.startswith(f"{stack_name}-{TABLE}-")]


def _look_at(dynamodb: Any, name: str) -> LeftTable:
    # The item count that DescribeTable tells is up to six hours old.
    is_empty = not dynamodb.scan(TableName=name, Limit=1, Select="COUNT")["Count"]
    table = dynamodb.describe_table(TableName=name)["Table"]
    return LeftTable(name, is_empty, table.get("DeletionProtectionEnabled", False))
