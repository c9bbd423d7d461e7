"""What a search cannot read, or could not put back: the rate stays, the run goes on as without it, and it says why."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import LambdaCallback
from torch import nn
from torch.utils.data import DataLoader, Dataset

from lightning_lr import LearningRateController
from lightning_lr.run.lr_search import kept_state, search
from tests.helpers.scripted import QUIET
from tests.run.test_lr_search import Regression, explored, fit, flat, loader, lr_search


class Raises(Regression):
    """Wants gradients, as physics-informed losses do, but is asked for none."""

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        if not torch.is_grad_enabled():
            raise RuntimeError("element 0 of tensors does not require grad")
        return self.loss(batch)


class ReturnsNothing(Regression):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.loss(batch) if torch.is_grad_enabled() else None


class ReturnsNoNumber(Regression):
    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        loss = self.loss(batch)
        return loss if torch.is_grad_enabled() else loss * float("nan")


class Locked(Dataset):
    """Items that no copy can be made of."""

    def __len__(self) -> int:
        return 320

    def __getitem__(self, index: int) -> Any:
        return torch.ones(4) * index, torch.ones(1), threading.Lock()


class UncopiedBatch(Regression):
    def train_dataloader(self) -> DataLoader:
        def collated(items: list[Any]) -> Any:
            inputs, targets, locks = zip(*items, strict=True)
            return torch.stack(inputs) / 320, torch.stack(targets), locks

        return DataLoader(Locked(), 8, collate_fn=collated)

    def loss(self, batch: Any) -> torch.Tensor:
        return super().loss(batch[:2])


class OwnIterator(Regression):
    """The kind of a second stream of data: readings would take from it what the steps should get."""

    def __init__(self, lr: float) -> None:
        super().__init__(lr)
        self.others = iter(torch.arange(10_000.0))

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return self.loss(batch) + 0.0001 * next(self.others)


class LargeMemory(Regression):
    """A replay buffer that is too large to be copied, and that each step writes into."""

    def __init__(self, lr: float) -> None:
        super().__init__(lr)
        self.memory = torch.zeros(1000)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        self.memory[batch_idx % 1000] += 1
        return self.loss(batch)


class NothingTrains(Regression):
    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return 0.0 * self.loss(batch)


class Raising(Exception):
    """Of a library of the user's own."""


class HeldOutOnly(Regression):
    """Its validation batches have another form: these are left out, and the rest is read."""

    def val_dataloader(self) -> DataLoader:
        return DataLoader([{"x": torch.ones(4), "y": torch.ones(1)}] * 16, 8)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.loss((batch["x"], batch["y"])))

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        if isinstance(batch, dict):
            raise Raising("no dict")
        return self.loss(batch)


UNREADABLE = [
    (ReturnsNothing, "training_step returns no loss"),
    (ReturnsNoNumber, "its loss is not finite before training"),
    (UncopiedBatch, "the batch cannot be copied: TypeError: cannot pickle"),
    (OwnIterator, "readings would move on an iterator of the module"),
    (LargeMemory, "training_step changes a tensor of 0 MiB in place"),
    (NothingTrains, "the first 50 steps have changed no weight"),
]


@pytest.mark.parametrize(("make", "why"), UNREADABLE, ids=[row[0].__name__ for row in UNREADABLE])
def test_the_rate_stays_and_the_run_is_the_plain_one(make: Callable[..., Any], why: str, monkeypatch: Any) -> None:
    if make is LargeMemory:
        monkeypatch.setattr(kept_state, "LARGEST", 1000)
    module, plain, controller = make(0.01), make(0.01), lr_search()
    run(module, controller)
    run(plain, lr_search(find_lr=False))
    decision = explored(controller)
    assert why in decision.reason
    assert decision.factor == 1.0
    assert decision.reason.endswith("it stays as it was given; it is annealed only by name (anneal=True)")
    assert torch.equal(flat(module), flat(plain))
    assert set(module.rates) == {0.01}


def run(module: LightningModule, controller: LearningRateController) -> None:
    """Two epochs, with the module's own loaders where it has some."""
    train = None if isinstance(module, UncopiedBatch) else loader()
    val = None if isinstance(module, HeldOutOnly) else loader()
    Trainer(**QUIET, callbacks=[controller], max_epochs=2).fit(module, train, val)


@pytest.mark.parametrize(("options", "done"), [
    ({}, "lr kept, no annealing (anneal=True forces it)"),
    ({"anneal": True}, "lr kept"),
])  # fmt: skip
def test_the_console_says_that_the_rate_is_not_annealed(options: Any, done: str, monkeypatch: Any) -> None:
    """The first line has promised it."""
    printed: list[str] = []
    monkeypatch.setattr("lightning_lr.callbacks._compat.rank_zero_info", printed.append)
    run(ReturnsNothing(0.01), lr_search(verbose=True, **options))
    (line,) = [line for line in printed if " · search: " in line]
    assert f" · search: {done} · " in line
    assert len(line) <= 120


def test_a_step_that_wants_gradients_gets_them() -> None:
    """The kind of a loss with derivatives in it: read with gradients, which are thrown away."""
    module, controller = Raises(1.0, "Adam"), lr_search()
    run(module, controller)
    assert explored(controller).factor < 0.5


def test_validation_batches_of_another_form_are_left_out() -> None:
    module, controller = HeldOutOnly(1.0, "Adam"), lr_search()
    run(module, controller)
    assert explored(controller).factor < 0.5


def test_a_module_that_refuses_what_is_not_finite_is_read_as_uphill() -> None:
    """The kind of a Cholesky, a ``Normal`` or an own check that raises: no run ends because of a reading."""

    class Checks(Regression):
        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            loss = self.loss(batch)
            if not loss < 50:
                raise Raising("the loss has exploded")
            return loss

    module, controller = Checks(1.0, "Adam"), lr_search()
    run(module, controller)
    assert explored(controller).factor < 1.0


def test_too_little_memory(monkeypatch: Any) -> None:
    needed = 2 * sum(p.numel() * p.element_size() for p in Regression(0.01).parameters())
    monkeypatch.setattr(search, "free_bytes", lambda device: 1.9 * needed)
    module, controller = Regression(1.0, "Adam"), lr_search()
    run(module, controller)
    assert "would take more than half of the memory that is free" in explored(controller).reason
    assert set(module.rates) == {1.0}


class SAM(torch.optim.Optimizer):
    """Two calls of the closure for a step, and a count in its group, as optimizers of other packages keep one."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, {"lr": lr, "k": 0})

    def step(self, closure: Any = None) -> Any:
        with torch.enable_grad():
            closure()
            loss = closure()
        for group in self.param_groups:
            group["k"] += 1
            for weight in group["params"]:
                weight.data.sub_(weight.grad, alpha=group["lr"])
        return loss


class Sharpness(Regression):
    def configure_optimizers(self) -> Any:
        return SAM(self.parameters(), self.lr)


class TwiceInTheModule(Regression):
    """The same with a known optimizer: the closure is called twice by the module's own ``optimizer_step``."""

    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
        optimizer_closure()
        optimizer.step(optimizer_closure)


def test_an_optimizer_that_is_not_known() -> None:
    module, plain, controller = Sharpness(0.01), Sharpness(0.01), lr_search()
    fit(module, controller, max_epochs=2)
    fit(plain, lr_search(find_lr=False), max_epochs=2)
    assert controller.decisions == []
    assert torch.equal(flat(module), flat(plain))
    assert module.trainer.optimizers[0].param_groups[0]["k"] == plain.trainer.optimizers[0].param_groups[0]["k"] == 80


def test_a_closure_that_is_called_twice() -> None:
    module, controller = TwiceInTheModule(1.0, "Adam"), lr_search()
    fit(module, controller)
    assert explored(controller).factor < 0.5


def test_the_second_of_two_controllers_yields() -> None:
    """Both would multiply one rate; with groups of their own each searches its own."""
    first, second = lr_search(name="a"), lr_search(name="b")
    fit(Regression(1.0, "Adam"), first, second)
    assert [d.action for d in first.decisions] == ["explore", "anneal"]
    assert [d.action for d in second.decisions] == []
    named = [lr_search(name=name, param_groups=[name]) for name in ("body", "head")]
    fit(Named(1.0, "Adam"), *named)
    assert [explored(one).factor < 0.5 for one in named] == [True, True]


class Named(Regression):
    def configure_optimizers(self) -> Any:
        body = {"params": self.net[:2].parameters(), "name": "body"}
        return torch.optim.Adam([body, {"params": self.net[3].parameters(), "name": "head"}], lr=self.lr)


class Interrupts(Regression):
    """A key is pressed in the midst of a reading."""

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        if not torch.is_grad_enabled():
            raise KeyboardInterrupt
        return self.loss(batch)


def test_a_run_that_is_interrupted_in_a_reading_keeps_the_weights_of_its_step() -> None:
    module, plain = Interrupts(0.01, "Adam"), Regression(0.01, "Adam")
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        fit(module, lr_search())
    fit(plain, max_steps=1)
    assert torch.equal(flat(module), flat(plain))


@pytest.mark.parametrize("at", range(4))
def test_a_run_that_is_stopped_in_its_first_steps_ends_clean(at: int) -> None:
    """Nothing is undone, and nothing is left behind, whatever part of the search it was in."""

    def stop(trainer: Any, *_: Any) -> None:
        trainer.should_stop = trainer.global_step >= at

    module, controller = Regression(1.0, "Adam"), lr_search()
    fit(module, controller, LambdaCallback(on_train_batch_end=stop))
    assert len(module.rates) == max(1, at)
    assert not {"training_step", "log", "log_dict"} & vars(module).keys()
    assert isinstance(module.net, nn.Module)
