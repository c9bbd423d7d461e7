"""Plain numbers on a module and its parts: step counters, the weight of a term of the loss, a dropout probability.

They are attributes, or stand by name in a dict that is one. Lists are not looked into: they are records of what was.

Names of torch, Lightning and torchmetrics for their own use are left out, and so is whether a part is in training mode.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from torch import nn

FOREIGN = ("torch", "lightning", "pytorch_lightning", "torchmetrics")
Number = int | float | bool
NUMBERS = (int, float, bool)


def numbers_of(module: nn.Module) -> dict[str, Number]:
    """``part.attribute``, or ``part.attribute[key]`` of a dict → its value.

    >>> class Net(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.drop, self._steps, self.name, self.terms = nn.Dropout(0.25), 3, "net", {"kl": 0.1}
    >>> numbers_of(Net())
    {'_steps': 3, 'terms[kl]': 0.1, 'drop.p': 0.25, 'drop.inplace': False}
    """
    return {name: held[key] for name, held, key in _places(module)}


def put_numbers(module: nn.Module, numbers: Mapping[str, Number]) -> None:
    """Set those that are still there and differ."""
    for name, held, key in _places(module):
        # NaN equals NaN here, and 1 is not True.
        if name in numbers and repr(held[key]) != repr(numbers[name]):
            held[key] = numbers[name]


def _places(module: nn.Module) -> list[tuple[str, dict[str, Any], str]]:
    """Name, and the dict with the key, of each number."""
    found = []
    for path, part in _parts(module):
        own, attributes = _own(type(part)), vars(part)  # type: ignore[arg-type]
        for attribute, value in attributes.items():
            name = f"{path}.{attribute}" if path else attribute
            if attribute in own:
                continue
            if type(value) in NUMBERS:
                found.append((name, attributes, attribute))
            elif type(value) is dict:
                keys = (key for key, one in value.items() if type(key) is str and type(one) in NUMBERS)
                found += [(f"{name}[{key}]", value, key) for key in keys]
    return found


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
