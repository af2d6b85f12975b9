"""The example that puts a definition and runs it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from clients.python.tests.scripted_server import Asked, Reply, ScriptedServer
from examples.define_and_run import main, run
from gyoza_client import GyozaClient
from testing.gateway import Gateway

FILE = Path(__file__).resolve().parents[2] / "examples/text_statistics.json"
DEFINITION = json.loads(FILE.read_text())
INPUTS = {"documents": {"rose": "A rose is a rose"}}


@pytest.fixture
def client(api: Gateway, monkeypatch: pytest.MonkeyPatch) -> Iterator[GyozaClient]:
    """A client whose requests the handlers answer. The environment has their address."""

    def ask(asked: Asked) -> Reply:
        key = asked.headers.get("idempotency-key")
        headers = {} if key is None else {"Idempotency-Key": key}
        answer = api.call(asked.method, asked.path, asked.body, headers=headers)
        return Reply(answer.status, answer.text.encode(), answer.headers)

    with ScriptedServer() as server:
        server.answers_with(ask)
        monkeypatch.setenv("GYOZA_URL", server.url)
        monkeypatch.setenv("GYOZA_API_KEY", "key")
        with GyozaClient() as client:
            yield client


def test_the_same_release_and_run_sent_twice_have_one_effect(client: GyozaClient) -> None:
    definitions = [client.upsert_definition("text-statistics", **DEFINITION) for _ in range(2)]
    assert definitions[0] == definitions[1]
    runs = [run(client, definition, INPUTS) for definition in definitions]
    assert runs[0] == runs[1]
    assert runs[0].inputs == INPUTS | {"fail_attempts": []}


def test_an_edited_file_is_a_new_revision_and_a_new_run(client: GyozaClient) -> None:
    first = client.upsert_definition("text-statistics", **DEFINITION)
    second = client.upsert_definition("text-statistics", **(DEFINITION | {"priority": 7}))
    assert (first.revision, second.revision) == (1, 2)
    assert run(client, first, INPUTS).id != run(client, second, INPUTS).id


@pytest.mark.usefixtures("client")
def test_the_command_tells_which_inputs_do_not_fit(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["text-statistics", str(FILE), '{"colour": "blue"}']) == 1
    assert capsys.readouterr().out.splitlines() == [
        "text-statistics 1.0.0, revision 1",
        "invalid_inputs",
        "  body.inputs.documents: Input required",
        "  body.inputs.colour: The definition takes no input of this name",
    ]
    assert main(["text-statistics", str(FILE), json.dumps(INPUTS)]) == 0


@pytest.mark.usefixtures("client")
@pytest.mark.parametrize(
    ("edit", "reason"), [({"priority": "high"}, "422 validation_error: body.priority"), ({"colour": "blue"}, "colour")]
)
def test_the_command_says_why_a_definition_is_refused(
    edit: dict[str, str], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "definition.json"
    file.write_text(json.dumps(DEFINITION | edit))
    assert main(["text-statistics", str(file), "{}"]) == 1
    assert reason in capsys.readouterr().out
