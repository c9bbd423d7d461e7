"""A run in which nothing is done is the run without us, bit for bit; and after any end nothing of ours is left."""

from __future__ import annotations

import contextlib
import copy
import io
import math
import pickle
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, seed_everything
from torch.utils.data import DataLoader, TensorDataset

from lightning_lr import LearningRateController
from tests.helpers.ranks import run_on_ranks
from tests.helpers.scripted import Scripted, data, eager, trainer

SCHEDULERS: dict[str, Callable[[Any], Any] | None] = {
    "none": None,
    "cosine each epoch": lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, T_max=6),
    "exponential each step": lambda o: {
        "scheduler": torch.optim.lr_scheduler.ExponentialLR(o, 0.99),
        "interval": "step",
    },
    "plateau": lambda o: {
        "scheduler": torch.optim.lr_scheduler.ReduceLROnPlateau(o, patience=0, threshold=0.3),
        "monitor": "val_loss",
    },
}


class Real(LightningModule):
    """Dropout, batch norm, shuffling and momentum: whatever a stray random number or step would change."""

    def __init__(self, scheduler: str = "none", script: list[float] | None = None) -> None:
        super().__init__()
        self.net = torch.nn.Sequential(
            torch.nn.Linear(4, 8),
            torch.nn.BatchNorm1d(8),
            torch.nn.ReLU(),
            torch.nn.Dropout(0.3),
            torch.nn.Linear(8, 1),
        )
        self.scheduler = SCHEDULERS[scheduler]
        self.script = script
        self.seen: list[dict[str, float]] = []

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        inputs, targets = batch
        loss = torch.nn.functional.mse_loss(self.net(inputs + 0.01 * np.random.rand() * random.random()), targets)
        self.log("train_loss", loss, on_step=True, on_epoch=True, sync_dist=True)
        lost = self.script is not None and math.isnan(self.script[self.current_epoch])
        return loss + (math.nan if lost else 0.0)  # a metric alone may just be undefined

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        inputs, targets = batch
        loss = torch.nn.functional.mse_loss(self.net(inputs), targets)
        if self.script is not None:
            loss = torch.tensor(self.script[self.current_epoch])
        self.log("val_loss", loss, sync_dist=True)

    def on_validation_end(self) -> None:
        self._note()

    def on_train_epoch_end(self) -> None:
        self._note()

    def _note(self) -> None:
        logged = {name: float(value) for name, value in self.trainer.callback_metrics.items()}
        self.seen.append({**logged, "lr": self.trainer.optimizers[0].param_groups[0]["lr"]})

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=2e-2)
        return (
            optimizer if self.scheduler is None else {"optimizer": optimizer, "lr_scheduler": self.scheduler(optimizer)}
        )


def learnable(shuffle: bool = True) -> DataLoader:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(128, 4, generator=generator)
    return DataLoader(TensorDataset(inputs, 3 + 0.1 * inputs.sum(1, keepdim=True)), batch_size=16, shuffle=shuffle)


def traces(callbacks: list[Any], model: dict[str, Any], options: dict[str, Any]) -> list[bytes]:
    """All that a run leaves in the process and the model, as bytes: NaN equals NaN, and −0 is not 0."""
    seed_everything(7, verbose=False)
    module = Real(**model)
    fit = trainer(callbacks, None, **{"max_epochs": 5, **options})
    fit.fit(module, learnable(), learnable(shuffle=False))
    weights, state = io.BytesIO(), io.BytesIO()
    torch.save(dict(module.state_dict()), weights)
    torch.save([optimizer.state_dict() for optimizer in fit.optimizers], state)
    return [
        weights.getvalue(),
        state.getvalue(),
        pickle.dumps([config.scheduler.state_dict() for config in fit.lr_scheduler_configs]),
        torch.get_rng_state().numpy().tobytes(),
        pickle.dumps(np.random.get_state()),
        pickle.dumps(random.getstate()),
        repr(module.seen).encode(),
        repr({name: float(value) for name, value in fit.callback_metrics.items()}).encode(),
    ]


HALF = {"val_check_interval": 0.5}
WORSE = [1.0, 0.9, *[float("nan")] * 3]

# what the callback is told, what the model does, how validation runs
QUIET = [
    pytest.param({"policy": policy}, {"scheduler": scheduler}, options, id=f"{policy}-{scheduler}-{name}")
    for policy, scheduler in [*[("auto", name) for name in SCHEDULERS], ("conservative", "none")]
    for name, options in (("each epoch", {}), ("half", HALF))
]
DRY = [
    pytest.param(
        {"dry_run": True, "policy": policy},
        {"scheduler": scheduler, "script": WORSE},
        options,
        id=f"dry-{policy}-{scheduler}-{name}",
    )
    for policy, scheduler in (("auto", "none"), ("auto", "exponential each step"), ("exponential", "cosine each epoch"))
    for name, options in (("each epoch", {}), ("half", HALF))
]


@pytest.mark.filterwarnings("ignore:lightning_lr. ReduceLROnPlateau answers plateaus")
@pytest.mark.parametrize(("arguments", "model", "options"), QUIET + DRY)
def test_bit_for_bit(arguments, model, options):
    """Weights, buffers, optimizer, schedulers, three random states, and every metric at every moment."""
    # A patience that no run of this length can use up: the detectors all speak, and nothing is done.
    silent = {} if arguments.get("policy") == "exponential" else {"patience": 99}
    control = LearningRateController(find_lr=False, anneal=False, verbose=False, **silent, **arguments)
    watched, plain = traces([control], model, options), traces([], model, options)
    acted = [decision for decision in control.decisions if not control.options.dry_run]
    assert acted == []
    assert control.options.dry_run == bool(control.decisions)
    assert [a == b for a, b in zip(watched, plain, strict=True)] == [True] * len(plain)


@pytest.mark.ranks
def test_bit_for_bit_on_two_ranks():
    """The same with two processes, where each check talks to the other."""

    def both(rank: int) -> list[list[bytes]]:
        options = {"strategy": "ddp", "devices": 2}
        control = LearningRateController(patience=99, find_lr=False, anneal=False, verbose=False)
        dry = LearningRateController(dry_run=True, verbose=False)
        runs = [([control], {}), ([], {}), ([dry], {"script": WORSE}), ([], {"script": WORSE})]
        answer = [traces(callbacks, model, options) for callbacks, model in runs]
        assert not control.decisions
        assert dry.decisions
        return answer

    for watched, plain, dry, as_plain in run_on_ranks(both):
        assert watched == plain
        assert dry == as_plain


# --- what is left behind ----------------------------------------------------------------------------------------------


class Patched(torch.optim.lr_scheduler.StepLR):
    """A scheduler whose own attribute hides its class, so that we must wrap the module's method."""

    def __init__(self, optimizer: Any) -> None:
        super().__init__(optimizer, step_size=1, gamma=0.9)
        self.step = self.step  # type: ignore[method-assign]


class Ends(Scripted):
    """Ends as a test says: by itself, or with an exception somewhere."""

    def __init__(self, where: str, exception: type[BaseException] | None, patched: bool = False) -> None:
        super().__init__()
        self.where, self.exception, self.patched = where, exception, patched

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        self._raise("training_step")
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self._raise("validation_step")
        super().validation_step(batch, batch_idx)

    def on_train_epoch_end(self) -> None:
        self._raise("on_train_epoch_end")

    def on_save_checkpoint(self, checkpoint: Any) -> None:
        self._raise("on_save_checkpoint")

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        inner = [torch.optim.lr_scheduler.ConstantLR(optimizer), torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)]
        sequence = torch.optim.lr_scheduler.SequentialLR(optimizer, inner, milestones=[2])
        schedulers = [Patched(optimizer)] if self.patched else [sequence, torch.optim.lr_scheduler.StepLR(optimizer, 1)]
        return [optimizer], schedulers

    def _raise(self, where: str) -> None:
        if (
            self.exception is not None
            and where == self.where
            and not self.trainer.sanity_checking
            and self.current_epoch == 2
        ):
            raise self.exception("as the test wants")


class Witness:
    """What the objects of a fit look like, before the first hook of ours and after the last."""

    def __init__(self, fit: Any, module: Any) -> None:
        self.fit, self.module = fit, module

    def looks(self) -> dict[str, Any]:
        optimizer = self.fit.optimizers[0]
        schedulers = [config.scheduler for config in self.fit.lr_scheduler_configs]
        hooks = {name: len(getattr(optimizer, name)) for name in dir(optimizer) if name.endswith("_hooks")}
        hooks |= {name: len(value) for name, value in vars(self.module).items() if name.endswith("_hooks")}
        return {
            "classes": [type(scheduler) for scheduler in schedulers],
            "attributes": [sorted(vars(thing)) for thing in (*schedulers, optimizer, self.module)],
            "hooks": hooks,
            "methods": [getattr(type(optimizer), name) for name in ("step", "zero_grad", "load_state_dict")],
            "global hooks": len(torch.nn.modules.module._global_forward_hooks),
            "trainer": sorted(vars(self.fit)),
        }


# where it ends, with what, and what the user then sees
ENDS = [
    pytest.param("nowhere", None, {}, id="by-itself"),
    pytest.param("training_step", ValueError, {}, id="error-in-training"),
    pytest.param("validation_step", ValueError, {}, id="error-in-validation"),
    pytest.param("validation_step", ValueError, HALF, id="error-in-mid-epoch-validation"),
    pytest.param("on_train_epoch_end", ValueError, {}, id="error-after-our-check"),
    pytest.param("on_save_checkpoint", ValueError, {"enable_checkpointing": True}, id="error-while-saving"),
    pytest.param("training_step", KeyboardInterrupt, {}, id="interrupt"),
    pytest.param("validation_step", KeyboardInterrupt, {}, id="interrupt-in-validation"),
    pytest.param("training_step", SystemExit, {}, id="exit"),
]


@pytest.mark.parametrize("patched", [False, True], ids=["guarded", "wrapped"])
@pytest.mark.parametrize(("where", "exception", "options"), ENDS)
def test_nothing_of_ours_is_left(tmp_path, where, exception, options, patched):
    """Classes, attributes, hooks and methods are those of a run without us that ended the same way."""
    looks = []
    for control in (None, eager()):
        module = Ends(where, exception, patched)
        fit = trainer([control] if control else [], tmp_path, max_epochs=4, **options)
        # Lightning turns an interrupt into an exit.
        with pytest.raises((exception, SystemExit)) if exception else contextlib.nullcontext():
            fit.fit(module, data(), data())
        looks.append(Witness(fit, module).looks())
        for config in fit.lr_scheduler_configs if not patched else ():
            assert type(pickle.loads(pickle.dumps(config.scheduler))) is type(config.scheduler)
            assert type(copy.deepcopy(config.scheduler)) is type(config.scheduler)
    assert looks[0] == looks[1]
    assert looks[0]["classes"][0] in (Patched, torch.optim.lr_scheduler.SequentialLR)
    assert control._fit_run is None
    assert len(control.decisions) >= 2


def test_a_second_fit_is_a_run_of_its_own():
    """The same callback in the same Trainer, and in another one: nothing carries over but what the optimizer holds."""
    control, module = eager(), Scripted()
    fit = trainer(control, max_epochs=2)
    fit.fit(module, data(), data())
    assert [decision.check for decision in control.decisions] == [0, 1]
    fit.fit_loop.max_epochs = 4
    fit.fit(module, data(), data())
    assert [decision.check for decision in control.decisions] == [0, 1]
    trainer(control, max_epochs=3).fit(Scripted(), data(), data())
    assert [decision.check for decision in control.decisions] == [0, 1, 2]
    assert control.scale == {"lr-SGD": 0.125}
