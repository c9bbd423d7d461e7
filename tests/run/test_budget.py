"""The end that a run is annealed to: epochs, steps, time, and what changes them, by a clock that the test turns."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback, GradientAccumulationScheduler, ModelCheckpoint, Timer
from lightning.pytorch.callbacks import timer as timer_module
from torch.utils.data import DataLoader, IterableDataset

from lightning_lr import LearningRateController
from lightning_lr.run.trainer.time_budget import TimeBudget
from tests.helpers.ranks import run_on_ranks
from tests.helpers.scripted import QUIET, Scripted, data
from tests.helpers.versions import ANY_CHECKPOINT

FALLS = {"val_loss": [2.0 / (1 + i) for i in range(400)]}


class Clock(Callback):
    """Seconds that pass for each step and each validation, in place of the Timer's clock.

    Args:
        step: seconds of a training step; a function of how many there were.
        validation: seconds of a validation.
    """

    def __init__(self, monkeypatch: Any, step: Any = 1.0, validation: float = 0.0) -> None:
        self.now, self.steps, self.validation = 0.0, 0, validation
        self.step = step if callable(step) else lambda steps: step
        monkeypatch.setattr(timer_module, "time", SimpleNamespace(monotonic=lambda: self.now))

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.now += self.step(self.steps)
        self.steps += 1

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        if not trainer.sanity_checking:
            self.now += self.validation


def timed(
    clock: Clock, seconds: float, module: Scripted, *others: Any, find_lr: Any = False, **options: Any
) -> LearningRateController:
    """A run of so many seconds; validation after each 20 batches."""
    control = LearningRateController(verbose=False, policy="auto", find_lr=find_lr, anneal=True)
    settings = {**QUIET, "max_time": {"seconds": seconds}, "num_sanity_val_steps": 0, **options}
    trainer = Trainer(callbacks=[clock, control, *others], **settings)
    trainer.fit(module, data(20), data(1), ckpt_path=None)
    return control


# seconds of the run and of a step and a validation, the Timer's own options → how the fall ends
TIMED = [
    pytest.param(400, 1.0, 0.0, {}, id="steady"),
    pytest.param(400, 1.0, 30.0, {}, id="validation takes longer than the epoch"),
    pytest.param(400, lambda step: 2.0 if step > 100 else 0.5, 0.0, {}, id="steps become four times as slow"),
    pytest.param(400, lambda step: 0.5 if step > 150 else 2.0, 0.0, {}, id="steps become four times as fast"),
    pytest.param(400, lambda step: 20.0 if step < 3 else 1.0, 0.0, {}, id="the first steps compile"),
    pytest.param(400, 1.0, 0.0, {"max_epochs": 1000}, id="more epochs than the time allows"),
    pytest.param(400, 1.0, 0.0, {"accumulate_grad_batches": 2}, id="accumulated"),
]


@pytest.mark.parametrize(("seconds", "step", "validation", "options"), TIMED)
def test_a_time_limit_ends_at_zero(monkeypatch, seconds, step, validation, options) -> None:
    # hold ... the last 30 %: linear, by an estimate that each check renews ... 0
    module = Scripted(FALLS)
    clock = Clock(monkeypatch, step, validation)
    control = timed(clock, seconds, module, **options)
    actions = [decision.action for decision in control.decisions]
    level = max(module.used[-20:-1])
    assert "anneal" in actions
    held = control.decisions[actions.index("anneal")].new_lr["lr-SGD"]
    assert clock.now == pytest.approx(seconds, abs=45)
    assert 0 < module.used[-1] <= 0.16 * held
    assert module.used[-1] <= level
    fall = module.used[-30:]
    assert all(a >= b for a, b in itertools.pairwise(fall))


def test_a_rate_is_searched_before_the_time_is_known_in_steps(monkeypatch) -> None:
    """It is found for a length that is stated, and no step is taken at a rate that no run would be made with."""
    module = Scripted(FALLS)
    control = timed(Clock(monkeypatch), 400.0, module, find_lr="auto", max_epochs=10_000)
    explored = control.decisions[0]
    assert (explored.action, explored.step) == ("explore", 1)
    assert "for 1000 steps" in explored.reason
    assert min(module.used[1:12]) > 0.3 * explored.new_lr["lr-SGD"]


@pytest.mark.parametrize("max_epochs", [3, -1])
def test_epochs_and_time_whichever_ends_first(monkeypatch, max_epochs) -> None:
    module = Scripted(FALLS)
    timed(Clock(monkeypatch), 400.0, module, max_epochs=max_epochs)
    assert len(module.used) == (60 if max_epochs == 3 else 400)
    assert module.used[-1] <= 0.1 * max(module.used[12:])


def test_a_timer_at_the_end_of_an_epoch_ends_the_fall_there(monkeypatch) -> None:
    module = Scripted(FALLS)
    clock = Clock(monkeypatch)
    settings = {**QUIET, "max_epochs": -1, "num_sanity_val_steps": 0}
    control = LearningRateController(verbose=False, find_lr=False, anneal=True)
    limit = Timer({"seconds": 390}, interval="epoch", verbose=False)
    Trainer(callbacks=[clock, limit, control], **settings).fit(module, data(20), data(1))
    assert len(module.used) == 400
    assert 0 < module.used[-1] <= 0.02 * max(module.used[-100:])


def test_the_journal_has_each_estimate(monkeypatch, tmp_path: Path) -> None:
    """A replay repeats what depended on the clock: the budget stands in the readings."""
    clock = Clock(monkeypatch, lambda step: 2.0 if step > 100 else 1.0)
    control = LearningRateController(verbose=False, journal=str(tmp_path / "lr_journal.jsonl"))
    options = {**QUIET, "max_time": {"seconds": 400}, "num_sanity_val_steps": 0}
    Trainer(callbacks=[clock, control], **options).fit(Scripted(FALLS), data(20), data(1))
    lines = [json.loads(line) for line in (tmp_path / "lr_journal.jsonl").read_text().splitlines()[1:]]
    budgets = [line["reading"]["budget"] for line in lines]
    assert budgets[1] == pytest.approx(400, rel=0.05)
    assert budgets[-1] == pytest.approx(250, rel=0.05)
    last = lines[-1]["reading"]
    assert last["progress"] == pytest.approx((last["step"] + 1) / last["budget"])


@pytest.mark.ranks
@pytest.mark.filterwarnings("ignore:It is recommended to use .*sync_dist")
def test_all_ranks_take_rank_zeros_estimate(monkeypatch) -> None:
    """Rank 1's clock runs three times as fast; nobody asks it."""

    def run(rank: int) -> list[float]:
        module = Scripted(FALLS)
        clock = Clock(monkeypatch, 1.0 + 2.0 * rank)
        timed(clock, 240.0, module, strategy="ddp", devices=2, use_distributed_sampler=False)
        return module.used

    rates, others = run_on_ranks(run)
    assert rates == others
    assert rates[-1] <= 0.05 * max(rates[-100:])


def test_a_resumed_run_is_annealed_to_the_time_that_is_left(monkeypatch, tmp_path: Path) -> None:
    saves = ModelCheckpoint(tmp_path, save_top_k=-1, filename="{epoch}-{step}")
    timed(Clock(monkeypatch), 400.0, Scripted(FALLS), saves, enable_checkpointing=True)
    for seconds, planned_end_step in ((400, 400), (800, 800)):
        module, control = Scripted(FALLS), LearningRateController(verbose=False, find_lr=False, anneal=True)
        settings = {**QUIET, "max_time": {"seconds": seconds}, "num_sanity_val_steps": 0, "enable_checkpointing": True}
        trainer = Trainer(callbacks=[Clock(monkeypatch), control, saves], **settings)
        trainer.fit(module, data(20), data(1), ckpt_path=str(tmp_path / "epoch=11-step=240.ckpt"), **ANY_CHECKPOINT)
        assert len(module.used) == pytest.approx(planned_end_step - 240, abs=2)
        assert module.used[-1] <= 0.05 * module.used[0]


class Manual(Scripted):
    """Two optimizers that both step on every ``every``-th batch."""

    def __init__(self, every: int = 1) -> None:
        super().__init__(FALLS)
        self.automatic_optimization, self.every = False, every
        self.other = torch.nn.Linear(4, 1)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        losses = [layer(batch[0]).pow(2).mean() for layer in (self.layer, self.other)]
        for optimizer, loss in zip(self.optimizers(), losses, strict=True):
            self.manual_backward(loss)
            if (batch_idx + 1) % self.every == 0:
                optimizer.step()
                optimizer.zero_grad()
        return losses[0].detach()

    def configure_optimizers(self) -> Any:
        return [torch.optim.SGD(layer.parameters(), lr=self.lr) for layer in (self.layer, self.other)]


class Stream(IterableDataset):
    """Batches without a length, more than anyone asks for."""

    def __iter__(self) -> Any:
        return itertools.cycle(torch.linspace(-1, 1, 64).sin().reshape(-1, 4, 4))


def endless() -> DataLoader:
    return DataLoader(Stream(), batch_size=None)


# module, training data, the Trainer's limits → steps of the run, known at its end
BUDGETS = [
    pytest.param(Scripted, data(20), {"max_epochs": 3}, 60, id="epochs"),
    pytest.param(Scripted, data(20), {"max_epochs": 3, "max_steps": 50}, 50, id="epochs, but fewer steps"),
    pytest.param(Scripted, data(20), {"max_epochs": 2, "max_steps": 50}, 40, id="steps, but fewer epochs"),
    pytest.param(Scripted, data(20), {"max_epochs": -1, "max_steps": 50}, 50, id="steps alone"),
    pytest.param(Scripted, data(20), {"max_epochs": 3, "limit_train_batches": 7}, 21, id="limited batches"),
    pytest.param(Scripted, data(20), {"max_epochs": 3, "limit_train_batches": 0.5}, 30, id="half of the batches"),
    pytest.param(Scripted, endless(), {"max_epochs": 3, "limit_train_batches": 9}, 27, id="no length, limited"),
    pytest.param(Scripted, endless(), {"max_epochs": 3, "max_steps": 40}, 40, id="no length, steps"),
    pytest.param(Scripted, data(20), {"max_epochs": 3, "accumulate_grad_batches": 8}, 9, id="accumulated"),
    pytest.param(Manual, data(20), {"max_epochs": 3}, 60, id="two optimizers"),
    pytest.param(Manual, data(20), {"max_steps": 80}, 40, id="two optimizers, steps of each are counted"),
    pytest.param(lambda: Manual(5), data(20), {"max_epochs": 3}, 12, id="manual, each fifth batch"),
]


@pytest.mark.parametrize(("module", "train", "limits", "steps"), BUDGETS)
def test_the_budget_and_the_end_of_the_fall(module, train, limits, steps) -> None:
    model, control = module(), LearningRateController(verbose=False, find_lr=False, anneal=True)
    rates: list[float] = []
    model.on_train_batch_start = lambda *_: rates.append(model.trainer.optimizers[0].param_groups[0]["lr"])
    trainer = Trainer(callbacks=[control], num_sanity_val_steps=0, **QUIET, **limits)
    trainer.fit(model, train, data(1))
    assert control._state["budget"] == steps
    assert [decision.action for decision in control.decisions].count("anneal") == 1
    assert 0 < rates[-1] <= 0.4 * max(rates)


@pytest.mark.parametrize(("scheduling", "steps"), [({0: 4, 1: 1}, 5 + 20 + 20), ({0: 1, 2: 10}, 20 + 20 + 2)])
def test_accumulation_that_changes_changes_the_budget(scheduling, steps) -> None:
    model, control = Scripted(FALLS), LearningRateController(verbose=False, find_lr=False, anneal=True)
    callbacks = [GradientAccumulationScheduler(scheduling), control]
    Trainer(callbacks=callbacks, max_epochs=3, num_sanity_val_steps=0, **QUIET).fit(model, data(20), data(1))
    assert len(model.used) == steps
    assert model.used[-1] == pytest.approx(0.1 / (0.3 * steps), rel=0.05)


@pytest.mark.parametrize("limits", [{"max_epochs": -1}, {"max_epochs": 3}])
def test_no_limit_is_no_budget(limits) -> None:
    """Nothing is annealed towards an end that nobody knows."""

    class Stops(Callback):
        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            trainer.should_stop = trainer.global_step >= 30

    model, control = Scripted(FALLS), LearningRateController(verbose=False)
    train = endless() if limits["max_epochs"] > 0 else data(20)
    trainer = Trainer(callbacks=[control, Stops()], num_sanity_val_steps=0, **QUIET, **limits)
    trainer.fit(model, train, data(1))
    assert control._state["budget"] is None
    assert control._state["curve"] is None


class Reads(Callback):
    """The budget that a check read, and the steps by then."""

    def __init__(self, control: LearningRateController) -> None:
        self.control = control
        self.read: list[tuple[int, int | None]] = []

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        schedule = self.control._fit_run.lr_schedule
        if trainer.current_epoch:
            self.read.append((schedule.steps, schedule.budget))


class Changing(Scripted):
    """A data set of another size at each epoch from some epoch on; its validation loss falls.

    Args:
        sizes: batches of each epoch; the last one is repeated.
    """

    def __init__(self, *sizes: int) -> None:
        super().__init__(FALLS)
        self.sizes = sizes

    def train_dataloader(self) -> DataLoader:
        return data(self.sizes[min(self.trainer.current_epoch, len(self.sizes) - 1)])

    def val_dataloader(self) -> DataLoader:
        return data(1)


class SkipsTheRest(Scripted):
    """Ends each epoch after six of its batches, as ``on_train_batch_start`` may."""

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> int | None:
        return -1 if batch_idx == 6 else None


class StepsAtLast(Manual):
    """In its first three epochs it does not step at all."""

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        self.every = 5 if self.current_epoch > 2 else 10**9
        return super().training_step(batch, batch_idx)


CHANGING = {
    "shrinks": (lambda: Changing(*[20] * 10, 5), {}),
    "grows": (lambda: Changing(*[5] * 10, 20), {}),
    "shrinks while it is annealed": (lambda: Changing(*[20] * 15, 4), {}),
    "grows while it is annealed": (lambda: Changing(*[4] * 15, 20), {}),
    "another size at each epoch": (lambda: Changing(20, 7, 13, 5, 16, 9, 18, 4, 11, 20, 6, 15, 3, 8, 17, 10), {}),
    "accumulated": (lambda: Changing(*[20] * 10, 5), {"accumulate_grad_batches": 3}),
    "each epoch is cut short": (lambda: SkipsTheRest(FALLS), {}),
    "manual, each seventh batch": (lambda: Manual(7), {}),
    "manual, the first step comes late": (lambda: StepsAtLast(), {}),
    "no length": (lambda: Scripted(FALLS), {"stream": 11}),
    "no length, accumulated": (lambda: Scripted(FALLS), {"stream": 11, "accumulate_grad_batches": 4}),
    "no length, manual": (lambda: Manual(3), {"stream": 11}),
}


@pytest.mark.parametrize("case", CHANGING)
def test_no_end_while_epochs_remain(case: str) -> None:
    """Whatever an epoch turns out to be, the fall ends with the run; it never rises, and nothing ends before it."""
    make, options = CHANGING[case]
    model, control = make(), LearningRateController(verbose=False, find_lr=False, anneal=True)
    rates: list[float] = []
    model.on_before_optimizer_step = lambda *_: rates.append(model.trainer.optimizers[0].param_groups[0]["lr"])
    options = dict(options)
    stream = options.pop("stream", None)
    changing = isinstance(model, Changing)
    limits = {"max_epochs": 20, **options, **({"reload_dataloaders_every_n_epochs": 1} if changing else {})}
    reads = Reads(control)
    trainer = Trainer(callbacks=[control, reads], num_sanity_val_steps=0, **QUIET, **limits)
    train = data(20) if stream is None else DataLoader(Counted(stream), batch_size=4)
    trainer.fit(model, *([] if changing else [train, data(1)]))
    assert trainer.current_epoch == 20
    assert all(budget is None or budget > steps for steps, budget in reads.read)
    ends = [decision for decision in control.decisions if decision.action != "anneal"]
    assert ends == []
    warm = rates.index(max(rates))
    assert all(late <= early for early, late in itertools.pairwise(rates[warm:]))
    assert warm <= len(rates) / 4
    assert 0 < rates[-1] <= 0.35 * max(rates)


class Counted(IterableDataset):
    """So many batches of four, which the Trainer cannot count."""

    def __init__(self, batches: int) -> None:
        self.batches = batches

    def __iter__(self) -> Any:
        return iter(torch.linspace(-1, 1, self.batches * 16).sin().reshape(-1, 4))


# seconds of a step, of a pause, steps between two pauses, steps done, seconds left → steps in them
PACES = [
    (1.0, 0.0, 10, 40, 25.0, 25),
    (1.0, 5.0, 10, 40, 25.0, 20),
    (1.0, 5.0, 10, 40, 32.0, 22),
    (1.0, 5.0, 10, 43, 3.0, 3),
    (1.0, 5.0, 10, 43, 9.0, 7),
    (1.0, 5.0, 10, 43, 14.0, 9),
]


@pytest.mark.parametrize(("step", "pause", "every", "done", "left", "expected"), PACES)
def test_pauses_are_told_from_steps(step, pause, every, done, left, expected) -> None:
    now = 0.0
    time_budget = TimeBudget(lambda: now, limit=math.inf)
    for number in range(done):
        if number and number % every == 0:
            now += pause
        now += step
        time_budget.stepped()
        if (number + 1) % every == 0:
            time_budget.pauses()
    if done % every == 0:
        now += pause  # asked at the end of a pause
    time_budget.state.limit = now + left
    assert time_budget.budget(done) == done + expected


class NeverSteps(Scripted):
    """Optimizes manually, and not at all."""

    def __init__(self) -> None:
        super().__init__(FALLS)
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> None:
        self.optimizers()


@pytest.mark.parametrize("policy", ["auto", "conservative"])
def test_a_module_that_never_steps_has_no_budget(policy: str) -> None:
    """The share of the budget that is used cannot be told, and nothing is divided by it."""
    control = LearningRateController(verbose=False, policy=policy)
    Trainer(callbacks=[control], **QUIET, max_epochs=3).fit(NeverSteps(), data(2), data(1))
    assert control.state_dict()["checks"] == 3
