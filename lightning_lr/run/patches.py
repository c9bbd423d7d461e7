"""Replaces a method of one object for a while; afterwards the object has what was found on it, or nothing of its own.

A user may have put a method on the object before us (a compiled ``training_step``): it is restored. Another callback,
or a second controller, may put one on top of ours: it stays, and what it calls of ours goes on to what we had found. So
the order in which patches are undone does not matter. A copy or a pickle of the object has what was found on it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, TypeVar

T = TypeVar("T")

NOTHING = object()
"""The object had no attribute of its own by that name: its class has it."""


def patch(owner: Any, name: str, ours: Callable[..., Any], undo: ExitStack) -> Callable[[], None]:
    """Call ``ours`` in place of a method of one object, until ``undo`` is closed.

    Args:
        owner: the object; its class stays as it is.
        name: of the method.
        ours: what is called. To call the former method, get it before: ``getattr(owner, name)``.
        undo: all patches of one fit, undone in reverse.

    Returns:
        Undoes this one before; a second call does no harm.

    >>> class Net:
    ...     def step(self):
    ...         return "plain"
    >>> net, undo = Net(), ExitStack()
    >>> before = patch(net, "step", lambda: "ours", undo)
    >>> net.step()
    'ours'
    >>> undo.close()
    >>> net.step(), vars(net)
    ('plain', {})
    """
    put = _Patch(owner, name, ours)
    undo.callback(put.undo)
    return put.undo


def patched_with(owner: Any, name: str, kind: type[T]) -> T | None:
    """What we put on an object in place of a method, if it is of that kind and still there."""
    found = vars(owner).get(name)
    while isinstance(found, _Patch):
        if isinstance(found.call, kind):
            return found.call
        found = found.found
    return None


def _identity(found: T) -> T:
    return found


class _Patch:
    """Stands on the object; once undone it calls what was there before, if another patch still calls it."""

    def __init__(self, owner: Any, name: str, ours: Callable[..., Any]) -> None:
        self.owner, self.name, self.lasts = owner, name, True
        self.call, self.plain = ours, getattr(owner, name)
        self.found = vars(owner).get(name, NOTHING)
        # Lightning reads the signature of what is wrapped, one layer deep.
        innermost = self.plain
        while isinstance(innermost, _Patch):
            innermost = innermost.plain
        functools.update_wrapper(self, innermost, updated=())
        # Not by setattr: a module keeps records of what is set.
        vars(owner)[name] = self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.call(*args, **kwargs)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """Copied or pickled with its object, in the middle of a fit: what was there before it."""
        if self.found is NOTHING:
            return getattr, (self.owner, self.name)
        return _identity, (self.found,)

    def undo(self) -> None:
        self.call, self.lasts = self.plain, False
        attributes = vars(self.owner)
        if attributes.get(self.name) is not self:
            return  # another patch is on top: it stays
        found = self.found
        while isinstance(found, _Patch) and not found.lasts:
            found = found.found
        if found is NOTHING:
            del attributes[self.name]
        else:
            attributes[self.name] = found
