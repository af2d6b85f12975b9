"""Sets the parts of the template's API that the emulator ignores, through API Gateway's own calls."""

from typing import Any


def apply_definition(apigateway: Any, api_id: str, stage: str, definition: Any) -> None:
    """Sets the binary media types and gateway responses of an OpenAPI definition and deploys them to the stage."""
    # The emulator stores a patched value as it comes: the whole list, where AWS takes a path for each media type.
    media_types = definition["x-amazon-apigateway-binary-media-types"]
    apigateway.update_rest_api(
        restApiId=api_id,
        patchOperations=[{"op": "replace", "path": "/binaryMediaTypes", "value": media_types}],
    )
    for response_type, response in definition["x-amazon-apigateway-gateway-responses"].items():
        status = {"statusCode": str(response["statusCode"])} if "statusCode" in response else {}
        apigateway.put_gateway_response(
            restApiId=api_id, responseType=response_type, responseTemplates=response["responseTemplates"], **status
        )
    apigateway.create_deployment(restApiId=api_id, stageName=stage)


def apply_usage_limits(apigateway: Any, plan_id: str, parameters: dict[str, str]) -> None:
    """Sets a usage plan's limits to the stack's parameters. The emulator itself uses the template's defaults."""
    limits = {
        "/throttle/rateLimit": parameters["ThrottleRate"],
        "/throttle/burstLimit": parameters["ThrottleBurst"],
    }
    if parameters["QuotaPerDay"]:
        limits["/quota/limit"] = parameters["QuotaPerDay"]
    apigateway.update_usage_plan(
        usagePlanId=plan_id,
        patchOperations=[{"op": "replace", "path": path, "value": value} for path, value in limits.items()],
    )
