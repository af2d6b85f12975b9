"""Keeps a deployment from hiding runs from the lists by the number of shards.

A creation puts a run into one of the shards that it writes to; a list shows the shards that it reads. While a stack is
updated its functions change one by one, so that a creation may already write where a list does not read yet. Lists
therefore read more first, in a deployment of its own, and creations write there with the next.
"""

from collections.abc import Mapping

READERS, WRITERS = "IndexShardsRead", "IndexShards"


class WrongOrder(Exception):
    """Lists would not show every run."""


def check_order(current: Mapping[str, str] | None, wanted: Mapping[str, str]) -> None:
    """Compare a stack's parameters, None where there is no stack, with those of the deployment. Raises WrongOrder."""
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
