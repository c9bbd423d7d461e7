"""After a rejected raise all that training changes is as it was before it, to the last bit, on every rank."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer, callbacks
from lightning.pytorch.plugins import MixedPrecision
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_lr import LearningRateController, Snapshots
from lightning_lr.engine.policies import Policy, Response
from lightning_lr.metrics.probe import Probe
from tests.helpers.ranks import run_on_ranks
from tests.helpers.scripted import QUIET
from tests.helpers.versions import ANY_CHECKPOINT, skip_if_new
from tests.run.test_lr_search import Regression, fit, lr_search
from tests.snapshot.test_snapshot import fingerprint

RAISES = Policy("raises", {"slow_progress": Response("raise", 2.0), "divergence": Response("restore", 0.3)})
"""Nothing but the raise, and a policy that restores at all, so that there are snapshots."""

#         0    1    2    3    4    5     6     7     8
#                                  raised            undone: no new best since
LOSSES = [2.0, 1.8, 1.6, 1.4, 1.2, 1.0, 1.1, 1.1, 1.1, 1.1]
RAISED, UNDONE = 5, 8
"""Epochs; the audit takes 3 checks."""


class TinySteps(Probe):
    """Says at each check that the steps are far too small, whatever they are."""

    def update(self) -> None: ...

    def compute(self) -> None: ...

    def totals(self) -> list[float]:
        return []

    def load_totals(self, totals: Any) -> None: ...

    def readings(self, totals: Any) -> dict[str, float]:
        return {"update_ratio": 1e-6}


class Net(LightningModule):
    """Batch norm and dropout; the losses that decide are scripted, the training is real."""

    def __init__(self, cls: Any, options: Mapping[str, Any]) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.1), nn.Tanh(), nn.Linear(8, 1))
        self.cls, self.options = cls, options

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.log("train_score", 3.0 - 0.2 * self.current_epoch, on_step=False, on_epoch=True, sync_dist=True)
        (inputs,) = batch
        return (self.net(inputs) - inputs.sum(1, keepdim=True)).square().mean()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", LOSSES[self.current_epoch], sync_dist=True)

    def configure_optimizers(self) -> Any:
        return self.cls(self.parameters(), **self.options)


@dataclass
class Sees(Callback):
    """What training changes, by name, at the end of each epoch: after the check, since it stands behind ours.

    Attributes:
        states: epoch → part → its bits.
    """

    states: dict[int, dict[str, Any]] = field(default_factory=dict)

    __hash__ = object.__hash__

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        (optimizer,) = trainer.optimizers
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        averaged_models = [
            vars(callback)["_average_model"] for callback in trainer.callbacks if "_average_model" in vars(callback)
        ]
        self.states[trainer.current_epoch] = {
            "weights": fingerprint(dict(pl_module.named_parameters())),
            "buffers": fingerprint(dict(pl_module.named_buffers())),
            "optimizer": fingerprint(dict(optimizer.state_dict()["state"])),
            **({"scaler": fingerprint(scaler.state_dict())} if scaler is not None else {}),
            **({"average": fingerprint(dict(averaged_models[0].state_dict()))} if averaged_models else {}),
        }


def amp() -> dict[str, Any]:
    """fp16 on the CPU, with a scale that doubles after every seventh step: its counter is never at rest."""
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0, growth_interval=7)
    return {"plugins": [MixedPrecision("16-mixed", "cpu", scaler)]}


def averaging() -> dict[str, Any]:
    skip_if_new("WeightAveraging")
    return {"callbacks": [callbacks.EMAWeightAveraging(decay=0.9)]}


# Eight times as much still trains: were it to diverge, that and not the audit would undo the raise.
MOMENTUM = (torch.optim.SGD, {"lr": 0.001, "momentum": 0.9})
ADAMW = (torch.optim.AdamW, {"lr": 0.01, "amsgrad": True})
ALWAYS = {"weights", "buffers", "optimizer"}
CASES = {
    "sgd": (MOMENTUM, dict, ALWAYS),
    "adamw": (ADAMW, dict, ALWAYS),
    "accumulated": (ADAMW, lambda: {"accumulate_grad_batches": 3}, ALWAYS),
    "amp": (ADAMW, amp, ALWAYS | {"scaler"}),
    "ema": (MOMENTUM, averaging, ALWAYS | {"average"}),
}


def train(made: tuple[Any, Mapping[str, Any]], options: Mapping[str, Any], folder: Path, **arguments: Any) -> Sees:
    """Ten epochs with one raise; what it saw, once it is sure that the raise was made and undone."""
    given = dict(options)
    checkpoint = given.pop("checkpoint", None)
    ours = LearningRateController(
        train_monitor="train_score",
        policy=replace(RAISES, warmup_checks=RAISED),
        probes=[TinySteps()],
        verbose=False,
        **arguments,
    )
    sees = Sees()
    inputs = torch.linspace(-1, 1, 8 * 8 * 4).sin().reshape(-1, 4)
    trainer = Trainer(
        callbacks=[ours, *given.pop("callbacks", ()), sees],
        max_epochs=len(LOSSES),
        num_sanity_val_steps=0,
        default_root_dir=folder,
        **{**QUIET, **given},
    )
    batches, validation = DataLoader(TensorDataset(inputs), batch_size=8), DataLoader(TensorDataset(inputs[:8]))
    trainer.fit(Net(*made), batches, validation, ckpt_path=checkpoint, **(ANY_CHECKPOINT if checkpoint else {}))
    acts = [(d.epoch, str(d.action), d.snapshot_check) for d in ours.decisions]
    assert acts == [(RAISED, "raise", None), (UNDONE, "restore", RAISED)]
    assert ours.decisions[0].factor > 1
    assert list(ours.scale.values()) == [1.0]
    return sees


def assert_undone(states: dict[int, dict[str, Any]], parts: set[str]) -> None:
    assert states[UNDONE].keys() == parts
    for part in parts:
        assert states[UNDONE][part] == states[RAISED][part], part
        assert states[UNDONE][part] != states[UNDONE - 1][part], part  # else there would be nothing to undo


@pytest.mark.parametrize("case", CASES)
def test_a_rejected_raise_leaves_nothing(case: str, tmp_path: Path) -> None:
    made, options, parts = CASES[case]
    assert_undone(train(made, options(), tmp_path).states, parts)


@pytest.mark.parametrize("where", ["memory", "file"])
def test_after_a_resume(where: str, tmp_path: Path) -> None:
    """Killed while the raise is on probation: the checkpoint carries the state before it."""
    made, options, parts = CASES["amp"]
    arguments = {"snapshots": Snapshots(tmp_path / "snapshots")} if where == "file" else {}

    def saving() -> dict[str, Any]:
        kept = callbacks.ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1, save_on_train_epoch_end=True)
        return {**options(), "callbacks": [kept], "enable_checkpointing": True}

    whole = train(made, saving(), tmp_path, **arguments).states
    checkpoint = tmp_path / f"epoch={RAISED + 1}.ckpt"
    states = train(made, {**saving(), "checkpoint": checkpoint}, tmp_path, **arguments).states
    assert min(states) == RAISED + 2
    assert_undone({**states, RAISED: whole[RAISED]}, parts)


@pytest.mark.ranks
@pytest.mark.filterwarnings("ignore:`broadcast_buffers` is deprecated:FutureWarning")
@pytest.mark.parametrize("case", ["adamw", "amp"])
def test_on_two_ranks(case: str, tmp_path: Path) -> None:
    """Each rank has batch-norm statistics of its own, and gets its own back."""
    made, options, parts = CASES[case]

    def run(rank: int) -> dict[int, dict[str, Any]]:
        # Else DDP gives every rank the buffers of rank 0.
        ddp = {"strategy": DDPStrategy(process_group_backend="gloo", broadcast_buffers=False), "devices": 2}
        return train(made, {**options(), **ddp}, tmp_path).states

    ranks = run_on_ranks(run, 2, timeout=100)
    for states in ranks:
        assert_undone(states, parts)
    assert ranks[0][UNDONE]["weights"] == ranks[1][UNDONE]["weights"]
    assert ranks[0][UNDONE]["buffers"] != ranks[1][UNDONE]["buffers"]


# Averages of the weights, and gradients that were under way


def test_a_run_that_is_wrecked_leaves_no_average_of_it(tmp_path: Path) -> None:
    """Before the fix the average was NaN for good: it had held the weights of the exploding steps."""
    skip_if_new("WeightAveraging")
    average = callbacks.EMAWeightAveraging(decay=0.9)
    module, controller = Exploding(0.001), lr_search()
    fit(module, average, controller, max_epochs=10)  # it averages each step before we see its loss
    assert {"explore", "restore"} <= {decision.action for decision in controller.decisions}
    assert not all(module.finite)
    assert all(torch.isfinite(parameter).all() for parameter in module.parameters())  # the average, by now


class Exploding(Regression):
    """Beyond a rate of 0.05 its loss is no number."""

    def __init__(self, lr: float) -> None:
        super().__init__(lr)
        self.finite: list[bool] = []

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx) * (math.inf if self._rate() > 0.05 else 1.0)
        self.finite.append(bool(torch.isfinite(loss)))
        return loss

    def _rate(self) -> float:
        return float(self.trainer.optimizers[0].param_groups[0]["lr"])


class LostMidway(Regression):
    """One batch gives a loss that is no number, in the midst of an accumulation; a validation comes right after it."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        lost = self.current_epoch == 2 and batch_idx == LOST
        return super().training_step(batch, batch_idx) * (math.nan if lost else 1.0)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        just_lost = self.current_epoch == 2 and self.trainer.fit_loop.epoch_loop.batch_idx == LOST
        self.log("val_loss", torch.tensor(math.nan if just_lost else 1.0 / (1 + self.trainer.global_step)))


LOST = 9
"""Batch of the epoch: the second of four that are accumulated, and the last before a validation."""


def test_gradients_of_weights_that_went_enter_no_step() -> None:
    module = LostMidway(0.01)
    controller = LearningRateController(find_lr=False, anneal=False, verbose=False)
    fit(module, controller, max_epochs=5, accumulate_grad_batches=4, val_check_interval=10)
    assert [(str(d.action), str(d.condition)) for d in controller.decisions] == [("restore", "non_finite")]
    assert all(torch.isfinite(parameter).all() for parameter in module.parameters())
