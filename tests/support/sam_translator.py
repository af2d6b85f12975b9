"""Transforms a template as SAM does. Runs in the emulator's environment, which has the translator.

Reads lines from stdin until its end. Each is ``{"template": {...}, "parameters": {...}}`` with code at S3 addresses,
and the answer is a line with the transformed template. The layer's pydantic and the translator's cannot be in one
process.
"""

import json
import logging
import os
import sys

from samtranslator.translator.transform import transform


class _NoManagedPolicies:
    @staticmethod
    def load() -> dict[str, str]:
        return {}


if __name__ == "__main__":
    os.environ["AWS_DEFAULT_REGION"] = "us-east-1"
    # The translator warns that it has no account to ask for enabled features.
    logging.disable(logging.ERROR)
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(transform(request["template"], request["parameters"], _NoManagedPolicies())), flush=True)
