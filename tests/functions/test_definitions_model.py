"""Random definitions, puts, deletions and runs, answered as an independent model of definitions answers them."""

import json
import os
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from gyoza_domain.domain.definition import filled_inputs
from gyoza_domain.domain.errors import InvalidInputs
from gyoza_domain.http.bodies import values_as
from gyoza_domain.http.definition_bodies import PutDefinitionBody
from gyoza_domain.http.errors import RequestError
from testing.gateway import Answer, Gateway
from tests.support import definitions_model
from tests.support.definitions_model import ModelDefinitions, every_fault, filled, plain, shown_specs, spec_faults

Json = dict[str, Any]

NAMES = ("a", "a-b", "a_b", "a0", "b")
VERSIONS = ("1.0", "2.0", "latest", "1+x")
INPUTS = ("text", "width", "ratio", "flag", "options", "names", "_x", "X-1")
INSTANTS = {"created_at", "updated_at", "deleted_at"}
NUMBERS = (0, 1, -1, 5, 10**30, 0.5, 1.0, -2.5, 1e300)
TOPICS = ("orders", "orders.fifo")


class Drawn:
    """Random requests. Numbers are spelled as Python spells them."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)

    def maybe(self, of: Callable[[], Any], share: float = 0.5) -> Any:
        return of() if self.random.random() < share else None

    def value(self, depth: int = 0) -> Any:
        kinds: list[Callable[[], Any]] = [
            lambda: self.random.choice(NUMBERS),
            lambda: self.random.choice((True, False, None)),
            lambda: self.random.choice(("", "x", "ä🥟", "1", "\x00")),
        ]
        if depth < 2:
            kinds.append(lambda: [self.value(depth + 1) for _ in range(self.random.randrange(3))])
            kinds.append(lambda: {name: self.value(depth + 1) for name in self.random.sample("abc", 2)})
        return self.random.choice(kinds)()

    def fitting(self, type_: str) -> Any:
        while True:
            value = self.value()
            if value is not None and definitions_model.fits(type_, definitions_model.read({"v": value})["v"]):
                return value

    def spec(self) -> Json:
        type_ = self.random.choice(definitions_model.TYPES)
        default = self.maybe(lambda: self.fitting(type_) if self.random.random() < 0.9 else self.value())
        spec: Json = {"type": type_, "default": default}
        if self.random.random() < 0.5:
            spec |= {"required": self.random.choice((True, False, None)), "description": self.random.choice(("", "ä"))}
        return spec

    def specs(self) -> Json:
        return {name: self.spec() for name in self.random.sample(INPUTS, self.random.randrange(4))}

    def inputs(self, specs: Json) -> Json:
        given: Json = {}
        for name, spec in specs.items():
            if self.random.random() < 0.8:
                given[name] = self.fitting(spec["type"]) if self.random.random() < 0.9 else self.value()
        if self.random.random() < 0.1:
            given[self.random.choice((*INPUTS, "n" * 300, "other name"))] = self.value()
        return given

    def delivery(self) -> Json:
        return {
            "topic": self.random.choice(TOPICS),
            "attributes": self.random.choice(({}, {"a": 1}, {"a": 1.0, "b": True})),
        }

    def put(self) -> Json:
        body: Json = {"version": self.random.choice(VERSIONS), "image": self.random.choice("ij")}
        optional: dict[str, Callable[[], Any]] = {
            "input_specs": self.specs,
            "priority": lambda: self.random.choice((0, 5, 9)),
            "constraints": lambda: {"cpu": self.random.choice((None, 0, 2))},
            "retry_policy": lambda: {
                "max_attempts": self.random.choice((1, 3)),
                "backoff_s": self.random.choice((None, 0, 0.5)),
            },
            "event_delivery": self.delivery,
            "queue": lambda: self.random.choice(("default", "night")),
            "queue_ttl_s": lambda: 60,
            "retain_s": lambda: self.random.choice((0, 60)),
        }
        return body | {name: of() for name, of in optional.items() if self.random.random() < 0.3}


def without_instants(shown: Json) -> Json:
    return {name: value for name, value in shown.items() if name not in INSTANTS}


def counted(faults: list[Json]) -> Counter[tuple[str, ...]]:
    """The faults without their texts."""
    return Counter((*fault["loc"], fault["type"]) for fault in faults)


def spelled(value: Any) -> str:
    """JSON text that tells 1, 1.0 and true apart."""
    return json.dumps(plain(value), sort_keys=True)


def assert_same(answer: Answer, expected: definitions_model.Answer) -> None:
    assert answer.status == expected.status, answer.text
    if expected.code:
        assert answer.json["code"] == expected.code
    if expected.definition is not None:
        assert spelled(without_instants(answer.json)) == spelled(expected.definition)
        assert (answer.json["deleted_at"] is not None) is expected.deleted
        name, version, revision = expected.etag or ("", "", 0)
        assert answer.headers["ETag"] == f'"{name}/{version}/{revision}"'
    if expected.status == 400:
        assert counted(answer.json["detail"]) == counted(expected.faults)
    if expected.run is not None:
        shown = {name: answer.json[name] for name in expected.run}
        assert spelled(shown) == spelled(expected.run)


def play(api: Gateway, seed: int, requests: int) -> Counter[str]:
    drawn, model = Drawn(seed), ModelDefinitions()
    random = drawn.random
    tags: list[definitions_model.Etag] = [("a", "1.0", 1)]
    met: Counter[str] = Counter()
    last_puts: dict[str, Json] = {}
    for _ in range(requests):
        name = random.choice(NAMES)
        kind = random.choices(("put", "run", "get", "delete", "lists"), (35, 45, 10, 5, 5))[0]
        if kind == "put":
            again = last_puts.get(name)
            body = again if again is not None and random.random() < 0.2 else drawn.put()
            last_puts[name] = body
            tag = random.choice(tags[-5:]) if random.random() < 0.3 else None
            is_new = "*" if random.random() < 0.15 else None
            headers = {} if tag is None else {"If_Match": '"{}/{}/{}"'.format(*tag)}
            headers |= {} if is_new is None else {"If_None_Match": "*"}
            answer = api.put(f"/definitions/{name}", body, **headers)
            expected = model.put(name, body, if_match=tag, if_none_match=is_new)
            if expected.etag is not None:
                tags.append(expected.etag)
        elif kind == "run":
            version = drawn.maybe(lambda: random.choice(VERSIONS), 0.3)
            found = model.get(name, version)
            specs = {} if found.definition is None else found.definition["input_specs"]
            body = {"inputs": drawn.inputs(specs), "version": version}
            body |= {"priority": drawn.maybe(lambda: 1, 0.2), "queue": drawn.maybe(lambda: "q", 0.2)}
            body |= {"event_delivery": drawn.maybe(drawn.delivery, 0.2), "retain_s": drawn.maybe(lambda: 1, 0.2)}
            answer, expected = api.post(f"/definitions/{name}/runs", body), model.create_run(name, body)
        elif kind == "get":
            version = drawn.maybe(lambda: random.choice((*VERSIONS, "1 x", "9")))
            query = {} if version is None else {"version": version}
            answer, expected = api.get(f"/definitions/{name}", **query), model.get(name, version)
        elif kind == "delete":
            answer, expected = api.call("DELETE", f"/definitions/{name}"), model.delete(name)
        else:
            rows = api.get("/definitions", limit=100).json["data"]
            assert spelled([without_instants(row) for row in rows]) == spelled(model.rows())
            answer, expected = api.get(f"/definitions/{name}/versions", limit=100), model.versions(name)
            if expected.status == 200:
                shown = [without_instants(row) for row in answer.json["data"]]
                assert spelled(shown) == spelled(expected.rows)
        assert_same(answer, expected)
        met[f"{kind} {answer.status}"] += 1
    return met


@pytest.mark.parametrize("seed", range(3))
def test_the_handlers_answer_as_the_model_does(api: Gateway, seed: int) -> None:
    print(dict(sorted(play(api, seed, 150).items())))


@pytest.mark.long
@pytest.mark.parametrize("seed", range(int(os.environ.get("GYOZA_MODEL_SEEDS", "10"))))
def test_the_handlers_answer_as_the_model_does_for_long(api: Gateway, seed: int) -> None:
    met = play(api, 1_000 + seed, 1_000)
    print(dict(sorted(met.items())))
    assert met.keys() >= {"put 200", "put 201", "put 412", "put 422", "run 201", "run 400", "run 404", "delete 204"}


def test_ten_thousand_specs_and_inputs_are_judged_as_the_model_judges_them() -> None:
    drawn, met = Drawn(20260302), Counter[str]()
    for _ in range(10_000):
        specs = drawn.specs()
        faults = spec_faults(specs)
        try:
            body = values_as(PutDefinitionBody, {"version": "1", "image": "i", "input_specs": specs})
        except RequestError:
            assert faults
            met["specs refused"] += 1
            continue
        assert not faults
        taken = body.template(None).input_specs
        assert {name: spec.required for name, spec in taken.items()} == {
            name: spec["required"] for name, spec in shown_specs(specs).items()
        }
        inputs = drawn.inputs(specs)
        expected = every_fault(specs, inputs)
        if expected:
            with pytest.raises(InvalidInputs) as refusal:
                filled_inputs(taken, inputs)
            found = Counter(("body", "inputs", fault.name[:200], fault.type) for fault in refusal.value.faults)
            assert found == counted(expected)
            met["inputs refused"] += 1
        else:
            assert spelled(definitions_model.read(filled_inputs(taken, inputs))) == spelled(filled(specs, inputs))
            met["filled"] += 1
    print(dict(met))
    assert min(met.values()) > 100
