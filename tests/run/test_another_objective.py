"""What the losses mean may change, and a metric may mean nothing: neither is an answer to a learning rate.

Classes: a monitor that is undefined while training is sound; an objective that the user changes, said beforehand, said
under way, or not said at all; a monitor that is logged in the last hook of an epoch.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from lightning_lr import LearningRateController
from lightning_lr.engine.engine import DecisionEngine
from lightning_lr.engine.journal import read_line
from lightning_lr.engine.policies import Policy, Response
from lightning_lr.engine.records import Rate, Reading, TrainWindow
from lightning_lr.engine.settings import Settings
from lightning_lr.errors import ArgumentError, MissingMetricError
from tests.helpers.scripted import Scripted, data, trainer
from tests.helpers.versions import ANY_CHECKPOINT
from tests.run.test_restores_that_cannot_be_made import controller

NAN, INF = math.nan, math.inf
FALLS = [1.0 - 0.05 * i for i in range(9)]

# --- an undefined monitor ---------------------------------------------------------------------------------------------

UNDEFINED = {
    "at first": [NAN, NAN, NAN, *FALLS],
    "infinite at first": [INF, INF, INF, *FALLS],
    "under way": [*FALLS[:3], NAN, NAN, NAN, *FALLS[3:]],
    "now and then": [0.9, NAN, 0.8, NAN, NAN, 0.7, -INF, NAN, 0.6],
    "always": [NAN] * 9,
}


@pytest.mark.parametrize("script", UNDEFINED)
@pytest.mark.parametrize("policy", ["auto", "conservative"])
def test_a_sound_run_is_not_cut_for_an_undefined_metric(script: str, policy: str) -> None:
    ours = LearningRateController(policy=policy, find_lr=False, anneal=False, verbose=False)
    module = Scripted({"val_loss": UNDEFINED[script]}, lr=0.01)
    trainer([ours], max_epochs=9, num_sanity_val_steps=0).fit(module, data(), data(1))
    assert ours.decisions == []
    assert {*module.used} == {0.01}


def test_lost_weights_are_lost_whatever_the_metric_says() -> None:
    class Lost(Scripted):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            return super().training_step(batch, batch_idx) * (NAN if self.current_epoch == 3 else 1.0)

    ours = controller()
    module = Lost({"val_loss": [1.0, 0.9, 0.8, NAN]})
    trainer([ours], max_epochs=4, num_sanity_val_steps=0).fit(module, data(), data(1))
    assert [(d.check, str(d.condition)) for d in ours.decisions] == [(3, "non_finite")]


# --- another objective ------------------------------------------------------------------------------------------------

CHANGE = 6


class Switched(Scripted):
    """Another term joins the loss at an epoch; the monitor is the loss of validation."""

    def __init__(self) -> None:
        super().__init__({"val_loss": [*FALLS[:CHANGE], *[2 * value for value in FALLS]]})

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return super().training_step(batch, batch_idx) + (1.0 if self.current_epoch >= CHANGE else 0.0)


class Resets(Callback):
    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        if trainer.current_epoch == CHANGE:
            next(one for one in trainer.callbacks if isinstance(one, LearningRateController)).reset("a term joins")


SAID = {"under way": ({}, [Resets()]), "beforehand": ({"objective_changes": [CHANGE]}, [])}


@pytest.mark.parametrize("said", SAID)
def test_the_best_is_forgotten_when_it_is_said(said: str, tmp_path: Path) -> None:
    options, callbacks = SAID[said]
    ours = controller(journal=tmp_path / "journal.jsonl", **options)
    lost: list[int] = []

    class Lost(Switched):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            lost.append(self.current_epoch)
            return super().training_step(batch, batch_idx) + (NAN if self.current_epoch == CHANGE + 1 else 0.0)

    trainer([ours, *callbacks], max_epochs=9, num_sanity_val_steps=0).fit(Lost(), data(), data(1))
    # Restored is the first state of the new objective, though its value is far from the best so far.
    assert [(d.check, d.snapshot_check) for d in ours.decisions] == [(CHANGE + 1, CHANGE)]
    lines = [read_line(line) for line in (tmp_path / "journal.jsonl").read_text().splitlines()[1:]]
    assert [line.reading.check for line in lines if line.reading.reset] == [CHANGE]
    assert "what was the best is forgotten" in lines[CHANGE].decision.reason


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`", "ignore:You're resuming from a checkpoint")
def test_it_is_forgotten_once_after_a_resume(tmp_path: Path) -> None:
    """Killed in the midst of that epoch: the resumed run begins anew once, as the whole one does."""
    kept = ModelCheckpoint(tmp_path, "{step}", save_top_k=-1, every_n_train_steps=1)
    fit: dict[str, Any] = {"max_epochs": 8, "num_sanity_val_steps": 0}
    whole = controller(objective_changes=[CHANGE], journal=tmp_path / "whole.jsonl")
    trainer([whole, kept], **fit, enable_checkpointing=True).fit(Switched(), data(), data(1))
    resumed = controller(objective_changes=[CHANGE], journal=tmp_path / "resumed.jsonl")
    module = Switched()
    module.validations = CHANGE
    path = tmp_path / f"step={2 * CHANGE + 1}.ckpt"
    trainer([resumed], **fit).fit(module, data(), data(1), ckpt_path=path, **ANY_CHECKPOINT)
    ends = [(tmp_path / name).read_text().splitlines()[-2:] for name in ("whole.jsonl", "resumed.jsonl")]
    one, other = ([read_line(line) for line in lines] for lines in ends)
    assert [line.reading.reset != "" for line in other] == [True, False]
    assert [line.decision.reason for line in one] == [line.decision.reason for line in other]


@pytest.mark.parametrize("reason", ["", None, 3])
def test_a_reset_needs_a_reason(reason: Any) -> None:
    with pytest.raises(ArgumentError, match="`reason`"):
        LearningRateController().reset(reason)


# Not said: how the losses go → whether they mean something else. Each list is an epoch: its blocks.
DOWN = [[2.3, 1.6], [1.2, 1.0], [0.9, 0.85], [0.8, 0.76], [0.73, 0.71], [0.69, 0.67], [0.66, 0.65]]
JUMPS: dict[str, tuple[list[list[float]], bool]] = {
    "a term joins, and is learned": ([[1.9, 1.8, 1.75, 1.7], [1.66, 1.6, 1.55, 1.5], [1.45, 1.4]], True),
    "a constant joins": ([[1.66, 1.65, 1.65, 1.64], [1.64, 1.63, 1.63, 1.62], [1.62, 1.61]], True),
    "harder data": ([[1.1, 1.08, 1.06, 1.05], [1.04, 1.02, 1.01, 1.0], [0.99, 0.98]], True),
    "far above the start, and is learned": ([[9.0, 8.0, 7.0, 6.5], [6.0, 5.6, 5.3, 5.0], [4.8, 4.6]], True),
    "it rises within the epoch": ([[0.66, 0.9, 2.0, 5.0], [9.0, 20.0, 50.0, 90.0], [200.0, 300.0]], False),
    "it rises on": ([[3.0, 3.1, 3.0, 3.1], [9.0, 9.5, 9.3, 9.9], [30.0, 40.0]], False),
    "a spike": ([[1.66, 1.2, 0.9, 0.7], [0.66, 0.65, 0.64, 0.63], [0.62, 0.61]], False),
    "the network is dead": ([[2.31, 2.3, 2.31, 2.3], [2.3, 2.31, 2.3, 2.31], [2.3, 2.31]], False),
}


def engine_after(jump: list[list[float]], rate_then: float = 0.1) -> tuple[DecisionEngine, list[int]]:
    """The engine, and the checks at which it began anew; after that it restores nothing from before."""
    engine, began = DecisionEngine(Settings(policy=RESTORES_ON_DIVERGENCE)), []
    for check, blocks in enumerate([*DOWN, *jump]):
        rate, loss = (0.1 if check < len(DOWN) else rate_then), sum(blocks) / len(blocks)
        window = TrainWindow(loss, tuple(blocks), 10 * len(blocks))
        rates = {"lr": Rate(rate, 1.0, rate)}
        snapshot = min(check, len(DOWN)) - 1
        metrics = {"val_loss": loss}
        reading = Reading(check, check, 10 * check, metrics, window, rates=rates, snapshot_check=snapshot)
        decision = engine.check(reading)
        if engine.began_anew:
            began.append(check)
        assert not (began and decision.snapshot_check is not None)
    return engine, began


RESTORES_ON_DIVERGENCE = Policy("own", {"divergence": Response("restore", 0.5)})


@pytest.mark.parametrize("kind", JUMPS)
def test_a_jump_of_the_definition_is_not_answered_by_the_state_before(kind: str) -> None:
    jump, is_another = JUMPS[kind]
    assert engine_after(jump)[1] == ([len(DOWN) + 1] if is_another else [])


def test_a_rate_that_rises_is_no_other_objective() -> None:
    """A warm restart makes both losses jump too, as an epoch begins; they may well be lost."""
    assert engine_after(JUMPS["far above the start, and is learned"][0], rate_then=1.0)[1] == []


# --- a monitor that comes late ----------------------------------------------------------------------------------------


class LogsLate(Scripted):
    """Its score is made of the whole epoch, in the module's own last hook."""

    def __init__(self, name: str = "score") -> None:
        super().__init__({})
        self.name = name

    def on_train_epoch_end(self) -> None:
        self.log(self.name, FALLS[self.current_epoch])


@pytest.mark.filterwarnings("ignore:You defined a `validation_step`")
@pytest.mark.parametrize("monitor", ["score", "sco*"])
@pytest.mark.parametrize("validates", [True, False])
def test_what_the_module_logs_in_its_last_hook_is_seen(monitor: str, validates: bool, tmp_path: Path) -> None:
    ours = LearningRateController(monitor, find_lr=False, journal=tmp_path / "journal.jsonl", verbose=False)
    loaders = (data(), data(1)) if validates else (data(),)
    trainer([ours], max_epochs=5, num_sanity_val_steps=0).fit(LogsLate(), *loaders)
    lines = [read_line(line) for line in (tmp_path / "journal.jsonl").read_text().splitlines()[1:]]
    seen = [(line.reading.epoch, line.reading.metrics.get("score")) for line in lines if line.reading.metrics]
    assert seen == [(epoch, pytest.approx(FALLS[epoch])) for epoch in range(5)]


def test_what_is_logged_nowhere_is_missing_still() -> None:
    ours = LearningRateController("scor", find_lr=False, verbose=False)
    with pytest.raises(MissingMetricError, match="Did you mean `score`"):
        trainer([ours], max_epochs=2, num_sanity_val_steps=0).fit(LogsLate(), data(), data(1))
