"""A scheduler that cannot change a rate within the run is none; one of which that cannot be told is one.

The class of fault: a scheduler that a library gives to every model, and that stands still, switches search and anneal
off without a word.
"""

from __future__ import annotations

import copy
import functools
import math
from typing import Any
from unittest.mock import MagicMock

import pytest
import torch
from torch.optim import lr_scheduler as torch_schedulers

from lightning_lr import LearningRateController
from lightning_lr.callbacks import controller
from lightning_lr.optim.lr_scale import LRScale
from lightning_lr.optim.scheduler_future import MOST, changes_rates
from tests.helpers.scripted import Scripted, data, trainer

SCALE = 1.0


def constant(epoch: int) -> float:
    return 1.0


def constant_until(epoch: int, last: int) -> float:
    return 1.0 if epoch < last else 0.5


def reads_a_global(epoch: int) -> float:
    return SCALE


class Constant:
    def __call__(self, epoch: int) -> float:
        return 1.0


class Own(torch_schedulers.LRScheduler):
    """A class of the user's, of which nothing is known."""

    def get_lr(self) -> list[float]:
        raise AssertionError("a user's scheduler must not be stepped")

    def __init__(self, optimizer: Any) -> None:
        self.optimizer, self.last_epoch = optimizer, 0


def warm_then_constant(optimizer: Any, steps: int) -> Any:
    first = torch_schedulers.ConstantLR(optimizer, 1.0)
    second = torch_schedulers.StepLR(optimizer, 50)
    return torch_schedulers.SequentialLR(optimizer, [first, second], [steps])


# scheduler, its steps ahead, whether it changes a rate in them
FUTURES = [
    (lambda o: torch_schedulers.StepLR(o, 10**8), 10**6, False),
    (lambda o: torch_schedulers.StepLR(o, 10**6), 10**6, True),
    (lambda o: torch_schedulers.StepLR(o, 5, gamma=1.0), 100, False),
    (lambda o: torch_schedulers.StepLR(o, 3 * MOST), 3 * MOST - 1, False),
    (lambda o: torch_schedulers.MultiStepLR(o, [80, 90]), 79, False),
    (lambda o: torch_schedulers.MultiStepLR(o, [80, 90]), 80, True),
    (lambda o: torch_schedulers.ExponentialLR(o, 0.99), 1, True),
    (lambda o: torch_schedulers.ExponentialLR(o, 1.0), 1000, False),
    (lambda o: torch_schedulers.ConstantLR(o, 0.5, total_iters=5), 4, False),
    (lambda o: torch_schedulers.ConstantLR(o, 0.5, total_iters=5), 5, True),
    (lambda o: torch_schedulers.CosineAnnealingLR(o, 100, eta_min=0.1), 100, False),
    (lambda o: torch_schedulers.CosineAnnealingLR(o, 100), 1, True),
    (lambda o: torch_schedulers.OneCycleLR(o, 0.1, total_steps=20), 1, True),
    (lambda o: torch_schedulers.CyclicLR(o, 0.01, 0.1, cycle_momentum=False), 1, True),
    (lambda o: torch_schedulers.ReduceLROnPlateau(o, patience=1000), 1000, False),
    (lambda o: torch_schedulers.ReduceLROnPlateau(o, patience=1000), 1001, True),
    (lambda o: torch_schedulers.ReduceLROnPlateau(o, "max", patience=3), 4, True),
    (lambda o: torch_schedulers.ReduceLROnPlateau(o, patience=3, min_lr=0.1), 100, False),
    (lambda o: torch_schedulers.LambdaLR(o, constant), 100, False),
    (lambda o: torch_schedulers.LambdaLR(o, lambda epoch: 1.0), 10 * MOST, False),
    (lambda o: torch_schedulers.LambdaLR(o, functools.partial(constant_until, last=9)), 8, False),
    (lambda o: torch_schedulers.LambdaLR(o, functools.partial(constant_until, last=9)), 9, True),
    (lambda o: torch_schedulers.LambdaLR(o, functools.partial(constant_until, last=2 * MOST)), 3 * MOST, True),
    (lambda o: torch_schedulers.LambdaLR(o, reads_a_global), 100, True),
    (lambda o: torch_schedulers.LambdaLR(o, Constant()), 100, True),
    (lambda o: torch_schedulers.MultiplicativeLR(o, lambda epoch: 1), 100, False),
    (lambda o: warm_then_constant(o, 10), 59, False),
    (lambda o: warm_then_constant(o, 10), 60, True),
    (lambda o: warm_then_constant(o, 10), 10**6, True),
    (lambda o: torch_schedulers.ChainedScheduler([torch_schedulers.StepLR(o, 500)]), 100, False),
    (lambda o: torch_schedulers.StepLR(o, 10**8), math.inf, True),
    (Own, 100, True),
]


def optimizer(lr: Any = 0.1) -> torch.optim.Optimizer:
    layer = torch.nn.Linear(2, 2)
    return torch.optim.AdamW([{"params": [layer.weight]}, {"params": [layer.bias], "weight_decay": 0.0}], lr=lr)


@pytest.mark.parametrize("method", ["step", "get_lr"])
def test_a_method_that_somebody_patched_is_not_called(monkeypatch, method):
    """It may count its calls, as mocks do; what it does is not known, so it counts as a schedule."""
    scheduler = torch_schedulers.StepLR(optimizer(), 10**8)
    patched = MagicMock()
    monkeypatch.setattr(torch_schedulers.StepLR, method, patched)
    assert changes_rates(scheduler, 100)
    patched.assert_not_called()


@pytest.mark.parametrize(("make", "steps", "changes"), FUTURES)
def test_whether_it_changes_a_rate(make, steps, changes):
    """And nothing of the scheduler or the optimizer is touched; also while the scheduler is guarded."""
    used = optimizer()
    scheduler = make(used)
    held = [dict(vars(scheduler)), copy.deepcopy(used.state_dict()), torch.get_rng_state()]
    assert changes_rates(scheduler, steps) == changes
    assert vars(scheduler) == held[0]
    assert used.state_dict() == held[1]
    assert torch.equal(torch.get_rng_state(), held[2])
    LRScale.of(used).attach([scheduler])
    assert changes_rates(scheduler, steps) == changes
    LRScale.of(used).detach()


def test_a_rate_in_a_tensor_is_left_alone():
    rate = torch.tensor(0.1)
    used = optimizer(rate)
    assert changes_rates(torch_schedulers.ExponentialLR(used, 0.5), 10)
    assert used.param_groups[0]["lr"] is not None
    assert float(rate) == pytest.approx(0.1)


# --- in a Trainer -----------------------------------------------------------------------------------------------------


class Scheduled(Scripted):
    def __init__(self, make: Any, **config: Any) -> None:
        super().__init__()
        self.make, self.config = make, config

    def configure_optimizers(self) -> Any:
        used = torch.optim.SGD(self.parameters(), lr=0.1)
        return {"optimizer": used, "lr_scheduler": {"scheduler": self.make(used), **self.config}}


DORMANT = "cannot change a learning rate in this run: it counts as no scheduler."
OPTIONS = "sets the schedule: the learning rate is neither searched nor annealed. To have that done, pass find_lr=True"
RUNS = [
    pytest.param(lambda o: torch_schedulers.StepLR(o, 10**8), {"interval": "step"}, {}, DORMANT, id="by-step"),
    pytest.param(lambda o: torch_schedulers.StepLR(o, 9), {}, {}, DORMANT, id="by-epoch"),
    pytest.param(
        lambda o: torch_schedulers.ReduceLROnPlateau(o, patience=10), {"monitor": "val_loss"}, {}, DORMANT, id="plateau"
    ),
    pytest.param(lambda o: torch_schedulers.StepLR(o, 5), {"frequency": 2}, {}, DORMANT, id="frequency"),
    pytest.param(lambda o: torch_schedulers.StepLR(o, 3), {}, {}, OPTIONS, id="moves"),
    pytest.param(lambda o: torch_schedulers.StepLR(o, 5), {"interval": "step"}, {}, OPTIONS, id="moves-by-step"),
    pytest.param(
        lambda o: torch_schedulers.StepLR(o, 10**8),
        {},
        {"max_time": "00:01:00:00"},
        OPTIONS,
        id="time",
    ),
    pytest.param(lambda o: torch_schedulers.StepLR(o, 3), {}, {"policy": "conservative"}, None, id="conservative"),
]


@pytest.mark.parametrize(("make", "config", "options", "sentence"), RUNS)
def test_it_is_said_at_the_start(monkeypatch, make, config, options, sentence):
    """Once, with the name of the class; not by a policy that searches and anneals nothing."""
    said: list[str] = []
    monkeypatch.setattr(controller, "say", lambda _, sentence: said.append(sentence))
    arguments = {"policy": options.pop("policy")} if "policy" in options else {}
    control = LearningRateController("val_loss", **arguments)
    limits = {"max_epochs": 6, **options}
    trainer(control, **limits).fit(Scheduled(make, **config), data(), data())
    lines = [one for one in said if DORMANT in one or OPTIONS in one]
    assert len(lines) == (sentence is not None)
    assert sentence is None or (sentence in lines[0] and lines[0].startswith(("StepLR ", "ReduceLROnPlateau ")))
