"""Which weights and buffers a snapshot leaves out, as training does not change them: frozen ones, and large tables.

Whether a tensor has changed is seen by a fingerprint, which costs one reading of it. Left out are

- parameters that need no gradient, unless they are the twin of a trained one (``teacher.0.weight`` beside
  ``student.0.weight``): an average of other weights, which changes without a gradient;
- buffers of more than :data:`LARGE` bytes that have not changed since training began.

A restore refuses if one that was left out has changed all the same; from the next snapshot on it is copied.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from lightning_lr.snapshot.shards import local, named

LARGE = 2**20
INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def fingerprints(tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """A number for each that is another one if any bit has changed; one synchronization a device.

    >>> kept = torch.ones(3)
    >>> before = fingerprints({"kept": kept})
    >>> kept[1] = 1.0000001
    >>> fingerprints({"kept": kept}) == before
    False
    """
    sums: dict[torch.device, list[tuple[str, Tensor]]] = {}
    with torch.inference_mode(False), torch.no_grad():
        for name, tensor in tensors.items():
            held = local(tensor).detach()
            parts = torch.view_as_real(held) if held.is_complex() else held
            bits = parts.view(INTEGERS[parts.element_size()]) if parts.dtype is not torch.bool else parts
            sums.setdefault(held.device, []).append((name, bits.sum(dtype=torch.int64)))
        return {
            name: number
            for of_device in sums.values()
            for (name, _), number in zip(of_device, torch.stack([one for _, one in of_device]).tolist(), strict=True)
        }


def may_be_constant(module: nn.Module, begins: bool) -> dict[str, Tensor]:
    """What training may leave as it is, by name.

    Args:
        module: the LightningModule.
        begins: before the first step, when nothing has had the time to change: no buffers then, and no twins.
    """
    trained: dict[torch.Size, list[str]] = {}
    for name, param in named(module):
        if param.requires_grad and not is_lazy(param):
            trained.setdefault(param.shape, []).append(name)
    found: dict[str, Tensor] = {}
    for name, param in module.named_parameters():
        if param.requires_grad or not _is_plain(param):
            continue
        if not (begins and any(_is_twin(name, other) for other in trained.get(param.shape, ()))):
            found[name] = param
    buffers = () if begins else module.named_buffers()
    return found | {name: one for name, one in buffers if _is_plain(one) and bytes_of([one]) > LARGE}


def unchanged(module: nn.Module, at_start: Mapping[str, int]) -> dict[str, int]:
    """Of what had these fingerprints when training began, that which still has them."""
    now = fingerprints({name: one for name, one in may_be_constant(module, begins=False).items() if name in at_start})
    return {name: number for name, number in now.items() if number == at_start[name]}


def _is_plain(tensor: Tensor) -> bool:
    return not is_lazy(tensor) and not tensor.is_meta and local(tensor).layout is torch.strided


def _is_twin(name: str, other: str) -> bool:
    """Whether two names differ in one word, or by what stands before one of them."""
    shorter, longer = sorted((name.split("."), other.split(".")), key=len)
    if len(shorter) < len(longer):
        return longer[-len(shorter) :] == shorter
    words = [pair for pair in zip(shorter, longer, strict=True) if pair[0] != pair[1]]
    return len(words) == 1 and shorter[-1] == longer[-1] and not any(word.isdigit() for word in words[0])


def bytes_of(tensors: Iterable[Tensor]) -> int:
    """How many bytes they take."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
