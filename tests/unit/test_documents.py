"""Tests that every file and `make` target in a document, a docstring or a comment exists."""

import ast
import io
import os
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from testing.cloudformation import ROOT

MADE = frozenset({".local", ".aws-sam", ".git", ".hypothesis", "__pycache__"})
"""The folders that commands make. Their files are neither read nor expected."""

MADE_WHILE_RUNNING = frozenset(
    {"endpoint.json", "emulator.log", "worker.log", "killed-worker.log", "second-worker.log"}
)
"""Files of `.local/stacks/<port>` (docs/local.md), by their last names."""

OWN_PATH = Path(__file__).relative_to(ROOT).as_posix()
"""This file's path. Its examples name files that do not exist."""

READ_WHOLE = frozenset({".md"})
READ_COMMENTS = frozenset({".yaml", ".toml", ".txt"})
SUFFIXES = "py|md|yaml|toml|json|txt|svg|ts"

_PATH = re.compile(rf"(?<![\w/.~<>{{}}$*@:%-])((?:[\w.-]+/)*[\w-][\w.-]*\.(?:{SUFFIXES}))(?![\w/*<{{(]|\.\w)")
_FOLDER = re.compile(r"(?<![\w/.~<>{}$*@:%-])((?:[\w.-]+/)+[\w.-]*\w|(?:[\w.-]+/)+)(?![\w/*<{(])")
_ADR = re.compile(r"\bADRs? (\d+)")
_LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)\s]*)?\)")
_TARGET = re.compile(r"`make\s+((?:[A-Z_]+=\S+\s+)*)([a-z][a-z-]*)|^(?:    |\t)make ([a-z][a-z-]*)", re.MULTILINE)
_FENCED_TARGET = re.compile(r"^make ([a-z][a-z-]*)", re.MULTILINE)
_CODE = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)


@cache
def files() -> frozenset[str]:
    found = set()
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in MADE and not name.endswith("_cache")]
        found |= {(Path(folder) / name).relative_to(ROOT).as_posix() for name in names}
    return frozenset(found)


@cache
def ends_of_files() -> frozenset[str]:
    """The names of all files: the whole path, the last name, and every ending of the path between them."""
    return frozenset("/".join(path.split("/")[start:]) for path in files() for start in range(path.count("/") + 1))


def targets() -> frozenset[str]:
    return frozenset(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def prose(path: Path) -> str:
    """The text of a document, or the docstrings and comments of a source."""
    text = path.read_text()
    if path.suffix == ".py":
        return "\n".join(_python_prose(text))
    if path.suffix in READ_WHOLE:
        return text
    return "\n".join(re.findall(r"(?:^|\s)# ?(.*)", text))


def _python_prose(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.value.value
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.string.removeprefix("#").strip()


def missing_files(text: str) -> set[str]:
    """The named files, paths and numbers of ADRs that the repository does not hold."""
    text = _LINK.sub("]", text)  # The targets of links are relative to their document: see missing_links.
    named = set(_PATH.findall(text))
    known = ends_of_files() | MADE_WHILE_RUNNING
    missing = {name for name in named if name not in known and name.split("/")[0] not in MADE}
    tops = {path.split("/")[0] for path in files() if "/" in path}
    for name in set(_FOLDER.findall(text)) - named:
        # A path that begins with no folder of the repository is a route, a pair of words or a name elsewhere.
        is_ours = name.split("/")[0] in tops
        if is_ours and not (ROOT / name).exists() and not any((ROOT / name).parent.glob(f"{Path(name).name}-*")):
            missing.add(name)
    for number in _ADR.findall(text):
        if not any((ROOT / "docs/adr").glob(f"{int(number):04}-*.md")):
            missing.add(f"ADR {number}")
    return missing


def missing_links(text: str, folder: Path) -> set[str]:
    """The targets of Markdown links that do not exist, relative to the ``folder`` of the document."""
    return {link for link in _LINK.findall(text) if not (folder / link).exists()}


def missing_targets(text: str) -> set[str]:
    named = {quoted or indented for _, quoted, indented in _TARGET.findall(text)}
    named |= {name for block in _CODE.findall(text) for name in _FENCED_TARGET.findall(block)}
    return named - targets()


def texts() -> dict[str, str]:
    """The prose of each file, by its path."""
    read = READ_WHOLE | READ_COMMENTS | {".py"}
    paths = [Path(path) for path in sorted(files()) if Path(path).suffix in read or Path(path).name == "Makefile"]
    return {path.as_posix(): prose(ROOT / path) for path in paths}


def test_every_file_link_and_target_that_a_text_names_exists() -> None:
    missing = {
        path: missing_files(text) | missing_targets(text) | missing_links(text, (ROOT / path).parent)
        for path, text in texts().items()
        if path != OWN_PATH
    }
    assert {path: names for path, names in missing.items() if names} == {}


def test_no_text_cites_a_contract_for_the_repository_holds_none() -> None:
    cited = {path: re.findall(r"(?i)\bthe contract\b|\bcontract,? section", text) for path, text in texts().items()}
    assert {path: words for path, words in cited.items() if words and path != OWN_PATH} == {}


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("as docs/nothing.md says", {"docs/nothing.md"}),
        ("`nothing.py` does it", {"nothing.py"}),
        ("in `tests/nothing/`", {"tests/nothing/"}),
        ("`domain/nothing.py`", {"domain/nothing.py"}),
        ("(docs/adr/9999)", {"docs/adr/9999"}),
        ("ADR 9999", {"ADR 9999"}),
        ("docs/push.md, `domain/run.py`, `run.py`, docs/adr/0006 and ADR 6, `functions/`", set()),
    ],
)
def test_a_file_that_does_not_exist_is_noticed(text: str, missing: set[str]) -> None:
    assert missing_files(text) == missing


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("`make nothing`", {"nothing"}),
        ("`make nothing ENV=dev`", {"nothing"}),
        ("    make nothing PORT=4600\n", {"nothing"}),
        ("```sh\nmake nothing\n```", {"nothing"}),
        ("`make\nnothing`", {"nothing"}),
        ("`make run`; make nothing of it", set()),
    ],
)
def test_a_target_that_does_not_exist_is_noticed(text: str, missing: set[str]) -> None:
    assert missing_targets(text) == missing


@pytest.mark.parametrize(
    ("link", "missing"),
    [
        ("push.md", set()),
        ("../README.md", set()),
        ("README.md", {"README.md"}),
        ("../README.md#next-steps", set()),
        ("README.md#next-steps", {"README.md"}),
    ],
)
def test_a_link_is_followed_from_the_folder_of_its_document(link: str, missing: set[str]) -> None:
    assert missing_links(f"see [there]({link})", ROOT / "docs") == missing
