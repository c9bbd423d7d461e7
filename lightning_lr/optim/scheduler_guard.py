"""Let a scheduler see only its own rates: its class is exchanged for one whose ``step`` hides our scale.

Many schedulers compute the next rate from the one they find (cosine, for example, may turn negative after a cut), many
others overwrite it. So during a step the groups hold the scheduled rates, and the applied ones before and after it.

Why the class, and not the instance: ``state_dict`` of torch's schedulers saves every instance attribute, so a patched
``step`` would end up in the checkpoint. The new class has the name, module and layout of the old one and is one of its
subclasses, so ``isinstance`` and ``repr`` say what they always said; copies and pickles are of the old class. It lives
as long as a scheduler has it, and looks ``step`` up at each call, so a class that is patched or reloaded is honoured.
"""

from __future__ import annotations

import copyreg
import functools
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any

Guard = Callable[[], AbstractContextManager[Any]]

# timm's schedulers have both; the one that the training loop calls must be guarded.
STEPS = ("step", "step_update")

_GUARDS: weakref.WeakKeyDictionary[Any, Guard] = weakref.WeakKeyDictionary()


def guard(scheduler: Any, around: Guard) -> bool:
    """Run every step of the scheduler inside ``around()``; ``False`` if this object does not allow it."""
    if any(name in getattr(scheduler, "__dict__", {}) for name in STEPS):
        return False  # this very object was patched: its own attribute hides that of the class
    try:
        if not _is_guarded_class(type(scheduler)):
            scheduler.__class__ = _guarded_class(type(scheduler))
        _GUARDS[scheduler] = around
    except Exception:  # a class may refuse a subclass, and an object a weak reference, each in its own way
        release(scheduler)
        return False
    return True


def release(scheduler: Any) -> None:
    """Give the scheduler its own class back, if it has another."""
    with suppress(TypeError):  # an object that cannot be weakly referenced was never guarded
        _GUARDS.pop(scheduler, None)
    if _is_guarded_class(type(scheduler)):
        scheduler.__class__ = type(scheduler).__bases__[0]


def _is_guarded_class(cls: type) -> bool:
    return "_lightning_lr_guarded" in vars(cls)


def _guarded_class(plain: type) -> type:
    """The subclass that runs each step under the guard of its instance; one for each class, while it is in use."""
    subclasses: list[type] = type.__subclasses__(plain)  # Python holds them weakly
    for subclass in subclasses:
        if _is_guarded_class(subclass):
            return subclass
    steps = [name for name in STEPS if hasattr(plain, name)]
    if not steps:
        raise TypeError(f"{plain.__name__} has no step to guard.")
    body: dict[str, Any] = {
        "__module__": plain.__module__,
        "__qualname__": plain.__qualname__,
        "__doc__": plain.__doc__,
    }
    # Without slots of its own the class has the layout of the plain one: Python asks that of an exchange.
    body |= {"__slots__": (), "__reduce_ex__": _reduce_as(plain), "_lightning_lr_guarded": True}
    guarded = type(plain)(plain.__name__, (plain,), body)
    for name in steps:
        setattr(guarded, name, _guarded_step(guarded, name))
    return guarded


def _guarded_step(guarded: type, name: str) -> Callable[..., Any]:
    @functools.wraps(getattr(guarded, name), updated=())
    def step(self: Any, *args: Any, **kwargs: Any) -> Any:
        with _GUARDS.get(self, nullcontext)():
            return getattr(super(guarded, self), name)(*args, **kwargs)

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
