"""What the callback does at a step, phase by phase: it never waits for a device, but for the watch of a search."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch.utils.data import DataLoader

from lightning_lr import LearningRateController
from lightning_lr.optim.lr_scale import LRScale
from lightning_lr.run.lr_search.loss_watch import EACH, LOOKS_PER_RUN
from tests.helpers.watched import Watched

STEPS, EVERY = 1200, 60


class Watchful(LightningModule):
    """A line whose loss, and with it all that is logged, is a tensor of the kind given; so may be the rate."""

    def __init__(self, kind: type[torch.Tensor], rate: Any) -> None:
        super().__init__()
        self.net, self.kind, self.rate = torch.nn.Linear(4, 1), kind, rate

    def training_step(self, batch: torch.Tensor) -> torch.Tensor:
        return (self.net(batch) - 1).square().mean().as_subclass(self.kind)

    def validation_step(self, batch: torch.Tensor) -> None:
        self.log("val_loss", self.training_step(batch))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=self.rate, foreach=False)


class Counted(LearningRateController):
    """Notes, hook by hook, in which phase it was and what would have waited."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__("val_loss", verbose=False, **arguments)
        self.waits: Counter[str] = Counter()
        self.steps: Counter[str] = Counter()
        self.checks: list[int] = []

    @property
    def phase(self) -> str:
        assert self._fit_run is not None
        lr_schedule = self._fit_run.lr_schedule
        if lr_schedule.lr_search is not None:
            return "searching"
        if lr_schedule.curve is None:
            return "no curve"
        return (
            "annealing"
            if lr_schedule.annealing
            else "holding"
            if lr_schedule.curve.at(lr_schedule.steps) == 1
            else "rising"
        )

    @contextmanager
    def noted(self) -> Iterator[None]:
        phase, before = self.phase, Watched.calls.total()
        yield
        self.waits[phase] += Watched.calls.total() > before

    def on_train_batch_start(self, *args: Any) -> None:
        with self.noted():
            super().on_train_batch_start(*args)

    def on_before_optimizer_step(self, *args: Any) -> None:
        with self.noted():
            super().on_before_optimizer_step(*args)

    def on_train_batch_end(self, *args: Any) -> None:
        with self.noted():
            phase = self.phase
            super().on_train_batch_end(*args)
        self.steps[phase] += 1

    def on_validation_end(self, *args: Any) -> None:
        before = Watched.calls.total()
        super().on_validation_end(*args)
        self.checks.append(Watched.calls.total() - before)


PHASES = {"conservative": ("no curve",), "auto": ("holding", "annealing")}
"""Those of a run after its search."""


def trained(ours: Counted, model: LightningModule, folder: Path) -> Counted:
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=1,
        callbacks=[ours],
        logger=False,
        default_root_dir=folder,
        val_check_interval=EVERY,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    batches = torch.randn(STEPS, 2, 4, generator=torch.Generator().manual_seed(0))
    trainer.fit(model, DataLoader(batches, batch_size=None), DataLoader(batches[:1], batch_size=None))  # type: ignore[arg-type]
    assert all(ours.steps[phase] > EVERY for phase in PHASES[str(ours.options.settings.policy.name)])
    return ours


@pytest.mark.parametrize("policy", PHASES)
@pytest.mark.parametrize("kind", ["float", "tensor"])
def test_a_step_never_waits_and_a_check_waits_once(
    policy: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rate = 0.01 if kind == "float" else torch.tensor(0.01).as_subclass(Watched)
    ours, plain = Counted(policy=policy, patience=10**6), LRScale._before_step

    def before_step(self: LRScale, *args: Any) -> None:
        with ours.noted():
            plain(self, *args)

    monkeypatch.setattr(LRScale, "_before_step", before_step)
    Watched.calls.clear()
    trained(ours, Watchful(Watched, rate), tmp_path)
    # After a search the losses are looked at now and then, as long as its start can be restored.
    looks = {"holding": EACH + LOOKS_PER_RUN} if policy == "auto" else {}
    assert all(ours.waits[phase] <= looks.get(phase, 0) for phase in PHASES[policy])
    assert max(ours.checks) == 1
