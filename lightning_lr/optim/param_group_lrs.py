"""The learning rates that an optimizer's parameter groups hold: read as plain floats, and put there for ``lr_control``.

A rate is a float, or a tensor where the optimizer is compiled, captured in a CUDA graph or capturable. A tensor must
stay the very object that it is (a captured graph reads its memory), and ``Adam(groups, lr=tensor)`` hands one and the
same tensor to all groups. Nothing is cached here: ``optimizer.load_state_dict`` replaces the groups' dicts.
Reading a tensor that lives on an accelerator waits for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

Group = dict[str, Any]

LAYER, ORIGIN = "layer", "split_from"
"""Keys of a group that was split by layer: which layer it holds, and the index of the group that it was cut from.

They are saved with the optimizer."""


def innermost(optimizer: Any) -> Any:
    """The optimizer that owns the parameter groups, under wrappers such as DeepSpeed's or Lightning's.

    A wrapper that shows the very list of what it wraps is the same optimizer to us; one with groups of its own is not.
    """
    inner = getattr(optimizer, "optimizer", None)
    groups = getattr(optimizer, "param_groups", None)
    if inner is None or groups is None or getattr(inner, "param_groups", None) is not groups:
        return optimizer
    return innermost(inner)


def rated_groups(optimizer: Any) -> list[Group]:
    """The parameter groups that have a learning rate.

    Lightning's stand-in for "no optimizer" has no groups; Adafactor of ``transformers`` may hold ``lr=None``.
    """
    return [group for group in getattr(optimizer, "param_groups", None) or () if group.get("lr") is not None]


def read(groups: Sequence[Group]) -> list[float]:
    """The rate of every group as a float."""
    return [rate if type(rate := group["lr"]) is float else number(rate) for group in groups]


def number(rate: Any) -> float:
    """A rate as a float; torch warns where a rate that is itself learned is read without saying so."""
    return float(rate.detach() if isinstance(rate, torch.Tensor) else rate)


def marks(optimizer: Any) -> list[Any]:
    """What changes when a rate is written, without waiting for a device: a number itself, a tensor's write count."""
    # Asked for at each step: to ask a float whether it is a tensor takes longer than all the rest.
    groups = getattr(optimizer, "param_groups", None) or ()
    return [rate if type(rate) is float else _mark(rate) for g in groups if (rate := g.get("lr")) is not None]


def _mark(rate: Any) -> Any:
    return (id(rate), rate._version) if isinstance(rate, torch.Tensor) else rate


def untouched(optimizer: Any, rates: Sequence[float]) -> Sequence[Group]:
    """All groups, where they hold these very objects, so that nobody has written since they were put there; else none.

    Asked for at each step, and quicker than a comparison: an object is the same or not, and no tensor is asked for its
    value. None may also mean that an equal number was written, or that a group has no rate.
    """
    groups: Sequence[Group] = getattr(optimizer, "param_groups", None) or ()
    if len(groups) != len(rates):
        return ()
    try:
        for group, rate in zip(groups, rates, strict=True):
            if group["lr"] is not rate:
                return ()
    except KeyError:
        return ()
    return groups


def rounded(rate: float, dtype: torch.dtype) -> float:
    """The rate as a tensor of that type would hold it; never 0 for a rate above 0."""
    held = float(torch.tensor(rate, dtype=dtype))
    return float(torch.finfo(dtype).tiny) if held == 0 < rate else held


def twins(groups: Sequence[Group], known: int) -> dict[int, int]:
    """For each group after the first ``known`` whose rate is the very tensor of a known one: which one that is."""
    owners = {id(group["lr"]): i for i, group in reversed(list(enumerate(groups[:known])))}
    return {
        i: owners[id(group["lr"])]
        for i, group in enumerate(groups)
        if i >= known and isinstance(group["lr"], torch.Tensor) and id(group["lr"]) in owners
    }


def put(groups: Sequence[Group], rates: Sequence[float], held: Sequence[float] | None = None) -> list[float]:
    """Make every group hold its rate, and return what each then holds: a float32 tensor rounds.

    A group that holds its rate already is not touched. A tensor stays the object that it is.

    Args:
        groups: of one optimizer.
        rates: as many.
        held: what the groups hold, where that is known: then no tensor is read, which would wait for a GPU.
    """
    if all_numbers(groups):
        return put_numbers(groups, list(rates))
    known = read(groups) if held is None else held
    _part_shared_tensors(groups, rates)
    return [_put(group, rate, old) for group, rate, old in zip(groups, rates, known, strict=False)]


def put_numbers(groups: Sequence[Group], rates: list[float]) -> list[float]:
    """The same, where no rate is a tensor; ``rates`` become the very objects in the groups, see :func:`untouched`."""
    for i, group in enumerate(groups):
        if group["lr"] == rates[i]:
            rates[i] = group["lr"]
        else:
            group["lr"] = rates[i]
    return rates


def all_numbers(groups: Sequence[Group]) -> bool:
    """Whether every rate is a float, as nearly always: then nothing has to be asked of a device."""
    return {type(group["lr"]) for group in groups} == {float}


def _put_number(group: Group, rate: float) -> float:
    if group["lr"] != rate:
        group["lr"] = rate
    return rate


def _put(group: Group, rate: float, old: float) -> float:
    tensor = group["lr"]
    if not isinstance(tensor, torch.Tensor):
        return _put_number(group, rate)
    rate = rounded(rate, tensor.dtype)
    if old != rate:
        tensor.detach().fill_(rate)  # detached: a rate that is itself learned refuses to be written in place
    return rate


def _part_shared_tensors(groups: Sequence[Group], rates: Sequence[float]) -> None:
    """Give a group a tensor of its own where it shares one with a group that shall hold another rate."""
    wanted: dict[int, float] = {}
    for group, rate in zip(groups, rates, strict=True):
        held = group["lr"]
        if isinstance(held, torch.Tensor) and wanted.setdefault(id(held), rate) != rate:
            group["lr"] = held.clone()
