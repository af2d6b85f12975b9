"""Evaluates intrinsic functions as CloudFormation does, for a stack ``gyoza`` in one account and region."""

import re
from collections.abc import Mapping
from typing import Any

ACCOUNT, REGION, STACK = "123456789012", "us-east-1", "gyoza"

_PSEUDO = {
    "AWS::AccountId": ACCOUNT,
    "AWS::Partition": "aws",
    "AWS::Region": REGION,
    "AWS::StackName": STACK,
}
_NO_VALUE = object()


class Stack:
    """A template with values of its parameters; a resource has its logical id as its name."""

    def __init__(self, template: Mapping[str, Any], parameters: Mapping[str, str] | None = None) -> None:
        self._template = template
        defaults = {name: str(each["Default"]) for name, each in template["Parameters"].items()}
        self._names = _PSEUDO | defaults | dict(parameters or {})

    def properties(self, logical_id: str) -> dict[str, Any]:
        """A resource's properties, every intrinsic function replaced by its value."""
        value: dict[str, Any] = self.value(self._template["Resources"][logical_id]["Properties"])
        return value

    def value(self, node: Any) -> Any:
        if isinstance(node, list):
            values = [self.value(each) for each in node]
            return [value for value in values if value is not _NO_VALUE]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            [(name, argument)] = node.items()
            if name in ("Ref", "Fn::GetAtt", "Fn::Sub", "Fn::If", "Fn::Join", "Fn::Split"):
                return self._intrinsic(name, argument)
        values_by_name = {name: self.value(each) for name, each in node.items()}
        return {name: value for name, value in values_by_name.items() if value is not _NO_VALUE}

    def _intrinsic(self, name: str, argument: Any) -> Any:
        match name:
            case "Ref":
                return _NO_VALUE if argument == "AWS::NoValue" else self._names.get(argument, argument)
            case "Fn::GetAtt":
                return self._attribute(*(argument.split(".") if isinstance(argument, str) else argument))
            case "Fn::Sub":
                return re.sub(r"\$\{([\w:.]+)\}", lambda match: self._substitute(match[1]), argument)
            case "Fn::If":
                condition, when_true, when_false = argument
                return self.value(when_true if self._holds({"Condition": condition}) else when_false)
            case "Fn::Join":
                delimiter, parts = argument
                return delimiter.join(self.value(parts))
            case _:
                delimiter, text = argument
                return self.value(text).split(delimiter)

    def _substitute(self, name: str) -> str:
        value = self._attribute(*name.split(".")) if "." in name else self._names.get(name, name)
        return str(value)

    def _attribute(self, logical_id: str, attribute: str) -> str:
        """The attributes that the template uses, in the form that AWS documents for each type of resource."""
        place = f"{REGION}:{ACCOUNT}"
        match self._template["Resources"][logical_id]["Type"], attribute:
            case "AWS::DynamoDB::Table", "Arn":
                return f"arn:aws:dynamodb:{place}:table/{logical_id}"
            case "AWS::DynamoDB::Table", "StreamArn":
                return f"arn:aws:dynamodb:{place}:table/{logical_id}/stream/2026-03-02T20:00:00.000"
            case "AWS::SQS::Queue", "Arn":
                return f"arn:aws:sqs:{place}:{logical_id}"
            case "AWS::Logs::LogGroup", "Arn":
                return f"arn:aws:logs:{place}:log-group:{self.properties(logical_id)['LogGroupName']}:*"
            case "AWS::IAM::Role", "Arn":
                return f"arn:aws:iam::{ACCOUNT}:role/{logical_id}"
        raise NotImplementedError(logical_id, attribute)

    def _holds(self, condition: Mapping[str, Any]) -> bool:
        [(name, argument)] = condition.items()
        match name:
            case "Condition":
                return self._holds(self._template["Conditions"][argument])
            case "Fn::Not":
                return not self._holds(argument[0])
            case "Fn::Equals":
                return bool(self.value(argument[0]) == self.value(argument[1]))
        raise NotImplementedError(name)
