"""Gives the clients' methods the names, docstrings and parameters of the operations that they run."""

from collections.abc import Callable
from inspect import signature
from typing import Any, TypeVar, get_args, get_origin

from gyoza_client._steps import Item

F = TypeVar("F", bound=Callable[..., Any])


def shown_as(operation: Callable[..., Any], returns: Any = None) -> Callable[[F], F]:
    """Makes ``help`` show a method as the operation. ``returns`` is the generic type that the method returns, which is
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
