"""The example that puts a definition and runs it."""

import json
from pathlib import Path
from typing import Any

import pytest

from examples import define_and_run
from examples.define_and_run import Refused, define, main, run
from testing.gateway import Gateway

FILE = Path(__file__).resolve().parents[2] / "examples/text_statistics.json"
DEFINITION = json.loads(FILE.read_text())
INPUTS = {"documents": {"rose": "A rose is a rose"}}


class ApiInProcess(define_and_run.Api):
    def __init__(self, gateway: Gateway) -> None:
        super().__init__("", "")
        self._gateway = gateway

    def send(self, method: str, path: str, body: define_and_run.Json, **headers: str) -> define_and_run.Json:
        answer = self._gateway.call(method, path, body, headers=headers)
        if answer.status >= 400:
            raise Refused(answer.status, answer.json["code"], answer.json["detail"])
        shown: define_and_run.Json = answer.json
        return shown


def test_the_same_release_and_run_sent_twice_have_one_effect(api: Gateway) -> None:
    sender = ApiInProcess(api)
    definitions = [define(sender, "text-statistics", DEFINITION) for _ in range(2)]
    assert definitions[0] == definitions[1]
    runs = [run(sender, definition, INPUTS) for definition in definitions]
    assert runs[0] == runs[1]
    assert runs[0]["inputs"] == INPUTS | {"fail_attempts": []}


def test_an_edited_file_is_a_new_revision_and_a_new_run(api: Gateway) -> None:
    sender = ApiInProcess(api)
    first = define(sender, "text-statistics", DEFINITION)
    second = define(sender, "text-statistics", DEFINITION | {"priority": 7})
    assert (first["revision"], second["revision"]) == (1, 2)
    assert run(sender, first, INPUTS)["id"] != run(sender, second, INPUTS)["id"]


def test_the_command_tells_which_inputs_do_not_fit(
    api: Gateway, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def in_process(*_: Any) -> ApiInProcess:
        return ApiInProcess(api)

    monkeypatch.setenv("GYOZA_URL", "")
    monkeypatch.setenv("GYOZA_API_KEY", "")
    monkeypatch.setattr(define_and_run, "Api", in_process)
    assert main(["text-statistics", str(FILE), '{"colour": "blue"}']) == 1
    assert capsys.readouterr().out.splitlines() == [
        "text-statistics 1.0.0, revision 1",
        "invalid_inputs",
        "  body.inputs.documents: Input required",
        "  body.inputs.colour: The definition takes no input of this name",
    ]
    assert main(["text-statistics", str(FILE), json.dumps(INPUTS)]) == 0
