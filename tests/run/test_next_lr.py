"""Between two steps the parameter groups show the rate of the next one, whoever looks and in whichever order."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback

from lightning_lr import LearningRateController
from lightning_lr.optim.controlled_groups import ControlledGroups
from tests.helpers.scripted import QUIET, Scripted, data, eager

FALLS = {"val_loss": [2.0 / (1 + i) for i in range(400)]}


class Early(Callback):
    """Listed before ours, as a LearningRateMonitor may be: what it sees as a batch begins."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
        (group,) = trainer.optimizers[0].param_groups
        self.seen.append(float(group["lr"]))


@pytest.mark.parametrize("accumulated", [1, 2])
@pytest.mark.parametrize(
    ("why", "arguments"),
    [
        ("search, warm-up, hold, end", {}),
        ("hold, end", {"find_lr": False, "anneal": True}),
        ("no curve", {"find_lr": False, "anneal": False}),
    ],
)
def test_whoever_looks_before_us_sees_the_rate_that_the_step_will_use(why, arguments, accumulated):
    early, module = Early(), Scripted(FALLS)
    control = LearningRateController(verbose=False, **arguments)
    options = {"max_epochs": 25 * accumulated, "accumulate_grad_batches": accumulated}
    Trainer(callbacks=[early, control], **{**QUIET, **options}).fit(module, data(20), data(1))
    assert len(module.used) == 500
    assert early.seen[accumulated - 1 :: accumulated] == module.used, why
    assert len(set(module.used)) > (1 if "anneal" in arguments else 2) or arguments["anneal"] is False, "it did move"


class Writes(Scripted):
    """Sets the rate within the training step, when the optimizer's own hook has been called already."""

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        self.trainer.optimizers[0].param_groups[0]["lr"] = 0.1
        return super().training_step(batch, batch_idx)


def test_a_rate_that_the_training_step_writes_is_scaled_before_the_step_uses_it():
    module, control = Writes(), eager()
    used: list[float] = []

    class Looks(Callback):
        def on_train_start(self, trainer: Any, *_: Any) -> None:
            trainer.optimizers[0].register_step_post_hook(lambda o, *_: used.append(o.param_groups[0]["lr"]))

    Trainer(callbacks=[control, Looks()], **QUIET, max_epochs=3).fit(module, data(4), data(1))
    assert used == pytest.approx([0.1] * 4 + [0.05] * 4 + [0.025] * 4)


@pytest.mark.parametrize(("rate", "used"), [({}, 0.05), ({"lr": 0.03}, 0.015)])
def test_a_group_that_joins_between_two_stairs_follows_the_curve_at_once(rate, used):
    optimizer, groups = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1), ControlledGroups("ours/val")
    groups.scan([optimizer], [])
    groups.multiply(0.5)  # a decision on the groups of then
    groups.set_curve(0.5)
    optimizer.add_param_group({"params": [torch.nn.Parameter(torch.zeros(1))], **rate})
    groups.before_step()
    assert optimizer.param_groups[1]["lr"] == used, "its own rate, on the curve; the decision was on other layers"
