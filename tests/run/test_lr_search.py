"""A run that checks its first rate: where it started hardly matters, a right one is kept, no step is lost."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, LearningRateFinder, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader, TensorDataset

from lightning_lr import LearningRateController
from lightning_lr.engine.policies import PRESETS, Policy, Response
from lightning_lr.errors import UnsupportedError
from tests.helpers.scripted import QUIET

BATCHES, EPOCHS = 40, 8
STEPS = BATCHES * EPOCHS


class Regression(LightningModule):
    """A small net with batch norm on a smooth function; the rate of each step is kept."""

    def __init__(self, lr: float, optimizer: str = "SGD", scheduler: bool = False, groups: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = torch.nn.Sequential(
            torch.nn.Linear(4, 16), torch.nn.BatchNorm1d(16), torch.nn.Tanh(), torch.nn.Linear(16, 1)
        )
        self.lr, self.optimizer, self.scheduler, self.groups = lr, optimizer, scheduler, groups
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
        parameters: Any = self.parameters()
        if self.groups:
            parameters = [
                {"params": self.net[:2].parameters(), "lr": 0.1 * self.lr},
                {"params": self.net[3].parameters()},
            ]
        optimizer = getattr(torch.optim, self.optimizer)(parameters, lr=self.lr)
        if self.scheduler:
            return [optimizer], [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.999)]
        return optimizer


class Weights(Callback):
    """All weights after each step, as they are when the next batch begins; the last ones as ``end``."""

    def __init__(self) -> None:
        self.after: dict[int, torch.Tensor] = {}

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.after.setdefault(trainer.global_step, flat(pl_module))


def flat(module: torch.nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten().clone() for parameter in module.parameters()])


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


def lr_search(**options: Any) -> LearningRateController:
    return LearningRateController(**{"find_lr": "auto", "anneal": "auto", "verbose": False, **options})


def explored(controller: LearningRateController) -> Any:
    """The one decision on the first rate."""
    (found,) = [decision for decision in controller.decisions if decision.action == "explore"]
    return found


class Stops(Callback):
    """Ends the run after three steps, whatever its budget."""

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        trainer.should_stop = trainer.global_step >= 3


def searched(module: LightningModule, **options: Any) -> Any:
    """The decision of a run of which only the first steps count."""
    controller = lr_search()
    fit(module, controller, Stops(), **options)
    return explored(controller)


# --- what is found ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "NAdam", "Adamax"])
def test_starts_far_apart_lead_to_one_rate(optimizer: str) -> None:
    """The loss along the update does not know the rate that was given; only the grid of the readings does."""
    found = [lr * searched(Regression(lr, optimizer)).evidence["estimate"] for lr in (1e-4, 1.0, 3.0)]
    assert max(found) < 1.6 * min(found)


def test_the_sentence_has_the_rate_that_is_used() -> None:
    module, controller = Regression(0.5, "Adam"), lr_search()
    fit(module, controller)
    decision = explored(controller)
    (rate,) = decision.new_lr.values()
    assert decision.step == 1
    assert f"lr-Adam 0.5 → {rate:.4g}" in decision.reason
    assert module.rates[0] == 0.5
    assert max(module.rates[1:]) == pytest.approx(rate)


def test_a_right_rate_is_kept_and_the_run_is_untouched_until_its_end() -> None:
    """Bit for bit as without the callback, up to where the rate begins to fall."""
    right = explored_rate("Adam")
    ours, plain = Weights(), Weights()
    controller = lr_search()
    fit(Regression(right, "Adam"), controller, ours)
    fit(Regression(right, "Adam"), plain)
    assert explored(controller).factor == 1.0
    begins = int(STEPS - 0.3 * (STEPS - 1))
    same = [torch.equal(ours.after[step], plain.after[step]) for step in range(begins)]
    assert all(same)
    assert not torch.equal(ours.after[STEPS - 1], plain.after[STEPS - 1])


def explored_rate(optimizer: str) -> float:
    """A little below the estimate, which may lie above what a rate is moved to."""
    return 0.4 * float(searched(Regression(0.5, optimizer)).evidence["estimate"])


def test_the_first_update_is_rescaled() -> None:
    """The weights of the second step are those that the first one would have led to at the rate that was found."""
    controller, ours = lr_search(), Weights()
    fit(Regression(1.0, "Adam"), controller, ours, max_epochs=1, max_steps=STEPS)
    (rate,) = explored(controller).new_lr.values()
    direct = Weights()
    fit(Regression(rate, "Adam"), direct, max_epochs=1)
    torch.testing.assert_close(ours.after[1], direct.after[1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("lr", [1e-4, 1.0])
def test_groups_keep_their_ratio(lr: float) -> None:
    module = Regression(lr, "Adam", groups=True)
    controller, ours, start = lr_search(), Weights(), flat(module)
    fit(module, controller, ours)
    decision = explored(controller)
    low, high = decision.new_lr.values()
    assert high == pytest.approx(10 * low)
    assert high == pytest.approx(lr * decision.factor)
    moved = (ours.after[1] - start).abs()
    assert float(moved.max()) == pytest.approx(high, rel=1e-2)


@pytest.mark.parametrize(("bounds", "lr"), [({"max_lr": 0.002}, 1e-4), ({"min_lr": 0.5}, 1.0)])
def test_bounds_hold_for_the_search_too(bounds: dict[str, float], lr: float) -> None:
    module, controller = Regression(lr, "Adam"), lr_search(**bounds)
    fit(module, controller, max_epochs=2)
    (rate,) = explored(controller).new_lr.values()
    assert rate == pytest.approx(next(iter(bounds.values())))


def test_a_first_group_at_zero() -> None:
    """The kind of a frozen group with a rate of 0: nothing is divided by it, and it stays at 0."""

    class Frozen(Regression):
        def configure_optimizers(self) -> Any:
            groups = [{"params": self.net[:2].parameters(), "lr": 0.0}, {"params": self.net[3].parameters()}]
            return torch.optim.Adam(groups, lr=self.lr)

    controller = lr_search()
    fit(Frozen(1.0), controller)
    frozen, trained = explored(controller).new_lr.values()
    assert frozen == 0.0
    assert 0 < trained < 1.0


def test_a_longer_run_gets_a_lower_rate() -> None:
    """By the cube root of its length; one that is not known is taken for 1000 steps, and that is said."""
    limits = [{"max_epochs": 20, "max_steps": 300}, {"max_epochs": 60}, {"max_epochs": 25}, {"max_epochs": -1}]
    found = [searched(Regression(1.0, "Adam"), **limit) for limit in limits]
    short, long, known, unknown = (decision.new_lr["lr-Adam"] for decision in found)
    assert short / long == pytest.approx(2.0, rel=0.3)  # each reads a grid of its own
    assert unknown == known
    assert "the best rate for 1000 steps is" in found[-1].reason


# --- what follows -----------------------------------------------------------------------------------------------------


def test_the_rate_warms_up_holds_and_falls_to_zero_at_the_end() -> None:
    # step   0 at the rate given, warm-up, hold ... the last 30 %, linear ... last step
    module, controller = Regression(1.0, "Adam"), lr_search()
    fit(module, controller)
    (level,) = explored(controller).new_lr.values()
    assert [decision.action for decision in controller.decisions][:2] == ["explore", "anneal"]
    assert module.rates[1] < 0.3 * level
    held = module.rates[20:200]
    assert held == pytest.approx([level] * len(held))
    assert module.rates[-1] == pytest.approx(level / (0.3 * (STEPS - 1)), rel=0.05)


@pytest.mark.parametrize("given", [True, "auto"])
def test_a_rate_that_was_not_checked_is_annealed_only_by_name(given: Any) -> None:
    module, controller = Regression(0.01), lr_search(find_lr=False, anneal=given)
    fit(module, controller)
    assert (module.rates[-1] < 0.001) is (given is True)
    assert ("anneal" in [decision.action for decision in controller.decisions]) is (given is True)


def test_accumulated_batches_make_one_step() -> None:
    """The batches of one step are read together; the next one begins with a new step."""
    module, controller = Regression(1.0, "Adam"), lr_search()
    fit(module, controller, accumulate_grad_batches=4, max_epochs=8)
    decision = explored(controller)
    assert decision.step == 1
    assert decision.factor < 0.5


def test_few_forward_passes_and_no_step_beside_the_plain_ones() -> None:
    module, controller, passes = Regression(1.0, "Adam"), lr_search(), []
    module.net.register_forward_hook(lambda net, inputs, _: passes.append(len(inputs[0])) if net.training else None)
    trainer = fit(module, controller)
    extra = sum(passes) - STEPS * 8
    assert trainer.global_step == STEPS
    assert extra / 3 <= 0.1 * STEPS * 8


# --- where it steps aside ---------------------------------------------------------------------------------------------


class Manual(Regression):
    def __init__(self, lr: float) -> None:
        super().__init__(lr)
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        loss = self.loss(batch)
        self.optimizers().zero_grad()
        self.manual_backward(loss)
        self.optimizers().step()
        return loss.detach()


ASIDE = [
    ({}, lambda: Regression(0.01, scheduler=True), {}, "the schedule is the user's own"),
    ({"policy": "conservative"}, lambda: Regression(0.01), {}, "policy 'conservative' does not search"),
    ({"find_lr": False}, lambda: Regression(0.01), {}, "find_lr=False"),
    ({"snapshots": False}, lambda: Regression(0.01), {}, "snapshots=False"),
    ({"dry_run": True}, lambda: Regression(0.01), {}, "dry_run=True"),
    ({}, lambda: Regression(0.01), {"max_steps": 25}, "the run has 25 steps, fewer than 30"),
    ({}, lambda: Regression(0.01, "RAdam"), {}, "the first update of RAdam compares with later ones"),
    ({}, lambda: Regression(0.01, "Adadelta"), {}, "the first update of Adadelta compares with later ones"),
    ({}, lambda: Regression(0.01, "LBFGS"), {"max_epochs": 1}, "the first update of LBFGS compares with later ones"),
    ({}, lambda: Manual(0.01), {}, "the module optimizes manually"),
]


@pytest.mark.parametrize(("options", "make", "trainer", "why"), ASIDE, ids=[row[-1] for row in ASIDE])
def test_where_it_steps_aside(options: dict, make: Any, trainer: dict, why: str, monkeypatch: Any, capsys: Any) -> None:
    """The first line says why; the rate stays, and is not annealed."""
    controller, summary, said = lr_search(**options, verbose=True), {}, []
    monkeypatch.setattr("lightning_lr.run.setup.set_up_card", lambda known: summary.update(known) or "")
    monkeypatch.setattr("lightning_lr.callbacks.controller.say", lambda _, sentence: said.append(sentence))
    module = make()
    fit(module, controller, **{"max_epochs": 2, **trainer})
    assert why in summary["search"]
    assert not {"explore", "anneal"} & {decision.action for decision in controller.decisions}
    assert set(module.rates) <= {0.01, 0.01 * 0.999}  # the latter by the user's own schedule
    (start,) = (sentence for sentence in said if sentence.startswith("watches "))
    assert (f"({summary['search'][6:]})" in start) == (not controller.options.dry_run)


def test_a_finder_before_us_is_respected(monkeypatch: Any) -> None:
    monkeypatch.setattr(LearningRateFinder, "on_fit_start", lambda *_: None)
    controller = lr_search()
    fit(Regression(0.01), controller, LearningRateFinder())
    assert not [decision for decision in controller.decisions if decision.action == "explore"]


@pytest.mark.parametrize("make", [lambda: Manual(0.01), lambda: Regression(0.01, "RAdam")])
def test_what_was_asked_for_by_name_is_refused(make: Any) -> None:
    with pytest.raises(UnsupportedError, match="Expected a learning rate that can be searched for `find_lr=True` but"):
        fit(make(), lr_search(find_lr=True))


def test_an_end_is_refused_where_none_is_known() -> None:
    with pytest.raises(UnsupportedError, match="Expected a known budget for `anneal=True`: give the Trainer max_ep"):
        fit(Regression(0.01), lr_search(anneal=True), max_epochs=-1, max_steps=-1)


@pytest.mark.parametrize(
    ("policy", "explores", "anneals"),
    [
        (replace(PRESETS["auto"], name="mine"), True, True),
        (replace(PRESETS["auto"], searches=False), False, False),
        (replace(PRESETS["auto"], anneals=False), True, False),
        (Policy("auto", {"plateau": Response("reduce", 0.5)}), False, False),
    ],
    ids=["another name", "no search", "no end", "the name alone"],
)
def test_what_a_policy_is_called_decides_nothing(policy: Policy, explores: bool, anneals: bool) -> None:
    controller = lr_search(policy=policy)
    fit(Regression(1.0, "Adam"), controller)
    actions = [decision.action for decision in controller.decisions]
    assert ("explore" in actions, "anneal" in actions) == (explores, anneals)


def test_a_conservative_policy_searches_where_it_is_told_to() -> None:
    controller = lr_search(policy="conservative", find_lr=True)
    fit(Regression(1.0, "Adam"), controller)
    assert explored(controller).factor < 1.0


# --- resumed ----------------------------------------------------------------------------------------------------------


def every_epoch(folder: Path) -> ModelCheckpoint:
    return ModelCheckpoint(folder, save_top_k=-1, filename="{epoch}")


def resume(module: LightningModule, checkpoint: Path, epochs: int, controller: LearningRateController) -> None:
    callbacks = [controller, every_epoch(checkpoint.parent)]
    trainer = Trainer(**{**QUIET, "max_epochs": epochs, "callbacks": callbacks, "enable_checkpointing": True})
    trainer.fit(module, loader(), loader(), ckpt_path=str(checkpoint))


def test_a_resumed_run_goes_on_as_if_nothing_had_been(tmp_path: Path) -> None:
    whole = Regression(1.0, "Adam")
    fit(whole, lr_search(), every_epoch(tmp_path), enable_checkpointing=True)
    module, controller = Regression(1.0, "Adam"), lr_search()
    resume(module, tmp_path / "epoch=2.ckpt", EPOCHS, controller)
    assert module.rates == whole.rates[3 * BATCHES :]
    assert torch.equal(flat(module), flat(whole))
    assert [d.action for d in controller.decisions].count("explore") == 1


def test_a_resumed_run_with_more_epochs_is_annealed_to_its_new_end(tmp_path: Path) -> None:
    fit(Regression(1.0, "Adam"), lr_search(), every_epoch(tmp_path), enable_checkpointing=True)
    module = Regression(1.0, "Adam")
    resume(module, tmp_path / f"epoch={EPOCHS - 1}.ckpt", 2 * EPOCHS, lr_search())
    assert len(module.rates) == STEPS
    assert 0 < module.rates[-1] < 0.02 * max(module.rates)


@pytest.mark.filterwarnings("ignore:Be aware that when using")
@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint")
@pytest.mark.parametrize("former", ["without us", "in the first steps"])
def test_a_run_that_had_begun_without_a_search_goes_on_at_its_rate(former: str, tmp_path: Path) -> None:
    """Also one that was killed between the first step and the second: the start of its update is gone."""
    saves = ModelCheckpoint(tmp_path, every_n_train_steps=1, save_top_k=-1, filename="{step}")
    callbacks = [saves] if former == "without us" else [saves, lr_search()]  # theirs first: it saves before we read
    fit(Regression(1.0, "Adam"), *callbacks, enable_checkpointing=True, max_steps=2)
    module, controller = Regression(1.0, "Adam"), lr_search()
    trainer = Trainer(**{**QUIET, "max_epochs": 2, "callbacks": [controller]})
    trainer.fit(module, loader(), loader(), ckpt_path=str(tmp_path / "step=1.ckpt"))
    assert set(module.rates) == {1.0}
    assert not [d for d in controller.decisions if d.action in ("explore", "anneal")]


@pytest.mark.damages_journal  # the second one begins in mid-run
def test_a_resumed_run_told_to_write_elsewhere_leaves_the_former_journal(tmp_path: Path) -> None:
    former, other = tmp_path / "former.jsonl", tmp_path / "other.jsonl"
    fit(Regression(0.01), lr_search(journal=str(former)), every_epoch(tmp_path), enable_checkpointing=True)
    text = former.read_text()
    resume(Regression(0.01), tmp_path / "epoch=3.ckpt", EPOCHS, lr_search(journal=str(other)))
    assert former.read_text() == text
    assert other.exists()


def test_the_charts_show_the_rate_before_and_after(tmp_path: Any) -> None:
    """A line that begins at the rate that was found hides that it was searched."""
    controller, logger = lr_search(), CSVLogger(tmp_path)
    fit(Regression(1e-5), controller, logger=logger, max_epochs=2)
    found = explored(controller)
    assert found.new_lr["lr-SGD"] > found.old_lr["lr-SGD"]
    with (Path(logger.log_dir) / "metrics.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["lr_controller/lr/lr-SGD"]]
    points = [(int(row["step"]), float(row["lr_controller/lr/lr-SGD"])) for row in rows[:2]]
    assert points == [(found.step - 1, pytest.approx(1e-5)), (found.step, pytest.approx(found.new_lr["lr-SGD"]))]
