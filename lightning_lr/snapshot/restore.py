"""Writing a snapshot back: planned whole, checked whole, and only then written, into the very tensors of the training.

So tied weights stay tied, captured graphs stay valid, and where something does not fit, or memory runs out, nothing has
been changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lightning_lr.errors import UnsupportedError
from lightning_lr.snapshot.capture import Node
from lightning_lr.snapshot.constant import fingerprints
from lightning_lr.snapshot.shards import kind, local, named, params, unexpanded, wait


class Plan:
    """What will be written where. It holds new tensors already, so that running out of memory happens before.

    Args:
        tensors: the host copies.
        on_host: for each, whether it belongs into host memory.
    """

    def __init__(self, tensors: list[Tensor], on_host: list[bool]) -> None:
        self._tensors, self._on_host = tensors, on_host
        self._copies: list[tuple[Tensor, int]] = []
        self._made: dict[int, Tensor] = {}
        self._claimed: set[int] = set()
        self._optimizers: list[tuple[Optimizer, int, dict[Any, Any], list[dict[str, Any]]]] = []

    def module(self, module: nn.Module, numbers: dict[str, int], left_out: dict[str, int]) -> None:
        """Plan parameters and buffers.

        Args:
            module: the LightningModule.
            numbers: name → number of the copy.
            left_out: name → fingerprint of what has no copy, as it does not change.
        """
        current = dict(named(module))
        _expect("parameters and buffers", sorted(numbers.keys() | left_out.keys()), sorted(current))
        if left_out:
            now = fingerprints({name: current[name] for name in left_out})
            changed = [name for name, number in left_out.items() if now[name] != number]
            _expect("weights that were frozen to be as they were:", [], changed[:5])
        self.tensors(current, numbers)

    def tensors(self, current: Mapping[str, Tensor], numbers: Mapping[str, int]) -> None:
        """Plan tensors by name."""
        for name, number in numbers.items():
            _expect(f"`{name}` to be", kind(self._tensors[number]), kind(local(current[name])))
            self._into(current[name], number)

    def optimizers(self, optimizers: Sequence[Optimizer], described: list[dict[str, Any]]) -> None:
        """Plan the optimizers."""
        _expect("the number of optimizers", len(described), len(optimizers))
        for index, (optimizer, was) in enumerate(zip(optimizers, described, strict=True)):
            state, groups = self._state(index, optimizer, was), zip(was["groups"], optimizer.param_groups, strict=False)
            kept = [
                {key: self._value(node, group.get(key), group["params"][0]) for key, node in nodes}
                for nodes, group in groups
                if group["params"]
            ]
            self._optimizers.append((optimizer, len(was["shapes"]), state, kept))

    def write(self) -> None:
        """Do it."""
        for target, number in self._copies:
            unexpanded(target).copy_(unexpanded(self._tensors[number], target), non_blocking=True)
        wait([target for target, _ in self._copies])
        for optimizer, known, state, groups in self._optimizers:
            trains = _trains(optimizer)
            _put_state(optimizer, known, state)
            for group, kept in zip([g for g in optimizer.param_groups if g["params"]], groups, strict=False):
                group.update(kept)
            if _trains(optimizer) != trains:
                switch: Any = optimizer
                _ = switch.train() if trains else switch.eval()

    def _state(self, index: int, optimizer: Optimizer, described: dict[str, Any]) -> dict[Any, Any]:
        """Key of ``optimizer.state`` (parameter, or a string) → the value that it will have."""
        held, shapes = params(optimizer), described["shapes"]
        found = [list(local(param).shape) for param in held[: len(shapes)]]
        _expect(f"the parameters of optimizer {index}", shapes, found)
        rebuilt, state = {}, cast("dict[Any, Any]", optimizer.state)
        for at, node in described["state"]:
            key = at if isinstance(at, str) else held[at]
            beside = held[0] if isinstance(at, str) else held[at]
            rebuilt[key] = self._value(node, state.get(key), beside)
        return rebuilt

    def _value(self, node: Node, current: Any, param: Tensor) -> Any:
        """The value that ``node`` describes, in the tensors of ``current`` as far as they fit."""
        form, content = node
        if form == "tensor":
            return self._tensor(content, current, param)
        if form == "dict":
            held = current if isinstance(current, dict) else {}
            return {key: self._value(item, held.get(key), param) for key, item in content}
        if form in ("list", "tuple"):
            former = [*current] if isinstance(current, (list, tuple)) else []
            former += [None] * (len(content) - len(former))
            items = [self._value(item, old, param) for item, old in zip(content, former, strict=False)]
            return items if form == "list" else tuple(items)
        return content

    def _tensor(self, number: int, current: Any, param: Tensor) -> Tensor:
        if number not in self._made:
            fits = isinstance(current, Tensor) and id(current) not in self._claimed and self._fits(number, current)
            self._into(current if fits else self._new(number, param), number)
        return self._made[number]

    def _into(self, target: Tensor, number: int) -> None:
        self._made[number] = target
        self._claimed.add(id(target))
        self._copies.append((local(target), number))

    def _fits(self, number: int, current: Tensor) -> bool:
        held = local(current)
        return kind(held) == kind(self._tensors[number]) and (held.device.type == "cpu") == self._on_host[number]

    def _new(self, number: int, param: Tensor) -> Tensor:
        """A tensor like the one that vanished: on the host, or beside the parameter and sharded as that is."""
        saved, shard = self._tensors[number], local(param)
        made = torch.empty_like(saved, device="cpu" if self._on_host[number] else shard.device)
        if shard is param or saved.dim() == 0:
            return made
        _expect("state of a sharded parameter to have the shape", list(shard.shape), list(saved.shape))
        from torch.distributed.tensor import DTensor

        sharded: Any = param
        mesh, placements = sharded.device_mesh, sharded.placements
        return DTensor.from_local(made, mesh, placements, run_check=False, shape=param.shape, stride=param.stride())


def _trains(optimizer: Any) -> bool | None:
    """Whether an optimizer that has two modes, with other weights in each (ScheduleFree), is in that of training.

    The one of the moment at which a snapshot was taken is not that of the moment at which it is put back.
    """
    has_modes = callable(getattr(optimizer, "train", None)) and callable(getattr(optimizer, "eval", None))
    return bool(optimizer.param_groups[0].get("train_mode")) if has_modes else None


def _put_state(optimizer: Optimizer, known: int, rebuilt: dict[Any, Any]) -> None:
    """Exchange the state of the first ``known`` parameters, and what stands under strings."""
    state = cast("dict[Any, Any]", optimizer.state)
    strings = [key for key in state if isinstance(key, str)]
    for key in (*params(optimizer)[:known], *strings):
        state.pop(key, None)
    state.update(rebuilt)


def joined_since(described: list[dict[str, Any]], optimizers: Sequence[Optimizer]) -> Iterator[str]:
    """A sentence for each optimizer that has more parameters than it had."""
    for index, (state, optimizer) in enumerate(zip(described, optimizers, strict=True)):
        extra = len(params(optimizer)) - len(state["shapes"])
        if extra > 0:
            yield f"optimizer {index}: the state of {extra} parameters that joined after the snapshot was left alone"


def _expect(what: str, expected: Any, got: Any) -> None:
    if expected == got:
        return
    if isinstance(expected, list) and expected and isinstance(expected[0], str):
        missing, extra = sorted({*expected} - {*got})[:5], sorted({*got} - {*expected})[:5]
        expected, got = f"those of the snapshot, {missing} among them", f"a module that has {extra} instead"
    raise UnsupportedError(
        f"Expected {what} {expected} but got {got}. Nothing was restored. Restore into the model and the optimizers "
        "that the snapshot was taken of, or switch restoring off."
    )
