"""What of a module and its optimizers lies on this rank: the tensors that training really writes into.

Of a sharded parameter (a DTensor) that is its local shard. FSDP2 leaves the outermost group of parameters whole after a
forward pass without a backward one, as validation is: until :func:`named` has it sharded again, the module shows
temporary copies, and whatever is written into those is lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


def named(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters and buffers by name; a tied one once, under its first name."""
    shard_again(module)
    yield from module.named_parameters()
    yield from module.named_buffers()


def params(optimizer: Optimizer) -> list[Tensor]:
    """The parameters of all groups, in order."""
    return [param for group in optimizer.param_groups for param in group["params"]]


def local(tensor: Tensor) -> Tensor:
    """This rank's shard of a DTensor; any other tensor itself."""
    shard: Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return shard


def kind(tensor: Tensor) -> tuple[list[int], torch.dtype]:
    """What must be equal for one tensor to be copied into another."""
    return list(tensor.shape), tensor.dtype


def wait(tensors: Sequence[Tensor]) -> None:
    """Until the copies to or from the GPU are done: once a device."""
    for device in {tensor.device for tensor in tensors if tensor.is_cuda}:
        torch.cuda.current_stream(device).synchronize()


def unexpanded(tensor: Tensor, like: Tensor | None = None) -> Tensor:
    """One element where an expanded dimension repeats it: torch refuses to write into all of them at once."""
    for dim, (stride, size) in enumerate(zip((tensor if like is None else like).stride(), tensor.shape, strict=True)):
        if stride == 0 and size > 1:
            tensor = tensor.narrow(dim, 0, 1)
    return tensor


def shard_again(module: nn.Module) -> None:
    """Local to each rank: the whole copies are freed, nothing is sent."""
    part: Any
    for part in module.modules():
        # By name, since the class lies in a part of torch that takes a second to import.
        if any(base.__name__ == "FSDPModule" for base in type(part).__mro__):
            part.reshard()
