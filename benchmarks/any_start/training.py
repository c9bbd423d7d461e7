"""One run: a real Trainer, a budget that every method shares, and a look at the test data when it is over."""

from __future__ import annotations

import logging
import math
import tempfile
import time
import warnings
from collections import Counter
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
import torch.nn.functional as F
from lightning.pytorch.tuner import Tuner  # type: ignore[attr-defined]
from torch import Tensor

from benchmarks.any_start.methods import Method, Plan
from benchmarks.any_start.rules import EACH_EVALUATION, has_batch_norm
from benchmarks.any_start.tasks import Task

Record = dict[str, Any]
PROTOCOL = 1  # raised by hand where a change of this file changes the results of every method
PASSES: Counter[str] = Counter()
"""Forward passes of this process: not on the module, whose state our search puts back."""
FINDER_STEPS = 100  # the default of Lightning's finder; never more than a quarter of the budget


class Learner(pl.LightningModule):
    """An ordinary module; it also counts its forward passes, which nobody gets for nothing."""

    def __init__(self, task: Task, model: torch.nn.Module, method: Method, plan: Plan) -> None:
        super().__init__()
        self.task, self.model, self.method, self.plan = task, model, method, plan
        self.lr = plan.lr
        self.curve: list[float] = []
        self.accuracies: list[float] = []

    def forward(self, inputs: Tensor) -> Tensor:
        PASSES["forward"] += 1
        return self.model(inputs)  # type: ignore[no-any-return]

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        if self.task.regression:
            return F.mse_loss(outputs.squeeze(-1), targets)
        return F.cross_entropy(outputs.flatten(0, -2), targets.flatten())

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return self.loss(self(batch[0]), batch[1])

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        outputs = self(batch[0])
        loss = self.loss(outputs, batch[1])
        self.log("val_loss", loss, batch_size=len(batch[0]))
        if not self.task.regression:
            right = (outputs.argmax(-1) == batch[1]).float().mean()
            self.log("val_acc", right, batch_size=len(batch[0]))
        return loss

    def configure_optimizers(self) -> Any:
        plan = Plan(self.plan.task, self.lr, self.plan.steps)
        return self.method.configure(plan, self.parameters())


class Meter(pl.Callback):
    """Keeps the validation curve; a forward pass beside the ordinary ones shortens the run by a third of a step."""

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.ordinary = 0

    def extra(self) -> int:
        """Forward passes that neither a step of the optimizer nor the epoch's validation needed."""
        return max(0, PASSES["forward"] - self.ordinary)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        self.ordinary += 1
        if extra := self.extra():
            loop = trainer.fit_loop.epoch_loop
            loop.max_steps = max(loop.global_step, self.budget - math.ceil(extra / 3))

    def on_validation_batch_end(self, *_: Any) -> None:
        self.ordinary += 1

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        pl_module.curve.append(_number(trainer.callback_metrics["val_loss"]))
        pl_module.accuracies.append(_number(trainer.callback_metrics.get("val_acc")))


def train(task: Task, method: Method, start: float, seed: int, folder: Path | None) -> Record:
    """Train, and say how it ended; an error is a result too."""
    torch.set_num_threads(1)
    _quiet()
    begun = time.perf_counter()
    record: Record = {"task": task.name, "method": method.name, "start": start, "seed": seed}
    try:
        record |= _train(task, method, start, seed, folder)
    except Exception as error:
        said = f"{type(error).__name__}: {error}".splitlines()[0][:300]
        record["error"] = said.replace(str(Path.cwd()), ".")  # the file is committed
    return record | {"seconds": round(time.perf_counter() - begun, 2), "versions": _versions(method)}


def _train(task: Task, method: Method, start: float, seed: int, folder: Path | None) -> Record:
    data = load(task, folder)
    torch.manual_seed(seed)
    model = task.model(data)
    budget = task.epochs * task.steps_per_epoch(data)
    steps = budget
    if method.forwards and not method.ours and has_batch_norm(model):
        steps -= math.ceil((task.epochs + 1) * EACH_EVALUATION / 3)
    plan = Plan(task, task.lr * start, steps)
    learner = Learner(task, model, method, plan)
    untrained = _evaluate(learner, task.loader(data.validation)), _evaluate(learner, task.loader(data.test))
    loader = task.train_loader(data, seed)
    torch.manual_seed(seed + 1)  # what follows does not depend on how many numbers the evaluation drew
    found, searched = (None, 0)
    if method.finds_lr:
        found, searched = _find(learner, loader, min(FINDER_STEPS, budget // 4))
        learner.plan = Plan(task, learner.lr, budget - searched)
        torch.manual_seed(seed + 1)
    meter = Meter(learner.plan.steps)
    PASSES.clear()
    callbacks = [*method.callbacks(learner.plan), meter]
    # A method's own charge was taken off beforehand; ours can only be taken off as it comes.
    if not method.ours:
        meter.extra = lambda: 0  # type: ignore[method-assign]
    trainer = _trainer(max_epochs=task.epochs, max_steps=learner.plan.steps, callbacks=callbacks)
    trainer.fit(learner, loader, task.loader(data.validation))
    ended, tested = _evaluate(learner, task.loader(data.validation)), _evaluate(learner, task.loader(data.test))
    curve = [value for value in [*learner.curve, ended[0]] if math.isfinite(value)]
    accuracies = [value for value in [*learner.accuracies, ended[1]] if value is not None and math.isfinite(value)]
    controller = next((c for c in callbacks if hasattr(c, "decisions")), None)
    return {
        "val_loss": _plain(ended[0]),
        "val_best": _plain(min(curve, default=math.nan)),
        "curve": [_plain(value) for value in learner.curve],
        "val_acc": ended[1],
        "val_acc_best": _plain(max(accuracies)) if accuracies else None,
        "test_loss": _plain(tested[0]),
        "test_acc": tested[1],
        "untrained_val": _plain(untrained[0][0]),
        "untrained_test": _plain(untrained[1][0]),
        "diverged": not (math.isfinite(tested[0]) and ended[0] <= untrained[0][0]),
        "steps": trainer.global_step + searched,
        "budget": budget,
        "forwards": max(0, PASSES["forward"] - meter.ordinary) if method.ours else 0,
        "lr_found": _plain(found if controller is None else _lr_found(controller)),
        "actions": dict(Counter(str(d.action) for d in controller.decisions)) if controller is not None else None,
    }


_LOADED: dict[tuple[str, Path | None], Any] = {}


def load(task: Task, folder: Path | None) -> Any:
    """Its data, read once: the processes that are forked later share it."""
    key = task.data.__name__, folder
    if key not in _LOADED:
        _LOADED[key] = task.data(folder)
    return _LOADED[key]


def _trainer(**options: Any) -> pl.Trainer:
    return pl.Trainer(
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **options,
    )


def _find(learner: Learner, loader: Any, steps: int) -> tuple[float | None, int]:
    """Lightning's finder; it writes the rate into the module, and stops early where the loss explodes."""
    with tempfile.TemporaryDirectory() as folder:
        finder = Tuner(_trainer(default_root_dir=folder, max_epochs=-1)).lr_find(learner, loader, num_training=steps)
    assert finder is not None
    return finder.suggestion(), len(finder.results["lr"])


@torch.no_grad()
def _evaluate(learner: Learner, loader: Any) -> tuple[float, float | None]:
    """Loss and accuracy over a split, each example counting once."""
    training = learner.training
    learner.eval()
    batches = [(learner.model(inputs), targets) for inputs, targets in loader]
    learner.train(training)
    outputs, targets = (torch.cat(parts) for parts in zip(*batches, strict=True))
    accuracy = None if learner.task.regression else round(float((outputs.argmax(-1) == targets).double().mean()), 6)
    return float(learner.loss(outputs.double(), targets.double() if learner.task.regression else targets)), accuracy


def _lr_found(controller: Any) -> float | None:
    """The rate that the exploration settled on."""
    for decision in reversed(controller.decisions):
        if str(decision.action) == "explore" and decision.new_lr:
            return float(next(iter(decision.new_lr.values())))
    return None


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _plain(value: float | None) -> float | None:
    """JSON has neither NaN nor infinity."""
    return float(f"{value:.7g}") if value is not None and math.isfinite(value) else None


def _versions(method: Method) -> dict[str, str]:
    names = {"torch", "lightning", method.package, "lightning-lr" if method.ours else ""} - {""}
    return {name: _version(name) for name in sorted(names)}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"


def _quiet() -> None:
    warnings.filterwarnings("ignore")
    for name in ("lightning.pytorch", "lightning.fabric", "lightning_lr"):
        logging.getLogger(name).setLevel(logging.ERROR)
