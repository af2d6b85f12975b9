"""Reads docs/openapi.yaml: its operations as data and its schemas as validators."""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jsonschema_rs import Draft202012Validator

OPENAPI_FILE = Path(__file__).resolve().parents[2] / "docs/openapi.yaml"

Node = dict[str, Any]


@dataclass(frozen=True)
class Operation:
    """One method of one path, with the parameters of the path."""

    method: str
    path: str
    node: Node
    parameters: list[Node]

    @property
    def name(self) -> str:
        name: str = self.node["operationId"]
        return name

    @property
    def answers(self) -> dict[str, Node]:
        """The answers by status (``404``) or range of statuses (``4XX``)."""
        return {status: resolved(answer) for status, answer in self.node["responses"].items()}

    def answer(self, status: int) -> Node:
        """The answer for the status, or for its range if the document does not name the status."""
        named = self.answers.get(str(status)) or self.answers.get(f"{status // 100}XX")
        assert named is not None, f"{self.name} says nothing of {status}"
        return named

    @property
    def body(self) -> Node | None:
        """The request body, with its ``schema`` and ``examples``."""
        return media_of(resolved(self.node["requestBody"])) if "requestBody" in self.node else None

    def query(self) -> dict[str, Node]:
        """The schemas of the query's parameters."""
        return {each["name"]: resolved(each["schema"]) for each in self.parameters if each["in"] == "query"}


@cache
def load_document() -> Node:
    """The document. Do not change it."""
    with OPENAPI_FILE.open() as file:
        document: Node = yaml.safe_load(file)
    return document


@cache
def closed_document() -> Node:
    """The document with every object closed. Do not change it.

    The document leaves answers open, because they may gain fields. In the tests an unnamed field is a mistake.
    """
    document = deepcopy(load_document())
    for node in walk(document):
        if node.get("type") == "object" and "properties" in node:
            node.setdefault("additionalProperties", False)
    return document


def operations(section: str = "paths") -> list[Operation]:
    """Every operation of ``paths`` or ``webhooks``."""
    return [
        Operation(
            method.upper(),
            path,
            node,
            [resolved(each) for each in [*item.get("parameters", []), *node.get("parameters", [])]],
        )
        for path, item in _items(section)
        for method, node in item.items()
        if method != "parameters"
    ]


def _items(section: str) -> list[tuple[str, Node]]:
    return [(path, resolved(item)) for path, item in load_document()[section].items()]


def operation(method: str, path: str) -> Operation:
    """The operation with that method and path template."""
    [found] = [each for each in operations() if (each.method, each.path) == (method, path)]
    return found


def schemas() -> dict[str, Node]:
    named: dict[str, Node] = load_document()["components"]["schemas"]
    return named


def resolved(node: Node) -> Node:
    """The node, or the node that it refers to. Other members beside a reference are left out."""
    while "$ref" in node:
        target: Any = load_document()
        for name in node["$ref"].removeprefix("#/").split("/"):
            target = target[name]
        node = target
    return node


def media_of(node: Node) -> Node:
    """The one media type of a body."""
    [media] = node["content"].values()
    return dict(media)


def examples_of(media: Node) -> dict[str, Any]:
    """The examples of a node, by name."""
    named = {name: resolved(example)["value"] for name, example in media.get("examples", {}).items()}
    return named | ({"example": media["example"]} if "example" in media else {})


def codes_of(answer: Node) -> set[str]:
    """The error codes that an answer may have."""
    listed = [node["code"]["enum"] for node in walk(media_of(answer)["schema"]) if "enum" in node.get("code", {})]
    return set().union(*listed)


def validator(schema: Node, *, closed: bool = False) -> Draft202012Validator:
    """A validator of a schema, with references into the document or into the closed document."""
    document = closed_document() if closed else load_document()
    named = {"components": {"schemas": document["components"]["schemas"]}}
    return Draft202012Validator(schema | named, validate_formats=True)


def assert_described(method: str, path: str, status: int, headers: Mapping[str, str], body: Any) -> None:
    """Asserts that the answer fits the document's schema for the status and has no other field."""
    answer = operation(method, path).answer(status)
    if "content" in answer:
        validator_of_body = _answer_validator(method, path, status)
        errors = [f"{error.instance_path}: {error.message}" for error in validator_of_body.iter_errors(body)]
        assert errors == [], f"{method} {path} {status}"
        assert headers["Content-Type"] in answer["content"]
    else:
        assert body is None
        assert "Content-Type" not in headers
    described = {name: resolved(header) for name, header in answer.get("headers", {}).items()}
    assert headers.keys() - {"Content-Type"} <= described.keys()
    for name in headers.keys() & described.keys():
        schema = described[name]["schema"]
        validator(schema).validate(int(headers[name]) if schema["type"] == "integer" else headers[name])


@cache
def _answer_validator(method: str, path: str, status: int) -> Draft202012Validator:
    return validator(media_of(operation(method, path).answer(status))["schema"], closed=True)


def walk(node: Any) -> Iterator[Node]:
    """Every mapping in the value, with the value itself."""
    if isinstance(node, dict):
        yield node
        for member in node.values():
            yield from walk(member)
    elif isinstance(node, list):
        for member in node:
            yield from walk(member)
