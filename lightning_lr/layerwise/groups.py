"""An optimizer's parameter groups, one for each layer; schedulers and their lists follow.

::

    group 0: a, b, c   (name "backbone")     ─►     group 0: a   ("backbone/a")
    group 1: d         (name "head")                group 1: d   ("head/d")
                                                    group 2: b   ("backbone/b")
                                                    group 3: c   ("backbone/c")

The first layer of a group stays in its place and the others are added behind, so that every index that others hold
means what it meant. All options of the group, its momentum buffers and the entries of the schedulers' lists are kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import nn

from lightning_lr.optim.lr_scale import LRScale
from lightning_lr.optim.param_group_lrs import LAYER, ORIGIN, innermost

LISTS = ("base_lrs", "_last_lr", "lr_lambdas", "min_lrs", "max_lrs", "base_momentums", "max_momentums", "base_values")
"""What schedulers keep once a group: torch's own, and the last one timm's."""


def split_groups(optimizer: Any, layers: Mapping[str, Sequence[nn.Parameter]], schedulers: Iterable[Any] = ()) -> bool:
    """Divide every group that holds several layers; returns whether there was one. Once more does no harm.

    Args:
        optimizer: a torch optimizer or a wrapper around one.
        layers: see :func:`~lightning_lr.layerwise.layers.layers_of`; parameters of none of them stay where they are.
        schedulers: those of this optimizer.
    """
    optimizer = innermost(optimizer)
    control = LRScale.of(optimizer)
    control.take_notes()  # before the groups change, so that what others wrote is taken for what it is
    layer_of = {id(one): name for name, parameters in layers.items() for one in parameters}
    groups, count = optimizer.param_groups, len(optimizer.param_groups)
    several = count > 1
    parents: list[int] = []
    for index in range(count):
        parts = _parts(groups[index], layer_of)
        new = [_part(groups[index], index, positions, name, several) for name, positions in parts.items()]
        if len(new) > 1:
            groups[index].update(new[0])  # the dict stays: others hold it
            groups.extend(new[1:])
            parents += [index] * (len(new) - 1)
        elif new and LAYER not in groups[index]:
            groups[index].update(new[0])
    for scheduler in schedulers:
        _extend_scheduler(scheduler, count, parents)
    control.follow_split(parents)
    return bool(parents)


def _parts(group: Mapping[str, Any], layer_of: Mapping[int, str]) -> dict[str, list[int]]:
    """Layer → positions of its parameters in the group."""
    parts: dict[str, list[int]] = {}
    for position, parameter in enumerate(group["params"]):
        parts.setdefault(layer_of.get(id(parameter), "frozen"), []).append(position)
    return parts


def _part(group: Mapping[str, Any], index: int, positions: Sequence[int], layer: str, several: bool) -> dict[str, Any]:
    """The group of one layer, with all options of the group that it is cut from."""
    part = {**group, "params": [group["params"][at] for at in positions], LAYER: layer}
    part.setdefault(ORIGIN, index)
    if "param_names" in group:
        part["param_names"] = [group["param_names"][at] for at in positions]
    # Names must differ, or LearningRateMonitor gives up: groups without one are told apart by their number.
    family = group.get("name") or (f"pg{index + 1}" if several else None)
    part["name"] = f"{family}/{layer}" if family else layer
    return part


def _extend_scheduler(scheduler: Any, count: int, parents: Sequence[int]) -> None:
    """Lengthen a scheduler's lists, and those of the schedulers in it."""
    held = getattr(scheduler, "__dict__", {})
    for name in LISTS:
        one = held.get(name)
        if isinstance(one, list) and len(one) == count:
            one += [one[parent] for parent in parents]
    for inner in held.get("_schedulers", ()):
        _extend_scheduler(inner, count, parents)
