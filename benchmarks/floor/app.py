"""Implements the floor: a client made at import, the product's own calls, and their answers as JSON."""

import json
import os
from typing import Any

import boto3

client = boto3.client("dynamodb")

with open(os.environ["FLOOR_CALLS"], encoding="utf-8") as file:  # noqa: PTH123 - pathlib would be part of the floor
    CALLS: list[tuple[str, dict[str, Any]]] = json.load(file)


def lambda_handler(_event: dict[str, Any], _context: object) -> dict[str, Any]:
    answers = [getattr(client, method)(**parameters) for method, parameters in CALLS]
    for answer in answers:
        del answer["ResponseMetadata"]
    return {"statusCode": 200, "headers": {"Content-Type": "application/json"}, "body": json.dumps(answers)}
