"""Implements `make bench`: cold start, warm requests, memory, size, growth, contention and price."""

import os

from testing.cloudformation import load_template

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "bench",
    "AWS_SECRET_ACCESS_KEY": "bench",
    "AWS_DEFAULT_REGION": "us-east-1",
    "GYOZA_TABLE": "bench",
    "GYOZA_INDEX_SHARDS": str(load_template()["Parameters"]["IndexShards"]["Default"]),
    "GYOZA_INDEX_SHARDS_READ": str(load_template()["Parameters"]["IndexShardsRead"]["Default"]),
    "GYOZA_TOPIC_ARN_PREFIX": "arn:aws:sns:us-east-1:000000000000:gyoza_",
    "GYOZA_PARKED_QUEUE_URL": "https://sqs.invalid/parked",
    "PEER_TABLE": "bench",
    "POWERTOOLS_SERVICE_NAME": "gyoza",
    "POWERTOOLS_LOG_LEVEL": "ERROR",
    "POWERTOOLS_METRICS_DISABLED": "true",
}
"""The environment of all systems. The product's code reads it at import; the tests set their own before."""

for _name, _value in ENVIRONMENT.items():
    os.environ.setdefault(_name, _value)
