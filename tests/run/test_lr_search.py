"""A run that looks for its first rate: where it started does not matter, and the search leaves but that rate."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, LearningRateFinder, ModelCheckpoint
from torch.utils.data import DataLoader, TensorDataset

from lightning_lr import LearningRateController
from lightning_lr.engine.policies import PRESETS, Policy, Response
from lightning_lr.errors import UnsupportedError
from tests.helpers.scripted import QUIET

BATCHES, EPOCHS = 40, 8
SWEEP = BATCHES * EPOCHS // 8


class Regression(LightningModule):
    """A small net with batch norm on a smooth function; its weights after each step are kept."""

    def __init__(self, lr: float, optimizer: str = "SGD", scheduler: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = torch.nn.Sequential(
            torch.nn.Linear(4, 16), torch.nn.BatchNorm1d(16), torch.nn.Tanh(), torch.nn.Linear(16, 1)
        )
        self.lr, self.optimizer, self.scheduler = lr, optimizer, scheduler
        self.rates: list[float] = []

    def loss(self, batch: Any) -> torch.Tensor:
        inputs, targets = batch
        return torch.nn.functional.mse_loss(self.net(inputs), targets)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return self.loss(batch)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.loss(batch), sync_dist=True)

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        self.rates.append(optimizer.param_groups[0]["lr"])

    def configure_optimizers(self) -> Any:
        optimizer = getattr(torch.optim, self.optimizer)(self.parameters(), lr=self.lr)
        if self.scheduler:
            return [optimizer], [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.999)]
        return optimizer


class WeightsAt(Callback):
    """Keeps a copy of everything that training changes, at the start of some batches."""

    def __init__(self, *batches: int) -> None:
        self.batches, self.kept = batches, {}

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        step = trainer.current_epoch * BATCHES + batch_idx
        if step in self.batches:
            state = {name: value.clone() for name, value in pl_module.state_dict().items()}
            self.kept[step] = (state, {k: v.clone() for k, v in _moments(trainer.optimizers[0]).items()})


def _moments(optimizer: Any) -> dict[str, torch.Tensor]:
    return {
        f"{number}/{name}": value
        for number, state in optimizer.state_dict()["state"].items()
        for name, value in state.items()
        if isinstance(value, torch.Tensor)
    }


def loader() -> DataLoader:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(BATCHES * 8, 4, generator=generator)
    targets = inputs.sin().sum(1, keepdim=True) + 0.1 * torch.randn(len(inputs), 1, generator=generator)
    return DataLoader(TensorDataset(inputs, targets), 8)


def fit(module: LightningModule, *callbacks: Any, **options: Any) -> Trainer:
    settings = {**QUIET, "max_epochs": EPOCHS, "callbacks": list(callbacks), **options}
    trainer = Trainer(**settings)
    trainer.fit(module, loader(), loader(), ckpt_path=None)
    return trainer


def steps_swept(controller: LearningRateController) -> int:
    """How many rates the exploration tried: it ends early where the loss explodes."""
    found = re.search(r"(\d+) rates", controller.decisions[0].reason)
    assert found
    return int(found[1])


def lr_search(**options: Any) -> LearningRateController:
    return LearningRateController(**{"find_lr": "auto", "anneal": "auto", "verbose": False, **options})


@pytest.mark.parametrize("optimizer", ["SGD", "AdamW"])
def test_every_start_ends_in_the_same_weights(optimizer: str) -> None:
    """Rates 10,000 times apart lead to the very same run, since the range of the sweep is absolute."""
    planned_end_step = []
    for lr in (1e-4, 1e-2, 1.0):
        module = Regression(lr, optimizer)
        fit(module, lr_search())
        planned_end_step.append(torch.cat([p.detach().flatten() for p in module.parameters()]))
    for end in planned_end_step[1:]:
        torch.testing.assert_close(end, planned_end_step[0], rtol=1e-4, atol=1e-5)


def test_the_sweep_is_visible_and_the_curve_falls_to_zero_at_the_end() -> None:
    # step   0 ... sweep ... 40, warm-up, hold ... half of what is left, linear ... last step
    module = Regression(0.01)
    controller = lr_search()
    fit(module, controller)
    found, anneal = controller.decisions[:2]
    assert (found.action, anneal.action) == ("explore", "anneal")
    swept = steps_swept(controller)
    assert swept <= SWEEP
    assert module.rates[0] == pytest.approx(1e-6)
    assert all(a < b for a, b in zip(module.rates[: swept - 1], module.rates[1:swept], strict=True))
    level = found.new_lr["lr-SGD"]
    held = module.rates[swept + 10 : swept + 100]
    assert held == pytest.approx([level] * len(held))
    assert module.rates[-1] == pytest.approx(level / ((BATCHES * EPOCHS - swept) / 2), rel=0.05)
    assert 0 < module.rates[-1] < 0.01 * level


def test_weights_buffers_and_optimizer_state_come_back_bit_for_bit() -> None:
    first = lr_search()
    fit(Regression(0.01, "AdamW"), first)
    swept = steps_swept(first)
    probe = WeightsAt(0, swept)
    fit(Regression(0.01, "AdamW"), lr_search(), probe)
    (start, moments), (after, moments_after) = probe.kept[0], probe.kept[swept]
    assert all(torch.equal(start[name], after[name]) for name in start)
    assert moments == moments_after == {}


@pytest.mark.parametrize(
    ("options", "module", "trainer", "card"),
    [
        ({}, {"scheduler": True}, {}, "none: the schedule is the user's own"),
        ({"policy": "conservative"}, {}, {}, "none: policy 'conservative' does not explore"),
        ({"find_lr": False}, {}, {}, "none: find_lr=False"),
        ({}, {}, {"max_epochs": 2}, "none: too few steps"),
        ({}, {}, {"callbacks": [LearningRateFinder()]}, "none: LearningRateFinder has found a rate already"),
    ],
)
def test_where_it_steps_aside(options: dict, module: dict, trainer: dict, card: str, monkeypatch: Any) -> None:
    controller, summary = lr_search(**options), {}
    monkeypatch.setattr("lightning_lr.run.setup.set_up_card", lambda known: summary.update(known) or "")
    monkeypatch.setattr(LearningRateFinder, "on_fit_start", lambda *_: None)
    callbacks = trainer.pop("callbacks", [])
    run = Regression(0.01, **module)
    fit(run, controller, *callbacks, **trainer)
    assert summary["exploration"] == card
    assert not [decision for decision in controller.decisions if decision.action == "explore"]


def test_an_end_is_refused_where_none_is_known() -> None:
    with pytest.raises(UnsupportedError, match="Expected a known budget for `anneal=True`: give the Trainer max_ep"):
        fit(Regression(0.01), lr_search(anneal=True), max_epochs=-1, max_steps=-1)


def test_accumulated_batches_make_one_step_of_the_sweep() -> None:
    module = Regression(0.01)
    controller = lr_search()
    fit(module, controller, accumulate_grad_batches=2, max_epochs=16)
    trial = [d for d in controller.decisions if d.action == "explore"]
    assert len(trial) == 1
    assert steps_swept(controller) > 30
    assert module.rates[: steps_swept(controller)] == pytest.approx(
        [1e-6 * 10 ** (7 * i / 39) for i in range(steps_swept(controller))]
    )


@pytest.mark.parametrize(
    ("policy", "explored", "annealed"),
    [
        (replace(PRESETS["auto"], name="mine"), True, True),
        (replace(PRESETS["auto"], searches=False), False, True),
        (replace(PRESETS["auto"], anneals=False), True, False),
        (Policy("auto", {"plateau": Response("reduce", 0.5)}), False, False),
    ],
    ids=["another name", "no search", "no end", "the name alone"],
)
def test_what_a_policy_is_called_decides_nothing(policy: Policy, explored: bool, annealed: bool) -> None:
    controller = lr_search(policy=policy)
    fit(Regression(0.01), controller)
    actions = [decision.action for decision in controller.decisions]
    assert ("explore" in actions, "anneal" in actions) == (explored, annealed)


def test_a_conservative_policy_explores_where_it_is_told_to() -> None:
    controller = lr_search(policy="conservative", find_lr=True)
    fit(Regression(1.0), controller)
    assert controller.decisions[0].action == "explore"
    assert controller.decisions[0].snapshot_check == -1


def every_epoch(folder: Path) -> ModelCheckpoint:
    return ModelCheckpoint(folder, save_top_k=-1, filename="{epoch}")


def resume(module: LightningModule, checkpoint: Path, epochs: int, controller: LearningRateController) -> None:
    callbacks = [controller, every_epoch(checkpoint.parent)]
    trainer = Trainer(**{**QUIET, "max_epochs": epochs, "callbacks": callbacks, "enable_checkpointing": True})
    trainer.fit(module, loader(), loader(), ckpt_path=str(checkpoint))


def test_a_resumed_run_with_more_epochs_is_annealed_to_its_new_end(tmp_path: Path) -> None:
    fit(Regression(0.01), lr_search(), every_epoch(tmp_path), enable_checkpointing=True)
    module = Regression(0.01)
    resume(module, tmp_path / f"epoch={EPOCHS - 1}.ckpt", 2 * EPOCHS, lr_search())
    assert len(module.rates) == BATCHES * EPOCHS
    assert module.rates[0] > 0.5 * max(module.rates)  # half of the new budget is left: the fall has just begun
    assert 0 < module.rates[-1] < 0.02 * module.rates[0]


@pytest.mark.damages_journal  # the second one begins in mid-run
def test_a_resumed_run_told_to_write_elsewhere_leaves_the_former_journal(tmp_path: Path) -> None:
    former, other = tmp_path / "former.jsonl", tmp_path / "other.jsonl"
    fit(Regression(0.01), lr_search(journal=str(former)), every_epoch(tmp_path), enable_checkpointing=True)
    text = former.read_text()
    resume(Regression(0.01), tmp_path / "epoch=3.ckpt", EPOCHS, lr_search(journal=str(other)))
    assert former.read_text() == text
    assert other.exists()
