"""torch's optimizers, as the search knows them: how their updates go on from the first one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from inspect import unwrap
from typing import Any

from lightning_lr.engine.lr_search.optimizer_kind import ADAGRAD, ADAM, OptimizerKind, rmsprop, sgd

Group = Mapping[str, Any]

KINDS: Mapping[str, Callable[[Group], OptimizerKind]] = {
    "SGD": lambda group: sgd(group["momentum"], group["dampening"], group["nesterov"]),
    "Adam": lambda group: ADAM,
    "AdamW": lambda group: ADAM,
    "NAdam": lambda group: ADAM,
    "Adamax": lambda group: ADAM,
    "SparseAdam": lambda group: ADAM,
    "RMSprop": lambda group: rmsprop(group["momentum"]),
    "Adagrad": lambda group: ADAGRAD,
}
"""Not RAdam, Adadelta and Adafactor, whose first updates have another size than the later ones; not LBFGS, which calls
the loss itself; not Rprop, which sets its own rates. Of other packages none was measured."""


def kind_of(optimizer: Any) -> OptimizerKind | None:
    """How an optimizer goes on from its first update; ``None`` if that is not known.

    >>> import torch
    >>> weights = [torch.nn.Parameter(torch.zeros(1))]
    >>> kind_of(torch.optim.SGD(weights, 0.1, momentum=0.5)).response, kind_of(torch.optim.RAdam(weights)) is None
    (2.0, True)
    """
    bases: Sequence[Any] = type(optimizer).__mro__
    for base in bases:
        if base.__name__ in KINDS and base.__module__.startswith("torch.optim"):
            group = next((group for group in optimizer.param_groups if group["params"]), None)
            # A step of its own: what it does with the rate is not known. (torch wraps that of each new class.)
            own_step = unwrap(bases[0].step) is not unwrap(base.step)
            return None if own_step or group is None else KINDS[base.__name__](group)
    return None
