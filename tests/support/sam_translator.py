"""Transforms a template as SAM does. Runs in the emulator's environment, which has the translator.

Reads lines from stdin until its end, each ``{"template": {...}, "parameters": {...}}`` with code at S3 addresses, and
answers each with a line, the transformed template. The layer's pydantic and the translator's exclude each other, hence
the process.
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
    # It warns that it has no account to ask which features are on.
    logging.disable(logging.ERROR)
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(transform(request["template"], request["parameters"], _NoManagedPolicies())), flush=True)
