"""That a run has converged is said once, and changes nothing."""

from __future__ import annotations

from typing import Any

import torch

from lightning_lr import LearningRateController
from lightning_lr.run.fit_run import FitRun
from tests.helpers.scripted import Scripted, data, trainer

DESCENT = [2.0 - 0.2 * check for check in range(8)]
FLAT = [0.5 - 0.0007 * check for check in range(22)]  # each a new best, so no plateau; 1 % of the gain in 16 checks


class Decaying(Scripted):
    """The user's own schedule, a hundredth from the third epoch on."""

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=self.lr)
        return [optimizer], [torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 1.0 if epoch < 3 else 0.01)]


def test_it_is_said_once(monkeypatch):
    conditions, said = [], []
    write = FitRun._write

    def listening(fit_run: FitRun, reading: Any, decision: Any, *rest: Any) -> None:
        conditions.append(str(decision.condition))
        fit_run.say = said.append
        write(fit_run, reading, decision, *rest)

    monkeypatch.setattr(FitRun, "_write", listening)
    control = LearningRateController("val_loss", policy="conservative", patience=100)
    trainer([control], None, max_epochs=30).fit(Decaying({"val_loss": DESCENT + FLAT}), data(), data())
    assert conditions.count("converged") > 1
    assert [line for line in said if "converged" in line] == [line for line in said if "would cost nothing" in line]
    assert sum("converged" in line for line in said) == 1
    assert control.decisions == []
