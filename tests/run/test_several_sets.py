"""Several validation sets: named one by one or by a pattern, they vote; one that overfits alone is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_lr import LearningRateController
from lightning_lr.engine.journal import read_header, read_line
from lightning_lr.errors import MissingMetricError
from tests.helpers.ranks import run_on_ranks
from tests.helpers.scripted import Scripted, data, trainer

FALLS = [1 / (epoch + 2) for epoch in range(24)]
VEE = [0.5 + 0.05 * abs(epoch - 8) for epoch in range(24)]
SETS = ["val_loss/dataloader_idx_0", "val_loss/dataloader_idx_1", "val_loss/dataloader_idx_2"]


class Sets(Scripted):
    """Each validation loader has a script of its own; the training loss falls."""

    def __init__(self, *scripts: list[float]) -> None:
        super().__init__({})
        self.scripts = scripts

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return super().training_step(batch, batch_idx) * 0 + FALLS[self.current_epoch]

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.log("val_loss", torch.tensor(self.scripts[dataloader_idx][self.current_epoch]), sync_dist=True)


def fit(folder: Path, vote: str, *scripts: list[float], monitor: Any = "val_loss*", **options: Any) -> Any:
    control = LearningRateController(
        monitor, vote=vote, policy="conservative", patience=2, verbose=False, journal=str(folder / "journal")
    )
    run = trainer(control, None, max_epochs=20, num_sanity_val_steps=0, **options)
    run.fit(Sets(*scripts), data(), [data() for _ in scripts])
    return control


def lines(folder: Path) -> list[Any]:
    return [read_line(line) for line in (folder / "journal").read_text().splitlines()[1:]]


@pytest.mark.parametrize("monitor", ["val_loss*", SETS], ids=["pattern", "names"])
def test_any_set_that_overfits_is_enough_and_is_named(monitor, tmp_path):
    control = fit(tmp_path, "any", FALLS, VEE, FALLS, monitor=monitor)
    first = control.decisions[0]
    assert (str(first.condition), str(first.action)) == ("overfitting", "reduce")
    assert "val_loss/dataloader_idx_1 has risen to " in first.reason
    assert "(alone of 3 sets)" in first.reason
    assert {f"rise/{name}" for name in SETS} <= {*first.evidence}
    assert read_header((tmp_path / "journal").read_text().splitlines()[0])[0].monitors == tuple(SETS)


@pytest.mark.parametrize("vote", ["majority", "all"])
def test_one_set_alone_is_named_and_changes_nothing(vote, tmp_path):
    assert fit(tmp_path, vote, FALLS, VEE, FALLS).decisions == []
    said = lines(tmp_path)[-1].decision.reason
    alone = f"overfitting on {SETS[1]} (alone of 3 sets; {vote} must agree)"
    assert f"{alone}: {SETS[1]} has risen" in said


def test_a_pattern_that_matches_nothing_is_an_error_with_what_was_logged(tmp_path):
    with pytest.raises(MissingMetricError, match=r"Expected `valid\*` among the logged metrics .* Logged: `val_loss/"):
        fit(tmp_path, "any", FALLS, FALLS, monitor="valid*")


@pytest.mark.ranks
def test_ranks_find_the_same_sets(tmp_path):
    def both(rank: int) -> Any:
        control = fit(tmp_path, "any", FALLS, VEE, strategy="ddp", devices=2)
        return [(d.check, d.reason) for d in control.decisions]

    one, two = run_on_ranks(both, init=False)
    assert one == two != []
