"""template.yaml as plain data, its short intrinsic functions in their long form."""

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]


class _Loader(yaml.SafeLoader):
    pass


def _intrinsic(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    name = suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}"
    if isinstance(node, yaml.ScalarNode):
        return {name: loader.construct_scalar(node)}
    if isinstance(node, yaml.SequenceNode):
        return {name: loader.construct_sequence(node, deep=True)}
    assert isinstance(node, yaml.MappingNode)
    return {name: loader.construct_mapping(node, deep=True)}


_Loader.add_multi_constructor("!", _intrinsic)


def load_template() -> dict[str, Any]:
    with (ROOT / "template.yaml").open() as file:
        template: dict[str, Any] = yaml.load(file, Loader=_Loader)  # noqa: S506 - a SafeLoader with intrinsics
    return template


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
