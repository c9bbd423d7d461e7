"""Whether a scheduler will change a learning rate at all, found on a copy.

Libraries give every model a scheduler, also when none is wanted: ``ReduceLROnPlateau(patience=1000)``,
``StepLR(step_size=10**8)``, a constant ``LambdaLR``. Within the budget these are no schedule.

Only torch's own classes are looked at. A copy, with an optimizer that has the groups and no parameters, takes the steps
ahead. What cannot be told counts as a change: a class of the user's own, or a function that may read more than its
argument.
"""

from __future__ import annotations

import builtins
import copy
import functools
import math
import types
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from lightning_lr.optim.param_group_lrs import rated_groups, read

MOST = 10_000
"""Steps that are taken one by one. Later ones are sampled, if the class computes rates from the number of a step."""

SAMPLES = 1000


def changes_rates(scheduler: Any, steps: float) -> bool:
    """Whether a scheduler changes a learning rate within so many of its steps; ``True`` if that cannot be told.

    >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    >>> scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=30)
    >>> changes_rates(scheduler, 29), changes_rates(scheduler, 30)
    (False, True)
    """
    parts = list(_with_parts(scheduler))
    functions = [function for part in parts for function in getattr(part, "lr_lambdas", ())]
    known = all(map(_is_torchs_own, parts))
    if math.isinf(steps) or not known or not all(map(_is_function, functions)):
        return True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _moved(_copied(scheduler), int(steps)) or not all(map(_sees_its_argument_alone, functions))
    except Exception:  # whatever it is, it is more than a schedule that stands still
        return True


def _moved(scheduler: Any, steps: int) -> bool:
    groups = rated_groups(scheduler.optimizer)
    first, first_step = read(groups), getattr(scheduler, "last_epoch", 0)
    on_plateau = isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau)
    worst = (math.inf if scheduler.mode == "min" else -math.inf,) if on_plateau else ()
    one_by_one = steps if on_plateau else min(steps, MOST)
    for _ in range(one_by_one):
        scheduler.step(*worst)
        if _differ(read(groups), first):
            return True
    rest = steps - one_by_one
    for sample in range(1, SAMPLES + 1) if rest else ():
        scheduler.step(first_step + one_by_one + math.ceil(rest * sample / SAMPLES))
        if _differ(read(groups), first):
            return True
    return False


def _differ(rates: Sequence[float], first: Sequence[float]) -> bool:
    """Beyond rounding: a cosine between two equal rates is not constant to the last bit."""
    return any(not math.isclose(rate, one, rel_tol=1e-6) for rate, one in zip(rates, first, strict=True))


def _copied(scheduler: Any) -> Any:
    """A copy that belongs to an optimizer without parameters."""
    optimizer = scheduler.optimizer
    stub = torch.optim.SGD([torch.zeros(1)], lr=0.0)
    plain = [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
    stub.param_groups = [{**copy.deepcopy(group), "params": []} for group in plain]
    return copy.deepcopy(scheduler, {id(optimizer): stub})


def _with_parts(scheduler: Any) -> Iterator[Any]:
    yield scheduler
    for part in getattr(scheduler, "_schedulers", ()):
        yield from _with_parts(part)


def _is_torchs_own(part: Any) -> bool:
    """Whether neither the class nor what a step calls belongs to other code: a patched method may count its calls."""
    called = [getattr(type(part), name) for name in ("step", "get_lr") if hasattr(type(part), name)]
    return all(thing.__module__ == "torch.optim.lr_scheduler" for thing in (type(part), *called))


def _is_function(function: Any) -> bool:
    """A bound method or an object with state would bring its owner along into the copy."""
    inner = function.func if isinstance(function, functools.partial) else function
    return isinstance(inner, types.FunctionType)


def _sees_its_argument_alone(function: Any) -> bool:
    code = (function.func if isinstance(function, functools.partial) else function).__code__
    return not code.co_freevars and all(hasattr(builtins, name) for name in code.co_names)
