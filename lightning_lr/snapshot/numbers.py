"""Plain numbers on a module and its parts: step counters, the weight of a term of the loss, a dropout probability.

Names of torch, Lightning and torchmetrics for their own use are left out, and so is whether a part is in training mode.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from torch import nn

FOREIGN = ("torch", "lightning", "pytorch_lightning", "torchmetrics")
Number = int | float | bool


def numbers_of(module: nn.Module) -> dict[str, Number]:
    """``part.attribute`` → its value.

    >>> class Net(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.drop, self._steps, self.name = nn.Dropout(0.25), 3, "net"
    >>> numbers_of(Net())
    {'_steps': 3, 'drop.p': 0.25, 'drop.inplace': False}
    """
    return {
        f"{path}.{attribute}" if path else attribute: value
        for path, part in _parts(module)
        for attribute, value in vars(part).items()
        if type(value) in (int, float, bool) and attribute not in _own(type(part))  # type: ignore[arg-type]
    }


def put_numbers(module: nn.Module, numbers: Mapping[str, Number]) -> None:
    """Set those that are still there and differ."""
    now, parts = numbers_of(module), dict(_parts(module))
    for name, value in numbers.items():
        path, _, attribute = name.rpartition(".")
        if name in now and repr(now[name]) != repr(value):  # NaN equals NaN here, and 1 is not True
            vars(parts[path])[attribute] = value


def _parts(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for path, part in module.named_modules():
        if not any(base.__module__.split(".")[0] == "torchmetrics" for base in type(part).__mro__):
            yield path, part


@cache
def _own(cls: type[Any]) -> frozenset[str]:
    """Attributes that the classes of these packages have set for themselves."""
    private: set[str] = {"training"}
    for base in cls.__mro__:
        begin: Any = vars(base).get("__init__")
        if base.__module__.split(".")[0] in FOREIGN and hasattr(begin, "__code__"):
            private.update(name for name in begin.__code__.co_names if name.startswith("_"))
    return frozenset(private)
