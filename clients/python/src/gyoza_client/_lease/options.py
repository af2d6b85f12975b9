"""Values of options that `gyoza exec` and `gyoza worker` have in common."""

from argparse import ArgumentTypeError
from typing import Final

LEASES_S: Final = (15, 3600)
"""The shortest and the longest lease that the API gives."""

_LONGEST_GRACE_S: Final = 3600.0


def lease(text: str) -> int:
    shortest, longest = LEASES_S
    if not text.isascii() or not text.isdecimal() or not shortest <= int(text) <= longest:
        raise ArgumentTypeError(f"{text!r} is no whole number from {shortest} to {longest}")
    return int(text)


def seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= _LONGEST_GRACE_S:
        raise ArgumentTypeError(f"{text!r} is no number from 0 to {_LONGEST_GRACE_S:g}")
    return value


def count(text: str) -> int:
    if not text.isascii() or not text.isdecimal():
        raise ArgumentTypeError(f"{text!r} is no whole number")
    return int(text)
