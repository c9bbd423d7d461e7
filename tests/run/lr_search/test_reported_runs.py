"""Runs from bug reports and public projects that a search for the rate once harmed; each row stands for its kind.

The first half compares a run that searches, and keeps its rate, with the same run that does not: what the module saw,
what it logged, and its weights, up to the end. The second half says what a neighbour of the search has to find.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback, EarlyStopping, StochasticWeightAveraging
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchmetrics import MeanMetric

from lightning_lr import LearningRateController
from lightning_lr.engine.lr_search.finder import Finder
from tests.helpers.scripted import QUIET
from tests.run.test_lr_search import STEPS, Regression, Weights, explored, fit, flat, loader, lr_search

pytestmark = [
    pytest.mark.filterwarnings("ignore:.training_step. returned .None"),
    pytest.mark.filterwarnings("ignore:Found .* in the model.*eval mode"),
]


class Seen(Regression):
    """Keeps a number of each batch that it trains on."""

    def __init__(self, lr: float = 0.01) -> None:
        super().__init__(lr, "Adam")
        self.seen: list[float] = []

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.seen.append(float(batch[0].sum()))
        return self.loss(batch)


# --- batches that the step uses up, or changes in place ---------------------------------------------------------------


class ClearsAList(Seen):
    """As steps do that free the memory of a batch at once."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        taken = list(batch)
        batch.clear()
        return super().training_step(taken, batch_idx)


class MixesUpInPlace(Seen):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        for part in batch:
            part.mul_(0.7).add_(part.roll(batch_idx, 0), alpha=0.3)
        return super().training_step(batch, batch_idx)


@dataclass
class Pair:
    """A batch of the user's own class."""

    inputs: Tensor
    targets: Tensor | None

    def to(self, *_: Any, **__: Any) -> Pair:
        return self


class TakesTheLabelsOut(Seen):
    def train_dataloader(self) -> DataLoader:
        def paired(items: list[Any]) -> Pair:
            inputs, targets = map(torch.stack, zip(*items, strict=True))
            return Pair(inputs, targets)

        return DataLoader(loader().dataset, 8, collate_fn=paired)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        targets, batch.targets = batch.targets, None
        return super().training_step((batch.inputs, targets), batch_idx)


# --- means over an epoch ----------------------------------------------------------------------------------------------


class LogsTheEpoch(Seen):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        self.log("train_loss", loss, on_step=False, on_epoch=True)
        return loss


class OwnMean(Seen):
    """Gathers its losses, and logs their mean as the epoch ends."""

    def __init__(self) -> None:
        super().__init__()
        self.losses: list[Tensor] = []

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        self.losses.append(loss.detach())
        return loss

    def on_train_epoch_end(self) -> None:
        self.log("train_loss", torch.stack(self.losses).mean())
        self.losses.clear()


class OwnMetric(Seen):
    def __init__(self) -> None:
        super().__init__()
        self.mean = MeanMetric()

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        self.mean.update(loss.detach())
        return loss

    def on_train_epoch_end(self) -> None:
        self.log("train_loss", self.mean.compute())
        self.mean.reset()


class StopsWithoutNumber(LogsTheEpoch):
    """The kind of an EarlyStopping that ends a run for one infinite mean."""

    def configure_callbacks(self) -> Any:
        return [EarlyStopping("train_loss", patience=50, check_finite=True)]


# --- counters, averages, batches without a loss -----------------------------------------------------------------------


class WarmsUpAKLWeight(Seen):
    """By a plain number that each step raises."""

    weight = 0.0

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.weight = min(1.0, self.weight + 0.02)
        return super().training_step(batch, batch_idx) + self.weight * flat_norm(self.net)


class Teacher(Seen):
    """An average of the weights that follows in the step itself, and is a target."""

    def __init__(self) -> None:
        super().__init__()
        self.teacher = copy.deepcopy(self.net).requires_grad_(False)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        for ours, theirs in zip(self.teacher.parameters(), self.net.parameters(), strict=True):
            ours.lerp_(theirs.detach(), 0.05)
        return super().training_step(batch, batch_idx) + 0.1 * flat_norm(self.teacher)


class Queue(Seen):
    """A memory of former losses, in a deque on the class of a part."""

    class Memory:
        def __init__(self) -> None:
            self.kept: list[float] = []

    def __init__(self) -> None:
        super().__init__()
        self.memory = Queue.Memory()

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        self.memory.kept = [*self.memory.kept[-9:], float(loss.detach())]
        return loss * (1 + 0.01 * len(self.memory.kept))


class SkipsEveryThird(Seen):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        return None if batch_idx % 3 == 1 else loss


class SkipsTheFirst(Seen):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        return None if self.trainer.global_step == 0 and batch_idx < 3 else loss


class InfiniteNowAndThen(Seen):
    """Its gradients are dropped by the module itself."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return super().training_step(batch, batch_idx) * (float("inf") if batch_idx % 5 == 2 else 1.0)

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        super().on_before_optimizer_step(optimizer)
        for weight in self.parameters():
            if weight.grad is not None and not torch.isfinite(weight.grad).all():
                weight.grad.zero_()


def flat_norm(module: nn.Module) -> Tensor:
    return sum((weight.square().mean() for weight in module.parameters()), torch.zeros(()))


class Record(Callback):
    """What is logged at the end of each epoch, and a sum of the losses by a callback of the user's."""

    def __init__(self) -> None:
        self.logged: list[dict[str, float]] = []
        self.total = 0.0

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, *_: Any) -> None:
        self.total += float(outputs["loss"]) if outputs else 0.0

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self.logged.append({name: float(value) for name, value in trainer.callback_metrics.items()})


@dataclass(frozen=True)
class Kept:
    """One kind of run.

    Attributes:
        kind: what it does.
        make: the module.
        options: of the Trainer.
    """

    kind: str
    make: Callable[[], Seen]
    options: dict[str, Any] = field(default_factory=dict)


KEPT = [
    Kept("batches", ClearsAList),
    Kept("batches", MixesUpInPlace),
    Kept("batches", TakesTheLabelsOut),
    Kept("an epoch's mean", LogsTheEpoch),
    Kept("an epoch's mean", OwnMean),
    Kept("an epoch's mean", OwnMetric),
    Kept("an epoch's mean", StopsWithoutNumber),
    Kept("counters", WarmsUpAKLWeight),
    Kept("counters", Queue),
    Kept("averages", Teacher),
    Kept("no loss", SkipsEveryThird),
    Kept("no loss", SkipsTheFirst),
    Kept("no loss", SkipsEveryThird, {"accumulate_grad_batches": 2}),
    Kept("no finite loss", InfiniteNowAndThen),
]


@pytest.mark.parametrize("row", KEPT, ids=[f"{row.kind}: {row.make.__name__} {row.options or ''}" for row in KEPT])
def test_a_search_that_keeps_the_rate_changes_nothing_to_the_end(row: Kept, monkeypatch: Any) -> None:
    plain = Finder.result
    monkeypatch.setattr(Finder, "result", lambda self: replace(plain(self), factor=1.0))
    ends = []
    for find_lr in ("auto", False):
        module, record, controller = row.make(), Record(), lr_search(find_lr=find_lr, anneal=False)
        train = None if isinstance(module, TakesTheLabelsOut) else loader()
        options = {**QUIET, "max_epochs": 4, "callbacks": [controller, record], **row.options}
        trainer = Trainer(**options)
        trainer.fit(module, train, loader())
        ends.append(
            (module.seen, record.logged, record.total, module.rates, flat(module).tolist(), trainer.current_epoch)
        )
        if find_lr:
            decision = explored(controller)
            assert len(decision.evidence) > 3, decision.reason
    ours, without = ends
    assert ours == without
    assert ours[-1] == 4


# --- rates ------------------------------------------------------------------------------------------------------------


class WarmUpAfterTheStep(Seen):
    """The recipe of Lightning's documentation."""

    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
        optimizer.step(closure=optimizer_closure)
        self.write(optimizer, self.trainer.global_step)

    def write(self, optimizer: Any, step: int) -> None:
        if step < 60:
            for group in optimizer.param_groups:
                group["lr"] = min(1.0, (step + 1) / 60) * self.lr


class WarmUpBeforeTheStep(WarmUpAfterTheStep):
    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
        self.write(optimizer, self.trainer.global_step)
        optimizer.step(closure=optimizer_closure)


class WarmUpInAHook(WarmUpAfterTheStep):
    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
        optimizer.step(closure=optimizer_closure)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        self.write(self.trainer.optimizers[0], self.trainer.global_step)


@pytest.mark.parametrize("make", [WarmUpAfterTheStep, WarmUpBeforeTheStep, WarmUpInAHook])
@pytest.mark.parametrize("lr", [1e-4, 0.01, 1.0])
def test_the_rates_that_are_reported_are_those_that_are_used(make: Any, lr: float) -> None:
    """A warm-up that the module writes itself stays its own: we scale it, and say so."""
    module, plain, controller = make(lr), make(lr), lr_search(anneal=False)
    used, asked = Used(), Used()
    fit(module, controller, used)
    fit(plain, asked)
    decided = sorted((decision.step, decision.factor) for decision in controller.decisions)
    expected = [math.prod(factor for at, factor in decided if at <= step) for step in range(len(used.rates))]
    ratios = [ours / theirs for ours, theirs in zip(used.rates, asked.rates, strict=True)]
    different = [step for step in range(70, STEPS) if ratios[step] != pytest.approx(expected[step])]
    assert set(different) <= {at for at, _ in decided}, "the last step of an epoch is where loggers show its end"
    assert list(controller.scale.values()) == pytest.approx(expected[-1:])


class Used(Callback):
    """The rate that each step uses, seen from within the optimizer."""

    def __init__(self) -> None:
        self.rates: list[float] = []

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        def note(optimizer: Any, *_: Any) -> None:
            self.rates.append(float(optimizer.param_groups[0]["lr"]))

        trainer.optimizers[0].register_step_pre_hook(note)


def groups_at(*rates: float) -> type[Regression]:
    class Groups(Regression):
        def configure_optimizers(self) -> Any:
            parts = [self.net[:2].parameters(), self.net[3].parameters()]
            groups = [{"params": part, "lr": lr} for part, lr in zip(parts, rates, strict=True)]
            return torch.optim.Adam(groups, lr=0.1)

    return Groups


@pytest.mark.parametrize(
    ("rates", "options"),
    [((0.0, 1.0), {"max_time": {"minutes": 10}}), ((1.0, 0.0), {}), ((0.0, 0.0), {})],
    ids=["the first, and a time limit", "the last", "all"],
)
def test_groups_at_zero_stay_there(rates: tuple[float, ...], options: dict[str, Any]) -> None:
    module, controller = groups_at(*rates)(1.0), lr_search()
    trainer = fit(module, controller, max_epochs=2, **options)
    applied = [group["lr"] for group in trainer.optimizers[0].param_groups]
    assert [rate > 0 for rate in applied] == [rate > 0 for rate in rates]
    if any(rates):
        assert explored(controller).factor < 0.5


# --- neighbours -------------------------------------------------------------------------------------------------------


class OwnAverage(Callback):
    """A user's moving average: it follows each step, validates, and lets the weights train on."""

    def __init__(self) -> None:
        self.shadow: list[Tensor] = []
        self.trace: list[Tensor] = []
        self.kept: list[Tensor] = []

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self.shadow = [weight.detach().clone() for weight in pl_module.parameters()]
        self.trace = [flat(pl_module)]

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        for ours, weight in zip(self.shadow, pl_module.parameters(), strict=True):
            ours.lerp_(weight.detach(), 0.2)

    def on_train_batch_start(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        if trainer.global_step == len(self.trace):
            self.trace.append(flat(pl_module))

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        if self.shadow:
            self.kept = [weight.detach().clone() for weight in pl_module.parameters()]
            write(pl_module, self.shadow)

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        if self.shadow:
            write(pl_module, self.kept)


@torch.no_grad()
def write(module: nn.Module, tensors: list[Tensor]) -> None:
    for weight, tensor in zip(module.parameters(), tensors, strict=True):
        weight.copy_(tensor)


@pytest.mark.parametrize("first", ["ours", "theirs"])
def test_an_average_of_the_users_own_is_that_of_the_weights(first: str) -> None:
    """The first update is rescaled: an average that has followed it already, follows again."""
    average, controller = OwnAverage(), lr_search()
    callbacks = [controller, average] if first == "ours" else [average, controller]
    module = Regression(1.0, "Adam")
    fit(module, *callbacks, max_epochs=2)
    assert explored(controller).factor < 0.5
    expected = average.trace[0].clone()
    for weights in [*average.trace[1:], flat(module)]:
        expected.lerp_(weights, 0.2)
    torch.testing.assert_close(torch.cat([part.flatten() for part in average.shadow]), expected, rtol=1e-3, atol=1e-5)


class SwappedIn(Callback):
    """Far-away weights take the place of those that train, for as long as a validation lasts."""

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        self.kept = [weight.detach().clone() for weight in pl_module.parameters()]
        write(pl_module, [torch.zeros_like(weight) for weight in self.kept])

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        write(pl_module, self.kept)


class BestAtTheSixth(Regression):
    checks = 0

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        if batch_idx == 0:
            self.checks += not self.trainer.sanity_checking
        self.log("val_loss", 1.0 - 0.1 * min(self.checks, 6))


@pytest.mark.parametrize("first", ["ours", "theirs"])
def test_a_restore_is_of_the_weights_that_train_and_lasts(first: str) -> None:
    """Averages are swapped in for a validation, and out in the very hook in which a check is made."""
    controller, weights = lr_search(find_lr=False, anneal=False, patience=2), Weights()
    callbacks = [controller, SwappedIn()] if first == "ours" else [SwappedIn(), controller]
    fit(BestAtTheSixth(0.01), *callbacks, weights, max_epochs=4, val_check_interval=10)
    restored = next(decision for decision in controller.decisions if decision.action == "restore")
    assert restored.snapshot_check is not None
    assert torch.equal(weights.after[restored.step + 1], weights.after[60])


class Counts(torch.optim.SGD):
    """Keeps numbers of its own in its groups, as optimizers without a schedule do."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, lr=lr)
        for group in self.param_groups:
            group.update(k=0, weight_sum=0.0)
        self.register_step_post_hook(self.count)

    @staticmethod
    def count(optimizer: Any, *_: Any) -> None:
        for group in optimizer.param_groups:
            group["k"] += 1
            group["weight_sum"] += group["lr"]


class Groups(Seen):
    def configure_optimizers(self) -> Any:
        return Counts(self.parameters(), self.lr)


def test_what_an_optimizer_keeps_in_its_groups_counts_the_steps_alone() -> None:
    module, controller = Groups(1e-4), lr_search()
    trainer = fit(module, controller, max_epochs=2)
    (group,) = trainer.optimizers[0].param_groups
    assert explored(controller).factor > 2.5
    assert group["k"] == trainer.global_step
    assert group["weight_sum"] == pytest.approx(sum(module.rates))


@pytest.mark.parametrize("order", list(itertools.permutations(("ours", "theirs"))), ids=" then ".join)
def test_while_the_weights_are_averaged_the_rate_is_that_of_the_averaging(order: tuple[str, ...]) -> None:
    """``StochasticWeightAveraging`` has a constant rate: a fall to zero would average nothing."""
    averaging = StochasticWeightAveraging(swa_lrs=0.02, swa_epoch_start=0.5, annealing_epochs=2)
    controller = lr_search()
    by_name = {"ours": controller, "theirs": averaging}
    module = Regression(0.05)
    fit(module, *(by_name[name] for name in order))
    assert "anneal" not in {decision.action for decision in controller.decisions}
    assert module.rates[-1] == pytest.approx(0.02 * next(iter(controller.scale.values())))


class Plateau(Regression):
    """A plateau that the user's own scheduler answers."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", 1.0 / (1 + min(self.trainer.current_epoch, 8)))

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), self.lr)
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=4, factor=0.5)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "monitor": "val_loss"}}


@pytest.mark.parametrize("policy", ["auto", "conservative"])
def test_a_plateau_has_one_answer(policy: str) -> None:
    module, plain = Plateau(0.1), Plateau(0.1)
    with pytest.warns(UserWarning, match=f"ReduceLROnPlateau answers plateaus: '{policy}' leaves them to it"):
        fit(module, lr_search(policy=policy), max_epochs=40, limit_train_batches=4)
    fit(plain, max_epochs=40, limit_train_batches=4)
    assert module.rates == plain.rates


# --- short runs, and the end ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [2, 10, 29, 30, 80])
def test_a_run_of_any_length_ends_with_a_sentence(steps: int) -> None:
    """Under thirty steps nothing is searched, and nothing that was not checked is annealed."""
    module, controller = Regression(0.5, "Adam"), lr_search()
    fit(module, controller, max_epochs=-1, max_steps=steps)
    actions = [decision.action for decision in controller.decisions]
    assert ("explore" in actions) is (steps >= 30)
    assert ("anneal" in actions) is (steps >= 30)
    assert steps >= 30 or set(module.rates) == {0.5}


class HarderAtTheEnd(Seen):
    """The losses of the last epochs are higher, whatever the weights are."""

    name = "train_loss"

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx) + 0.5 * max(0, self.current_epoch - self.trainer.max_epochs + 2)
        self.log(self.name, loss, on_step=False, on_epoch=True)
        return loss


@pytest.mark.parametrize("steps", [2, 3, 5])
@pytest.mark.parametrize("monitor", ["val_loss", "train_loss"])
def test_the_end_goes_back_to_nothing_that_was_not_measured(steps: int, monitor: str) -> None:
    """The loss of an epoch is that of the weights before its steps, and the snapshot holds those after them."""
    ends = []
    for callbacks in ([LearningRateController(monitor, verbose=False)], []):
        module = HarderAtTheEnd()
        options = {"max_epochs": 5, "limit_train_batches": steps, "limit_val_batches": 0}
        Trainer(**{**QUIET, **options, "callbacks": list(callbacks)}).fit(module, loader(), loader())
        ends.append(flat(module))
    assert torch.equal(*ends)


def test_a_full_batch_run_keeps_all_its_epochs() -> None:
    """One step an epoch, a validation at each: nothing ends it before ``max_epochs``, and it ends no worse."""

    class FullBatch(Seen):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("val_loss", self.loss(batch))

    ends = []
    for callbacks in ([lr_search()], []):
        module = FullBatch(1e-3)
        train = DataLoader(loader().dataset, BATCH, shuffle=True)
        held_out = DataLoader(loader().dataset, BATCH)
        trainer = Trainer(**{**QUIET, "max_epochs": 300, "callbacks": list(callbacks)})
        trainer.fit(module, train, held_out)
        assert trainer.current_epoch == 300
        ends.append(float(trainer.callback_metrics["val_loss"]))
    assert ends[0] < 1.1 * ends[1]


BATCH = 320
