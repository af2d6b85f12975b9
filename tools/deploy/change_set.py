"""Checks the changes of a change set before CloudFormation executes them."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from botocore.exceptions import ClientError

TABLE = "RunTable"


class TableWouldBeLost(Exception):
    """The change set replaces the table by an empty one."""


def ready_change_sets(cloudformation: Any, stack_name: str) -> set[str]:
    """The ARNs of a stack's change sets that can be executed; none if the stack does not exist."""
    try:
        pages = list(cloudformation.get_paginator("list_change_sets").paginate(StackName=stack_name))
    except ClientError as error:
        if error.response["Error"]["Code"] == "ValidationError":
            return set()
        raise
    return {
        each["ChangeSetId"] for page in pages for each in page["Summaries"] if each["ExecutionStatus"] == "AVAILABLE"
    }


def check_change_set(cloudformation: Any, stack_name: str, change_set: str) -> None:
    """Raises TableWouldBeLost if the change set removes or replaces the table."""
    for change in _changes(cloudformation, change_set):
        if change["LogicalResourceId"] != TABLE or change["Action"] == "Add":
            continue
        replacement = change.get("Replacement", "False")
        if change["Action"] == "Remove":
            cause = "the template has no table"
        elif replacement == "True":
            cause = ", ".join(sorted(_recreating(change, "Always"))) or "its type"
        elif replacement == "Conditional" and not _only_adds_attributes(cloudformation, stack_name, change_set, change):
            cause = ", ".join(sorted(_recreating(change, "Conditionally")))
        else:
            continue
        raise TableWouldBeLost(
            f"The deployment would take the table {change.get('PhysicalResourceId', TABLE)} from the stack, because of"
            f" {cause}; the stack would go on with an empty one or none. Nothing was changed"
        )


def _changes(cloudformation: Any, change_set: str) -> Iterator[Mapping[str, Any]]:
    for page in cloudformation.get_paginator("describe_change_set").paginate(ChangeSetName=change_set):
        for change in page["Changes"]:
            if "ResourceChange" in change:
                yield change["ResourceChange"]


def _recreating(change: Mapping[str, Any], when: str) -> set[str]:
    """The names of the properties whose change recreates the resource."""
    targets = [detail["Target"] for detail in change.get("Details", [])]
    return {target.get("Name", target["Attribute"]) for target in targets if target.get("RequiresRecreation") == when}


def _only_adds_attributes(cloudformation: Any, stack_name: str, change_set: str, change: Mapping[str, Any]) -> bool:
    """True if CloudFormation makes the change in place although it says that it may recreate the table.

    A new index adds attributes; only a changed type of an attribute replaces the table:
    https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-dynamodb-table.html
    """
    if _recreating(change, "Conditionally") != {"AttributeDefinitions"}:
        return False
    before = _attribute_types(cloudformation.get_template(StackName=stack_name, TemplateStage="Processed"))
    after = _attribute_types(cloudformation.get_template(ChangeSetName=change_set, TemplateStage="Processed"))
    return all(after.get(name, type_) == type_ for name, type_ in before.items())


def _attribute_types(answer: Mapping[str, Any]) -> dict[str, str]:
    template = answer["TemplateBody"]
    if isinstance(template, str):
        template = json.loads(template)
    definitions = template["Resources"][TABLE]["Properties"]["AttributeDefinitions"]
    return {each["AttributeName"]: each["AttributeType"] for each in definitions}
