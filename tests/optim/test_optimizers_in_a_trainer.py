"""Every optimizer of torch, several at once, and none: through a Trainer."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from lightning_lr import LearningRateController
from lightning_lr.engine.policies import ExponentialPolicy
from lightning_lr.errors import ArgumentError
from tests.helpers.recorded import EPOCHS, Recorder, Small, SmallManual, fit, run

CLASSES = [
    cls
    for cls in vars(torch.optim).values()
    if inspect.isclass(cls) and issubclass(cls, torch.optim.Optimizer) and cls is not torch.optim.Optimizer
]
RATIO = 0.3


def controller(**arguments: Any) -> LearningRateController:
    """Cuts at each check."""
    plain = {"policy": ExponentialPolicy(ratio=RATIO), "verbose": False}
    return LearningRateController("val_score", **{**plain, **arguments})


class Tiny(Small):
    """One matrix, as Muon wants it; sparse, as ``SparseAdam`` wants it; the loss is not finite in the epochs named."""

    def __init__(self, cls: type[torch.optim.Optimizer], lost: tuple[int, ...] = ()) -> None:
        super().__init__(lambda module: cls(module.parameters(), lr=0.01))
        self.lost = lost
        self.layer = torch.nn.Embedding(4, 3, sparse=cls is torch.optim.SparseAdam)  # type: ignore[assignment]

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        loss = self.layer(torch.tensor([batch_idx % 4, 1])).pow(2).mean()
        return loss * math.nan if self.current_epoch in self.lost else loss


def assert_scaled(scaled: Recorder, plain: Recorder) -> None:
    """Each step used the scale × the rate of the run without us."""
    assert scaled.noted[0] != scaled.noted[-1], "there were cuts"
    for rates, wanted, scale in zip(scaled.used, plain.used, scaled.noted, strict=True):
        expected = [rate * factor for rate, factor in zip(wanted, scale.values(), strict=True)]
        assert rates == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_optimizer_of_torch_uses_the_scaled_rate(cls: type[torch.optim.Optimizer]) -> None:
    """Also those with a closure, with sparse gradients, and those that are new in the installed torch."""
    ours = controller()
    assert_scaled(run(Tiny(cls), [ours], ours), run(Tiny(cls)))
    assert len(ours.decisions) == EPOCHS


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_optimizer_of_torch_comes_back_from_a_loss_that_is_not_finite(cls: type[torch.optim.Optimizer]) -> None:
    """Weights and state of the last good check are restored, and training goes on from there."""
    ours, module = controller(policy="auto"), Tiny(cls, lost=(3,))
    fit(module, [ours])
    assert [(d.action, d.epoch) for d in ours.decisions if d.condition == "non_finite"] == [("restore", 3)]
    assert all(torch.isfinite(parameter).all() for parameter in module.parameters())


def two_groups(module: Any) -> list[dict[str, Any]]:
    return [{"params": [module.layer.weight]}, {"params": [module.layer.bias]}]


TENSORS: tuple[tuple[str, Callable[[Any], torch.optim.Optimizer]], ...] = (
    ("shared", lambda m: torch.optim.Adam(two_groups(m), lr=torch.tensor(0.1, dtype=torch.float64), foreach=False)),
    ("fused", lambda m: torch.optim.Adam(two_groups(m), lr=0.1, fused=True)),
    ("fused with a tensor", lambda m: torch.optim.SGD(two_groups(m), lr=torch.tensor(0.1), fused=True)),
)


@pytest.mark.parametrize(("name", "make"), TENSORS, ids=[name for name, _ in TENSORS])
@pytest.mark.parametrize("scheduled", [False, True], ids=["constant", "scheduled"])
def test_a_rate_that_is_a_tensor(name: str, make: Callable[[Any], torch.optim.Optimizer], scheduled: bool) -> None:
    """One tensor in two groups is scaled once, in place; in single precision its rounding is all that differs."""
    seen: list[Any] = []

    def configure(module: Any) -> Any:
        optimizer = make(module)
        seen.extend(group["lr"] for group in optimizer.param_groups)
        schedulers = [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)] if scheduled else []
        return [optimizer], schedulers

    ours = controller(policy=ExponentialPolicy(epochs=3, ratio=RATIO))
    plain = run(Small(configure))
    seen.clear()
    scaled = run(Small(configure), [ours], ours)
    assert scaled.used[-1] == pytest.approx([plain.used[-1][0] * s for s in scaled.noted[-1].values()], rel=1e-6)
    assert scaled.used[-1][0] < 0.5 * plain.used[-1][0]
    if isinstance(seen[0], torch.Tensor):
        assert seen[0] is seen[1]
        assert float(seen[0]) == scaled.left[0], "the very tensor of the start"


def gan(module: Any) -> Any:
    """Two optimizers, the second with two groups that bear names."""
    named = [
        {"params": [module.layer.weight], "name": "body", "lr": 0.05},
        {"params": [module.layer.bias], "name": "head", "lr": 0.01},
    ]
    return [torch.optim.SGD(module.layer.parameters(), lr=0.1), torch.optim.Adam(named)], []


CHOICES = (
    (None, {"lr-SGD", "lr-Adam/body", "lr-Adam/head"}),
    ([0], {"lr-SGD"}),
    ([1], {"lr-Adam/body", "lr-Adam/head"}),
    (["head"], {"lr-Adam/head"}),
    ([0, "body"], {"lr-SGD", "lr-Adam/body"}),
)


@pytest.mark.parametrize(("chosen", "controlled"), CHOICES, ids=[str(chosen) for chosen, _ in CHOICES])
def test_only_the_chosen_rates_are_scaled(chosen: Any, controlled: set[str]) -> None:
    """By index or by the name of a group, with manual optimization; decisions name only those."""
    ours = controller(param_groups=chosen)
    done = run(SmallManual(gan), [ours], ours)
    assert set(ours.scale) == controlled == set(ours.decisions[0].old_lr)
    last = dict(zip(("lr-SGD", "lr-Adam/body", "lr-Adam/head"), done.used[-2] + done.used[-1], strict=True))
    plain = {"lr-SGD": 0.1, "lr-Adam/body": 0.05, "lr-Adam/head": 0.01}
    for name, rate in plain.items():
        assert last[name] == pytest.approx(rate * done.noted[-1].get(name, 1.0), rel=1e-12)


BAD = (
    ([2], "Expected `param_groups` to hold indices below 2 or names of parameter groups ('body', 'head') but got 2."),
    (
        ["hed"],
        "Expected `param_groups` to hold indices below 2 or names of parameter groups ('body', 'head') but got 'hed'.",
    ),
)


@pytest.mark.parametrize(("chosen", "message"), BAD, ids=["index", "name"])
def test_a_choice_that_does_not_exist(chosen: Any, message: str) -> None:
    """The error says what there is."""
    with pytest.raises(ArgumentError) as error:
        fit(SmallManual(gan), [controller(param_groups=chosen)])
    assert str(error.value) == message


def test_two_optimizers_with_a_scheduler_each() -> None:
    """The module steps them; both stay exact."""

    def configure(module: Any) -> Any:
        optimizers, _ = gan(module)
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizers[0], T_max=12, eta_min=1e-3)
        return optimizers, [cosine, torch.optim.lr_scheduler.LambdaLR(optimizers[1], lambda t: 1 / (1 + t))]

    ours = controller()
    scaled, plain = run(SmallManual(configure), [ours], ours), run(SmallManual(configure))
    for step, (rates, wanted, scale) in enumerate(zip(scaled.used, plain.used, scaled.noted, strict=True)):
        factor = list(scale.values())[:1] if step % 2 == 0 else list(scale.values())[1:]
        assert rates == pytest.approx([w * f for w, f in zip(wanted, factor, strict=True)], rel=1e-12)


@pytest.mark.parametrize("hook", ["on_train_epoch_start", "on_train_batch_start", "on_train_epoch_end"])
def test_groups_that_join_in_mid_run(hook: str) -> None:
    """They start from their own rate, and get later cuts like all others."""

    class Growing(Small):
        pass

    def join(self: Any, *_: Any) -> None:
        if self.current_epoch == 4 and len(self.optimizers().param_groups) == 1:
            self.optimizers().add_param_group({"params": [self.layer.bias]})

    setattr(Growing, hook, join)
    ours = controller()
    done = run(Growing(lambda module: torch.optim.SGD([module.layer.weight], lr=0.1)), [ours], ours)
    assert {len(rates) for rates in done.used} == {1, 2}
    begun = next(rates for rates in done.used if len(rates) == 2)
    assert begun[1] == pytest.approx(0.1, rel=1e-12) or hook == "on_train_epoch_end"
    ratio = begun[0] / begun[1]
    assert ratio < 0.5
    assert all(rates[0] == pytest.approx(ratio * rates[1], rel=1e-12) for rates in done.used if len(rates) == 2)
    assert done.used[-1][1] < begun[1]
    assert list(ours.scale) == ["lr-SGD/pg1", "lr-SGD/pg2"]


@pytest.mark.filterwarnings("ignore:`LightningModule.configure_optimizers` returned `None`")
def test_no_optimizer_at_all() -> None:
    """There is nothing to change: training goes on, and it is said once."""
    ours = controller(policy="auto")
    with pytest.warns(
        UserWarning, match="^lightning_lr: No optimizer has a learning rate that could be changed: decisi"
    ):
        fit(Small(lambda module: None), [ours])
    assert ours.scale == {}
