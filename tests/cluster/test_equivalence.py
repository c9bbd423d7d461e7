"""The same global batches on 1, 2 and 4 processes: the same decisions, and the same rates on all ranks at all times."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lightning_lr.engine.policies import HalvingPolicy
from tests.helpers.ranks import run_on_ranks
from tests.helpers.strategy_runs import Outcome, Task, train

pytestmark = [
    pytest.mark.ranks,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore:It is recommended to use .*sync_dist"),
]

NAN = math.nan
PLAIN = {"find_lr": False, "anneal": False}
# name → task, arguments of the controller, what must be among its decisions
SCENARIOS: dict[str, tuple[Task, dict[str, Any], set[tuple[str, str]]]] = {
    "conservative": (
        Task([1.0, 0.9, 0.8, 0.7], epochs=12),
        {"policy": "conservative", "patience": 2},
        {("reduce", "plateau")},
    ),
    "conservative, real divergence": (
        Task(epochs=12, lr=3.0, noise=1.0),
        {"policy": "conservative", "patience": 2},
        {("reduce", "divergence")},
    ),
    "halving": (Task(epochs=8), {"policy": HalvingPolicy(epochs=2)}, {("reduce", "healthy")}),
    "auto, explored": (Task(epochs=14, lr=1e-4, noise=0.3), {}, {("explore", "healthy"), ("anneal", "healthy")}),
    "auto, overfitting": (
        Task(epochs=14, lr=0.03, noise=1.0, samples=24, hidden=64),
        PLAIN,
        {("restore", "overfitting")},
    ),
    "auto, real divergence": (Task(epochs=12, lr=3.0, noise=1.0), PLAIN, {("restore", "divergence")}),
    "auto, no number": (
        Task([1.0, 0.8, 0.6, 0.5, NAN, NAN, 0.4, 0.3], epochs=8),
        PLAIN,
        {("restore", "non_finite")},
    ),
}
FAST = ("auto, overfitting",)
CASES = [
    pytest.param(name, size, id=f"{name}-{size}", marks=() if name in FAST and size == 2 else pytest.mark.cluster)
    for name in SCENARIOS
    for size in (2, 4)
]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """Scenario → what one process came to; filled as it is asked for."""
    return {}


@pytest.mark.parametrize(("name", "size"), CASES)
def test_as_on_one_process(name: str, size: int, alone: dict[str, Outcome], tmp_path: Path) -> None:
    task, arguments, expected = SCENARIOS[name]

    def run(strategy: str, size: int) -> list[Outcome]:
        return run_on_ranks(lambda _: train(task, strategy, size, tmp_path, **arguments), size, timeout=280, init=False)

    if name not in alone:
        (alone[name],) = run("one process", 1)
    one, ranks = alone[name], run("ddp", size)

    assert expected <= {(action, condition) for _, action, condition, _ in one.acts}
    for outcome in ranks:
        assert outcome.differences == []
        assert outcome.decisions == ranks[0].decisions
        assert outcome.rates == ranks[0].rates
    assert [act[:3] for act in ranks[0].acts] == [act[:3] for act in one.acts]
    for ours, theirs in zip(ranks[0].decisions, one.decisions, strict=True):
        assert ours["factor"] == pytest.approx(theirs["factor"], rel=1e-12)
        assert ours["evidence"].keys() == theirs["evidence"].keys()
        assert list(values(ours["evidence"])) == pytest.approx(list(values(theirs["evidence"])), rel=1e-4, nan_ok=True)


def values(evidence: dict[str, Any]) -> Iterator[float]:
    for value in evidence.values():
        yield float(value)
