"""Two ranks that each log a value of their own are killed and go on; a checkpoint holds what each of them has read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lightning_lr.engine.journal import read_line
from tests.helpers.ranks import RankError, run_on_ranks
from tests.helpers.resume import WHENS, Run, Trace, When, journal_lines, train
from tests.helpers.schedulers import CASES

DDP = {"strategy": "ddp", "devices": 2, "use_distributed_sampler": False}
IN_VALIDATION, MID_EPOCH = (
    next(when for when in WHENS if when.name == name) for name in ("in validation, last batch", "mid-epoch")
)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[Trace]:
    """Both ranks of a run that is never killed."""
    run = two_ranks(tmp_path_factory.mktemp("alone"))
    return run_on_ranks(lambda rank: train(run))


def two_ranks(folder: Path) -> Run:
    return Run(folder, case=CASES[0], stateful=False, options=DDP)


def killed_on_ranks(run: Run, when: When) -> Path:
    """The checkpoint of two ranks that were killed six steps after it."""
    with pytest.raises(RankError, match="died without an answer"):
        run_on_ranks(lambda rank: train(run, callbacks=when.callbacks(run.folder), die_at=when.step + 6))
    return when.path(run.folder)


@pytest.mark.ranks
@pytest.mark.parametrize("when", [IN_VALIDATION, pytest.param(MID_EPOCH, marks=pytest.mark.resume)], ids=str)
def test_two_ranks_go_on_as_two(when: When, tmp_path: Path, expected: list[Trace]) -> None:
    run = two_ranks(tmp_path)
    checkpoint = killed_on_ranks(run, when)
    held = next(v for k, v in torch.load(checkpoint, weights_only=True).items() if k.startswith("lightning_lr/"))
    assert len(held["readings"]) == 2
    assert held["readings"][0] != held["readings"][1]

    got = run_on_ranks(lambda rank: train(run, callbacks=when.callbacks(run.folder), ckpt_path=checkpoint))

    for rank in (0, 1):
        assert got[rank].acts == expected[rank].acts
        assert got[rank].rates == {s: rates for s, rates in expected[rank].rates.items() if s >= when.step}
        assert got[rank].decisions == expected[0].decisions
        assert got[rank].scale == expected[0].scale
        assert got[rank].weights == expected[rank].weights
        assert got[rank].optimizer == expected[rank].optimizer
    assert journal_lines(run.journal) == expected[0].journal


@pytest.mark.ranks
@pytest.mark.resume
def test_one_rank_goes_on_alone(tmp_path: Path) -> None:
    run = replace(two_ranks(tmp_path), losses=[2.0 - 0.125 * check for check in range(14)])
    checkpoint = killed_on_ranks(run, IN_VALIDATION)

    callbacks = IN_VALIDATION.callbacks(tmp_path)
    run_on_ranks(lambda rank: train(replace(run, options={}), callbacks, ckpt_path=checkpoint), 1, init=False)

    lines = run.journal.read_text().splitlines()
    assert len(lines) == 1 + 14
    seen = [read_line(line).reading.metrics["val_loss"] for line in lines[1:]]
    assert seen[:7] == [2.125 - 0.125 * check for check in range(7)]  # the mean of both
    assert seen[7:] == [2.0 - 0.125 * check for check in range(7, 14)]  # rank 0's own, from the checkpoint's check on
