"""Asks Linux to keep a process tree together, by `prctl`, and shares a number between two processes."""

import ctypes
import math
import mmap
import os
import signal
from functools import cache
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_PR_SET_CHILD_SUBREAPER: Final = 36


def adopt_orphans() -> None:
    """Makes this process the parent of each descendant that loses its parent."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def get_when_parent_dies(signum: signal.Signals) -> None:
    """Lets the kernel send this process a signal when the thread that forked it ends.

    A parent that is dead already sends nothing: compare `os.getppid` afterwards.
    """
    _prctl(_PR_SET_PDEATHSIG, signum)


def hide_memory() -> None:
    """Keeps other processes of this user from reading this one's memory and first environment.

    Root with CAP_SYS_PTRACE, CAP_SYS_ADMIN or CAP_PERFMON still reads them. A fork inherits the mark, an exec clears
    it.
    """
    _prctl(_PR_SET_DUMPABLE, 0)


def _prctl(option: int, value: int) -> None:
    if _library().prctl(option, value, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


@cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(None, use_errno=True)
    library.prctl.argtypes = (ctypes.c_int, *[ctypes.c_ulong] * 4)
    return library


class SharedInstant:
    """An instant in seconds that this process and those it forks later read and write. It begins as infinity.

    A reader sees a whole value: it is one aligned word.
    """

    def __init__(self) -> None:
        self._value = ctypes.c_double.from_buffer(mmap.mmap(-1, mmap.PAGESIZE))
        self._value.value = math.inf

    def get(self) -> float:
        return self._value.value

    def set(self, instant: float) -> None:
        self._value.value = instant
