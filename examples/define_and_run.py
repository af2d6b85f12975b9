"""Puts a definition from a file, as a release does, and creates a run from it, over HTTP alone.

It needs Python's standard library:

    GYOZA_URL=https://... GYOZA_API_KEY=... python examples/define_and_run.py \
        text-statistics examples/text_statistics.json '{"documents": {"rose": "A rose is a rose"}}'

The arguments are the name of the definition, the file with one of its versions, and the inputs of the run. A release
that is sent twice changes nothing. A file that was edited without a new version replaces the version, and its revision
grows; the runs that exist keep what they copied. The key of the run is made of its inputs and of the revision, so the
same command never creates a second run.
"""

import hashlib
import json
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import quote

_REQUEST_LIMIT_S = 30

Json = dict[str, Any]


class Refused(Exception):
    """The API does not take the request. ``detail`` is its sentence or its list of what does not fit."""

    def __init__(self, status: int, code: str, detail: Any) -> None:
        super().__init__(f"{status} {code}: {detail}")
        self.code = code
        self.detail = detail


class Api:
    def __init__(self, url: str, key: str) -> None:
        self._url = url
        self._key = key

    def send(self, method: str, path: str, body: Json, **headers: str) -> Json:
        """The answer. Raises Refused."""
        sent = {"X-API-Key": self._key, "Content-Type": "application/json"} | headers
        request = urllib.request.Request(self._url + path, json.dumps(body).encode(), sent, method=method)
        try:
            with urllib.request.urlopen(request, timeout=_REQUEST_LIMIT_S) as response:
                answer: Json = json.load(response)
                return answer
        except urllib.error.HTTPError as refusal:
            with refusal:
                error = json.load(refusal)
            raise Refused(refusal.code, error["code"], error["detail"]) from None


def define(api: Api, name: str, definition: Json) -> Json:
    """The definition after the put of a version. A put may be sent again: what stands already is not changed."""
    return api.send("PUT", f"/definitions/{quote(name)}", definition)


def run(api: Api, definition: Json, inputs: Json) -> Json:
    """The run of this revision with these inputs; the one that exists, if there is one."""
    revision = [definition["version"], definition["revision"]]
    digest = hashlib.sha256(json.dumps([revision, inputs], sort_keys=True).encode()).hexdigest()
    body = {"version": definition["version"], "inputs": inputs}
    return api.send("POST", f"/definitions/{quote(definition['name'])}/runs", body, **{"Idempotency-Key": digest})


def main(arguments: list[str]) -> int:
    name, file, inputs = arguments
    api = Api(os.environ["GYOZA_URL"], os.environ["GYOZA_API_KEY"])
    try:
        definition = define(api, name, json.loads(Path(file).read_text()))
        print(f"{name} {definition['version']}, revision {definition['revision']}")
        print(f"run {run(api, definition, json.loads(inputs))['id']}")
    except Refused as refusal:
        faults = refusal.detail if isinstance(refusal.detail, list) else []
        print(refusal.code, *[f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in faults], sep="\n  ")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
