"""template.yaml as plain data, its short intrinsic functions in their long form."""

from pathlib import Path
from typing import Any

from tools.deploy import template

ROOT = Path(__file__).resolve().parents[1]


def load_template() -> dict[str, Any]:
    return template.load_template(ROOT / "template.yaml")


def resources_of_type(template: dict[str, Any], resource_type: str) -> dict[str, dict[str, Any]]:
    """Logical id to properties."""
    return {
        name: resource["Properties"]
        for name, resource in template["Resources"].items()
        if resource["Type"] == resource_type
    }


def access_log_setting(template: dict[str, Any]) -> dict[str, Any]:
    """Destination and format of the access log, where the stack writes one."""
    (api,) = resources_of_type(template, "AWS::Serverless::Api").values()
    setting: dict[str, Any] = api["AccessLogSetting"]["Fn::If"][1]
    return setting
