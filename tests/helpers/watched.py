"""A tensor that counts whatever would make the host wait for a device: on the CPU it shows what a GPU would suffer."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch

SYNCHRONIZING = {"item", "tolist", "cpu", "numpy", "__float__", "__bool__", "__int__", "__index__", "is_nonzero"}


class Watched(torch.Tensor):
    """Counts the calls that would wait; its results are watched as well."""

    calls: Counter[str] = Counter()

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", str(func))
        if name in SYNCHRONIZING:
            cls.calls[name] += 1
        return super().__torch_function__(func, types, args, kwargs or {})  # type: ignore[no-untyped-call]


def watched(value: float) -> torch.Tensor:
    return torch.tensor(value).as_subclass(Watched)
