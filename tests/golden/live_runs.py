"""Scripted runs of a real Trainer: what the callback writes to its journal, and what it prints.

Each function is one run, and its docstring says what happens in it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import EarlyStopping, LambdaCallback

from tests.golden.adapter import AutoPolicy, ConservativePolicy, UpdateRatio, controller
from tests.golden.training import NOISE, Clock, Saved, Scripted, falling, fit, series

NAN = float("nan")
BOLD = AutoPolicy(min_probability=0.55)
"""Names a plateau at the fifth check: the runs stay short."""
RUNS: dict[str, Callable[[Path], list[str]]] = {}


def run(function: Callable[[Path], list[str]]) -> Callable[[Path], list[str]]:
    """Take a run into the list, under its name."""
    RUNS[f"live_{function.__name__}"] = function
    return function


def journal(folder: Path, module: Scripted, *others: Any, options: dict[str, Any], **arguments: Any) -> list[str]:
    """The lines of the journal of one fit, and after them the sentences that it printed."""
    path = folder / "lr_journal.jsonl"
    ours = controller(journal=str(path), **arguments)
    _, said = fit(module, ours, *others, **options)
    printed = [json.dumps({"kind": "printed", "sentence": _without(folder, sentence)}) for sentence in said]
    return [*path.read_text(encoding="utf-8").splitlines(), *printed]


def _without(folder: Path, sentence: str) -> str:
    return sentence.replace(str(folder), "FOLDER")


class Searched(Scripted):
    """The losses depend on the mean rate of the steps so far: what a reading along the first update moves too."""

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        script, steps = self.script, max(1, self.trainer.global_step)
        self.script = lambda batch, lr, lr_sum: script(batch, lr_sum / steps, lr_sum)
        try:
            return super().training_step(batch, batch_idx)
        finally:
            self.script = script


def learnable(batch: int, lr: float, lr_sum: float) -> float:
    """A loss that falls with the sum of the rates, and explodes where the mean rate is far beyond a half."""
    return 0.3 + 2.0 * math.exp(-lr_sum) + (lr / 0.5) ** 4 + 0.02 * NOISE[batch]


def as_learned(epoch: int, lr_sum: float) -> dict[str, float]:
    """A validation loss beside that."""
    return {"val_loss": 0.35 + 2.0 * math.exp(-lr_sum / 10)}


SEARCHED = {"max_epochs": 10, "steps": 40}


@run
def search_moves_the_rate(folder: Path) -> list[str]:
    """Policy auto: the rate is far too low; it is raised, confirmed by validation, warmed up, and annealed."""
    return journal(folder, Searched(learnable, as_learned, lr=1e-3), options=SEARCHED)


@run
def search_keeps_the_rate(folder: Path) -> list[str]:
    """The rate is right: it stays, without a warm-up, and is annealed."""
    return journal(folder, Searched(learnable, as_learned, lr=0.15), options=SEARCHED)


@run
def search_tells_nothing(folder: Path) -> list[str]:
    """The training loss never changes beyond its noise: the rate stays, and is not annealed."""
    module = Searched(lambda batch, lr, lr_sum: 2.3 + 0.02 * NOISE[batch], series(2.4, 2.3, 2.25))
    return journal(folder, module, options={"max_epochs": 4, "steps": 40})


@run
def search_reads_nothing(folder: Path) -> list[str]:
    """The module reads from an iterator of its own, which no reading may move on: the rate stays."""
    module = Searched(learnable, as_learned)
    module.others_data = iter(range(3))
    return journal(folder, module, options={"max_epochs": 2, "steps": 40})


@run
def search_is_wrecked(folder: Path) -> list[str]:
    """What looked good along the first update breaks training after twenty steps: the start comes back, twice."""

    def breaks(batch: int, lr: float, lr_sum: float) -> float:
        return learnable(batch, lr, lr_sum) + (1e3 if lr_sum > 0.4 and 0.01 < lr < 0.06 else 0.0)

    module = Searched(breaks, as_learned, lr=1e-3)
    return journal(folder, module, options=SEARCHED)


@run
def search_is_taken_back(folder: Path) -> list[str]:
    """Validation does not follow the training loss: the rate of the user comes back, and is not annealed."""
    module = Searched(learnable, lambda epoch, lr_sum: {"val_loss": 2.3 + min(0.1, lr_sum)}, lr=1e-3)
    return journal(folder, module, options=SEARCHED)


@run
def resumed_with_other_settings(folder: Path) -> list[str]:
    """Ended after seven checks, resumed from the fourth: a new journal with a copy of four; a second header."""
    losses = series(1.0, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8, 0.79)
    saved = Saved(folder / "saved.ckpt", step=16, epoch_over=True)
    plain = {"policy": BOLD, "find_lr": False, "anneal": False}
    begun = journal(folder, Scripted(metrics=losses), saved, options={"max_epochs": 7}, **plain)
    assert len([line for line in begun if '"kind": "check"' in line]) == 7
    more = {"max_epochs": 8, "resumed": folder / "saved.ckpt"}
    lines = journal(folder, Scripted(metrics=losses), options=more, **plain, patience=2)
    finished = (folder / "lr_journal.jsonl").read_text(encoding="utf-8").splitlines()
    assert finished == [line for line in begun if '"kind": "printed"' not in line]
    return [*(folder / "lr_journal-2.jsonl").read_text(encoding="utf-8").splitlines(), *lines[len(finished) :]]


@run
def pattern_of_sets(folder: Path) -> list[str]:
    """Whatever is logged as val_loss/… votes, and all must agree; one of them alone is only named."""
    a, b = (1.0, *[0.8] * 8), (1.0, 0.8, *[0.7] * 7)
    module = Scripted(metrics=lambda epoch, lr_sum: {"val_loss/a": a[epoch], "val_loss/b": b[epoch], "val_acc": 0.5})
    arguments = {"monitor": "val_loss*", "vote": "all", "policy": BOLD, "patience": 2, "find_lr": False}
    return journal(folder, module, options={"max_epochs": 9}, **arguments)


@run
def unknown_budget(folder: Path) -> list[str]:
    """A plateau begins the end of a run that nothing else ends; as it ends worse than its best, the best comes back."""
    module = Scripted(metrics=series(1.0, *[0.8] * 4, 0.75, 0.7, 0.7, 0.7, 0.9))
    return journal(folder, module, options={"max_epochs": -1}, policy=BOLD, find_lr=False)


@run
def unknown_budget_ends_well(folder: Path) -> list[str]:
    """The same, but the end is good: the run stops there."""
    module = Scripted(metrics=series(1.0, *[0.8] * 4, 0.75, 0.72, 0.65))
    return journal(folder, module, options={"max_epochs": -1}, policy=BOLD, find_lr=False)


@run
def time_limit(folder: Path) -> list[str]:
    """Seconds end the run, by a clock that slows down: each check estimates the budget anew."""
    clock = Clock(seconds=lambda step: 1.0 if step < 30 else 2.0, validation=3.0)
    module = Scripted(metrics=lambda epoch, lr_sum: {"val_loss": 1.0 / (1 + epoch)})
    with clock.ticking():
        options = {"max_epochs": -1, "steps": 10, "max_time": {"seconds": 90}}
        return journal(folder, module, clock, options=options, find_lr=False, anneal=True)


@run
def early_stopping(folder: Path) -> list[str]:
    """EarlyStopping runs out of patience: the rate falls to zero first, then the run ends."""
    module = Scripted(metrics=series(1.0, 0.9, 0.82, 0.82, 0.82, 0.78, 0.77))
    stopping = EarlyStopping("val_loss", patience=2)
    return journal(folder, module, stopping, options={"max_epochs": 20}, patience=50, find_lr=False)


@run
def own_schedule_and_groups(folder: Path) -> list[str]:
    """The user's own schedule, two groups with bounds of their own: a cut waits while the schedule moves."""

    def steps(optimizer: Any) -> Any:
        return torch.optim.lr_scheduler.MultiStepLR(optimizer, [4, 7], gamma=0.5)

    module = Scripted(metrics=series(1.0, 0.8, 0.7), groups=["head"], scheduler=steps)
    bounds = {"min_lr": [0.02, 0.0], "max_lr": [1.0, 0.08]}
    return journal(folder, module, options={"max_epochs": 10}, policy=BOLD, **bounds)


@run
def dry_run(folder: Path) -> list[str]:
    """Decided and recorded, nothing done: no search either, as the header says."""
    module = Scripted(metrics=series(1.0, 0.8, NAN))

    def stop(trainer: Any, _: Any) -> None:
        trainer.should_stop = trainer.current_epoch == 3

    ends = LambdaCallback(on_train_epoch_end=stop)
    return journal(folder, module, ends, options={"max_epochs": -1}, dry_run=True)


@run
def between_validations(folder: Path) -> list[str]:
    """A validation each 60 steps, a check each 20: the loss diverges between two of them, and the state comes back."""

    def loss(batch: int, lr: float, lr_sum: float) -> float:
        return falling(batch, lr, lr_sum) + max(0.0, lr_sum - 12.2) * (lr > 0.05)

    module = Scripted(loss, series(1.0, 0.8, 0.7, 0.65))
    arguments = {"monitor": "val_loss", "check_every_n_steps": 20, "find_lr": False, "anneal": False}
    return journal(folder, module, options={"max_epochs": 4, "steps": 60}, **arguments)


@run
def training_alone(folder: Path) -> list[str]:
    """No validation: the training loss takes the place of the monitor, and its plateau is cut."""
    module = Scripted(lambda batch, lr, lr_sum: max(1.0, 2.0 - 3 * lr_sum**1.5))
    policy = ConservativePolicy(min_probability=0.55)
    return journal(folder, module, options={"max_epochs": 9, "steps": 2}, policy=policy, patience=3)


@run
def accuracy_with_its_loss(folder: Path) -> list[str]:
    """An accuracy stands still while the loss beside it falls: that is said at the first check, and nothing is cut."""
    module = Scripted(metrics=lambda epoch, lr_sum: {"val_acc": 0.85, "val_loss": 1 / (2 + epoch), "val_f1": 0.5})
    arguments = {"monitor": "val_acc", "mode": "max", "policy": "conservative"}
    return journal(folder, module, options={"max_epochs": 12}, **arguments)


@run
def stops_after_restores_in_vain(folder: Path) -> list[str]:
    """Validation is no number any more: restores, each with a cut, and then the run is stopped, as its policy asks."""
    module = Scripted(metrics=series(1.0, 0.8, NAN))
    return journal(folder, module, options={"max_epochs": 20}, find_lr=False, policy=AutoPolicy(stops=True))


@run
def more_is_better_with_probes(folder: Path) -> list[str]:
    """An accuracy beside a logged one of training, a probe, and a last check that is clearly worse than the best."""
    module = Scripted(
        metrics=series(0.3, 0.5, 0.6, 0.65, 0.4, name="val_acc"),
        logged=lambda epoch, lr_sum: {"train_acc": 0.5 + 0.05 * epoch},
    )
    arguments = {"monitor": "val_acc", "mode": "max", "train_monitor": "train_acc", "probes": [UpdateRatio()]}
    arguments["policy"] = AutoPolicy(warmup_checks=1)
    return journal(folder, module, options={"max_epochs": 5}, find_lr=False, cooldown=1, **arguments)


# --- checkpoints ------------------------------------------------------------------------------------------------------


def checkpoints(folder: Path) -> dict[str, Any]:
    """What three checkpoints hold of ours: names and types of everything, not the values."""
    searched, running, ended = folder / "searched.ckpt", folder / "running.ckpt", folder / "ended.ckpt"
    ours = controller(verbose=False, journal=str(folder / "searched.jsonl"))
    fit(Searched(learnable, as_learned, lr=1e-3), ours, Saved(searched, 60), **SEARCHED)
    losses = series(1.0, 0.8, 0.7, 0.7, 0.7, 0.7, 0.65, 0.6)
    module = Scripted(metrics=losses, logged=series(0.9, name="train_loss"), momentum=0.5)
    arguments = {"train_monitor": "train_loss", "find_lr": False, "probes": [UpdateRatio()]}
    ours = controller(verbose=False, journal=str(folder / "running.jsonl"), **arguments)
    trainer, _ = fit(module, ours, Saved(running, 28, epoch_over=True), max_epochs=8)
    trainer.save_checkpoint(ended)
    return {path.stem: _ours(torch.load(path, weights_only=True)) for path in (searched, running, ended)}


def _ours(checkpoint: dict[str, Any]) -> dict[str, Any]:
    (key,) = (key for key in checkpoint["callbacks"] if key.startswith("LearningRateController"))
    (added,) = (key for key in checkpoint if key.startswith("lightning_lr/"))
    return {f"callbacks/{key}": keys_of(checkpoint["callbacks"][key]), added: keys_of(checkpoint[added])}


def keys_of(value: Any) -> Any:
    """Names and types; of a list, one item of each form."""
    if isinstance(value, dict):
        return {str(key): keys_of(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        forms: list[Any] = []
        for form in map(keys_of, value):
            if form not in forms:
                forms.append(form)
        return {type(value).__name__: forms}
    return f"{value.dtype}" if isinstance(value, torch.Tensor) else type(value).__name__
