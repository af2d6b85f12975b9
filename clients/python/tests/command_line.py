"""Runs command lines in this process, and as processes of their own."""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gyoza_client._cli.main import main

SOURCES = Path(__file__).resolve().parents[1] / "src"

KEY = "a-key-of-these-tests"


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str


class Commands:
    """Runs command lines against one API, named by the environment."""

    def __init__(self, url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.url = url
        self._capsys = capsys
        monkeypatch.setenv("GYOZA_URL", url)
        monkeypatch.setenv("GYOZA_API_KEY", KEY)
        for name in ("GYOZA_SERVER_URL", "GYOZA_PROFILE"):
            monkeypatch.delenv(name, raising=False)

    def __call__(self, *words: str) -> Result:
        code = main(words)
        out, err = self._capsys.readouterr()
        assert KEY not in out + err
        return Result(code, out, err)

    def process(self, *words: str, **options: Any) -> "subprocess.Popen[str]":
        return start(*words, environ={"GYOZA_URL": self.url, "GYOZA_API_KEY": KEY}, **options)


def start(
    *words: str,
    environ: Mapping[str, str] | None = None,
    program: tuple[str, ...] = ("-m", "gyoza_client"),
    **options: Any,
) -> "subprocess.Popen[str]":
    """A process of the command line, whose warnings are errors."""
    settings: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(
        [sys.executable, "-W", "error", *program, *words],
        env={"PYTHONPATH": str(SOURCES), "PATH": os.environ["PATH"], "HOME": "/nonexistent", **(environ or {})},
        text=True,
        **(settings | options),
    )


def finish(process: "subprocess.Popen[str]") -> Result:
    try:
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    return Result(process.returncode, out or "", err or "")
