"""What CloudFormation would do, looked at before it does it."""

from collections.abc import Sequence
from typing import Any

TABLE = "RunTable"


class TableWouldBeLost(Exception):
    """The change set gives the stack another table, without the runs of the present one."""


def newest_change_set(cloudformation: Any, stack_name: str) -> str | None:
    """ARN of the newest change set that can be executed; None where nothing would change."""
    pages = cloudformation.get_paginator("list_change_sets").paginate(StackName=stack_name)
    ready = [each for page in pages for each in page["Summaries"] if each["ExecutionStatus"] == "AVAILABLE"]
    if not ready:
        return None
    newest: str = max(ready, key=lambda each: each["CreationTime"])["ChangeSetId"]
    return newest


def check_change_set(cloudformation: Any, change_set: str) -> None:
    """Raises TableWouldBeLost where the table would be replaced or removed, or may be replaced."""
    for change in _changes(cloudformation, change_set):
        resource = change["ResourceChange"]
        if resource["LogicalResourceId"] != TABLE:
            continue
        if resource["Action"] == "Remove" or resource.get("Replacement", "False") != "False":
            causes = sorted({each["Target"].get("Name", "?") for each in resource.get("Details", [])})
            raise TableWouldBeLost(
                f"The deployment would {resource['Action'].lower()} the table"
                f" {resource.get('PhysicalResourceId', TABLE)} (replacement: {resource.get('Replacement', 'no')};"
                f" because of {', '.join(causes) or 'its removal from the template'}). The stack would go on with an"
                " empty one. Nothing was changed"
            )


def _changes(cloudformation: Any, change_set: str) -> Sequence[Any]:
    pages = cloudformation.get_paginator("describe_change_set").paginate(ChangeSetName=change_set)
    return [change for page in pages for change in page["Changes"] if change["Type"] == "Resource"]
