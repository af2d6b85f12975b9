"""Reads the address and the key of a deployed stack from AWS. The one module that knows boto3 (extra ``aws``)."""

from typing import Any

from gyoza_client._errors import ConfigurationError


def address_of_stack(name: str, region: str | None, aws_profile: str | None) -> tuple[str, str]:
    """The URL and the key of the stack, by the credentials of AWS's own settings. Raises ConfigurationError."""
    try:
        import boto3  # noqa: PLC0415 - it comes with an extra
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415
    except ModuleNotFoundError as missing:
        raise ConfigurationError(
            "--stack needs the extra 'aws' of gyoza-client (boto3): install"
            " 'gyoza_client-<version>-py3-none-any.whl[aws]'"
        ) from missing
    try:
        session = boto3.Session(region_name=region, profile_name=aws_profile)
        outputs = _outputs(session.client("cloudformation"), name)
        key = session.client("apigateway").get_api_key(apiKey=outputs["ApiKeyId"], includeValue=True)
        return outputs["ApiUrl"], key["value"]
    except KeyError as missing:
        raise ConfigurationError(
            f"--stack {name}: the stack has no output {missing}, so it is none of gyoza"
        ) from missing
    except ClientError as error:
        said = error.response.get("Error", {})
        raise ConfigurationError(f"--stack {name}: AWS refused: {said.get('Message') or said.get('Code')}") from error
    except BotoCoreError as error:
        raise ConfigurationError(f"--stack {name}: {error}") from error


def _outputs(cloudformation: Any, name: str) -> dict[str, str]:
    [stack] = cloudformation.describe_stacks(StackName=name)["Stacks"]
    return {each["OutputKey"]: each["OutputValue"] for each in stack.get("Outputs", [])}
