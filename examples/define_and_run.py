"""Puts a definition from a file, as a release does, and creates a run from it.

It needs the client of `clients/python`:

    GYOZA_URL=https://... GYOZA_API_KEY=... python examples/define_and_run.py \
        text-statistics examples/text_statistics.json '{"documents": {"rose": "A rose is a rose"}}'

The arguments are the name of the definition, the file with one of its versions, and the inputs of the run. A release
that is sent twice changes nothing. A file that was edited without a new version replaces the version, and its revision
grows; the runs that exist keep what they copied. The key of the run is made of its inputs and of the revision, so the
same command never creates a second run.
"""

import hashlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gyoza_client import Definition, GyozaClient, GyozaError, InvalidInputs, Run


def run(client: GyozaClient, definition: Definition, inputs: Mapping[str, Any]) -> Run:
    """The run of this revision with these inputs; the one that exists, if there is one."""
    revision = [definition.version, definition.revision]
    digest = hashlib.sha256(json.dumps([revision, inputs], sort_keys=True).encode()).hexdigest()
    return client.create_run_from_definition(
        definition.name, inputs, version=definition.version, idempotency_key=digest
    )


def main(arguments: list[str]) -> int:
    name, file, inputs = arguments
    try:
        with GyozaClient() as client:
            definition = client.upsert_definition(name, **json.loads(Path(file).read_text()))
            print(f"{name} {definition.version}, revision {definition.revision}")
            print(f"run {run(client, definition, json.loads(inputs)).id}")
    except InvalidInputs as refusal:
        print(refusal.code, *[f"{'.'.join(map(str, each.loc))}: {each.msg}" for each in refusal.misfits], sep="\n  ")
        return 1
    except (GyozaError, TypeError) as reason:
        print(reason)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
