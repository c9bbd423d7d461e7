"""Strategies whose weights cannot be put back: said at set-up, refused where it was asked for, and the rest works.

FSDP and DeepSpeed need CUDA. Here a strategy of their name trains on one CPU process, and an optimizer of DeepSpeed's
form beside it: the path that this package takes. What torch and DeepSpeed themselves do there is not shown.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy, SingleDeviceStrategy

from lightning_lr import LayerwiseLearningRate, LearningRateController
from lightning_lr.errors import UnsupportedError
from lightning_lr.run.trainer.strategies import NOT_RESTORED, SHARDED
from tests.helpers.resume import listening
from tests.helpers.scripted import Scripted, data, trainer
from tests.helpers.strategy_runs import STRATEGIES

FALLS_THEN_NAN = [1.0 - 0.1 * epoch for epoch in range(5)] + [math.nan] * 3


class EngineOptimizer:
    """What ``trainer.optimizers`` holds under DeepSpeed: no torch optimizer, one inside, its groups shown outside."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        return self.optimizer.param_groups

    @property
    def state(self) -> Any:
        return self.optimizer.state

    def step(self, closure: Any = None) -> Any:
        return self.optimizer.step(closure)

    def zero_grad(self) -> None:
        self.optimizer.zero_grad()

    def state_dict(self) -> dict[str, Any]:
        return self.optimizer.state_dict()


def named_like(strategy: type) -> Any:
    """A strategy with that name that trains as a single device does."""
    return type(strategy.__name__, (SingleDeviceStrategy,), {})(torch.device("cpu"))


class Wrapped(SingleDeviceStrategy):
    """Some other strategy with an optimizer of its own kind."""

    def setup_optimizers(self, trainer: Any) -> None:
        super().setup_optimizers(trainer)
        self._optimizers = [EngineOptimizer(optimizer) for optimizer in self._optimizers]

    def optimizer_step(self, optimizer: Any, closure: Any, model: Any = None, **_: Any) -> Any:
        return getattr(optimizer, "_optimizer", optimizer).step(closure)


# strategy → what it is said to lack
CASES = [
    pytest.param(lambda: named_like(FSDPStrategy), "FSDPStrategy: its parameters may be temp", id="fsdp"),
    pytest.param(lambda: named_like(DeepSpeedStrategy), "DeepSpeedStrategy: it holds a copy", id="deepspeed"),
    pytest.param(lambda: Wrapped(torch.device("cpu")), "EngineOptimizer: it is no torch.optim.Optimizer", id="other"),
]


def fit(control: Any, strategy: Any, module: LightningModule, batches: int = 2, **options: Any) -> list[str]:
    with listening() as sentences:
        trainer(control, strategy=strategy, **{"max_epochs": 8, "num_sanity_val_steps": 0, **options}).fit(
            module, data(batches), data(1)
        )
    return sentences


class Lost(Scripted):
    """Its losses are no numbers from epoch 5 on, in training too."""

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return super().training_step(batch, batch_idx) + (math.nan if self.current_epoch >= 5 else 0.0)


@pytest.mark.parametrize(("strategy", "lacks"), CASES)
def test_the_rest_works(strategy: Any, lacks: str, tmp_path: Path) -> None:
    """One warning at set-up; then where ``auto`` would restore, it reduces, and the groups of the optimizer show it."""
    module, control = Lost({"val_loss": FALLS_THEN_NAN}), LearningRateController()
    sentences = fit(control, strategy(), module)
    assert [s for s in sentences if s.startswith(f"Nothing can be put back here ({lacks}")] == sentences[:1]
    assert "where 'auto' restores, it only reduces" in sentences[0]
    acts = {(d.action, d.condition, d.factor) for d in control.decisions if d.action != "anneal"}
    assert acts == {("reduce", "non_finite", 0.3)}
    assert module.trainer.optimizers[0].param_groups[0]["lr"] < 0.3 * 0.1


@pytest.mark.parametrize(("strategy", "lacks"), CASES)
@pytest.mark.parametrize("asked", ["restore_best", "find_lr"])
def test_what_was_asked_for_is_refused_at_set_up(strategy: Any, lacks: str, asked: str) -> None:
    """Before the first step, with what to do."""
    module = Scripted()
    message = rf"Expected .* for `{asked}=True` but .*{lacks}.*Leave it out"
    with pytest.raises(UnsupportedError, match=message):
        fit(LearningRateController(**{asked: True}), strategy(), module)
    assert module.used == []


@pytest.mark.parametrize(("strategy", "lacks"), CASES)
def test_auto_does_not_explore(strategy: Any, lacks: str) -> None:
    """With steps enough to explore; the set-up card says why not."""
    module, control = Scripted(), LearningRateController(verbose=False)
    cards = []
    control.on_train_epoch_start = lambda *_: cards.append(control._fit_run.summary["search"])
    fit(control, strategy(), module, batches=25)
    assert cards[0].startswith(f"none: nothing can be put back ({lacks}")
    assert "explore" not in {d.action for d in control.decisions}


def test_a_part_of_the_optimizer_state_elsewhere() -> None:
    """ZeroRedundancyOptimizer is a torch optimizer, whose state the snapshot would not see."""

    class ZeroRedundancyOptimizer(torch.optim.SGD):
        pass

    module = Scripted({"val_loss": FALLS_THEN_NAN})
    module.configure_optimizers = lambda: ZeroRedundancyOptimizer(module.parameters(), lr=0.1)
    for asked in ("restore_best", "find_lr"):
        with pytest.raises(UnsupportedError, match="ZeroRedundancyOptimizer: each rank holds a part"):
            fit(LearningRateController(**{asked: True}), "auto", module)
    with pytest.raises(UnsupportedError, match="ZeroRedundancyOptimizer, whose groups are not those"):
        fit(LayerwiseLearningRate(), "auto", module)
    assert module.used == []


@pytest.mark.parametrize(
    ("strategy", "found"),
    [
        (FSDPStrategy, "FSDP1, which cuts parameters without regard to layers"),
        (DeepSpeedStrategy, "DeepSpeed, whose optimizer keeps the parameters in flat buffers"),
    ],
)
def test_layers_are_refused_at_set_up(strategy: type, found: str) -> None:
    module = Scripted()
    with pytest.raises(UnsupportedError, match=rf"but got {found}.*Remove LayerwiseLearningRate"):
        fit(LayerwiseLearningRate(), named_like(strategy), module)
    assert module.used == []


def test_the_table_in_the_docs_is_that_of_the_code() -> None:
    """Refused there is what is refused here, and each strategy that tests run stands there as tested."""
    lines = (Path(__file__).parents[2] / "docs/strategies.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    columns = rows[0][1:]
    table = {name: dict(zip(columns, cells, strict=True)) for name, *cells in rows[2:]}
    refusing = {name for name, cells in table.items() if "refused" in (cells["restore"], cells["explore"])}
    known = {name for name in refusing for kind in NOT_RESTORED if f"`{kind}`" in name}
    assert len(known) == len(NOT_RESTORED)
    sharded = {name for name in refusing for kind in SHARDED if f"`{kind}`" in name}
    assert refusing - known - sharded == {"any, with an optimizer that is not torch's"}
    for name, cells in table.items():
        assert name in refusing - sharded or set(cells.values()) - {"refused"} == {"tested"}, name
    shown = {name.split("`")[1] if "`" in name else name for name in table if name not in refusing - sharded}
    ran = {"ModelParallelStrategy" if name.startswith("fsdp2") else name for name in STRATEGIES}
    assert shown == ran


@pytest.mark.parametrize("strategy", ["fsdp", "deepspeed"])
def test_lightning_itself_refuses_them_here(strategy: str) -> None:
    """Why the cells are not run without CUDA."""
    if torch.cuda.is_available():
        pytest.skip("there is CUDA here")
    with pytest.raises(Exception, match="GPU|CUDA|deepspeed"):
        fit(LearningRateController(), strategy, Scripted())
