"""Deploys the real template through CloudFormation on the emulator."""

import time
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import yaml
from botocore.config import Config

from tools.deploy.environment import Environment, EnvironmentUnknown, load_environment

from .api_settings import apply_definition, apply_usage_limits
from .artifacts import Artifacts
from .emulator import REGION, endpoint_url

BUCKET = "gyoza-local-artifacts"

_POLL_INTERVAL_S = 0.05
_DEPLOY_LIMIT_S = 120.0
_NO_STACK = "does not exist"
_NO_CHANGE = "No updates are to be performed"


class DeployFailed(Exception):
    """CloudFormation refused the template or one of its resources. The text says why."""


@dataclass(frozen=True)
class Deployment:
    """The URL of a deployed stack and the value of its API key."""

    url: str
    api_key: str
    table: str


def settings(root: Path) -> Environment:
    """The section `local` of samconfig.toml, with a value for every parameter. Raises DeployFailed."""
    config, template = root / "samconfig.toml", root / "template.yaml"
    return _settings(config, template, (config.stat().st_mtime_ns, template.stat().st_mtime_ns))


@lru_cache(maxsize=1)
def _settings(config: Path, template: Path, _written_at: tuple[int, int]) -> Environment:
    try:
        return load_environment("local", config, template)
    except (EnvironmentUnknown, KeyError, TypeError, ValueError, yaml.YAMLError) as error:
        raise DeployFailed(f"{config.name} or {template.name} cannot be read: {error!r}") from error


class Deployer:
    """Deploys to the emulator on ``port``."""

    def __init__(self, port: int, root: Path) -> None:
        self._port = port
        self._root = root
        self.stack = settings(root).stack_name
        self._cloudformation = _client("cloudformation", port)
        self._apigateway = _client("apigateway", port)
        self._uploaded: set[str] = set()

    def deploy(self, artifacts: Artifacts) -> Deployment:
        """Create or update the stack. Changes nothing if it is up to date. Raises DeployFailed."""
        wanted = settings(self._root).parameters
        present = self._describe()
        has_parameters = present is not None and _parameters(present) == wanted
        if has_parameters and self._is_deployed(present, artifacts):
            return self._deployment(present)
        self._s3.create_bucket(Bucket=BUCKET)
        for key in artifacts.objects.keys() - self._uploaded:
            self._s3.put_object(Bucket=BUCKET, Key=key, Body=artifacts.objects[key])
            self._uploaded.add(key)
        self._s3.put_object(Bucket=BUCKET, Key="template.yaml", Body=artifacts.template.encode())
        change = self._cloudformation.create_stack if present is None else self._cloudformation.update_stack
        try:
            change(
                StackName=self.stack,
                TemplateURL=f"{endpoint_url(self._port)}/{BUCKET}/template.yaml",
                Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in wanted.items()],
                Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
            )
        except self._cloudformation.exceptions.ClientError as refusal:
            if present is not None and _NO_CHANGE in refusal.response["Error"]["Message"]:
                return self._deployment(present)
            raise DeployFailed(refusal.response["Error"]["Message"]) from refusal
        stack = self._settled("CREATE_COMPLETE" if present is None else "UPDATE_COMPLETE")
        self._apply_api_settings(stack)
        if present is not None and not has_parameters:
            self._publish_what_changed(stack)
        self._forget_old_layers()
        return self._deployment(stack)

    # Each of these takes a third of a second to make, which a start without changes need not spend.
    @cached_property
    def _s3(self) -> Any:
        return _client("s3", self._port)

    @cached_property
    def _lambda(self) -> Any:
        return _client("lambda", self._port)

    def _describe(self) -> Any:
        """CloudFormation's description of the stack; None if there is no stack."""
        try:
            [stack] = self._cloudformation.describe_stacks(StackName=self.stack)["Stacks"]
        except self._cloudformation.exceptions.ClientError as refusal:
            if _NO_STACK in refusal.response["Error"]["Message"]:
                return None
            raise
        return stack

    def _is_deployed(self, stack: Any, artifacts: Artifacts) -> bool:
        template = self._cloudformation.get_template(StackName=self.stack, TemplateStage="Original")["TemplateBody"]
        return stack["StackStatus"] in ("CREATE_COMPLETE", "UPDATE_COMPLETE") and template == artifacts.template

    def _settled(self, expected: str) -> Any:
        deadline = time.monotonic() + _DEPLOY_LIMIT_S
        while (stack := self._describe())["StackStatus"].endswith("_IN_PROGRESS"):
            if time.monotonic() > deadline:
                raise DeployFailed(f"CloudFormation still says {stack['StackStatus']}")
            time.sleep(_POLL_INTERVAL_S)
        if stack["StackStatus"] != expected:
            raise DeployFailed(f"CloudFormation says {stack['StackStatus']}: {self._reasons(stack['StackId'])}")
        return stack

    def _reasons(self, stack_id: str) -> str:
        events = self._cloudformation.describe_stack_events(StackName=stack_id)["StackEvents"]
        failed = [each for each in events if each["ResourceStatus"].endswith("_FAILED")]
        return "; ".join(f"{each['LogicalResourceId']} {each.get('ResourceStatusReason')}" for each in failed)

    def _apply_api_settings(self, stack: Any) -> None:
        outputs = _outputs(stack)
        api_id, stage = _api_of(outputs["ApiUrl"])
        processed = self._cloudformation.get_template(StackName=self.stack, TemplateStage="Processed")["TemplateBody"]
        apply_definition(self._apigateway, api_id, stage, processed["Resources"]["RunApi"]["Properties"]["Body"])
        apply_usage_limits(self._apigateway, outputs["UsagePlanId"], _parameters(stack))

    def _publish_what_changed(self, stack: Any) -> None:
        """Publish each function whose alias has an older environment than the function.

        The emulator transforms the template without the values of parameters, so another value alone gives no version.
        """
        resources = self._cloudformation.describe_stack_resources(StackName=stack["StackName"])["StackResources"]
        for resource in resources:
            if resource["ResourceType"] == "AWS::Lambda::Alias":
                name, alias = resource["PhysicalResourceId"].split(":")[-2:]
                newest = self._lambda.get_function_configuration(FunctionName=name)
                called = self._lambda.get_function_configuration(FunctionName=name, Qualifier=alias)
                if newest.get("Environment") != called.get("Environment"):
                    version = self._lambda.publish_version(FunctionName=name)["Version"]
                    self._lambda.update_alias(FunctionName=name, Name=alias, FunctionVersion=version)

    def _forget_old_layers(self) -> None:
        """Delete all but the newest version of each layer, because the emulator keeps and saves them all."""
        for layer in self._lambda.list_layers()["Layers"]:
            newest = layer["LatestMatchingVersion"]["Version"]
            versions = self._lambda.list_layer_versions(LayerName=layer["LayerName"])["LayerVersions"]
            for version in versions:
                if version["Version"] != newest:
                    self._lambda.delete_layer_version(LayerName=layer["LayerName"], VersionNumber=version["Version"])

    def _deployment(self, stack: Any) -> Deployment:
        outputs = _outputs(stack)
        api_id, stage = _api_of(outputs["ApiUrl"])
        return Deployment(
            url=f"{endpoint_url(self._port)}/_aws/execute-api/{api_id}/{stage}",
            api_key=self._apigateway.get_api_key(apiKey=outputs["ApiKeyId"], includeValue=True)["value"],
            table=outputs["TableName"],
        )


def _outputs(stack: Any) -> dict[str, str]:
    return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}


def _parameters(stack: Any) -> dict[str, str]:
    return {each["ParameterKey"]: each["ParameterValue"] for each in stack["Parameters"]}


def _api_of(public_url: str) -> tuple[str, str]:
    """The id and the stage of an API, read from its address on AWS."""
    parts = urlsplit(public_url)
    return parts.netloc.partition(".")[0], parts.path.strip("/")


def _client(service: str, port: int) -> Any:
    session: Any = boto3.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name=REGION)
    config = Config(parameter_validation=False, retries={"total_max_attempts": 1}, s3={"addressing_style": "path"})
    return session.client(service, endpoint_url=endpoint_url(port), config=config)
