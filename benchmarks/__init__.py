"""What `make bench` measures: cold start, warm requests, memory, size, growth, contention and price."""

import os

from tests.template.cloudformation import load_template

# The product's code reads these when it is imported; in tests their own stand.
for _name, _value in {
    "AWS_ACCESS_KEY_ID": "bench",
    "AWS_SECRET_ACCESS_KEY": "bench",
    "AWS_DEFAULT_REGION": "us-east-1",
    "GYOZA_TABLE": "bench",
    "GYOZA_INDEX_SHARDS": str(load_template()["Parameters"]["IndexShards"]["Default"]),
    "GYOZA_TOPIC_ARN_PREFIX": "arn:aws:sns:us-east-1:000000000000:gyoza_",
    "GYOZA_PARKED_QUEUE_URL": "https://sqs.invalid/parked",
    "POWERTOOLS_SERVICE_NAME": "gyoza",
    "POWERTOOLS_LOG_LEVEL": "ERROR",
    "PEER_TABLE": "bench-peer",
}.items():
    os.environ.setdefault(_name, _value)
