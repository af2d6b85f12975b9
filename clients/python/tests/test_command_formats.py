"""Tests how the command line reads what people write, and what it makes of texts for them."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from clients.python.tests.examples import event_json
from gyoza_client import Event
from gyoza_client._cli.formats import (
    age,
    duration,
    event_text,
    future,
    json_text,
    last_line,
    past,
    printable,
    printable_lines,
    seconds,
)
from gyoza_client._cli.inputs import Misused, read_inputs, read_object

NOW = datetime(2026, 3, 2, 20, 0, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("arguments", "inputs"),
    [
        ([], None),
        (["k=text"], {"k": "text"}),
        (["k="], {"k": ""}),
        (["k=a=b:=c"], {"k": "a=b:=c"}),
        (["k=@no-file"], {"k": "@no-file"}),
        (
            ["n:=3", "f:=0.5", "t:=true", "z:=null", 's:="x"', 'o:={"a":[1]}'],
            {"n": 3, "f": 0.5, "t": True, "z": None, "s": "x", "o": {"a": [1]}},
        ),
        (["a=1", "a:=2"], {"a": 2}),
        (["url=http://h/?x:=1"], {"url": "http://h/?x:=1"}),
    ],
)
def test_inputs_are_texts_and_json(arguments: list[str], inputs: dict[str, Any] | None) -> None:
    assert read_inputs(arguments) == inputs


def test_files_give_inputs_and_later_inputs_win(tmp_path: Path) -> None:
    (tmp_path / "base.json").write_text('{"n": 1, "who": "é"}')
    (tmp_path / "list.json").write_text("[1, 2]")
    read = read_inputs([f"@{tmp_path}/base.json", "n:=2", f"files:=@{tmp_path}/list.json"])
    assert read == {"n": 2, "who": "é", "files": [1, 2]}


@pytest.mark.parametrize(
    ("argument", "text"),
    [
        ("k", "-i k: write name=text"),
        ("=x", "-i =x: write"),
        (":=x", "-i :=x: write"),
        ("n:=x", r"-i n: this is no JSON: Expecting value \(line 1, column 1\)"),
        ("n:=NaN", "-i n: this is no JSON: NaN"),
        ("n:=" + "[" * 100_000, "-i n: this is no JSON"),
        ("@/no/such", "-i @/no/such: /no/such cannot be read: No such file"),
        ("@/", "-i @/: / cannot be read: Is a directory"),
        ("k=\udcff", "-i k: the value is not UTF-8"),
    ],
)
def test_an_input_that_cannot_be_read_is_named(argument: str, text: str) -> None:
    with pytest.raises(Misused, match=text):
        read_inputs([argument])


@pytest.mark.parametrize(
    ("content", "text"),
    [(b"[1]", "not an array"), (b"3", "not a number"), (b"\xff", "not UTF-8 at byte 0"), (b"", "JSON")],
)
def test_a_document_is_a_json_object(content: bytes, text: str, tmp_path: Path) -> None:
    file = tmp_path / "d.json"
    file.write_bytes(content)
    with pytest.raises(Misused, match=text):
        read_object(str(file), "d.json")


@pytest.mark.parametrize(("text", "wanted"), [("90", 90), ("90s", 90), ("15m", 900), ("2h", 7200), ("7d", 604_800)])
def test_lengths_of_time_have_units(text: str, wanted: int) -> None:
    assert seconds(text) == wanted


@pytest.mark.parametrize("text", ["", "-1", "1.5", "2 h", "1w", "h"])
def test_no_length_of_time(text: str) -> None:
    with pytest.raises(ValueError, match="is no length of time"):
        seconds(text)


def test_instants_are_written_in_three_ways() -> None:
    assert past("2h", NOW) == NOW - timedelta(hours=2)
    assert past("1772481601", NOW) == NOW
    assert past("2026-03-02T20:00:01Z", NOW) == past("2026-03-02T21:00:01+01:00", NOW) == NOW
    assert future("10m", NOW) == NOW + timedelta(minutes=10)


@pytest.mark.parametrize("text", ["yesterday", "9" * 30, "2026-13-01T00:00:00Z", "9" * 12 + "d"])
def test_no_instant(text: str) -> None:
    with pytest.raises(ValueError, match="is no instant"):
        past(text, NOW)


def test_an_instant_names_its_zone() -> None:
    with pytest.raises(ValueError, match="names no zone"):
        past("2026-03-02T20:00:01", NOW)


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [(400, "0.4 s"), (59_940, "59.9 s"), (59_960, "1 min 0 s"), (200_000, "3 min 20 s"), (7_500_000, "2 h 5 min")],
)
def test_durations_have_two_units_at_most(milliseconds: int, text: str) -> None:
    assert duration(milliseconds) == text


def test_ages_have_one_unit() -> None:
    ages = [age(NOW - timedelta(seconds=each), NOW) for each in (-5, 0, 119, 120, 3599, 3600, 86_399, 86_400)]
    assert ages == ["0s", "0s", "119s", "2m", "59m", "1h", "23h", "1d"]


UNSAFE = "\x1b[31m\x07\x9b2J\x7f\u202e\u2066\u200f\ufeff\u2028\r\n\t\x00"


def test_nothing_that_a_terminal_obeys_is_printed() -> None:
    text = printable(f"a{UNSAFE}é漢👩\u200d🚀b")
    assert text == (r"a\x1b[31m\x07\x9b2J\x7f\u202e\u2066\u200f\ufeff\u2028\r\n\t\x00é漢👩" + "\u200d🚀b")
    assert printable_lines("one\r\n\ttwo\x1b\n\n") == ["one", r"        two\x1b"]


def test_json_escapes_what_a_terminal_obeys_and_stays_the_same_value() -> None:
    value = {"é" + UNSAFE: [UNSAFE, "\ud800"]}
    for indent in (None, 2):
        text = json_text(value, indent=indent)
        assert json.loads(text) == value
        assert all(each == "\n" or printable(each) == each for each in text)
        assert "é" in text
    assert json_text(value, only_ascii=True).isascii()


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"type": "PROGRESS", "msg": 40}, "40 %"),
        ({"type": "INFO", "msg": "a\nb"}, r"a\nb"),
        ({"type": "INFO", "msg": 0}, "0"),
        ({"type": "STARTED", "payload": {"worker_id": "w1", "lease_s": 60, "gpu_id": 3}}, 'w1 {"gpu_id":3}'),
        ({"type": "FAILED", "payload": {"error_message": "x\ny", "reason": "exit"}}, r'x\ny {"reason":"exit"}'),
        ({"type": "COMPLETED", "payload": {"outputs": {"n": 1}}}, '{"outputs":{"n":1}}'),
        ({"type": "NEW", "payload": {"worker_id": 7}}, '{"worker_id":7}'),
    ],
)
def test_an_event_is_one_line(fields: dict[str, Any], text: str) -> None:
    assert event_text(Event.parse(event_json(0, **fields))) == text


def test_the_last_line_of_an_error_names_it() -> None:
    assert last_line("Traceback:\n  File x\nValueError: no\n\n") == "ValueError: no"
    assert last_line("\n") == ""
