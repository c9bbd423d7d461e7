"""Copying what training changes to the host: which tensors there are, each once, and how they hang together.

All tensors stand in one list; everything else is plain and names them by number. A *node* is such a plain description:
``("tensor", number)``, ``("value", 3)``, ``("dict", [(key, node), …])``, ``("list", [node, …])`` or
``("tuple", [node, …])``. So nested state (LBFGS) needs no case of its own, aliases stay aliases, and the whole loads
with ``torch.load(weights_only=True)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer

from lightning_lr.errors import UnsupportedError
from lightning_lr.snapshot.shards import local, params, wait

PLAIN = (int, float, complex, bool, str, bytes, type(None), torch.dtype, torch.device)
SET_BY_OTHERS = (
    *("params", "param_names", "lr", "initial_lr", "max_lr", "min_lr", "swa_lr", "betas", "momentum", "weight_decay"),
    *("base_momentum", "max_momentum"),
)
"""Entries of a parameter group that schedules write. All other numbers there may be the optimizer's own memory."""
Node = tuple[str, Any]


class Sources:
    """The distinct tensors met on the way through module and optimizers, numbered, and nodes that name them."""

    def __init__(self) -> None:
        self.local: list[Tensor] = []
        self._numbers: dict[int, int] = {}
        self._alive: list[Tensor] = []  # a DTensor makes a new local tensor at each call: remember the original's id

    def number(self, where: str, tensor: Tensor) -> int:
        """The number of a tensor; a new one is taken in."""
        if id(tensor) not in self._numbers:
            self._numbers[id(tensor)] = len(self.local)
            self._alive.append(tensor)
            self.local.append(_checked(where, tensor))
        return self._numbers[id(tensor)]

    def node(self, where: str, value: Any) -> Node:
        """The description of a value, with all that it holds."""
        if isinstance(value, Tensor):
            return "tensor", self.number(where, value)
        if isinstance(value, dict):
            return "dict", [(key, self.node(f"{where}.{key}", item)) for key, item in value.items()]
        if type(value) in (list, tuple):
            return type(value).__name__, [self.node(f"{where}[{i}]", item) for i, item in enumerate(value)]
        if type(value) in PLAIN:
            return "value", value
        raise UnsupportedError(
            f"Expected tensors, numbers, strings, lists or dicts in the optimizer state but got "
            f"{type(value).__name__} at {where}. Use an optimizer with plain state, or switch restoring off."
        )


def describe_optimizer(index: int, optimizer: Optimizer, sources: Sources) -> dict[str, Any]:
    """What an optimizer remembers, as nodes.

    ``"shapes"`` of the local parameters over all groups, ``"state"``: pairs of position or string, and node, and
    ``"groups"``: for each the numbers and tensors that it keeps there (ScheduleFree's ``k``, Prodigy's ``d``).
    """
    if not isinstance(optimizer, Optimizer):
        raise UnsupportedError(
            f"Expected optimizer {index} to be a torch.optim.Optimizer but got {type(optimizer).__name__}, which may "
            "hold weights of its own. Switch restoring off with this strategy."
        )
    held = params(optimizer)
    state = cast("dict[Any, Any]", optimizer.state)  # typed as if no key were a string
    entries: list[tuple[int | str, Any]] = [(at, param) for at, param in enumerate(held) if param in state]
    entries += [(key, key) for key in state if isinstance(key, str)]
    return {
        "shapes": [list(local(param).shape) for param in held],
        "state": [(at, sources.node(f"optimizer {index}, state {at}", state[key])) for at, key in entries],
        "groups": [
            [
                (key, sources.node(f"optimizer {index}, {key}", value))
                for key, value in group.items()
                if key not in SET_BY_OTHERS and type(value) in (int, float, bool, Tensor)
            ]
            for group in optimizer.param_groups
        ],
    }


def to_host(sources: Sequence[Tensor], former: Sequence[Tensor] = ()) -> list[Tensor]:
    """Copy, into those of ``former`` that have the same form; waits for the device at the end."""
    pool: dict[Any, list[Tensor]] = {}
    for tensor in former:
        pool.setdefault(_form(tensor), []).append(tensor)
    copies = []
    for source in sources:
        free = pool.get(_form(source))
        copy = free.pop() if free else torch.empty_like(source, device="cpu", pin_memory=source.is_cuda)
        copies.append(copy.copy_(source, non_blocking=source.is_cuda))
    wait(sources)
    return copies


def _form(tensor: Tensor) -> tuple[Any, ...]:
    return tuple(tensor.shape), tensor.stride(), tensor.dtype


def _checked(where: str, tensor: Tensor) -> Tensor:
    held = None if is_lazy(tensor) else local(tensor).detach()
    if held is None or held.layout != torch.strided or held.is_meta:
        found = "an uninitialized one" if held is None else f"{held.layout} on {held.device}"
        raise UnsupportedError(
            f"Expected {where} to be a dense tensor with data but got {found}. Run one batch through lazy modules "
            "before training, or switch restoring off."
        )
    return held
