"""The columns "layers" and "probes" of docs/strategies.md: what is learnt and measured is what one process sees."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import Callback

from lightning_lr import LayerwiseLearningRate
from lightning_lr.engine.journal import read_line
from lightning_lr.metrics import GradientDisparity, NeuronCoherence, UpdateRatio
from tests.helpers.ranks import run_on_ranks
from tests.helpers.strategy_runs import Outcome, Task, one, train

pytestmark = [
    pytest.mark.ranks,
    pytest.mark.cluster,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore:It is recommended to use .*sync_dist"),
]

TASK = Task(epochs=8)
STARTED_BY_LIGHTNING = ("ddp_fork", "ddp_spawn")
CASES = [
    ("ddp", 2),
    ("ddp", 4),
    ("ddp_find_unused_parameters_true", 2),
    ("fsdp2", 2),
    ("fsdp2", 4),
    ("ddp_fork", 2),
    ("ddp_spawn", 2),
]


class Keep(Callback):
    """Writes down what each rank has learnt, and how its rates ran."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        outcome, multipliers = Outcome.of(trainer), one(trainer.callbacks, LayerwiseLearningRate).multipliers
        kept = (outcome.rates, outcome.differences, multipliers)
        (self.folder / f"kept-{trainer.global_rank}").write_bytes(pickle.dumps(kept))


def run(strategy: str, size: int, folder: Path) -> list[Any]:
    """Rates of all steps, steps at which they differed, multipliers: of every rank; the journal lies in the folder."""
    folder.mkdir()

    def fit(_: int) -> None:
        layerwise = LayerwiseLearningRate(every_n_steps=2, trust=2.0, record=str(folder / "record"))
        probes = [NeuronCoherence(), UpdateRatio(), GradientDisparity()]
        train(TASK, strategy, size, folder, [layerwise, Keep(folder)], policy="conservative", probes=probes)

    if strategy in STARTED_BY_LIGHTNING:
        fit(0)
    else:
        run_on_ranks(fit, size, timeout=280, init=False)
    return [pickle.loads((folder / f"kept-{rank}").read_bytes()) for rank in range(size)]


def measured(folder: Path) -> list[dict[str, float]]:
    """What the probes saw, check by check; a unit is dead or saturated for the samples of a rank: left out."""
    lines = (folder / "lr_journal.jsonl").read_text().splitlines()[1:]
    probes = [read_line(line).reading.probes for line in lines]
    return [{name: value for name, value in seen.items() if "_units" not in name} for seen in probes]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, list[dict[str, float]]]:
    folder = tmp_path_factory.mktemp("alone") / "one"
    (kept,) = run("one process", 1, folder)
    seen = measured(folder)
    assert len(seen) == TASK.epochs
    assert {"flip_rate", "update_ratio", "gradient_disparity"} <= set().union(*seen)
    return kept, seen


@pytest.mark.parametrize(("strategy", "size"), CASES, ids=lambda value: str(value))
def test_as_on_one_process(strategy: str, size: int, alone: Any, tmp_path: Path) -> None:
    (rates, _, multipliers), expected = alone
    kept = run(strategy, size, tmp_path / "ranks")
    for own_rates, differences, own in kept:
        assert differences == []
        assert own_rates == kept[0][0]
        assert own == kept[0][2]
    assert kept[0][2] == pytest.approx(multipliers, rel=1e-4)
    assert max(multipliers.values()) > 1.02
    for step, used in rates.items():
        assert kept[0][0][step] == pytest.approx(used, rel=1e-4)
    seen = measured(tmp_path / "ranks")
    assert len(seen) == len(expected)
    for own, other in zip(seen, expected, strict=True):
        assert own == pytest.approx(other, rel=1e-3, abs=1e-9)
