"""The real template, built and deployed through SAM on the emulator."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config

from .api_settings import apply_definition, apply_usage_limits
from .emulator import REGION, client_environment, endpoint_url
from .processes import run

STACK = "gyoza"

_ARTIFACTS = "gyoza-local-artifacts"


@dataclass(frozen=True)
class Deployment:
    """Where a deployed stack is reached, and its API key's value."""

    url: str
    api_key: str
    table: str


def build(sam: Path, root: Path, work_dir: Path, port: int) -> Path:
    """Build for this machine's interpreter, which the emulator runs functions on; the built template's path.

    Only what changed since the last build is built again.
    """
    env = client_environment(port) | {"LAYER_TARGET": "host", "PYTHON": str(sam.with_name("python"))}
    build_dir = work_dir / "build"
    run(
        [
            str(sam), "build", "--config-env", "local", "--config-file", str(root / "samconfig.toml"),
            "--template-file", str(root / "template.yaml"), "--base-dir", str(root),
            "--build-dir", str(build_dir), "--cache-dir", str(work_dir / "build-cache"),
        ],
        env=env,
        log=work_dir / "sam-build.log",
    )  # fmt: skip
    return build_dir / "template.yaml"


def deploy(sam: Path, root: Path, work_dir: Path, template: Path, port: int) -> Deployment:
    """Deploy a built template to the emulator on ``port``."""
    _client("s3", port).create_bucket(Bucket=_ARTIFACTS)
    run(
        [
            str(sam), "deploy", "--config-env", "local", "--config-file", str(root / "samconfig.toml"),
            "--template-file", str(template), "--s3-bucket", _ARTIFACTS, "--stack-name", STACK, "--no-progressbar",
        ],
        env=client_environment(port) | {"SAM_CLI_POLL_DELAY": "0.5"},
        log=work_dir / f"sam-deploy-{port}.log",
    )  # fmt: skip

    cloudformation = _client("cloudformation", port)
    [stack] = cloudformation.describe_stacks(StackName=STACK)["Stacks"]
    outputs = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
    public_url = urlsplit(outputs["ApiUrl"])
    api_id, stage = public_url.netloc.partition(".")[0], public_url.path.strip("/")

    apigateway = _client("apigateway", port)
    template_body = cloudformation.get_template(StackName=STACK, TemplateStage="Processed")["TemplateBody"]
    definition = template_body["Resources"]["RunApi"]["Properties"]["Body"]
    apply_definition(apigateway, api_id, stage, definition)
    apply_usage_limits(apigateway, {each["ParameterKey"]: each["ParameterValue"] for each in stack["Parameters"]})
    return Deployment(
        url=f"{endpoint_url(port)}/_aws/execute-api/{api_id}/{stage}",
        api_key=apigateway.get_api_key(apiKey=outputs["ApiKeyId"], includeValue=True)["value"],
        table=outputs["TableName"],
    )


def _client(service: str, port: int) -> Any:
    session: Any = boto3.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name=REGION)
    return session.client(service, endpoint_url=endpoint_url(port), config=Config(parameter_validation=False))
