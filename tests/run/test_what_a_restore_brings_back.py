"""A restore brings back whatever training changes, and at a moment at which it lasts.

Two classes. *What*: counters and weights of a loss that are plain numbers of the module, what an optimizer remembers
in its parameter groups, and averages of the weights in whatever form a user keeps them. *When*: others exchange the
weights for a validation and put theirs back at its end, in hooks that come after ours.
"""

from __future__ import annotations

import copy
import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from tests.helpers.scripted import Scripted, data, trainer
from tests.helpers.versions import ANY_CHECKPOINT
from tests.run.test_restores_that_cannot_be_made import controller

LOSSES = [1.0, 0.9, 0.8, 0.7, 0.8, 0.6]
BEST, LOST = 3, 4


class Net(Scripted):
    """Its best state is that of check 3; check 4 restores it, since the losses of that epoch are no numbers."""

    def __init__(self) -> None:
        super().__init__({"val_loss": LOSSES})
        self.drop = nn.Dropout(0.5)
        self.steps, self._seen, self.warm, self.kl_weight, self.drawn = 0, 0, False, 0.0, 0
        self.terms, self.drop.seen = {"kl": 0.0, "name": "warm-up"}, {"batches": 0}

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.steps += 1
        self._seen += len(batch[0])
        self.kl_weight += 0.125
        self.terms["kl"] += 0.125
        self.drop.seen["batches"] += 1
        self.warm = self.current_epoch >= LOST
        self.drop.p *= 0.75
        return super().training_step(batch, batch_idx) + (math.nan if self.current_epoch == LOST else 0.0)

    def on_validation_epoch_start(self) -> None:
        self.drawn += 1  # figures of the validations so far

    def configure_optimizers(self) -> Any:
        return Remembers(self.parameters(), lr=0.1, momentum=0.9)


class Remembers(torch.optim.SGD):
    """Keeps numbers and a tensor in its groups, as ScheduleFree and Prodigy do."""

    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            group["k"] = group.get("k", 0) + 1
            group["weight_sum"] = group.get("weight_sum", 0.0) + group["lr"]
            group["d"] = group.get("d", torch.ones(())) * 1.5
            group["train_mode"] = group["k"] % 2 == 0
        return super().step(closure)


def update(shadow: Any, module: nn.Module) -> Any:
    """One step of an average in the form of a dict or a list."""
    if isinstance(shadow, dict):
        return {name: 0.5 * shadow[name] + 0.5 * param.detach() for name, param in module.named_parameters()}
    return [0.5 * one + 0.5 * param.detach() for one, param in zip(shadow, module.parameters(), strict=True)]


class Helper:
    """As torch_ema's: an object with the average inside."""

    def __init__(self, shadow: Any) -> None:
        self.shadow = shadow


class Averages(Callback):
    """Keeps an average in one of the forms that are usual."""

    def __init__(self, form: str) -> None:
        self.form = form

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        form, params = self.form, {name: param.detach().clone() for name, param in pl_module.named_parameters()}
        if form == "dict":
            self.shadow: Any = params
        elif form == "list":
            self.shadow = list(params.values())
        elif form == "copy":
            self.model = copy.deepcopy(pl_module.layer)
        elif form == "of torch":
            self.model = AveragedModel(pl_module.layer)
        elif form == "in a list of the module":
            pl_module.hidden = [AveragedModel(pl_module.layer)]
        elif form == "in a dict of the module":
            pl_module.hidden = {"teacher": copy.deepcopy(pl_module.layer)}
        elif form == "of the optimizer":
            trainer.optimizers[0].slow = list(params.values())
        elif form == "helper":
            self.helper = Helper(params)
        else:
            pl_module.helper = Helper(list(params.values()))

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        if self.form in ("dict", "list"):
            self.shadow = update(self.shadow, pl_module)
        elif isinstance(model := self.model_of(pl_module), AveragedModel):
            model.update_parameters(pl_module.layer)
        elif model is not None:
            for one, param in zip(model.parameters(), pl_module.layer.parameters(), strict=True):
                one.data.mul_(0.5).add_(0.5 * param.data)
        else:
            helper, name = self.helper_of(pl_module)
            setattr(helper, name, update(getattr(helper, name), pl_module))

    def model_of(self, module: Any) -> Any:
        hidden = getattr(module, "hidden", None)  # where torch does not count it as a part
        return next(iter(hidden.values() if isinstance(hidden, dict) else hidden or [getattr(self, "model", None)]))

    def helper_of(self, module: Any) -> tuple[Any, str]:
        if self.form == "of the optimizer":
            return module.optimizers().optimizer, "slow"
        return (self.helper if self.form == "helper" else module.helper), "shadow"

    def now(self, module: Any) -> list[float]:
        if (model := self.model_of(module)) is not None:
            tensors = [*model.parameters(), *model.buffers()]
        else:
            shadow = self.shadow if hasattr(self, "shadow") else getattr(*self.helper_of(module))
            tensors = list(shadow.values() if isinstance(shadow, dict) else shadow)
        return [value for tensor in tensors for value in tensor.flatten().tolist()]


class Sees(Callback):
    """What something is at the end of each epoch, before and after the check."""

    def __init__(self, what: Callable[[Any], Any]) -> None:
        self.what, self.before, self.after = what, {}, {}

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        self.before[trainer.current_epoch] = copy.deepcopy(self.what(pl_module))

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self.after[trainer.current_epoch] = copy.deepcopy(self.what(pl_module))


def group_of(module: Any) -> dict[str, Any]:
    return module.optimizers().optimizer.param_groups[0]


NUMBERS: dict[str, Callable[[Any], Any]] = {
    "steps": lambda module: module.steps,
    "private": lambda module: module._seen,
    "weight of a term": lambda module: module.kl_weight,
    "switch": lambda module: module.warm,
    "of a layer": lambda module: module.drop.p,
    "in a dict": lambda module: module.terms["kl"],
    "in a dict of a layer": lambda module: module.drop.seen["batches"],
    "count of the optimizer": lambda module: group_of(module)["k"],
    "sum of the optimizer": lambda module: group_of(module)["weight_sum"],
    "tensor of the optimizer": lambda module: float(group_of(module)["d"]),
}


def fit(module: Net, *callbacks: Callback, **options: Any) -> None:
    ours = controller()
    options = {"max_epochs": len(LOSSES), "num_sanity_val_steps": 0, **options}
    trainer([ours, *callbacks], **options).fit(module, data(), data(1))
    assert [(d.check, d.snapshot_check) for d in ours.decisions] == [(LOST, BEST)]


@pytest.mark.parametrize("what", NUMBERS)
def test_plain_numbers_come_back(what: str) -> None:
    sees = Sees(NUMBERS[what])
    fit(Net(), sees)
    assert sees.after[LOST] == sees.after[BEST] != sees.before[LOST]


@pytest.mark.parametrize("options", [{}, {"val_check_interval": 2, "check_val_every_n_epoch": None}], ids=str)
@pytest.mark.parametrize("mode", ["min", "max"])
def test_a_best_value_of_lost_weights_is_not_kept(mode: str, options: dict[str, Any]) -> None:
    """An average of the weights may validate better than ever while the weights themselves are no numbers."""
    module, ours, sees = Net(), controller(mode=mode), AtSteps()
    values = [1.0, 0.9, 0.8, 0.7, 0.5, 0.6]
    module.script = {"val_loss": values if mode == "min" else [2.0 - value for value in values]}
    trainer([ours, sees], max_epochs=len(LOSSES), num_sanity_val_steps=0, **options).fit(module, data(), data(1))
    assert [(d.check, d.snapshot_check) for d in ours.decisions] == [(LOST, BEST)]
    assert torch.equal(sees.weights[2 * (LOST + 1)], sees.weights[2 * (BEST + 1)])


FORMS = ["dict", "list", "copy", "of torch", "helper", "helper of the module"]


@pytest.mark.parametrize("form", [*FORMS, "in a list of the module", "in a dict of the module", "of the optimizer"])
def test_averages_in_any_form_come_back(form: str) -> None:
    average = Averages(form)
    sees = Sees(average.now)
    fit(Net(), average, sees)
    assert sees.after[LOST] == sees.after[BEST] != sees.before[LOST]


STAYS: dict[str, Callable[[Any], Any]] = {
    "count of validations": lambda module: module.drawn,
    "momentum that a schedule sets": lambda module: group_of(module)["momentum"],
    "decay that a schedule sets": lambda module: group_of(module)["weight_decay"],
}


class Schedules(Callback):
    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        group_of(pl_module)["momentum"] = 0.9 - 0.01 * trainer.current_epoch
        group_of(pl_module)["weight_decay"] = 0.001 * trainer.current_epoch


@pytest.mark.parametrize("what", STAYS)
def test_what_is_not_of_the_training_stays(what: str) -> None:
    sees = Sees(STAYS[what])
    fit(Net(), Schedules(), sees)
    assert sees.after[LOST] != sees.after[BEST]


def test_what_is_unfrozen_comes_back_as_it_was_at_the_best() -> None:
    """The snapshot of the best check has no copy of frozen weights; they are trained from the next epoch on."""

    class Unfreezes(Net):
        def __init__(self) -> None:
            super().__init__()
            self.base = nn.Linear(4, 4).requires_grad_(False)
            self.begun = self.base.weight.clone()

        def on_train_epoch_start(self) -> None:
            if self.current_epoch == LOST:
                self.base.requires_grad_(True)

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            return super().training_step([self.base(batch[0])], batch_idx)

    module, moved = Unfreezes(), []
    sees = Sees(lambda module: moved.append(not torch.equal(module.base.weight, module.begun)) or moved[-1])
    fit(module, sees, max_epochs=LOST + 1)
    assert sees.before[LOST]
    assert torch.equal(module.base.weight, module.begun)


# --- at a moment at which it lasts ------------------------------------------------------------------------------------


class Swaps(Callback):
    """Far other weights for the validation; its own again at the end, in the hooks of ``until``."""

    def __init__(self, until: str = "on_validation_end") -> None:
        self.until = until

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        self.kept = copy.deepcopy(pl_module.layer.state_dict())
        for param in pl_module.layer.parameters():
            param.data.fill_(7.0)

    def _back(self, pl_module: Any) -> None:
        pl_module.layer.load_state_dict(self.kept)

    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        if self.until == "on_validation_epoch_end":
            self._back(pl_module)

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        if self.until == "on_validation_end":
            self._back(pl_module)


class BetweenEpochs(Swaps):
    """Other weights from the end of an epoch to the start of the next one; its own lie on a disk meanwhile."""

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None: ...

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None: ...

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self.file = io.BytesIO()
        torch.save(pl_module.layer.state_dict(), self.file)
        nn.init.constant_(pl_module.layer.weight, 7.0)

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        if trainer.current_epoch:
            self.file.seek(0)
            pl_module.layer.load_state_dict(torch.load(self.file))


class Swapped(Net):
    """The module does so itself: its hooks come after those of all callbacks."""

    def on_validation_start(self) -> None:
        self.kept = copy.deepcopy(self.layer.state_dict())
        nn.init.constant_(self.layer.weight, 7.0)

    def on_validation_end(self) -> None:
        self.layer.load_state_dict(self.kept)


class AtSteps(Callback):
    """The weights before each batch."""

    def __init__(self) -> None:
        self.weights: dict[int, Tensor] = {}

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.weights.setdefault(trainer.global_step, pl_module.layer.weight.detach().clone())


ORDERS: dict[str, Callable[[], tuple[Net, list[Callback], list[Callback]]]] = {
    "behind ours": lambda: (Net(), [], [Swaps()]),
    "before ours": lambda: (Net(), [Swaps()], []),
    "at the end of the epoch": lambda: (Net(), [], [Swaps("on_validation_epoch_end")]),
    "between epochs, behind ours": lambda: (Net(), [], [BetweenEpochs()]),
    "between epochs, before ours": lambda: (Net(), [BetweenEpochs()], []),
    "by the module": lambda: (Swapped(), [], []),
}
AT_VALIDATIONS = {"val_check_interval": 2, "check_val_every_n_epoch": None, "max_epochs": len(LOSSES)}


@pytest.mark.parametrize("order", ORDERS)
def test_a_swap_at_validation_does_not_undo_it(order: str) -> None:
    module, before, behind = ORDERS[order]()
    ours, sees = controller(), AtSteps()
    trainer([*before, ours, *behind, sees], num_sanity_val_steps=0, **AT_VALIDATIONS).fit(module, data(), data(1))
    (decision,) = ours.decisions
    assert (decision.check, decision.snapshot_check) == (LOST, BEST)
    assert torch.equal(sees.weights[2 * (LOST + 1)], sees.weights[2 * (BEST + 1)])
    assert not torch.equal(sees.weights[2 * LOST + 1], sees.weights[2 * (BEST + 1)])


@pytest.mark.parametrize("check", [BEST, LOST], ids=["taken", "restored"])
def test_a_checkpoint_of_that_validation_knows_what_is_owed(check: int, tmp_path: Path) -> None:
    """Written in the same hook as the check, before the snapshot is taken or put back: the resumed run does it."""

    def callbacks() -> list[Any]:
        kept = ModelCheckpoint(tmp_path, "{step}", save_top_k=-1, every_n_epochs=1, save_on_train_epoch_end=False)
        return [controller(), Swaps(), AtSteps(), kept]

    options = {**AT_VALIDATIONS, "num_sanity_val_steps": 0, "enable_checkpointing": True}
    whole, resumed = callbacks(), callbacks()
    trainer(whole, **options).fit(Net(), data(), data(1))
    path = tmp_path / f"step={2 * (check + 1)}.ckpt"
    module = Net()
    module.validations = check + 1
    trainer(resumed, **options).fit(module, data(), data(1), ckpt_path=path, **ANY_CHECKPOINT)
    assert min(resumed[2].weights) == 2 * (check + 1)
    for step, weights in resumed[2].weights.items():
        assert torch.equal(weights, whole[2].weights[step]), step
    assert [(d.check, d.snapshot_check) for d in resumed[0].decisions] == [(LOST, BEST)]
