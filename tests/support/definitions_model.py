"""A reference model of definitions, the named and versioned templates of runs, as one deployment holds them.

The model follows the promises of the API and shares no code with the product. A test gives the same requests to the
model and to the product and compares statuses, codes, definitions, faults and the runs that are created. The model
keeps everything in memory, makes no input or output, and never reads the clock, so no instants are in its answers.

Bodies are expected to be valid by shape, except that a put answers the faults of its input specs, a foreign name, an
executor or report, and its size. Bodies and inputs are JSON text, so that the spelling of each number is known; a
mapping is taken too. A comment that begins with `reading:` marks a place that the promises leave open and names the
choice made there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, NoReturn

Etag = tuple[str, str, int]
Fault = dict[str, Any]
Body = str | Mapping[str, Any]

MOST_SPECS = 100
MOST_FAULTS = 200
# reading: KB is 1,000 bytes, measured on the list as compact UTF-8 JSON, the entry about the rest not counted.
MOST_FAULT_BYTES = 256_000
MOST_NAME_CHARACTERS = 200
MOST_INPUT_BYTES = 256 * 1024
MOST_DEFINITION_BYTES = 64 * 1024

TYPES = ("string", "int", "float", "bool", "object", "array")
SPEC_FIELDS = frozenset({"type", "required", "default", "description"})
INPUT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
DEFINITION_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
INTEGER = re.compile(r"-?[0-9]+")


@dataclass(frozen=True)
class Number:
    """A JSON number as it was spelled; two are equal when their spelling is."""

    text: str

    @property
    def is_int(self) -> bool:
        """Tell whether the spelling has neither a fraction nor an exponent."""
        # reading: -0 is an int, by its spelling.
        return INTEGER.fullmatch(self.text) is not None


@dataclass(frozen=True)
class Answer:
    """The answer to one request; the members that the request does not answer with are empty."""

    status: int
    code: str = ""
    definition: dict[str, Any] | None = None
    etag: Etag | None = None
    deleted: bool = False
    rows: list[dict[str, Any]] = field(default_factory=list)
    run: dict[str, Any] | None = None
    faults: list[Fault] = field(default_factory=list)


NOT_FOUND = Answer(404, "definition_not_found")
# reading: no text names the codes of 422 and 413, so a test should compare their status alone.
REFUSED = 422
TOO_LARGE = 413


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON")


def read(body: Body) -> dict[str, Any]:
    """Parse a JSON object, each number of it a `Number`.

    A mapping is written as JSON first; a name given twice in a text counts as it was given last.
    """
    text = body if isinstance(body, str) else to_json(body)
    value = json.loads(text, parse_int=Number, parse_float=Number, parse_constant=_no_constant)
    if not isinstance(value, dict):
        raise TypeError("not a JSON object")
    return value


def to_json(value: Any) -> str:
    """Write a value as compact JSON, each `Number` as it was spelled."""
    if isinstance(value, Number):
        return value.text
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{to_json(str(name))}:{to_json(member)}" for name, member in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(to_json(member) for member in value) + "]"
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def size(value: Any) -> int:
    """Count the bytes of a value as compact UTF-8 JSON."""
    return len(to_json(value).encode())


def plain(value: Any) -> Any:
    """Turn each `Number` in a value into a Python number."""
    if isinstance(value, Number):
        return int(value.text) if value.is_int else float(value.text)
    if isinstance(value, Mapping):
        return {name: plain(member) for name, member in value.items()}
    if isinstance(value, list):
        return [plain(member) for member in value]
    return value


def same(one: Any, other: Any) -> bool:
    """Compare two values as JSON: the order of members is nothing, a bool is no number."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def fits(kind: str, value: Any) -> bool:
    """Tell whether a parsed value that is not null is of a type of input."""
    # reading: a float of any size is a float, also one that no double holds (1e400).
    return {
        "string": isinstance(value, str),
        "int": isinstance(value, Number) and value.is_int,
        "float": isinstance(value, Number),
        "bool": isinstance(value, bool),
        "object": isinstance(value, dict),
        "array": isinstance(value, list),
    }[kind]


def shown_spec(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in the four members of a parsed spec, `required` as it takes effect."""
    required, default, description = spec.get("required"), spec.get("default"), spec.get("description")
    return {
        "type": spec["type"],
        "required": default is None and required is not False,
        "default": default,
        "description": "" if description is None else description,
    }


def shown_specs(specs: Body) -> dict[str, dict[str, Any]]:
    """Fill in the members of every spec."""
    return {name: shown_spec(spec) for name, spec in read(specs).items()}


def _fault(loc: list[str], kind: str, msg: str) -> Fault:
    return {"loc": loc, "msg": msg, "type": kind}


def spec_faults(specs: Body) -> list[Fault]:
    """Find every fault of the specs of a put; any fault refuses the put with 422."""
    # reading: neither `loc` nor `type` of these faults is fixed, nor whether all are named at once.
    root = ["body", "input_specs"]
    given = read(specs)
    faults: list[Fault] = []
    if len(given) > MOST_SPECS:
        faults.append(_fault(root, "too_long", f"at most {MOST_SPECS} inputs"))
    for name, spec in given.items():
        loc = [*root, name]
        if not INPUT_NAME.fullmatch(name):
            faults.append(_fault(loc, "name", "not the name of an input"))
        # reading: a whole spec of null is a fault: the names of inputs are no fields, which null would make absent.
        if not isinstance(spec, dict):
            faults.append(_fault(loc, "wrong_type", "not an object"))
            continue
        faults += [_fault([*loc, extra], "extra_forbidden", "unknown field") for extra in spec.keys() - SPEC_FIELDS]
        kind, default = spec.get("type"), spec.get("default")
        if kind is None:
            faults.append(_fault([*loc, "type"], "missing", "required"))
        elif not isinstance(kind, str) or kind not in TYPES:
            faults.append(_fault([*loc, "type"], "wrong_type", "unknown type"))
        elif default is not None and not fits(kind, default):
            faults.append(_fault([*loc, "default"], "wrong_type", f"the default is no {kind}"))
        if not isinstance(spec.get("required"), bool | None):
            faults.append(_fault([*loc, "required"], "wrong_type", "not a bool"))
        if not isinstance(spec.get("description"), str | None):
            faults.append(_fault([*loc, "description"], "wrong_type", "not a string"))
    return faults


def every_fault(specs: Body, inputs: Body) -> list[Fault]:
    """Find every fault of inputs, however many there are, each name cut."""
    # reading: no order is fixed (here the specs', then what is left over as it was sent): compare as multisets.
    expected, given = shown_specs(specs), _given(inputs)
    faults: list[tuple[str, str, str]] = []
    for name, spec in expected.items():
        if name not in given:
            if spec["required"]:
                faults.append((name, "missing", "required"))
        elif not fits(spec["type"], given[name]):
            faults.append((name, "wrong_type", f"not of type {spec['type']}"))
    # reading: an unknown input given as null is absent too, so it is no fault.
    faults += [(name, "extra_forbidden", "not an input") for name in given if name not in expected]
    # reading: a cut name is its first 200 code points with nothing put in the place of the rest.
    return [_fault(["body", "inputs", name[:MOST_NAME_CHARACTERS]], kind, msg) for name, kind, msg in faults]


def input_faults(specs: Body, inputs: Body) -> list[Fault]:
    """Find the faults of inputs as an answer lists them: at most so many, and one entry for the rest."""
    # reading: `msg` is free, so the entry at which the size cuts is: compare the kept ones and the count of the rest.
    faults = every_fault(specs, inputs)
    kept: list[Fault] = []
    used = len("[]")
    for fault in faults:
        used += size(fault) + len(",")
        if len(kept) == MOST_FAULTS or used > MOST_FAULT_BYTES:
            break
        kept.append(fault)
    left_out = len(faults) - len(kept)
    if left_out:
        # reading: the entry comes last, as the 201st where 200 are kept; its `loc` and `type` are not fixed.
        kept.append(_fault(["body", "inputs"], "left_out", f"{left_out} more left out"))
    return kept


def filled(specs: Body, inputs: Body) -> dict[str, Any]:
    """Fill in the defaults of inputs without faults; each number is a `Number` as it was sent."""
    given = _given(inputs)
    defaults = {name: spec["default"] for name, spec in shown_specs(specs).items() if name not in given}
    return given | {name: default for name, default in defaults.items() if default is not None}


def _given(inputs: Body) -> dict[str, Any]:
    # reading: only an input that is itself null is absent; a null inside an object or array stays.
    return {name: value for name, value in read(inputs).items() if value is not None}


def _members(body: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = plain(body.get(name)) or {}
    return {member: given for member, given in value.items() if given is not None}


def _delivery(value: Any) -> dict[str, Any] | None:
    if value is None:
        return None
    # reading: a delivery without attributes shows `{}`; a bool shows as it was sent, not as the string it is pushed as.
    return {"topic": value["topic"], "attributes": plain(value.get("attributes")) or {}}


def shown(name: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Turn a parsed body into the definition that a GET shows, without its revision and its instants."""

    def given(member: str, otherwise: Any = None) -> Any:
        value = plain(body.get(member))
        return otherwise if value is None else value

    constraints, policy = _members(body, "constraints"), _members(body, "retry_policy")
    return {
        "id": name,
        "name": name,
        "version": body["version"],
        "image": body["image"],
        "input_specs": shown_specs(body.get("input_specs") or {}),
        "constraints": {member: constraints.get(member) for member in ("cpu", "ram_mb", "vram_mb")},
        # reading: as in a run, members of the policy other than `max_attempts` show only where they were given.
        "retry_policy": {"max_attempts": 1} | policy,
        "event_delivery": _delivery(body.get("event_delivery")),
        "priority": given("priority", 5),
        # reading: a queue that is not given shows as `default`, its default, and not as null.
        "queue": given("queue", "default"),
        "queue_ttl_s": given("queue_ttl_s"),
        "attempt_timeout_s": given("attempt_timeout_s"),
        "retain_s": given("retain_s"),
        "executor": None,
        "report": None,
    }


@dataclass
class _Version:
    content: dict[str, Any]
    revision: int = 1


@dataclass
class _Name:
    # The version put last comes last.
    versions: dict[str, _Version] = field(default_factory=dict)
    deleted: bool = False

    @property
    def latest(self) -> str:
        return next(reversed(self.versions))


class ModelDefinitions:
    """The definitions of one deployment; `topics`, where given, are the only ones that may be delivered to."""

    def __init__(self, topics: Collection[str] | None = None) -> None:
        """Begin without definitions."""
        self._topics = topics
        self._names: dict[str, _Name] = {}

    def put(
        self,
        name: str,
        body: Body,
        *,
        if_match: str | Etag | Sequence[Etag] | None = None,
        if_none_match: str | None = None,
    ) -> Answer:
        """Put one version, which becomes the latest, and revive the name.

        `if_match` is `*`, an ETag token or several; `if_none_match` is `*`. With both, both must hold.
        """
        sent = read(body)
        # reading: the order of 422 and 413 is open; both come before 412. The size is that of the body as it was sent,
        # what is passed over counted in: so what a GET answered may be too large to be put back.
        faults = spec_faults(sent.get("input_specs") or {})
        # reading: a put to a path whose name does not fit the pattern is 422.
        foreign = sent.get("name") is not None and sent["name"] != name
        unbuilt = sent.get("executor") is not None or sent.get("report") is not None
        if faults or foreign or unbuilt or not DEFINITION_NAME.fullmatch(name):
            return Answer(REFUSED, faults=faults)
        if not self._may_deliver(sent.get("event_delivery")):
            return Answer(REFUSED)
        if size(sent) > MOST_DEFINITION_BYTES:
            return Answer(TOO_LARGE)

        content = shown(name, sent)
        version: str = content["version"]
        of_name = self._names.get(name, _Name())
        # reading: the versions of a deleted name exist, for preconditions, for status 200 and for what stands already.
        there = of_name.versions.get(version)
        # reading: what stands is compared as it shows. So a default that is written out is no change, but one of
        # `retry_policy` is; a default of an input that is spelled anew (1.0, 1.00) is a change; other numbers are
        # compared by value; the order of members is nothing.
        stands = there is not None and same(there.content, content)
        if not stands and not self._holds(name, version, there, if_match, if_none_match):
            return Answer(412, "precondition_failed")
        # reading: a put that stands already but whose precondition fails does all that a repeat does: it makes its
        # version the latest and revives a deleted name.
        revision = 0 if there is None else there.revision
        kept = there if there is not None and stands else _Version(content, revision + 1)
        of_name.versions.pop(version, None)
        of_name.versions[version] = kept
        of_name.deleted = False
        self._names[name] = of_name
        return self._answer(name, version, 201 if there is None else 200)

    def get(self, name: str, version: str | None = None) -> Answer:
        """Answer with the latest version or the one named; the latter also of a deleted name."""
        # reading: a name or version that does not fit its pattern, an empty version too, is unknown (404).
        of_name = self._names.get(name)
        if of_name is None or (version is None and of_name.deleted):
            return NOT_FOUND
        wanted = of_name.latest if version is None else version.replace(" ", "+")
        return self._answer(name, wanted, 200) if wanted in of_name.versions else NOT_FOUND

    def delete(self, name: str) -> Answer:
        """Delete a name, also one that is deleted already."""
        if name not in self._names:
            return NOT_FOUND
        self._names[name].deleted = True
        return Answer(204)

    def names(self) -> list[str]:
        """List the names that are not deleted, ascending."""
        # reading: ascending by code points, so `-` before digits before `_` before letters.
        return sorted(name for name, of_name in self._names.items() if not of_name.deleted)

    def rows(self) -> list[dict[str, Any]]:
        """List the latest version of each name that is not deleted, as rows, ascending by name."""
        return [self._row(name, self._names[name].latest) for name in self.names()]

    def versions(self, name: str) -> Answer:
        """Answer with the versions of a name as rows, the one put last first."""
        of_name = self._names.get(name)
        if of_name is None or of_name.deleted:
            return NOT_FOUND
        return Answer(200, rows=[self._row(name, version) for version in reversed(of_name.versions)])

    def create_run(self, name: str, body: Body | None = None) -> Answer:
        """Create a run of the latest version or the one that the body names."""
        asked = read({} if body is None else body)
        if not self._may_deliver(asked.get("event_delivery")):
            return Answer(REFUSED)
        # reading: no run of a deleted name is created, also when the body names a version, which still answers a GET.
        of_name = self._names.get(name)
        if of_name is None or of_name.deleted:
            return NOT_FOUND
        version = of_name.latest if asked.get("version") is None else asked["version"]
        if version not in of_name.versions:
            return NOT_FOUND
        stored = of_name.versions[version]
        run = {member: deepcopy(value) for member, value in stored.content.items() if member not in _NOT_OF_RUN}
        for member in ("priority", "queue", "retain_s"):
            if _is_given(asked, member):
                run[member] = plain(asked[member])
        # reading: null in place of a member of the definition is as if absent, so a run cannot take one away.
        if _is_given(asked, "event_delivery"):
            run["event_delivery"] = _delivery(asked["event_delivery"])
        # reading: a topic of the definition that the deployment no longer lists is 422, before the inputs' faults.
        if not self._may_deliver(run["event_delivery"]):
            return Answer(REFUSED)
        specs, sent = stored.content["input_specs"], asked.get("inputs") or {}
        faults = input_faults(specs, sent)
        if faults:
            return Answer(400, "invalid_inputs", faults=faults)
        # reading: inputs that have faults and are too large are 400; the size is measured only on filled inputs.
        inputs = filled(specs, sent)
        if size(inputs) > MOST_INPUT_BYTES:
            return Answer(TOO_LARGE)
        run |= {
            "op_definition": name,
            "op_version": version,
            "op_revision": stored.revision,
            "inputs": inputs,
            # reading: the instant is kept here as it was sent; an answer may write it anew.
            "start_at": asked.get("start_at"),
            "state": "PENDING",
            "current_attempt": 1,
        }
        return Answer(201, run=run)

    def _holds(
        self,
        name: str,
        version: str,
        there: _Version | None,
        if_match: str | Etag | Sequence[Etag] | None,
        if_none_match: str | None,
    ) -> bool:
        # reading: an `If-None-Match` other than `*` is left open; it is not modelled.
        if if_none_match is not None and if_none_match != "*":
            raise ValueError("if_none_match is * or None")
        if if_none_match == "*" and there is not None:
            return False
        if if_match is None:
            return True
        if there is None:
            return False
        if isinstance(if_match, str):
            return if_match == "*"
        etag: Etag = (name, version, there.revision)
        return if_match == etag or any(one == etag for one in if_match)

    def _may_deliver(self, delivery: Any) -> bool:
        return delivery is None or self._topics is None or delivery["topic"] in self._topics

    def _shown(self, name: str, version: str) -> dict[str, Any]:
        stored = self._names[name].versions[version]
        return deepcopy(stored.content) | {"revision": stored.revision}

    def _row(self, name: str, version: str) -> dict[str, Any]:
        return {member: value for member, value in self._shown(name, version).items() if member != "input_specs"}

    def _answer(self, name: str, version: str, status: int) -> Answer:
        definition = self._shown(name, version)
        # reading: the ETag follows the revision alone: a deletion, which shows as `deleted_at`, does not change it.
        etag = (name, version, definition["revision"])
        return Answer(status, definition=definition, etag=etag, deleted=self._names[name].deleted)


_NOT_OF_RUN = frozenset({"id", "name", "version", "input_specs"})


def _is_given(body: Mapping[str, Any], member: str) -> bool:
    return body.get(member) is not None
