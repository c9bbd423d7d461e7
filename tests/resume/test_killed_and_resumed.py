"""A run that is killed and resumed is the run that never was: rates, decisions, weights and journal, bit for bit.

Every run of the table cuts on a plateau, takes its best state at check 6, is resumed from a checkpoint of check 6 or 7,
restores that state where validation gave no number twice (out of the checkpoint), and a later one where the training
loss is not finite. It was killed six steps after the checkpoint, so the journal already has lines that the resumed run
must take back.
"""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch

from tests.helpers.resume import WHENS, Run, Trace, When, killed, resumed, unkilled
from tests.helpers.schedulers import CASES, SchedulerCase

ACTS = [(4, "restore", "plateau"), (8, "restore", "non_finite"), (12, "restore", "non_finite")]
IN_SHORT = {
    ("OneCycleLR", "mid-epoch"),
    ("SequentialLR", "end of the epoch"),
    ("LambdaLR", "in validation, last batch"),
}


def rows() -> list[object]:
    """Scheduler × cadence of the checks × which checkpoint; one row of each kind is short, the rest is marked."""
    table = []
    for case in CASES:
        for halves in (False, True):
            for when in WHENS:
                if when.halves and not halves:
                    continue
                short = case.name == "StepLR" if halves else (case.name, when.name) in IN_SHORT
                marks = [] if short else [pytest.mark.resume]
                name = f"{case} - {'two checks an epoch' if halves else 'a check an epoch'} - {when}"
                table.append(pytest.param(case, halves, when, id=name, marks=marks))
    return table


@cache
def alone(run: Run) -> Trace:
    """The run that is never killed: the same for all checkpoints."""
    return unkilled(run)


@pytest.mark.parametrize(("case", "halves", "when"), rows())
def test_as_if_never_killed(
    case: SchedulerCase, halves: bool, when: When, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    if case.requires and importlib.util.find_spec(case.requires) is None:
        pytest.skip(f"needs {case.requires}")
    # An exception leaves the loader one batch ahead of the step that failed: only data of the step itself is the same.
    run = Run(tmp_path, halves, case, stateful=when.arguments is not None)
    expected = alone(replace(run, folder=tmp_path_factory.getbasetemp() / f"{case}-{halves}-{run.stateful}"))
    # ReduceLROnPlateau answers plateaus itself: ours are left to it.
    first = int(case.needs_metric)
    assert expected.acts == ACTS[first:]
    assert expected.restored == [1, 6, 11][first:]

    checkpoint = killed(run, when, survive=6)
    assert torch.load(checkpoint, weights_only=True)["global_step"] == when.step
    got = resumed(run, when, checkpoint)

    same(got, expected, since=when.step)
    # Lightning saves before it steps a plateau scheduler at the end of an epoch, and the resumed run never makes up for
    # it (with this callback or without): its ``last_epoch`` is one behind.
    assert got.scheduler == expected.scheduler or case.needs_metric


def same(got: Trace, expected: Trace, since: int) -> None:
    """Everything that may not differ, the easiest to read first."""
    assert got.acts == expected.acts
    assert got.rates == {step: rates for step, rates in expected.rates.items() if step >= since}
    assert got.decisions == expected.decisions
    assert got.scale == expected.scale
    assert got.journal == expected.journal
    assert got.weights == expected.weights
    assert got.optimizer == expected.optimizer
    assert [sentence for sentence in got.sentences if sentence not in expected.sentences] == []
