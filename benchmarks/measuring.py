"""How figures are taken: in turns, on one CPU, as medians."""

import os
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from statistics import median
from typing import TypeVar

ROUNDS = 9

Key = TypeVar("Key")


def medians_in_turns(
    measure: Mapping[Key, Callable[[], float]], rounds: int = ROUNDS, *, warm_up: int = 1
) -> dict[Key, float]:
    """Every measurement once a round, in an order that changes; the median of each. The first rounds do not count."""
    taken: dict[Key, list[float]] = {key: [] for key in measure}
    order = list(measure)
    shuffled = random.Random(0)  # noqa: S311 - an order
    for number in range(warm_up + rounds):
        shuffled.shuffle(order)
        for key in order:
            seconds = measure[key]()
            if number >= warm_up:
                taken[key].append(seconds)
    return {key: median(values) for key, values in taken.items()}


@contextmanager
def on_one_cpu() -> Iterator[None]:
    """This process and those it starts meanwhile stay on the last CPU it may use, where the system knows how."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)
