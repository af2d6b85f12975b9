"""Builds the objects that wake runs: for sweeps, and for claims that look in passing."""

from functools import cache

from ..dynamodb.due_index import DynamoDBDueIndex
from ..dynamodb.remains import DynamoDBRemains
from ..waking.commands import PassingWaker, Waker
from ..waking.ports import DueIndex
from ..waking.sweep import Sweep
from .api import clock, default_retain_s, store
from .clients import dynamodb, table


def new_sweep() -> Sweep:
    """A new sweep for one invocation."""
    return Sweep(_waker(), _due_index(), DynamoDBRemains(dynamodb(), table(), clock()), clock())


@cache
def passing_waker() -> PassingWaker:
    """The waker of this process. It remembers when it last looked for what is due."""
    return PassingWaker(_waker(), _due_index(), clock())


def _waker() -> Waker:
    return Waker(store(), _due_index(), clock(), default_retain_s=default_retain_s())


def _due_index() -> DueIndex:
    return DynamoDBDueIndex(dynamodb(), table())
