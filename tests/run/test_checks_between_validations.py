"""Checks between two validations: they see the training loss alone, and change nothing that rests on validation."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_lr import LearningRateController
from lightning_lr.engine.policies import AutoPolicy, HalvingPolicy
from lightning_lr.offline.cli import main
from lightning_lr.run.distributed import Ranks
from tests.helpers.ranks import run_on_ranks
from tests.helpers.scripted import Scripted, data, trainer

EPOCH, EVERY = 120, 20
CHECKS = 15
"""Validations after which a plateau has long been found."""
WORSE = {"val_loss": [1.0, 0.8, 0.6, 2.0, 8.0, 16.0]}
FLAT = {"val_loss": [1.0, 0.8, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6]}


class Trains(Scripted):
    """Reports a training loss that is a function of the step."""

    def __init__(self, loss: Any, script: Any = None) -> None:
        super().__init__(FLAT if script is None else script)
        self.loss = loss

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        loss = 0.0 * super().training_step(batch, batch_idx)
        return loss + self.loss(self.trainer.global_step)


def falls(step: int) -> float:
    return 0.2 + 2.0 / (1 + step / 40) + 0.02 * math.sin(step * step)


def rises(step: int) -> float:
    return falls(step) + 0.1 * max(0, step - 300)


def lost(step: int) -> float:
    return falls(step) if step < 210 else math.nan


def fit(model: Scripted, folder: Path | None, epochs: int = 4, **arguments: Any) -> LearningRateController:
    options = {"find_lr": False, "anneal": False, "verbose": False, "check_every_n_steps": EVERY, **arguments}
    control = LearningRateController("val_loss", **options)
    settings = {"max_epochs": epochs, "num_sanity_val_steps": 0}
    trainer([control], folder, **settings).fit(model, data(EPOCH), data(1))
    return control


class ByHand(Trains):
    """Optimizes by hand and returns no loss, as many a GAN."""

    def __init__(self) -> None:
        super().__init__(falls)
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> None:
        optimizer = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(self.layer(batch[0]).pow(2).mean())
        optimizer.step()


def test_where_no_step_returns_a_loss_it_is_asked_for_no_more_often(monkeypatch: pytest.MonkeyPatch) -> None:
    sums, plain = [], Ranks.sum
    monkeypatch.setattr(Ranks, "sum", lambda self, numbers: sums.append(1) or plain(self, numbers))
    fit(ByHand(), None, epochs=3)
    assert len(sums) <= 3 * EPOCH / EVERY + 1  # one at the start: whether a snapshot fits on each host


def readings(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "lr_journal.jsonl").read_text().splitlines()[1:]]


# training loss → condition, and the step at which it must be acted on, long before the epoch's end
SEEN = [
    # step 0 ... falls ... 300, rises ... validation at 360
    pytest.param(rises, "divergence", 300, 350, id="diverges within the third epoch"),
    # step 0 ... falls ... 210: not a number ... validation at 240
    pytest.param(lost, "non_finite", 211, 230, id="weights are lost within the second epoch"),
]


@pytest.mark.parametrize(("loss", "condition", "first", "last"), SEEN)
def test_what_cannot_wait_is_acted_on_between_validations(loss, condition, first, last, tmp_path: Path) -> None:
    control = fit(Trains(loss), tmp_path)
    decision = control.decisions[0]
    assert (decision.action, decision.condition) == ("restore", condition)
    assert first <= decision.step <= last
    assert decision.reason.startswith(f"between validations, {condition}: ")
    late = fit(Trains(loss, WORSE), None, epochs=8, check_every_n_steps=0).decisions[0]
    assert late.step > last  # by levels of whole epochs, of which there are few


def test_nothing_that_rests_on_validation_changes(tmp_path: Path) -> None:
    """Gap, trends, streaks, warm-up and the plateau's restore are those of the run without the checks between."""
    both = []
    for every in (0, EVERY):
        folder = tmp_path / str(every)
        model = Trains(falls)
        control = fit(
            model, folder, epochs=CHECKS, check_every_n_steps=every, policy=AutoPolicy(warmup_checks=1), cooldown=1
        )
        validated = [line for line in readings(folder) if line["reading"]["metrics"]]
        assert len(validated) == CHECKS
        acts = [(d.action, d.condition, d.epoch, d.factor) for d in control.decisions]
        assert acts
        suspected = [{*line["suspected"]} & {"plateau", "overfitting"} for line in validated]
        both.append((acts, [line["views"] for line in validated], suspected))
        train_only = [line for line in readings(folder) if line["event"] == "train_check"]
        assert len(train_only) == (CHECKS * (EPOCH // EVERY - 1) if every else 0)
        assert {line["decision"]["action"] for line in train_only} <= {"hold"}
        assert all(
            line["decision"]["reason"].startswith("between validations, healthy: training") for line in train_only
        )
        assert main(["report", str(folder), "--html", str(tmp_path / f"{every}.html")]) == 0
    (acts, views, suspected), (acts_too, signals_too, suspected_too) = both
    assert acts == acts_too
    assert suspected == suspected_too
    for one, other in zip(views, signals_too, strict=True):
        for name in one:
            numbers, others = ({k: float(v) for k, v in s[name].items() if "check" not in k} for s in (one, other))
            assert numbers == pytest.approx(others, rel=1e-6, nan_ok=True), name


def test_a_run_without_validation_checks_within_its_epochs(tmp_path: Path) -> None:
    """The training loss that stands for the monitor is that of the whole epoch."""
    model = Trains(falls, script={})
    model.validation_step = None  # type: ignore[assignment,method-assign]
    options = {"find_lr": False, "anneal": False, "verbose": False, "check_every_n_steps": EVERY}
    trainer([LearningRateController("val_loss", **options)], tmp_path, max_epochs=2).fit(model, data(EPOCH))
    lines = readings(tmp_path)
    logged = [line["reading"]["metrics"]["train_loss"] for line in lines if line["reading"]["metrics"]]
    wanted = [sum(map(falls, range(at, at + EPOCH))) / EPOCH for at in (0, EPOCH)]
    assert logged == pytest.approx(wanted, rel=1e-5)
    # Before the first epoch is over nobody knows that no monitor will come.
    assert [line["event"] for line in lines].count("train_check") == EPOCH // EVERY - 1


def test_a_recipe_makes_none(tmp_path: Path) -> None:
    """It counts epochs, and has no answer to anything between."""
    control = LearningRateController("val_loss", policy=HalvingPolicy(epochs=1), verbose=False)
    # As the default would be in an epoch that is long enough.
    object.__setattr__(control.options, "check_every_n_steps", EVERY)
    settings = {"max_epochs": 2, "num_sanity_val_steps": 0}
    trainer([control], tmp_path, **settings).fit(Trains(falls), data(EPOCH), data(1))
    assert [line["event"] for line in readings(tmp_path)] == ["check", "check"]


@pytest.mark.ranks
@pytest.mark.filterwarnings("ignore:It is recommended to use .*sync_dist")
def test_ranks_check_and_act_alike() -> None:
    """The ranks report losses of their own, and see at the same step that the weights are lost."""

    def run(rank: int) -> tuple[Any, ...]:
        model = Trains(lambda step: lost(step) + rank)
        control = LearningRateController(
            "val_loss", find_lr=False, anneal=False, verbose=False, check_every_n_steps=EVERY
        )
        options = {"strategy": "ddp", "devices": 2, "use_distributed_sampler": False, "num_sanity_val_steps": 0}
        trainer([control], None, max_epochs=2, **options).fit(model, data(EPOCH), data(1))
        return [(d.check, d.step, str(d.condition), d.factor) for d in control.decisions], model.used

    (told, rates), (told_too, rates_too) = run_on_ranks(run)
    assert told == told_too
    assert rates == rates_too
    assert told[0][2] == "non_finite"
