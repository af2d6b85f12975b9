"""Splits the text of a command into words, where no shell is needed for that."""

import re
import shlex
from typing import Final

_PLAIN: Final = re.compile(r"""(?:[\w \t%+,./:=@^-]|'[^'\0]*'|"[^"$`\\\0]*")+""")
"""Text that a shell takes as it stands: words, and quotes in which nothing is replaced."""

_ASSIGNMENT: Final = re.compile(r"\w+\+?=")

_WORDS_OF_A_SHELL: Final = frozenset(
    {"!", ".", ":", "[", "[[", "alias", "bg", "break", "builtin", "case", "cd", "chdir", "command", "continue"}
    | {"coproc", "declare", "do", "done", "echo", "elif", "else", "enable", "esac", "eval", "exec", "exit", "export"}
    | {"false", "fg", "fi", "for", "function", "getopts", "hash", "if", "in", "jobs", "kill", "let", "local"}
    | {"mapfile", "popd", "printf", "pushd", "pwd", "read", "readarray", "readonly", "return", "select", "set", "shift"}
    | {"shopt", "source", "test", "then", "time", "times", "trap", "true", "type", "typeset", "ulimit", "umask"}
    | {"unalias", "unset", "until", "wait", "while"}
)
"""Reserved words and built-in commands of the shells that are installed as /bin/sh, as scripts use them."""


def words_to_run(text: str) -> list[str]:
    """The words of the command; those of /bin/sh with the text, if only a shell can run it as it is written.

    A program that runs without a shell gets the signals itself, and its exit code is the command's.
    """
    if _PLAIN.fullmatch(text):
        words = shlex.split(text)
        if words and words[0] and words[0] not in _WORDS_OF_A_SHELL and not _ASSIGNMENT.match(words[0]):
            return words
    return ["/bin/sh", "-c", text]
