"""A copy of what a call of ``training_step`` may change outside of the trained weights: taken, and put back in place.

From the module and the user's own callbacks everything is followed that Python shows: attributes, lists, dicts, sets,
deques, tensors, arrays, random generators, metrics, objects of the user's own classes, what these classes hold
themselves, and the variables that a function has enclosed or, if it is one of such a class, names in its file (numbers
and containers). Objects of torch and Lightning that are no module (optimizers, loaders, the Trainer), and data sets,
are left out. An iterator cannot be put back: with one of the module's own there is no search.
"""

from __future__ import annotations

import random
import sys
import types
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import Enum
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from lightning_lr.snapshot.constant import bytes_of

PLAIN = (int, float, complex, str, bytes, type(None), type, Enum, types.ModuleType, types.BuiltinFunctionType)
FOREIGN = ("torch", "lightning", "pytorch_lightning", "lightning_fabric", "lightning_utilities", "lightning_lr")
"""Packages whose objects are followed only if they are modules or containers (torchmetrics is another package)."""

LIBRARIES = (*FOREIGN, "torchmetrics", "numpy", "builtins", "collections", "typing", "abc", "functools")
"""Packages whose classes hold nothing that a step changes."""

LARGEST = 64 * 2**20
"""Bytes of one tensor or array that is no parameter or buffer: a larger one (data that lie on the module) is not
copied; if the step changes such a tensor, there is no search."""

LONGEST = 10_000
"""Items of one container that are looked into; of a longer one the items themselves are kept, not what they hold."""

MOST = 500_000
"""Objects that are followed at the most: about a second."""


class CannotKeepError(Exception):
    """Something could not be put back afterwards; says what."""


class KeptState:
    """A copy of the state of some objects.

    >>> class Net(nn.Module):
    ...     steps, seen = 0, []
    >>> net = Net()
    >>> net.steps, net.seen, net.scale = 3, [1], torch.ones(1)
    >>> kept = KeptState([net])
    >>> net.steps, net.new, _, _ = 4, 5, net.seen.append(2), net.scale.mul_(7)
    >>> kept.put_back()
    >>> net.steps, net.seen, net.scale.item(), hasattr(net, "new")
    (3, [1], 1.0, False)

    Args:
        roots: the module, and other objects.
        without: tensors that are looked after elsewhere: the trained weights.
        constant: tensors that no step changes; if one does, :meth:`put_back` says so.

    Raises:
        CannotKeepError: if something cannot be put back.
    """

    def __init__(self, roots: Iterable[Any], without: Iterable[Tensor] = (), constant: Iterable[Tensor] = ()) -> None:
        self._undo: list[Callable[[], Any]] = []
        self._watched: list[tuple[Tensor, int]] = []
        self._seen: dict[int, Any] = {id(tensor): tensor for tensor in without}  # held, so that no id is used twice
        self._constant = {id(tensor) for tensor in constant}
        self._buffers: set[int] = set()
        with torch.inference_mode(False), torch.no_grad():
            for number, root in enumerate(roots):
                self._follow(root, may_hold_iterators=number > 0)

    @property
    def tensors(self) -> list[Tensor]:
        """All dense tensors of floating numbers that were found."""
        found = [one for one in self._seen.values() if isinstance(one, Tensor) and one.is_floating_point()]
        return [one for one in found if one.layout is torch.strided]

    def put_back(self) -> None:
        """Write everything back into the very objects that were kept.

        Raises:
            CannotKeepError: if a tensor was changed of which there is no copy.
        """
        with torch.inference_mode(False), torch.no_grad():
            for undo in self._undo:
                undo()
        for tensor, version in self._watched:
            if tensor._version != version:
                raise CannotKeepError(f"training_step changes a tensor of {bytes_of([tensor]) // 2**20} MiB in place")

    # --- taken --------------------------------------------------------------------------------------------------------

    def _follow(self, root: Any, may_hold_iterators: bool) -> None:
        waiting = [root]
        while waiting:
            one = waiting.pop()
            if isinstance(one, PLAIN) or id(one) in self._seen:
                continue
            self._seen[id(one)] = one
            if len(self._seen) > MOST:
                raise CannotKeepError("the module holds too many objects to keep a copy of them")
            if isinstance(one, Iterator) and not hasattr(one, "read") and not may_hold_iterators:
                raise CannotKeepError(f"readings would move on an iterator of the module ({type(one).__name__})")
            waiting += self._keep(one)

    def _keep(self, one: Any) -> Iterable[Any]:
        """Keep one object; returns what it holds."""
        if isinstance(one, Tensor):
            self._keep_tensor(one)
        elif isinstance(one, dict):
            return self._keep_items(one)
        elif isinstance(one, (list, deque)):
            values = list(one)
            self._undo.append(lambda: _put_values(one, values))
            return _short(values)
        elif isinstance(one, set):
            members = set(one)
            self._undo.append(lambda: _put_members(one, members))
        elif isinstance(one, tuple):
            return _short(one)
        elif isinstance(one, types.FunctionType):
            return [*map(self._keep_variable, one.__closure__ or ()), *self._keep_globals(one)]
        elif isinstance(one, types.MethodType):
            return [one.__self__, one.__func__]
        else:
            return self._keep_object(one)
        return []

    def _keep_items(self, held: dict[Any, Any]) -> Sequence[Any]:
        items = dict(held)
        self._undo.append(lambda: _put_items(held, items))
        return _short(list(items.values()))

    def _keep_tensor(self, tensor: Tensor) -> None:
        is_module_s = isinstance(tensor, nn.Parameter) or id(tensor) in self._buffers
        if id(tensor) in self._constant or (not is_module_s and bytes_of([tensor]) > LARGEST):
            self._watched.append((tensor, tensor._version))
        elif not tensor.is_inference():
            try:
                copy = tensor.detach().clone()
            except RuntimeError as error:
                raise CannotKeepError(f"a tensor of the module cannot be copied ({error})") from error
            self._undo.append(lambda: tensor.detach().copy_(copy))

    def _keep_variable(self, cell: Any) -> Any:
        try:
            value = cell.cell_contents
        except ValueError:  # not filled yet
            return None
        self._undo.append(lambda: setattr(cell, "cell_contents", value))
        return value

    def _keep_globals(self, function: types.FunctionType) -> Sequence[Any]:
        """What a function names in its file: numbers and containers, and other functions of that file."""
        if function.__module__.partition(".")[0] in LIBRARIES:
            return []
        held, found = function.__globals__, list[Any]()
        for name in function.__code__.co_names:
            value = held.get(name)
            if isinstance(value, (int, float, list, dict, set, deque, Tensor)):
                self._undo.append(partial(_put_item, held, name, value))
                found.append(value)
            elif isinstance(value, types.FunctionType) and value.__module__ == function.__module__:
                found.append(value)
        return found

    def _keep_class(self, cls: type[Any]) -> Sequence[Any]:
        """What the classes of an object hold themselves, and their functions."""
        found: list[Any] = []
        for base in cls.__mro__:
            if id(base) in self._seen or base.__module__.partition(".")[0] in LIBRARIES:
                continue
            self._seen[id(base)] = base
            items = _own_items(base)
            self._undo.append(partial(_put_class, base, items))
            found += [*items.values(), *(one for one in vars(base).values() if isinstance(one, types.FunctionType))]
        return found

    def _keep_object(self, one: Any) -> Sequence[Any]:
        held = getattr(one, "__dict__", None)
        foreign = type(one).__module__.partition(".")[0] in FOREIGN and not isinstance(one, nn.Module)
        if not isinstance(held, dict) or foreign or isinstance(one, (Dataset, DataLoader, random.Random)):
            self._keep_random_state(one)
            return []
        if isinstance(one, nn.Module):
            self._buffers.update(id(buffer) for buffer in one._buffers.values())
        return [*self._keep_class(type(one)), *self._keep_items(held)]

    def _keep_random_state(self, one: Any) -> None:
        numpy = sys.modules.get("numpy")
        if isinstance(one, torch.Generator):
            self._undo.append(partial(one.set_state, one.get_state()))
        elif isinstance(one, random.Random):
            self._undo.append(partial(one.setstate, one.getstate()))
        elif numpy is None:
            return
        elif isinstance(one, numpy.random.Generator):
            self._undo.append(partial(setattr, one.bit_generator, "state", one.bit_generator.state))
        elif isinstance(one, numpy.random.RandomState):
            self._undo.append(partial(one.set_state, one.get_state()))
        elif isinstance(one, numpy.ndarray) and one.nbytes <= LARGEST and one.flags.writeable:
            self._undo.append(partial(numpy.copyto, one, one.copy()))


def _short(values: Sequence[Any]) -> Sequence[Any]:
    return values if len(values) <= LONGEST else ()


# --- put back: written only if it differs -----------------------------------------------------------------------------


def _put_items(held: dict[Any, Any], items: dict[Any, Any]) -> None:
    if len(held) == len(items) and all(
        key is other and value is items[key] for (key, value), other in zip(held.items(), items, strict=True)
    ):
        return
    held.clear()
    held.update(items)


def _put_item(held: dict[str, Any], name: str, value: Any) -> None:
    if held.get(name) is not value:
        held[name] = value


def _own_items(cls: type[Any]) -> dict[str, Any]:
    """Attributes that are data."""
    return {name: one for name, one in vars(cls).items() if name[:2] != "__" and not hasattr(one, "__get__")}


def _put_class(cls: type[Any], items: dict[str, Any]) -> None:
    now = _own_items(cls)
    for name in now.keys() - items.keys():
        delattr(cls, name)
    for name, value in items.items():
        if now.get(name) is not value:
            setattr(cls, name, value)


def _put_values(held: list[Any] | deque[Any], values: list[Any]) -> None:
    if len(held) != len(values) or any(one is not other for one, other in zip(held, values, strict=True)):
        held.clear()
        held.extend(values)


def _put_members(held: set[Any], members: set[Any]) -> None:
    if held != members:
        held.clear()
        held.update(members)
