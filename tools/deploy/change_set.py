"""What CloudFormation would do, looked at before it does it."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from botocore.exceptions import ClientError

TABLE = "RunTable"


class TableWouldBeLost(Exception):
    """The change set gives the stack another table, without the runs of the present one."""


def ready_change_sets(cloudformation: Any, stack_name: str) -> set[str]:
    """ARNs of a stack's change sets that can be executed; none where there is no such stack."""
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
    """Raises TableWouldBeLost where the table would be removed or replaced."""
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
    """Names of the properties whose change recreates the resource."""
    targets = [detail["Target"] for detail in change.get("Details", [])]
    return {target.get("Name", target["Attribute"]) for target in targets if target.get("RequiresRecreation") == when}


def _only_adds_attributes(cloudformation: Any, stack_name: str, change_set: str, change: Mapping[str, Any]) -> bool:
    """Whether the change is one that CloudFormation makes in place although it says that it might recreate the table.

    A new index brings attributes; only an attribute of another type makes another table:
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
