"""Tests how JSON is read and written."""

import json
import math

import pytest

from gyoza_domain.http.errors import RequestError
from gyoza_domain.http.json_text import dump, dump_within, parse


def nested(depth: int, opening: str = '{"a":', closing: str = "}") -> bytes:
    """A document with so many levels."""
    return (opening * (depth - 1) + ("{}" if closing == "}" else "[]") + closing * (depth - 1)).encode()


def refusal_of(raw: bytes) -> tuple[int, str, str]:
    """The status, and the type and the text of the one misfit, which must be about the body."""
    with pytest.raises(RequestError) as caught:
        parse(raw)
    assert not isinstance(caught.value.detail, str)
    [detail] = caught.value.detail
    assert detail["loc"] == ["body"]
    return caught.value.status, detail["type"], detail["msg"]


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b' { "a" : [ 1 , 2.5 , null , true ] } ', '{"a":[1,2.5,null,true]}'),
        (b'{"b": 1, "a": 2}', '{"b":1,"a":2}'),
        ('{"ü": "\\u00fc\\ud83e\\udd5f"}'.encode(), '{"ü":"ü🥟"}'),
        (b'{"": ""}', '{"":""}'),
        (b'"\\u0000\\u001f\\/"', '"\\u0000\\u001f/"'),
        (b'"\\""', '"\\""'),
        (b"-0.0", "-0.0"),
        (b"-0", "0"),
        (b"5.0", "5.0"),
        (b"1e300", "1e+300"),
        (b"5e-324", "5e-324"),
        (b"1" + b"0" * 60, "1" + "0" * 60),
        (b"0.1", "0.1"),
        (b"null", "null"),
    ],
)
def test_a_parsed_document_is_kept_as_compact_text_of_the_same_value(raw: bytes, text: str) -> None:
    assert dump(parse(raw)) == text
    assert parse(text.encode()) == parse(raw)


def test_a_negative_zero_stays_one() -> None:
    assert math.copysign(1, parse(dump(parse(b"-0.0")).encode())) == -1


@pytest.mark.parametrize("brackets", [('{"a":', "}"), ("[", "]")])
def test_64_levels_are_taken(brackets: tuple[str, str]) -> None:
    raw = nested(64, *brackets)
    assert dump(parse(raw)) == raw.decode()


@pytest.mark.parametrize("brackets", [('{"a":', "}"), ("[", "]")])
@pytest.mark.parametrize("depth", [65, 66, 500, 100_000])
def test_more_than_64_levels_are_refused(depth: int, brackets: tuple[str, str]) -> None:
    assert refusal_of(nested(depth, *brackets)) == (422, "json_too_deep", "The body is nested deeper than 64 levels")


def test_brackets_within_strings_and_side_by_side_are_no_levels() -> None:
    value = {"brackets": "[{" * 100, "many": [[] for _ in range(100)]}
    assert parse(json.dumps(value).encode()) == value


@pytest.mark.parametrize("raw", [b'"\\ud800"', b'"\\udc00"', b'{"\\ud83e": 1}', b'["\\udd5f\\ud83e"]'])
def test_half_of_a_surrogate_pair_is_refused(raw: bytes) -> None:
    assert refusal_of(raw) == (422, "json_invalid", "A string in the body holds half of a surrogate pair")


@pytest.mark.parametrize("raw", [b"\xff", b'"\xe4"', b'{"a": "\xed\xa0\x80"}', b'\xfe\xff\x00"\x00"', b'"\xc0\x80"'])
def test_a_body_that_is_not_utf_8_is_refused(raw: bytes) -> None:
    assert refusal_of(raw) == (422, "json_invalid", "The body is not UTF-8")


@pytest.mark.parametrize(
    ("raw", "name"), [(b"NaN", "NaN"), (b"[Infinity]", "Infinity"), (b'{"a": -Infinity}', "-Infinity")]
)
def test_a_number_that_json_lacks_is_refused(raw: bytes, name: str) -> None:
    assert refusal_of(raw) == (422, "json_invalid", f"{name} is not JSON")


@pytest.mark.parametrize("raw", [b"1e400", b'{"a": [-1e309]}', b"1" + b"0" * 400 + b".0"])
def test_a_number_no_double_holds_is_refused(raw: bytes) -> None:
    assert refusal_of(raw) == (422, "json_invalid", "A number in the body is beyond what a double holds")


@pytest.mark.parametrize("sign", [b"", b"-"])
def test_an_integer_of_4300_digits_keeps_every_one(sign: bytes) -> None:
    raw = sign + b"9" * 4_300
    assert dump(parse(raw)).encode() == raw


@pytest.mark.parametrize("sign", [b"", b"-"])
@pytest.mark.parametrize("digits", [4_301, 5_000, 100_000])
def test_an_integer_of_more_digits_is_refused(digits: int, sign: bytes) -> None:
    assert refusal_of(sign + b"9" * digits) == (
        422,
        "json_invalid",
        "An integer in the body has more than 4,300 digits",
    )


@pytest.mark.parametrize(
    "raw",
    [b" ", b"{", b"{} {}", b"{'a': 1}", b'{"a": 1,}', b"[1, 2", b"tru", b"\xef\xbb\xbf{}", b'"\n"', b"01", b"{1: 2}"],
)
def test_a_body_that_is_no_json_is_refused(raw: bytes) -> None:
    status, type_, msg = refusal_of(raw)
    assert (status, type_) == (422, "json_invalid")
    assert msg.startswith("The body is not valid JSON")


def test_a_syntax_error_is_told_with_its_place() -> None:
    assert refusal_of(b'{"a": 1,\n "b" 2}')[2] == "The body is not valid JSON (line 2, column 6)"


@pytest.mark.parametrize(("value", "size"), [({"a": "b"}, 9), ({"a": "ü"}, 10), ({"a": "🥟"}, 12)])
def test_the_size_of_a_document_is_that_of_its_compact_utf_8(value: dict[str, str], size: int) -> None:
    assert dump_within(value, size, ["inputs"]) == dump(value)
    with pytest.raises(RequestError) as refusal:
        dump_within(value, size - 1, ["inputs"])
    assert (refusal.value.status, refusal.value.code) == (413, "too_large")
