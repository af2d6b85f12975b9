"""Reads an environment of samconfig.toml."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tools.deploy.template import TEMPLATE, load_template

CONFIG = Path("samconfig.toml")


class EnvironmentUnknown(Exception):
    """samconfig.toml has no section of that name."""


@dataclass(frozen=True)
class Environment:
    """``parameters`` holds a value for every parameter of the template: from samconfig.toml, or else its default.

    CloudFormation keeps the stack's value of a missing parameter, so an earlier commit could not restore the stack.
    """

    name: str
    stack_name: str
    parameters: Mapping[str, str]

    def overrides(self, **more: str) -> list[str]:
        """The parameters, replaced by those in ``more``, in the form of `sam deploy --parameter-overrides`."""
        return [f'{name}="{value}"' for name, value in {**self.parameters, **more}.items()]


def load_environment(name: str, config: Path = CONFIG, template: Path = TEMPLATE) -> Environment:
    """The section ``name`` of samconfig.toml. Raises EnvironmentUnknown."""
    sections = tomllib.loads(config.read_text())
    if name not in sections or name == "version":
        raise EnvironmentUnknown(f"{config} has no environment {name!r}")
    section = sections[name]
    overrides: str = section["deploy"]["parameters"]["parameter_overrides"]
    return Environment(
        name=name,
        stack_name=section["global"]["parameters"]["stack_name"],
        parameters=_defaults(template) | dict(pair.split("=", 1) for pair in overrides.split()),
    )


def _defaults(template: Path) -> dict[str, str]:
    return {name: str(each["Default"]) for name, each in load_template(template)["Parameters"].items()}
