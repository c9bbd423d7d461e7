"""Other callbacks in the same Trainer, and users who write learning rates themselves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import callbacks as neighbours
from torch.optim.swa_utils import get_ema_avg_fn

from lightning_lr import LearningRateController
from lightning_lr.engine.policies import ExponentialPolicy
from tests.helpers.recorded import BATCHES, Recorder, Small, SmallManual, fit, run
from tests.helpers.versions import skip_if_new
from tests.optim.test_schedulers_in_a_trainer import Memory

RATIO = 0.3


def controller(**arguments: Any) -> LearningRateController:
    """Cuts at the checks 1, 3, 5 and 7."""
    plain = {"policy": ExponentialPolicy(epochs=2, ratio=RATIO), "verbose": False}
    return LearningRateController("val_score", **{**plain, **arguments})


def constant(module: Any) -> Any:
    return torch.optim.SGD(module.layer.parameters(), lr=getattr(module, "lr", 0.1), momentum=0.9)


def cosine(module: Any) -> Any:
    """Eight epochs of it: the run goes beyond ``T_max``, and ``eta_min`` is not 0."""
    optimizer = constant(module)
    return [optimizer], [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=5, eta_min=1e-3)]


class Backboned(Small):
    """With the ``backbone`` that ``BackboneFinetuning`` asks for; the optimizer begins with the rest."""

    def __init__(self, configure: Callable[[Any], Any]) -> None:
        super().__init__(configure)
        self.backbone = torch.nn.Linear(4, 4)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.layer(self.backbone(batch[0])).pow(2).mean()


NEIGHBOURS: dict[str, Callable[[], Any]] = {
    "EarlyStopping": lambda: neighbours.EarlyStopping("val_score", patience=100),
    "ModelCheckpoint": lambda: neighbours.ModelCheckpoint(monitor="val_score", save_last=True),
    "LearningRateMonitor": lambda: neighbours.LearningRateMonitor("step"),
    "LearningRateFinder": lambda: neighbours.LearningRateFinder(num_training_steps=5, max_lr=1e-2),
    "StochasticWeightAveraging": lambda: neighbours.StochasticWeightAveraging(
        0.02, swa_epoch_start=4, annealing_epochs=3
    ),
    "WeightAveraging": lambda: neighbours.WeightAveraging(avg_fn=get_ema_avg_fn(0.9)),
    "BackboneFinetuning": lambda: neighbours.BackboneFinetuning(
        unfreeze_backbone_at_epoch=2, lambda_func=lambda epoch: 2.5, backbone_initial_ratio_lr=0.1, should_align=True
    ),
    "GradientAccumulationScheduler": lambda: neighbours.GradientAccumulationScheduler({0: 1, 4: 3}),
}


def build(names: tuple[str, ...]) -> Small:
    # With the finetuning a plain rate: torch's own schedulers refuse groups that join.
    made = Backboned(constant) if "BackboneFinetuning" in names else Small(cosine)
    made.lr = 0.1  # the finder replaces it
    return made


def options_for(names: tuple[str, ...], folder: Path) -> dict[str, Any]:
    plain = {"default_root_dir": folder, "logger": Memory(), "log_every_n_steps": 1}
    return {**plain, "enable_checkpointing": "ModelCheckpoint" in names}


def train(names: tuple[str, ...], folder: Path, ours: LearningRateController | None, first: bool = True) -> Recorder:
    skip_if_new(*names)
    others = [NEIGHBOURS[name]() for name in names]
    both = [ours, *others] if first else [*others, ours]
    return run(build(names), [one for one in both if one is not None], ours, **options_for(names, folder))


def assert_scaled(scaled: Recorder, plain: Recorder) -> None:
    """Each step used the scale × the rate of the run without us."""
    assert len(scaled.used) == len(plain.used)
    for step, (rates, wanted, scale) in enumerate(zip(scaled.used, plain.used, scaled.noted, strict=True)):
        factor = next(iter(scale.values()))
        assert rates[:1] == pytest.approx([wanted[0] * factor], rel=1e-9), f"step {step}"
        # BackboneFinetuning reads the rate of the head, which is scaled, and raises its own up to that.
        assert all(rate <= rates[0] * (1 + 1e-9) for rate in rates), f"step {step}"
        assert wanted[-1] < wanted[0] or rates[-1] == pytest.approx(rates[0], rel=1e-9), f"step {step}"


NOISE = pytest.mark.filterwarnings(
    "ignore:.*monitor=.None:UserWarning", "ignore:Swapping scheduler:UserWarning", "ignore:.*lr_find:UserWarning"
)


@NOISE
@pytest.mark.parametrize("name", NEIGHBOURS)
def test_one_neighbour(name: str, tmp_path: Path) -> None:
    """In either order: no error, exact rates, the same decisions."""
    plain = train((name,), tmp_path / "plain", None)
    decided = []
    for first in (True, False):
        ours = controller()
        scaled = train((name,), tmp_path / str(first), ours, first)
        assert_scaled(scaled, plain)
        decided.append([(d.check, d.action, d.factor, dict(d.new_lr)) for d in ours.decisions])
    assert decided[0] == decided[1]
    assert [check for check, *_ in decided[0]] == [1, 3, 5, 7]


@NOISE
@pytest.mark.parametrize("first", [True, False], ids=["ours first", "ours last"])
@pytest.mark.parametrize("left_out", ["StochasticWeightAveraging", "WeightAveraging"])
def test_all_neighbours(left_out: str, first: bool, tmp_path: Path) -> None:
    """As many as get on with each other."""
    names = tuple(name for name in NEIGHBOURS if name != left_out)
    ours = controller()
    assert_scaled(train(names, tmp_path / "ours", ours, first), train(names, tmp_path / "plain", None))
    assert [d.check for d in ours.decisions] == [1, 3, 5, 7]


# --- two of ours ------------------------------------------------------------------------------------------------------


def test_two_controllers_compose() -> None:
    """Their scales multiply, and each knows its own decisions alone."""
    one, other = controller(name="one"), controller(name="other", policy=ExponentialPolicy(epochs=3, ratio=0.5))
    scaled, plain = run(Small(cosine), [one, other], one), run(Small(cosine))
    assert [d.check for d in one.decisions] == [1, 3, 5, 7]
    assert [d.check for d in other.decisions] == [2, 5]
    for step, (rates, wanted) in enumerate(zip(scaled.used, plain.used, strict=True)):
        epoch = step // BATCHES
        factors = [d.factor for d in (*one.decisions, *other.decisions) if d.epoch < epoch]
        assert rates == pytest.approx([wanted[0] * torch.tensor(factors, dtype=torch.float64).prod().item()], rel=1e-9)


def test_two_controllers_without_names() -> None:
    """Lightning refuses two callbacks under one key, and says so."""
    with pytest.raises(RuntimeError, match="Found more than one stateful callback of type") as error:
        fit(Small(cosine), [controller(), controller()])
    assert "LearningRateController" in str(error.value)


# --- users who write rates themselves ---------------------------------------------------------------------------------


class WarmUp(Small):
    """As Lightning's documentation has it: absolute, after the step, in ``optimizer_step``."""

    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
        optimizer.step(closure=optimizer_closure)
        if self.trainer.global_step < 16:
            for group in optimizer.param_groups:
                group["lr"] = min(1.0, (self.trainer.global_step + 1) / 16) * 0.1


class Decay(Small):
    """Relative, at the end of each epoch."""

    def on_train_epoch_end(self) -> None:
        for group in self.optimizers().param_groups:
            group["lr"] *= 0.95


class Formula(Small):
    """Absolute, at the start of each batch."""

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        for group in self.optimizers().param_groups:
            group["lr"] = 0.1 * 0.97**self.trainer.global_step


class ManualFormula(SmallManual):
    """Absolute, inside ``training_step``, with manual optimization."""

    def training_step(self, batch: Any, batch_idx: int) -> None:
        for group in self.optimizers().param_groups:
            group["lr"] = 0.1 * 0.97**self.trainer.global_step
        super().training_step(batch, batch_idx)


WRITERS = (WarmUp, Decay, Formula, ManualFormula)


@pytest.mark.parametrize("writer", WRITERS, ids=lambda cls: cls.__name__)
def test_the_step_uses_the_scaled_rate_whoever_wrote_it(writer: type[Small]) -> None:
    """Never unscaled, never scaled twice."""
    ours = controller()
    plain = run(writer(lambda module: torch.optim.SGD(module.parameters(), lr=0.1)))
    scaled = run(writer(lambda module: torch.optim.SGD(module.parameters(), lr=0.1)), [ours], ours)
    assert len(ours.decisions) == 4
    for step, (rates, wanted, scale) in enumerate(zip(scaled.used, plain.used, scaled.noted, strict=True)):
        assert rates == pytest.approx([wanted[0] * scale["lr-SGD"]], rel=1e-9), f"step {step}"
    if writer in (WarmUp, Decay):  # the others write after the monitor's look
        assert [row[0] for row in scaled.shown] == pytest.approx([row[0] for row in scaled.used], rel=1e-12)
