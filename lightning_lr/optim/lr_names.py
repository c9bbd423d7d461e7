"""The names of the learning rates, as Lightning's ``LearningRateMonitor`` gives them.

Ours must be the same, so that a chart of the applied rate and a line of our journal speak of the same thing. But the
monitor needs a logger and keeps its names to itself, so this is the same rule written anew; a test holds the two
together::

    scheduler with a name          my_schedule
    else the optimizer's class     lr-Adam, and lr-Adam-1 for the second optimizer of that class
    several groups                 lr-Adam/pg1, lr-Adam/pg2, or lr-Adam/<name> where the group has a name

Optimizers that have a scheduler are counted first. Where the monitor gives up (two groups of one name) or would mix two
optimizers up (two schedulers of one name), a number is put in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from lightning_lr.optim.param_group_lrs import innermost


def rate_names(optimizers: Sequence[Any], lr_scheduler_configs: Iterable[Any] = ()) -> dict[int, list[str]]:
    """Return, for each optimizer by index, the names of its groups that have a learning rate.

    Call it anew when groups may have been added: with the second group, ``lr-Adam`` becomes ``lr-Adam/pg1``.

    Args:
        optimizers: ``trainer.optimizers``.
        lr_scheduler_configs: ``trainer.lr_scheduler_configs``, each with ``scheduler`` and ``name``.
    """
    prefixes = _prefixes([innermost(optimizer) for optimizer in optimizers], lr_scheduler_configs)
    return {i: _group_names(prefixes[i], optimizer) for i, optimizer in enumerate(optimizers)}


def _prefixes(optimizers: Sequence[Any], configs: Iterable[Any]) -> list[str]:
    """The part of the name that identifies the optimizer, in the order of the optimizers."""
    seen: Counter[type] = Counter()
    chosen: dict[int, str] = {}
    for config in configs:
        owner = innermost(getattr(config.scheduler, "optimizer", None))
        name = _prefix(owner, getattr(config, "name", None), seen)
        # The first of several schedulers names the optimizer.
        chosen.setdefault(id(owner), _free(name, chosen.values()))
    for optimizer in optimizers:
        if id(optimizer) not in chosen:
            chosen[id(optimizer)] = _free(_prefix(optimizer, None, seen), chosen.values())
    return [chosen[id(optimizer)] for optimizer in optimizers]


def _prefix(optimizer: Any, given: str | None, seen: Counter[type]) -> str:
    """The monitor's rule: a name that was given is not counted, but gets the number that the class has reached."""
    cls = type(optimizer)
    if given is None:
        seen[cls] += 1
    name = f"lr-{cls.__name__}" if given is None else given
    return f"{name}-{seen[cls] - 1}" if seen[cls] > 1 else name


def _free(name: str, taken: Iterable[str]) -> str:
    """The name, or the first of ``name-1``, ``name-2``, … that is not taken."""
    others = set(taken)
    number, free = 0, name
    while free in others:
        number += 1
        free = f"{name}-{number}"
    return free


def _group_names(prefix: str, optimizer: Any) -> list[str]:
    """The names of one optimizer's groups, counted as the optimizer counts them."""
    groups = getattr(optimizer, "param_groups", None) or []
    own = [group.get("name") for group in groups]
    taken = Counter(name or f"pg{i}" for i, name in enumerate(own, start=1))
    names = []
    for i, (group, name) in enumerate(zip(groups, own, strict=True), start=1):
        if group.get("lr") is None:
            continue
        suffix = name if name and taken[name] == 1 else f"pg{i}"
        names.append(f"{prefix}/{suffix}" if name or len(groups) > 1 else prefix)
    return names
