"""The environment variables that the functions read at import."""

from collections.abc import Mapping

ENVIRONMENT: Mapping[str, str] = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "GYOZA_TABLE": "none",
    "GYOZA_INDEX_SHARDS": "4",
    "GYOZA_INDEX_SHARDS_READ": "4",
    "GYOZA_TOPIC_ARN_PREFIX": "arn:aws:sns:us-east-1:000000000000:gyoza_",
    "GYOZA_PARKED_QUEUE_URL": "https://sqs.invalid/parked",
    "POWERTOOLS_SERVICE_NAME": "gyoza",
    "POWERTOOLS_LOG_LEVEL": "ERROR",
    "POWERTOOLS_METRICS_DISABLED": "true",
}
"""The values for tests. They name no table and nothing outside this machine."""
