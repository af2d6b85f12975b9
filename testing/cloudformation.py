"""Reads template.yaml as plain data, with short intrinsic functions in their long form."""

from pathlib import Path
from typing import Any

from tools.deploy import template

ROOT = Path(__file__).resolve().parents[1]


def load_template() -> dict[str, Any]:
    return template.load_template(ROOT / "template.yaml")


def resources_of_type(template: dict[str, Any], resource_type: str) -> dict[str, dict[str, Any]]:
    """The properties of the resources of a type, by logical id."""
    return {
        name: resource["Properties"]
        for name, resource in template["Resources"].items()
        if resource["Type"] == resource_type
    }


def access_log_setting(template: dict[str, Any]) -> dict[str, Any]:
    """The destination and the format of the access log of a stack that writes one."""
    (api,) = resources_of_type(template, "AWS::Serverless::Api").values()
    setting: dict[str, Any] = api["AccessLogSetting"]["Fn::If"][1]
    return setting
