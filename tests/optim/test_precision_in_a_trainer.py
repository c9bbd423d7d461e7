"""Mixed precision, clipped gradients, skipped steps and closures: the rate of each step stays scale × schedule."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision

from lightning_lr import LearningRateController
from lightning_lr.engine.policies import ExponentialPolicy
from tests.helpers.recorded import BATCHES, EPOCHS, Small, run


def controller(**arguments: Any) -> LearningRateController:
    plain = {"policy": ExponentialPolicy(epochs=2, ratio=0.3), "verbose": False}
    return LearningRateController("val_score", **{**plain, **arguments})


def cosine(cls: Any = torch.optim.SGD) -> Any:
    def configure(module: Any) -> Any:
        optimizer = cls(module.parameters(), lr=0.1)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=10, eta_min=1e-3)
        return [optimizer], [{"scheduler": scheduler, "interval": "step"}]

    return configure


OPTIONS = (
    ("bf16", torch.optim.SGD, {"precision": "bf16-mixed"}),
    ("double", torch.optim.SGD, {"precision": "64-true"}),
    ("clipped by norm", torch.optim.Adam, {"gradient_clip_val": 0.1}),
    ("clipped by value", torch.optim.Adam, {"gradient_clip_val": 0.1, "gradient_clip_algorithm": "value"}),
    (
        "bf16, clipped, accumulated",
        torch.optim.SGD,
        {"precision": "bf16-mixed", "gradient_clip_val": 0.1, "accumulate_grad_batches": 3},
    ),
    ("a closure that is called often", torch.optim.LBFGS, {}),
    ("no validation", torch.optim.SGD, {"limit_val_batches": 0}),
    ("validation twice an epoch", torch.optim.SGD, {"val_check_interval": 1}),
    ("validation every other epoch", torch.optim.SGD, {"check_val_every_n_epoch": 2}),
)


@pytest.mark.parametrize(("name", "cls", "options"), OPTIONS, ids=[name for name, *_ in OPTIONS])
@pytest.mark.filterwarnings("ignore:.*limit_val_batches", "ignore:You defined a `validation_step`")
def test_the_rate_of_each_step(name: str, cls: Any, options: dict[str, Any]) -> None:
    """Whatever else the Trainer does around a step."""
    ours = controller()
    scaled, plain = run(Small(cosine(cls)), [ours], ours, **options), run(Small(cosine(cls)), **options)
    assert len(scaled.used) == len(plain.used) > 0
    assert ours.decisions
    for rates, wanted, scale in zip(scaled.used, plain.used, scaled.noted, strict=True):
        assert rates == pytest.approx([wanted[0] * scale[f"lr-{cls.__name__}"]], rel=1e-12)


class Overflowing(Small):
    """The gradients of one epoch are not finite: the scaler leaves those steps out."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        return loss * (1e30 if self.current_epoch == 3 else 1.0)

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        if self.current_epoch == 3:
            for parameter in self.parameters():
                parameter.grad.fill_(float("inf"))


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step:UserWarning")
def test_steps_that_the_gradient_scaler_leaves_out() -> None:
    """fp16 with a scaler, on the CPU: the schedule goes on without a step, and the cut of that epoch holds after it."""

    def plugin() -> dict[str, Any]:
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
        return {"plugins": [MixedPrecision("16-mixed", "cpu", scaler)]}

    ours = controller()
    plain = run(Overflowing(cosine()), **plugin())
    scaled = run(Overflowing(cosine()), [ours], ours, **plugin())
    assert 0 < len(plain.used) == len(scaled.used) < EPOCHS * BATCHES
    for rates, wanted, scale in zip(scaled.used, plain.used, scaled.noted, strict=True):
        assert rates == pytest.approx([wanted[0] * scale["lr-SGD"]], rel=1e-12)
