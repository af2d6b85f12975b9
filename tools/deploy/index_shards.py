"""Refuses a deployment whose number of shards would hide runs from the lists.

A creation writes to a number of shards and a list reads a number of shards. An update changes the functions one by
one, so a creation may write to a shard that a list does not read yet. Therefore one deployment first lets the lists
read more shards, and the next one lets creations write to them.
"""

from collections.abc import Mapping

READERS, WRITERS = "IndexShardsRead", "IndexShards"


class WrongOrder(Exception):
    """The lists would not show every run."""


def check_order(current: Mapping[str, str] | None, wanted: Mapping[str, str]) -> None:
    """Compare the parameters of a stack with those of the deployment; None stands for no stack. Raises WrongOrder."""
    readers, writers = int(wanted[READERS]), int(wanted[WRITERS])
    if writers > readers:
        raise WrongOrder(f"{WRITERS} ({writers}) must not be more than {READERS} ({readers})")
    if current is None:
        return
    for name, value in ((READERS, readers), (WRITERS, writers)):
        if value < int(current[name]):
            raise WrongOrder(f"{name} is {current[name]} and must never shrink, not to {value} either")
    if writers > int(current[READERS]):
        raise WrongOrder(
            f"{WRITERS} may grow to {writers} only once lists read as many: deploy {READERS}={readers} with"
            f" {WRITERS}={current[WRITERS]} first, then {WRITERS}={writers}"
        )
