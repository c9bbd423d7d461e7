"""The table in docs/strategies.md: what works under which strategy, each cell by a run."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lightning_lr import Snapshots
from lightning_lr.engine.journal import read_line
from tests.helpers.ranks import run_on_ranks
from tests.helpers.strategy_runs import STEPS, Leave, Outcome, Task, best_epoch, checkpoints, train

pytestmark = [
    pytest.mark.ranks,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore:It is recommended to use .*sync_dist"),
]

NAN = math.nan
#                 0    1    2    3    4    5    6    7    8    9    10   11    12
#                 searched        best                no number: restored at 8
SCRIPTED = Task([1.2, 1.0, 0.8, 0.6, 0.4, 0.5, 0.5, 0.5, NAN, NAN, 0.35, 0.3, 0.25, 0.22])
RESUMED_AT = 6
"""Epoch after whose end the run is resumed: after the best state, before the restore."""


@dataclass
class Both:
    """A run, and the same one from one of its checkpoints on; on every rank."""

    whole: list[Outcome]
    resumed: list[Outcome]
    is_sharded: bool = False


CASES = [
    pytest.param(("one process", 1), id="one"),
    pytest.param(("ddp", 2), id="ddp-2"),
    pytest.param(("ddp", 4), id="ddp-4", marks=pytest.mark.cluster),
    pytest.param(("ddp_find_unused_parameters_true", 2), id="unused-2", marks=pytest.mark.cluster),
    pytest.param(("fsdp2", 2), id="fsdp2-2"),
    pytest.param(("fsdp2", 4), id="fsdp2-4", marks=pytest.mark.cluster),
    pytest.param(("ddp", 2, "in files"), id="ddp-2-files", marks=pytest.mark.cluster),
    pytest.param(("fsdp2", 2, "in files"), id="fsdp2-2-files", marks=pytest.mark.cluster),
    pytest.param(("fsdp2, whole checkpoints", 2), id="fsdp2-whole-2", marks=pytest.mark.cluster),
    pytest.param(("fsdp2, whole checkpoints", 4), id="fsdp2-whole-4", marks=pytest.mark.cluster),
]


@pytest.fixture(scope="module", params=CASES)
def both(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Both:
    strategy, size, *in_files = request.param
    folder = tmp_path_factory.mktemp("strategy")
    snapshots = {"snapshots": Snapshots(folder / "snapshots")} if in_files else {}

    def on_all(**options: Any) -> list[Outcome]:
        def run(rank: int) -> Outcome:
            return train(SCRIPTED, strategy, size, folder, [checkpoints(folder, 7)], patience=3, **snapshots, **options)

        return run_on_ranks(run, size, timeout=280, init=False)

    whole = on_all()
    resumed = on_all(resume_from=folder / "checkpoints" / f"epoch={RESUMED_AT}.ckpt")
    return Both(whole, resumed, is_sharded=strategy.startswith("fsdp2"))


def test_scale(both: Both) -> None:
    """All ranks hold the same rates around every step, and each decision is in them."""
    assert [outcome.differences for outcome in (*both.whole, *both.resumed)] == [[]] * 2 * len(both.whole)
    first = both.whole[0]
    for outcome in both.whole:
        assert (outcome.decisions, outcome.rates, outcome.scale) == (first.decisions, first.rates, first.scale)
    for step, factor in [((d["epoch"] + 1) * STEPS, d["factor"]) for d in first.decisions if d["factor"] < 1]:
        (before,), (after,) = first.rates[step - 1], first.rates[step]
        assert factor * 0.95 < after / before <= factor  # the anneal has its part in it


def test_explore(both: Both) -> None:
    """Between the first two steps; the loss is not read along sharded weights."""
    explored = both.whole[0].decisions[0]
    if both.is_sharded:
        assert explored["action"] != "explore"
        return
    assert (explored["action"], explored["step"], explored["snapshot_check"]) == ("explore", 1, None)
    (found,) = both.whole[0].rates[2 * STEPS]
    assert found == pytest.approx(explored["new_lr"]["lr-AdamW"])


def test_restore(both: Both) -> None:
    """Weights, buffers and optimizer state of every rank are those of the best check, to the last bit."""
    (restored,) = [d for d in both.whole[0].decisions if d["action"] == "restore"]
    epoch = restored["epoch"]
    best = best_epoch(SCRIPTED.losses, epoch)
    for outcome in both.whole:
        assert outcome.states[epoch] == outcome.states[best]
        assert outcome.states[epoch] != outcome.states[epoch - 1]


def test_resume(both: Both) -> None:
    """From a checkpoint before the restore: the same decisions, rates, weights, and the snapshot on each rank."""
    for whole, resumed in zip(both.whole, both.resumed, strict=True):
        assert resumed.decisions == whole.decisions
        assert resumed.scale == whole.scale
        assert min(resumed.rates) == (RESUMED_AT + 1) * STEPS
        assert resumed.rates == {step: rates for step, rates in whole.rates.items() if step in resumed.rates}
        expected = {epoch: state for epoch, state in whole.states.items() if epoch > RESUMED_AT}
        if len(both.whole) <= 2:
            assert resumed.states == expected
        else:  # DDP lays its gradients out anew after its first step: the sum of more than two ranks rounds otherwise
            assert list(numbers(resumed.states)) == pytest.approx(list(numbers(expected)), rel=1e-9, abs=1e-12)


def numbers(value: Any) -> Iterator[float]:
    """All numbers of plain containers, in order."""
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from numbers(item)
    elif isinstance(value, float | int):
        yield value


@pytest.mark.parametrize(
    "strategy",
    [pytest.param("ddp_fork", marks=pytest.mark.cluster), pytest.param("ddp_spawn", marks=pytest.mark.cluster)],
)
def test_processes_that_lightning_starts_itself(strategy: str, tmp_path: Path) -> None:
    """The same decisions as one process makes, on each rank; the main process has the journal alone."""
    leave = Leave(tmp_path)
    control = train(SCRIPTED, strategy, 2, tmp_path, [checkpoints(tmp_path, 7), leave], patience=3)
    assert control.decisions == []  # documented: the main process never decided anything
    whole = leave.read(2)
    resume_from = tmp_path / "checkpoints" / f"epoch={RESUMED_AT}.ckpt"
    train(SCRIPTED, strategy, 2, tmp_path, [leave], resume_from=resume_from, patience=3)
    both = Both(whole, leave.read(2))
    for check in (test_scale, test_explore, test_restore, test_resume):
        check(both)
    lines = (tmp_path / "lr_journal.jsonl").read_text().splitlines()
    acts = [read_line(line).decision.action for line in lines[1:]]
    assert [act for act in acts if act != "hold"] == [act for _, act, _, _ in whole[0].acts]
