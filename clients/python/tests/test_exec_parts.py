"""Tests the parts of `gyoza exec` that need no process."""

import json
import math
import os
import signal
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gyoza_client._exec.command_line import _worker_id, main
from gyoza_client._exec.documents import MAX_FILE_BYTES, BadOutputs, Documents, parse_outputs
from gyoza_client._exec.ending import MAX_PAYLOAD_BYTES, End, Ended, cancelled, completed, ends_to_try, failed, readable
from gyoza_client._exec.output import TAIL_BYTES, Tail
from gyoza_client._exec.progress import ProgressLines, ProgressReports
from gyoza_client._exec.wrapper import Settings
from gyoza_client._models import EventType

EXIT_3 = 3 << 8


@pytest.mark.parametrize(
    ("chunks", "progress"),
    [
        ([b"::gyoza progress=40\n"], [40]),
        ([b"::gyoza progress=40\r\n"], [40]),
        ([b"::gyoza progress=40 \t\n"], [40]),
        ([b"::gyoza progress=0\n::gyoza progress=100\n"], [100]),
        ([b"::gyoza progress=7\n::gyoza progress=101\n"], [7]),
        ([b"a\n::gyoza progress=7\nb\nc"], [7]),
        ([b"::gy", b"oza progress=4", b"0", b"\n"], [None, None, None, 40]),
        ([b"::gyoza progress=4", b"0\n::gyoza progress=5", b"\n"], [None, 40, 5]),
        ([b"x" * 100, b"::gyoza progress=40\n"], [None, None]),
        ([b"x" * 64, b"\n::gyoza progress=40\n"], [None, 40]),
        ([b"x::gyoza progress=40\n"], [None]),
        ([b" ::gyoza progress=40\n"], [None]),
        ([b"::gyoza progress=-1\n::gyoza progress=4.5\n::gyoza progress=\n::gyoza progress=1000\n"], [None]),
        ([b"::gyoza progress=40"], [None]),
        ([b"\0\xff\n::gyoza progress=40\n\0"], [40]),
    ],
)
def test_progress_is_a_whole_line_wherever_chunks_break_it(chunks: list[bytes], progress: list[int | None]) -> None:
    lines = ProgressLines()
    assert [lines.feed(chunk) for chunk in chunks] == progress


def test_a_last_line_needs_no_line_break() -> None:
    lines = ProgressLines()
    lines.feed(b"a\n::gyoza progress=40")
    assert lines.end() == 40
    assert lines.end() is None


def test_a_line_that_never_ends_is_not_kept() -> None:
    lines = ProgressLines()
    for _ in range(1000):
        lines.feed(b"x" * 1000)
    assert len(lines._unfinished) <= 64


@dataclass
class Reports:
    """Records what `ProgressReports` reports, and by when."""

    made: list[tuple[int, float]] = field(default_factory=list)

    def __call__(self, percent: int, not_before: float) -> None:
        self.made.append((percent, not_before))


def test_the_newest_progress_wins_and_is_reported_once() -> None:
    reports = Reports()
    progress = ProgressReports(reports)
    assert [progress.put(1), progress.put(2), progress.put(3)] == [True, False, False]
    assert progress.due_at == 0.0
    progress.report_if_due(100.0)
    progress.report_if_due(100.0)
    progress.flush(100.0)
    assert (reports.made, progress.due_at) == ([(3, 100.0)], math.inf)


def test_progress_waits_for_the_answer_before_it_and_for_its_second() -> None:
    reports = Reports()
    progress = ProgressReports(reports)
    progress.put(1)
    progress.report_if_due(100.0)
    progress.put(2)
    assert progress.due_at == math.inf
    progress.report_if_due(105.0)
    progress.answered()
    assert progress.due_at == 101.0
    progress.report_if_due(100.9)
    assert reports.made == [(1, 100.0)]
    progress.report_if_due(105.0)
    assert reports.made == [(1, 100.0), (2, 105.0)]


def test_progress_that_was_reported_is_not_reported_again() -> None:
    reports = Reports()
    progress = ProgressReports(reports)
    for now in (100.0, 110.0):
        progress.put(1)
        progress.report_if_due(now)
        progress.answered()
    assert reports.made == [(1, 100.0)]


def test_a_flush_waits_for_no_answer_but_keeps_its_second() -> None:
    reports = Reports()
    progress = ProgressReports(reports)
    progress.put(1)
    progress.report_if_due(100.0)
    progress.put(2)
    progress.flush(100.2)
    assert reports.made == [(1, 100.0), (2, 101.0)]


def test_the_tail_is_the_end_of_all_that_was_added() -> None:
    tail, added = Tail(), b""
    for size in [0, 1, 100, TAIL_BYTES, 3, 5 * TAIL_BYTES, 17, *[1000] * 100]:
        chunk = os.urandom(size)
        tail.add(chunk)
        added += chunk
        assert tail.get() == added[-TAIL_BYTES:]


@pytest.mark.parametrize(
    ("output", "text"),
    [
        (b"", ""),
        (b"gr\xc3\xbc\xc3\x9fe\n", "grüße"),
        (b"\xff\xfe a", "\ufffd\ufffd a"),
        (b"a\0b\x07c\x7fd\x08e", "abcde"),
        ("a\x85b\x9bc".encode(), "abc"),
        (b"\tx\r\ny\rz\n\n", "\tx\ny\nz"),
        (b"\x1b[1;31mred\x1b[0m \x1b]0;title\x07plain", "red plain"),
    ],
)
def test_the_output_in_a_message_has_no_control_characters(output: bytes, text: str) -> None:
    assert readable(output) == text


@pytest.mark.parametrize(
    ("ended", "payload"),
    [
        (Ended(EXIT_3), {"exit_code": 3, "error_message": "The command ended with exit code 3\noops"}),
        (
            Ended(signal.SIGSEGV),
            {"signal": "SIGSEGV", "error_message": "The command was killed by SIGSEGV\noops"},
        ),
        (
            Ended(signal.SIGABRT | 0x80),
            {"signal": "SIGABRT", "error_message": "The command was killed by SIGABRT\noops"},
        ),
        (
            Ended(EXIT_3, told_to_stop=True),
            {
                "exit_code": 3,
                "reason": "interrupted",
                "error_message": "The command was told to stop and ended with exit code 3\noops",
            },
        ),
        (
            Ended(signal.SIGKILL, guard_died=True),
            {
                "signal": "SIGKILL",
                "error_message": "The guard of the command died, and the command was killed\noops",
            },
        ),
        (
            Ended(None, guard_died=True),
            {"error_message": "The guard of the command died, and the command was killed\noops"},
        ),
    ],
)
def test_a_failure_says_how_the_command_ended_and_what_it_wrote_last(ended: Ended, payload: dict[str, object]) -> None:
    assert failed(ended, b"oops\n") == End(EventType.FAILED, payload)


@pytest.mark.parametrize(
    "output", [b"x" * 40_000, b'"\\\n' * 20_000, b"\xff" * 20_000, "é🥟".encode() * 5_000, b"\t" * 40_000]
)
def test_a_failure_holds_as_much_of_the_output_as_a_payload_may(output: bytes) -> None:
    payload = failed(Ended(EXIT_3), output + b"the end").payload
    size = len(json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode())
    assert MAX_PAYLOAD_BYTES - 12 <= size <= MAX_PAYLOAD_BYTES
    assert payload["error_message"].endswith("the end")


def test_a_failure_without_output_is_a_sentence() -> None:
    assert failed(Ended(EXIT_3), b"\0\r\n").payload["error_message"] == "The command ended with exit code 3"


def test_the_other_ends_carry_what_they_should() -> None:
    assert completed({"a": 1}) == End(EventType.COMPLETED, {"outputs": {"a": 1}})
    assert cancelled(Ended(signal.SIGTERM)) == End(EventType.CANCELLED, {"signal": "SIGTERM"})


@pytest.mark.parametrize(
    ("ended", "ends"),
    [
        (Ended(0), ["COMPLETED", "FAILED", "FAILED"]),
        (Ended(0, asked_to_cancel=True), ["COMPLETED", "FAILED", "FAILED"]),
        (Ended(EXIT_3), ["FAILED", "FAILED"]),
        (Ended(EXIT_3, told_to_stop=True), ["FAILED", "FAILED"]),
        (Ended(EXIT_3, told_to_stop=True, asked_to_cancel=True), ["CANCELLED"]),
    ],
)
def test_an_end_that_the_api_refuses_is_followed_by_a_smaller_one(ended: Ended, ends: list[str]) -> None:
    made = [make("too large").type for make in ends_to_try(ended, b"oops", {"a": 1})]
    assert made == ends


def test_the_failure_after_refused_outputs_carries_the_refusal() -> None:
    [_, second, third] = ends_to_try(Ended(0), b"oops", {"a": 1})
    text = "The command ended with exit code 0, but the API refused its outputs"
    assert second("too large").payload == {"exit_code": 0, "error_message": f"{text}: too large\noops"}
    assert third("too large").payload == {"exit_code": 0, "error_message": text}


@pytest.mark.parametrize(
    ("status", "code"), [(0, 0), (EXIT_3, 3), (signal.SIGTERM, 143), (signal.SIGKILL, 137), (None, 137)]
)
def test_the_exit_code_is_the_commands_or_128_and_its_signal(status: int | None, code: int) -> None:
    assert Ended(status).exit_code == code


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"{", "is no JSON: "),
        (b"{} {}", "is no JSON: "),
        (b"\xef\xbb\xbf{}", "is no JSON: "),
        (b'{"a": NaN}', "is no JSON: NaN "),
        (b'{"a": -Infinity}', "is no JSON: "),
        (b'{"a": 1e999}', "is no JSON: "),
        (b'{"a": "\xff"}', "is not UTF-8 (byte 7)"),
        ('{"a": 1}'.encode("utf-16"), "is not UTF-8 "),
        (b'{"a": "\\ud800"}', "holds half of a surrogate pair"),
        (b"[" * 100_000, "is nested too deeply"),
        (b'{"a": 1' + b"0" * 5000 + b"}", "is no JSON: a number of 5001 digits is too long"),
        (b"[1]", "is no JSON object but an array"),
        (b'"a"', "is no JSON object but a string"),
        (b"1.5", "is no JSON object but a number"),
        (b"true", "is no JSON object but a boolean"),
        (b"null", "is no JSON object but null"),
        (b'{"a": "' + b"x" * MAX_FILE_BYTES + b'"}', f"has more than {MAX_FILE_BYTES} bytes"),
    ],
)
def test_whatever_is_no_json_object_is_bad_outputs(text: bytes, why: str) -> None:
    with pytest.raises(BadOutputs) as problem:
        parse_outputs(text)
    assert str(problem.value).startswith(why)


def test_outputs_are_any_json_object() -> None:
    assert parse_outputs(b'\n{"a": [1, 2.5, null, "\xc3\xbc"], "b": {}}\n') == {"a": [1, 2.5, None, "ü"], "b": {}}


@pytest.fixture
def documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Documents:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return Documents({"text": "grüße", "n": 1.0})


def test_the_inputs_are_a_private_file(documents: Documents) -> None:
    assert documents.inputs.read_bytes() == '{"text":"grüße","n":1.0}'.encode()
    assert documents.folder.stat().st_mode & 0o777 == 0o700
    documents.remove()
    assert not documents.folder.exists()


def test_no_outputs_file_is_no_outputs(documents: Documents) -> None:
    assert documents.read_outputs() == {}


def test_the_outputs_are_what_the_file_holds(documents: Documents) -> None:
    documents.outputs.write_text('{"a": 1}')
    assert documents.read_outputs() == {"a": 1}


def test_a_file_of_any_size_is_read_to_the_limit(documents: Documents) -> None:
    with documents.outputs.open("wb") as file:
        file.truncate(10**12)
    with pytest.raises(BadOutputs, match="has more than"):
        documents.read_outputs()


def test_outputs_that_are_no_regular_file_are_bad(documents: Documents, tmp_path: Path) -> None:
    os.mkfifo(documents.outputs)
    with pytest.raises(BadOutputs, match="is no regular file"):
        documents.read_outputs()
    documents.outputs.unlink()
    documents.outputs.mkdir()
    with pytest.raises(BadOutputs, match="is no regular file"):
        documents.read_outputs()
    documents.outputs.rmdir()
    (tmp_path / "elsewhere").write_text("{}")
    documents.outputs.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BadOutputs, match="is a symbolic link"):
        documents.read_outputs()


def test_outputs_are_read_from_the_folder_that_was_made(documents: Documents, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other/outputs.json").write_text('{"stolen": 1}')
    documents.folder.rename(tmp_path / "away")
    documents.folder.symlink_to(tmp_path / "other")
    assert documents.read_outputs() == {}


def test_the_worker_is_the_slots_or_the_jobs_or_one_that_nobody_else_is() -> None:
    assert _worker_id({"GYOZA_WORKER_ID": "slot-1", "AWS_BATCH_JOB_ID": "job-1"}) == "slot-1"
    assert _worker_id({"GYOZA_WORKER_ID": "", "AWS_BATCH_JOB_ID": "job-1"}) == "job-1"
    assert _worker_id({}) != _worker_id({})
    assert len(_worker_id({})) <= 128


@pytest.mark.parametrize(
    ("argv", "environ", "named"),
    [
        (["--", "true"], {"GYOZA_RUN_ID": ""}, "GYOZA_RUN_ID"),
        (["--", "true"], {"GYOZA_RUN_ID": "\udcff"}, "GYOZA_RUN_ID"),
        (["--", "true"], {"GYOZA_RUN_ID": "a\nb"}, "GYOZA_RUN_ID"),
        (["--", "true"], {"GYOZA_ATTEMPT": ""}, "GYOZA_ATTEMPT is not set"),
        (["--", "true"], {"GYOZA_ATTEMPT": "1" * 5000}, "GYOZA_ATTEMPT"),
        (["--", "true"], {"GYOZA_ATTEMPT": "0"}, "GYOZA_ATTEMPT"),
        (["--", "true"], {"GYOZA_ATTEMPT": "one"}, "GYOZA_ATTEMPT"),
        (["--", "true"], {"GYOZA_WORKER_ID": "x" * 129}, "GYOZA_WORKER_ID"),
        (["--", "true"], {"GYOZA_WORKER_ID": "\udcff"}, "GYOZA_WORKER_ID"),
        (["--", "true"], {"GYOZA_WORKER_ID": "", "AWS_BATCH_JOB_ID": "x" * 129}, "AWS_BATCH_JOB_ID"),
        ([], {}, "no command"),
        (["--"], {}, "no command"),
        (["--lease", "30"], {}, "no command"),
        *[(["--lease", text, "--", "true"], {}, "--lease") for text in ("14", "3601", "20.5", "-20", "", "x", "٢٠")],
        *[(["--grace", text, "--", "true"], {}, "--grace") for text in ("-1", "3601", "nan", "inf", "x")],
        (["--fast", "--", "true"], {}, "--fast"),
        (["--json", "--", "true"], {}, "--json"),
    ],
)
def test_a_wrong_use_is_named_and_exits_with_2(
    argv: list[str],
    environ: dict[str, str],
    named: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    right = {"GYOZA_URL": "http://127.0.0.1:9/live", "GYOZA_API_KEY": "key", "GYOZA_RUN_ID": "r", "GYOZA_ATTEMPT": "1"}
    for name, value in {**right, **environ}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("gyoza_client._exec.command_line.execute", lambda settings: pytest.fail(f"began {settings}"))
    try:
        code: object = main(argv)
    except SystemExit as exited:
        code = exited.code
    assert code == 2
    assert named in capfd.readouterr().err


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """The settings of each execution that is to begin. None begins."""
    begun: list[Settings] = []

    def begin(settings: Settings) -> int:
        begun.append(settings)
        return 0

    monkeypatch.setattr("gyoza_client._exec.command_line.execute", begin)
    for name, value in {"GYOZA_RUN_ID": "r", "GYOZA_ATTEMPT": "1"}.items():
        monkeypatch.setenv(name, value)
    for name in ("GYOZA_URL", "GYOZA_SERVER_URL", "GYOZA_API_KEY", "GYOZA_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    return begun


def test_a_missing_key_is_an_error_with_code_1(
    settings: list[Settings], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GYOZA_URL", "http://127.0.0.1:9/live")
    assert (main(["--", "true"]), settings) == (1, [])
    assert "without the key" in capfd.readouterr().err


def test_a_profile_gives_the_address_unless_the_environment_does(
    settings: list[Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "gyoza/profiles.toml"
    file.parent.mkdir()
    file.touch(0o600)
    file.write_text('[lab]\nurl = "http://127.0.0.1:9/lab"\napi_key = "of the lab"\n')
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert main(["--profile", "lab", "--", "true"]) == 0
    assert capfd.readouterr().err == ""
    monkeypatch.setenv("GYOZA_URL", "http://127.0.0.1:9/live")
    monkeypatch.setenv("GYOZA_API_KEY", "key")
    assert main(["--profile", "lab", "--", "true"]) == 0
    assert "come before --profile lab, which is passed over" in capfd.readouterr().err
    assert [each.address.api_key for each in settings] == ["of the lab", "key"]
