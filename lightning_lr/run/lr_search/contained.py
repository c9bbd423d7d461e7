"""What surrounds a reading: random numbers, loggers and the Trainer's flags are afterwards what they were before."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn

from lightning_lr.metrics.isolation import without_logging


class RandomState:
    """The state of the generators that everybody shares: torch's on each device, numpy's and Python's.

    >>> state, first = RandomState(), torch.rand(1)
    >>> state.put_back()
    >>> torch.equal(torch.rand(1), first)
    True
    """

    def __init__(self) -> None:
        self._put_back: list[Callable[[], Any]] = [
            partial(torch.set_rng_state, torch.get_rng_state()),
            partial(random.setstate, random.getstate()),
        ]
        if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            self._put_back.append(partial(torch.cuda.set_rng_state_all, torch.cuda.get_rng_state_all()))
        if torch.backends.mps.is_available():
            self._put_back.append(partial(torch.mps.set_rng_state, torch.mps.get_rng_state()))
        if (numpy := sys.modules.get("numpy")) is not None:
            self._put_back.append(partial(numpy.random.set_state, numpy.random.get_state()))

    def put_back(self) -> None:
        """From here on the same numbers come again."""
        for put_back in self._put_back:
            put_back()


@contextmanager
def without_trace(trainer: Any, module: nn.Module, no_logger: Callable[[], Any]) -> Iterator[None]:
    """While this lasts nothing is logged, by module or parts; afterwards random state and Trainer are as before.

    Args:
        trainer: its loggers are exchanged for silent ones.
        module: the LightningModule.
        no_logger: makes a logger that takes any call and does nothing.
    """
    random_state, loggers, should_stop = RandomState(), trainer.loggers, trainer.should_stop
    gradients = [(parameter, parameter.grad) for parameter in module.parameters()]
    with ExitStack() as stack:
        for part in module.modules():
            if hasattr(part, "log_dict"):
                stack.enter_context(without_logging(part))
        trainer.loggers = [no_logger() for _ in loggers]
        try:
            yield
        finally:
            trainer.loggers, trainer.should_stop = loggers, should_stop
            for parameter, gradient in gradients:
                parameter.grad = gradient
            random_state.put_back()
