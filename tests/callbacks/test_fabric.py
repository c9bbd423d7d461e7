"""The controller in loops with Lightning Fabric: the same engine, without a Trainer."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.fabric import Fabric
from lightning.fabric.loggers import CSVLogger, TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from examples import fabric_loop
from lightning_lr import FabricLearningRateController, LearningRateController
from lightning_lr.engine.policies import ExponentialPolicy
from lightning_lr.errors import ArgumentError, MissingMetricError
from tests.helpers.scripted import Scripted, data, trainer

FLAT = [1.0, 0.9, 0.8, *[0.8] * 20]
FALLS = [1.0 - 0.05 * epoch for epoch in range(20)]


class Loop:
    """A loop as a user writes it: two batches an epoch; what validation finds is given."""

    def __init__(self, controller: Any, values: list[float] | None, folder: Path | None = None, **made: Any) -> None:
        torch.manual_seed(0)
        loggers = [TensorBoardLogger(folder, name="tb"), CSVLogger(folder, name="csv")] if folder else []
        callbacks = [] if controller is None else [controller]
        self.fabric = Fabric(accelerator="cpu", devices=1, callbacks=callbacks, loggers=loggers)
        self.accumulate, self.scheduler = made.get("accumulate", 1), None
        layer = torch.nn.Linear(4, 1)
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9)
        if "scheduler" in made:
            self.scheduler = made["scheduler"](optimizer)
        self.model, self.optimizer = self.fabric.setup(layer, optimizer)
        self.controller, self.values, self.rates = controller, values, []

    def run(self, epochs: range, saved: Any = None) -> Loop:
        fabric = self.fabric
        if saved is not None:
            self.model.load_state_dict(saved["model"])
            self.optimizer.load_state_dict(saved["optimizer"])
            if self.controller is not None:
                self.controller.load_state_dict(saved["controller"])
        schedulers = [] if self.scheduler is None else self.scheduler
        fabric.call("on_train_start", fabric=fabric, model=self.model, optimizers=self.optimizer, schedulers=schedulers)
        for epoch in epochs:
            for index, (inputs,) in enumerate(data()):
                fabric.call("on_train_batch_start")
                loss = self.model(inputs).pow(2).mean()
                fabric.backward(loss)
                if (index + 1) % self.accumulate == 0:
                    self.optimizer.step()
                    self.rates.append(self.optimizer.param_groups[0]["lr"])
                    self.optimizer.zero_grad()
                fabric.call("on_train_batch_end", loss=loss)
            if self.scheduler is not None:
                self.scheduler.step()
            if self.values is not None:
                fabric.call("on_validation_end", metrics={"val_loss": self.values[epoch], "other": 1.0})
            fabric.call("on_train_epoch_end")
        return self

    def saved(self) -> dict[str, Any]:
        state = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        return pickle.loads(pickle.dumps({**state, "controller": self.controller.state_dict()}))

    def end(self) -> Loop:
        self.fabric.call("on_train_end")
        return self

    @property
    def weights(self) -> torch.Tensor:
        return torch.nn.utils.parameters_to_vector(self.model.parameters()).detach().clone()


def quiet(monitor: Any = "val_loss", **options: Any) -> FabricLearningRateController:
    return FabricLearningRateController(monitor, **{"verbose": False, **options})


def test_a_plateau_restores_the_best_weights_and_reduces(tmp_path: Path):
    """The weights of the best check come back; journal, TensorBoard and CSV have the decision."""
    loop = Loop(quiet(patience=2), FLAT, tmp_path).run(range(3))
    best = loop.weights
    controller = loop.controller
    for epoch in range(3, 16):
        for (inputs,) in data():
            loss = loop.model(inputs).pow(2).mean()
            loop.optimizer.zero_grad()
            loop.fabric.backward(loss)
            loop.optimizer.step()
            loop.fabric.call("on_train_batch_end", loss=loss)
        loop.fabric.call("on_validation_end", metrics={"val_loss": FLAT[epoch]})
        if controller.decisions:
            break
        loop.fabric.call("on_train_epoch_end")
    (decision,) = controller.decisions
    assert (str(decision.action), str(decision.condition)) == ("restore", "plateau")
    assert torch.equal(loop.weights, best)
    assert loop.optimizer.param_groups[0]["lr"] == pytest.approx(0.03)
    assert list(controller.scale.values()) == [pytest.approx(0.3)]
    loop.end()
    (journal,) = tmp_path.rglob("lr_journal.jsonl")
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    assert [line["decision"]["action"] for line in lines[1:]][-1] == "restore"
    loop.fabric.loggers[0].experiment.flush()
    read = EventAccumulator(str(next(tmp_path.glob("tb/*"))), size_guidance={"tensors": 0, "scalars": 0}).Reload()
    assert read.Scalars("lr_controller/scale")[-1].value == pytest.approx(0.3)
    assert "lr_controller/decisions/text_summary" in read.Tags()["tensors"]


def test_it_decides_as_in_a_trainer():
    """The same values, the same decisions: it is one engine."""
    fabric = Loop(quiet(policy="conservative"), FLAT).run(range(16)).end().controller
    control = LearningRateController("val_loss", policy="conservative", verbose=False)
    trainer(control, max_epochs=16).fit(Scripted({"val_loss": FLAT}), data(), data())
    assert control.decisions
    said = [[(d.epoch, d.action, d.condition, d.factor) for d in one.decisions] for one in (fabric, control)]
    assert said[0] == said[1]


@pytest.mark.parametrize("options", [{"dry_run": True}, {"policy": "conservative"}], ids=str)
def test_without_an_action_nothing_changes(options):
    """Bit for bit the loop without it; and nothing is left on the optimizer."""
    values = FLAT if "dry_run" in options else FALLS
    plain, watched = Loop(None, values).run(range(8)), Loop(quiet(**options), values).run(range(8)).end()
    assert torch.equal(plain.weights, watched.weights)
    assert plain.rates == watched.rates
    keys = [sorted(vars(loop.optimizer.optimizer)) for loop in (plain, watched)]
    assert keys[0] == keys[1]


@pytest.mark.parametrize("first", [2, 9, 14])
def test_a_resumed_loop_decides_as_one_that_never_stopped(first):
    """From a checkpoint that the loop wrote, with the snapshot in it."""
    whole = Loop(quiet(patience=2), FLAT).run(range(18)).end()
    begun = Loop(quiet(patience=2), FLAT).run(range(first))
    resumed = Loop(quiet(patience=2), FLAT).run(range(first, 18), begun.saved()).end()
    assert whole.controller.decisions
    assert resumed.controller.decisions == whole.controller.decisions
    assert torch.equal(resumed.weights, whole.weights)
    assert begun.rates + resumed.rates == whole.rates


def test_a_schedule_of_the_users_own_is_only_scaled():
    def cosine(optimizer: Any) -> Any:
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 12, eta_min=0.01)

    policy = ExponentialPolicy(epochs=2, ratio=0.5)
    plain = Loop(None, FALLS, scheduler=cosine).run(range(8))
    scaled = Loop(quiet(policy=policy), FALLS, scheduler=cosine).run(range(8)).end()
    factors = [0.5 ** (step // 2 // 2) for step in range(16)]
    assert scaled.rates == pytest.approx([rate * factor for rate, factor in zip(plain.rates, factors, strict=True)])


def test_steps_are_those_of_the_optimizer():
    """With accumulated gradients every second batch is a step."""
    loop = Loop(quiet(), FALLS, accumulate=2).run(range(4))
    assert loop.controller.state_dict()["step"] == 4
    assert loop.end().controller.controller.state_dict()["steps"] == 4


def test_an_anneal_over_the_known_steps():
    loop = Loop(quiet(anneal=True, max_steps=20), FALLS).run(range(10)).end()
    assert [str(decision.action) for decision in loop.controller.decisions] == ["anneal"]
    assert loop.rates[0] == 0.1
    assert loop.rates[-1] < 0.03


def test_a_loop_without_validation_watches_the_training_loss():
    loop = Loop(quiet(None, policy="conservative"), None).run(range(6)).end()
    state = loop.controller.controller.state_dict()
    assert (state["checks"], state["monitors"]) == (6, ["train_loss"])


def test_a_metric_that_the_loop_does_not_give():
    with pytest.raises(MissingMetricError, match="Did you mean `val_loss`"):
        Loop(quiet("val_los"), FALLS).run(range(3))


@pytest.mark.parametrize("option", ["find_lr", "probes"])
def test_what_fabric_cannot(option):
    with pytest.raises(ArgumentError, match=f"Expected no `{option}` with Fabric"):
        quiet(**{option: True})


def test_the_example(tmp_path: Path):
    """Watches, restores, reduces; goes on from its checkpoint."""
    made = fabric_loop.main(epochs=30, folder=str(tmp_path))
    assert {str(decision.action) for decision in made.decisions} >= {"restore"}
    again = fabric_loop.main(epochs=32, folder=str(tmp_path), resume=str(tmp_path / "last.ckpt"))
    assert [str(d) for d in again.decisions][: len(made.decisions)] == [str(d) for d in made.decisions]
