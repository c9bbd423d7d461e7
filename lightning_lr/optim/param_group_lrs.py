"""The learning rates that an optimizer's parameter groups hold: read as plain floats, and written for ``lr_scale``.

A rate is a float, or a tensor if the optimizer is compiled, captured in a CUDA graph or capturable. A tensor must
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
    return [number(group["lr"]) for group in groups]


def number(rate: Any) -> float:
    """A rate as a float; torch warns if a rate that is itself learned is read without saying so."""
    return float(rate.detach() if isinstance(rate, torch.Tensor) else rate)


def versions(groups: Sequence[Group]) -> list[Any]:
    """What changes if a rate is written, read without waiting for a device: a number itself, a tensor's write count."""
    return [(id(r), r._version) if isinstance(r := group["lr"], torch.Tensor) else r for group in groups]


def twins(groups: Sequence[Group], known: int) -> dict[int, int]:
    """For each group after the first ``known`` whose rate is the very tensor of a known one: which one that is."""
    owners = {id(group["lr"]): i for i, group in reversed(list(enumerate(groups[:known])))}
    return {
        i: owners[id(group["lr"])]
        for i, group in enumerate(groups)
        if i >= known and isinstance(group["lr"], torch.Tensor) and id(group["lr"]) in owners
    }


def write(groups: Sequence[Group], rates: Sequence[float], held: Sequence[float]) -> list[float]:
    """Make every group hold its rate, and return what each then holds: a float32 tensor rounds.

    A group that holds its rate already is left alone. A tensor stays the object that it is.

    Args:
        groups: of one optimizer.
        rates: as many.
        held: what the groups hold now.
    """
    written: list[float] = []
    shared: dict[int, float] = {}
    for group, rate, old in zip(groups, rates, held, strict=True):
        tensor = group["lr"]
        if not isinstance(tensor, torch.Tensor):
            if old != rate:
                group["lr"] = rate
            written.append(rate)
            continue
        parts = shared.setdefault(id(tensor), rate) != rate
        if parts:  # another group holds this tensor, and another rate
            tensor = group["lr"] = tensor.clone()
        rounded = _rounded(rate, tensor.dtype)
        if parts or old != rounded:
            tensor.detach().fill_(rounded)  # detached: a rate that is itself learned refuses to be written in place
        written.append(rounded)
    return written


def _rounded(rate: float, dtype: torch.dtype) -> float:
    """The rate as a tensor of that type would hold it; never 0 for a rate above 0."""
    held = float(torch.tensor(rate, dtype=dtype))
    return float(torch.finfo(dtype).tiny) if held == 0 < rate else held
