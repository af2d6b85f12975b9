"""SAM's transform of a template; run by the emulator's interpreter, which has the translator.

Reads ``{"template": {...}, "parameters": {...}}`` from stdin, code already at S3 addresses, and writes the transformed
template to stdout. The layer's pydantic and the translator's exclude each other, hence the process.
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
    request = json.load(sys.stdin)
    json.dump(transform(request["template"], request["parameters"], _NoManagedPolicies()), sys.stdout)
