"""Let a scheduler see only its own rates: its class is exchanged for one whose ``step`` hides our scale.

Many schedulers compute the next rate from the one they find (cosine, for example, may turn negative after a cut), many
others overwrite it. So during a step the groups hold the scheduled rates, and the applied ones before and after it.

Why the class, and not the instance: ``state_dict`` of torch's schedulers saves every instance attribute, so a patched
``step`` would end up in the checkpoint. The new class has the name, module and layout of the old one and is one of its
subclasses, so ``isinstance`` and ``repr`` say what they always said; copies and pickles are of the old class.
"""

from __future__ import annotations

import copyreg
import functools
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import Any

Guard = Callable[[], AbstractContextManager[Any]]

# timm's schedulers have both; it is whichever the training loop calls that must be guarded.
STEPS = ("step", "step_update")

_GUARDS: weakref.WeakKeyDictionary[Any, Guard] = weakref.WeakKeyDictionary()


def guard(scheduler: Any, around: Guard) -> bool:
    """Run every step of the scheduler inside ``around()``; ``False`` where this object does not allow it."""
    if any(name in getattr(scheduler, "__dict__", {}) for name in STEPS):
        return False  # somebody patched this very object: its own attribute hides whatever the class has
    try:
        plain: type = type(scheduler)
        if not _is_guarded_class(plain):
            scheduler.__class__ = _guarded_class(plain)
        _GUARDS[scheduler] = around
    except Exception:  # a class may refuse a subclass, and an object a weak reference, each in its own way
        release(scheduler)
        return False
    return True


def release(scheduler: Any) -> None:
    """Give the scheduler its own class back; does nothing where it has it."""
    with suppress(TypeError):  # an object that cannot be weakly referenced was never guarded
        _GUARDS.pop(scheduler, None)
    if _is_guarded_class(type(scheduler)):
        scheduler.__class__ = type(scheduler).__bases__[0]


def _is_guarded_class(cls: type) -> bool:
    return "_lightning_lr_guarded" in vars(cls)


@functools.cache
def _guarded_class(plain: type) -> type:
    """The subclass that runs each step under the guard of its instance."""
    body: dict[str, Any] = {name: _guarded(getattr(plain, name)) for name in STEPS if hasattr(plain, name)}
    if not body:
        raise TypeError(f"{plain.__name__} has no step to guard.")
    body |= {"__module__": plain.__module__, "__qualname__": plain.__qualname__, "__doc__": plain.__doc__}
    # Without slots of its own the class has the layout of the plain one: Python asks that of an exchange.
    body |= {"__slots__": (), "__reduce_ex__": _reduce_as(plain), "_lightning_lr_guarded": True}
    return type(plain)(plain.__name__, (plain,), body)


def _guarded(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def step(self: Any, *args: Any, **kwargs: Any) -> Any:
        around = _GUARDS.get(self)
        if around is None:
            return method(self, *args, **kwargs)
        with around():
            return method(self, *args, **kwargs)

    return step


def _reduce_as(plain: Any) -> Callable[[Any, Any], Any]:
    """``__reduce_ex__`` that names the plain class, so that ``copy`` and ``pickle`` find it."""

    def reduce(self: Any, protocol: Any) -> Any:
        reduced = plain.__reduce_ex__(self, protocol)
        if not isinstance(reduced, tuple):
            return reduced
        make, arguments = reduced[:2]
        if make is copyreg.__newobj__:  # type: ignore[attr-defined]
            make = plain.__new__  # the same, but pickle refuses the former for any class other than the object's
        return (make, tuple(plain if part is type(self) else part for part in arguments), *reduced[2:])

    return reduce
