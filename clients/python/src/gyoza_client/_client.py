"""Holds what both clients share: their parts, their options, and methods that look like the operations they run."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from inspect import signature
from typing import Any, Generic, Self, TypeVar, get_args, get_origin

from gyoza_client._calling import Caller, Limits
from gyoza_client._configuration import Address, find_address
from gyoza_client._operations import Operations
from gyoza_client._steps import Item

D = TypeVar("D")
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Core(Generic[D]):
    """The parts of a client. Workers and commands make a client of other parts with `replace`."""

    address: Address
    driver: D
    """Takes the steps of operations."""
    caller: Caller

    @property
    def limits(self) -> Limits:
        return self.caller.limits

    @property
    def operations(self) -> Operations:
        return Operations(self.caller)

    def limited(self, limits: Limits) -> "Core[D]":
        """The same parts with other limits."""
        return replace(self, caller=replace(self.caller, limits=limits))


class Client(ABC, Generic[D]):
    """A client of one deployment."""

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        profile: str | None = None,
        timeout: float = Limits.timeout,
        call_timeout: float = Limits.call_timeout,
        max_retries: int = Limits.max_retries,
    ) -> None:
        caller = Caller(Limits(timeout, call_timeout, max_retries))
        address = find_address(url, api_key, profile)
        self._core: Core[D] = Core(address, self._new_driver(address), caller)

    @staticmethod
    @abstractmethod
    def _new_driver(address: Address) -> D:
        """A driver with connections of its own."""

    @property
    def url(self) -> str:
        """The address of the API, without a slash at its end."""
        return self._core.address.url

    def with_options(
        self, *, timeout: float | None = None, call_timeout: float | None = None, max_retries: int | None = None
    ) -> Self:
        """A client with other limits on the same connections. Closing either closes both."""
        given = {"timeout": timeout, "call_timeout": call_timeout, "max_retries": max_retries}
        changed: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        return self._of(self._core.limited(replace(self._core.limits, **changed)))

    def _of(self, core: Core[D]) -> Self:
        """A client of the same class with other parts."""
        other = object.__new__(type(self))
        other.__dict__ |= self.__dict__ | {"_core": core}
        return other

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"


def shown_as(operation: Callable[..., Any], returns: Any = None) -> Callable[[F], F]:
    """Make ``help`` show a method as the operation. ``returns`` is the generic type that the method returns, which is
    filled with the operation's types; without it the method returns the operation's result.
    """

    def decorate(method: F) -> F:
        shown = signature(operation)
        types = get_args(shown.return_annotation)
        if returns is None:
            result = types[-1]
        elif len(types) == 2:
            result = returns[types]
        else:
            [item] = [get_args(each)[0] for each in get_args(types[0]) if get_origin(each) is Item]
            result = returns[item]
        method.__name__ = method.__qualname__ = operation.__name__
        method.__doc__ = operation.__doc__
        vars(method)["__signature__"] = shown.replace(return_annotation=result)
        return method

    return decorate
