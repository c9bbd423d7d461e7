"""The same promise for other policies, cadences and arguments: killed and resumed is as if never killed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from torch.optim import lr_scheduler

from lightning_lr.engine.journal import read_line
from lightning_lr.engine.policies import HalvingPolicy
from tests.helpers.resume import FIRM, WHENS, Run, When, killed, resumed, unkilled
from tests.helpers.schedulers import CASES, SchedulerCase
from tests.resume.test_killed_and_resumed import same

MID, VALIDATION, END = WHENS[0], WHENS[2], WHENS[3]
IMPATIENT = SchedulerCase(
    "ReduceLROnPlateau", lambda o, t: lr_scheduler.ReduceLROnPlateau(o, factor=0.5, patience=0), needs_metric=True
)


def row(name: str, *whens: When, short: bool = False, **fields: Any) -> list[Any]:
    """One way of running, for each checkpoint."""
    marks = [] if short else [pytest.mark.resume]
    return [pytest.param(fields, when, id=f"{name} - {when}", marks=marks) for when in whens]


@pytest.mark.parametrize(
    ("fields", "when"),
    [
        *row("a dry run", MID, END, arguments={"dry_run": True}),
        *row("the conservative policy", MID, END, arguments={"policy": "conservative"}),
        *row("halving", MID, VALIDATION, END, arguments={"policy": HalvingPolicy(epochs=3), "patience": None}),
        *row("exponential", MID, END, arguments={"policy": "exponential", "patience": None}),
        *row("cooldown and warm-up", MID, END, arguments={"cooldown": 3, "policy": replace(FIRM, warmup_checks=5)}),
        *row("no snapshot needed", MID, END, arguments={"restore_best": False}),
        *row("bounds", MID, END, arguments={"min_lr": [0.001, 0.01], "max_lr": 0.04}),
        *row("learning rates that are tensors", MID, END, tensor=True),
        *row("learning rates that are tensors, no scheduler", MID, VALIDATION, END, tensor=True, case=None),
        *row("no scheduler", MID, VALIDATION, END, case=None),
        *row(
            "validation every second epoch",
            MID,
            replace(END, step=28),
            options={"check_val_every_n_epoch": 2},
            short=True,
        ),
        *row("annealing", MID, VALIDATION, END, case=None, arguments={"anneal": True}),
        *row(
            "a rate that was searched, then annealing",
            When("mid-epoch", 46, {"every_n_train_steps": 46}),
            replace(VALIDATION, step=48),
            replace(END, step=48),
            case=None,
            arguments={"anneal": True, "find_lr": True},
            options={"max_epochs": 60},
        ),
        *row("no validation", MID, END, options={"limit_val_batches": 0}, short=True),
        # (Not at the end of an epoch: with max_steps Lightning then moves its loggers' x-axis, hence ours, by a step.)
        *row("a budget of steps", MID, VALIDATION, options={"max_steps": 56, "max_epochs": -1}),
        *row("data that is a function of the step", MID, VALIDATION, END, stateful=False),
        *row(
            "accumulated gradients",
            When("mid-epoch", 17, {"every_n_train_steps": 17}),
            replace(END, step=20),
            options={"accumulate_grad_batches": 2, "max_epochs": 28},
        ),
    ],
)
def test_as_if_never_killed(fields: dict[str, Any], when: When, tmp_path: Path) -> None:
    run = Run(tmp_path / "killed", **{"case": CASES[0], **fields})
    expected = unkilled(replace(run, folder=tmp_path / "alone"))

    got = resumed(run, when, killed(run, when, survive=6))

    same(got, expected, since=when.step)
    assert got.scheduler == expected.scheduler


@pytest.mark.resume
def test_killed_right_after_the_search(tmp_path: Path) -> None:
    when = When("right after the search", 2, {"every_n_train_steps": 2})
    run = Run(tmp_path / "killed", arguments={"find_lr": True}, options={"max_epochs": 60})
    expected = unkilled(replace(run, folder=tmp_path / "alone"))

    same(resumed(run, when, killed(run, when, survive=3)), expected, since=when.step)


@pytest.mark.parametrize("when", [END, pytest.param(MID, marks=pytest.mark.resume)], ids=str)
def test_beside_a_plateau_scheduler_only_lightnings_own_step_is_lost(when: When, tmp_path: Path) -> None:
    # Lightning loses one step of it, and so a reduction: what the resumed run may be held to is the same run in which
    # this callback changes nothing, times the scale.
    run = Run(tmp_path / "acts", case=IMPATIENT)
    dry = Run(tmp_path / "dry", case=IMPATIENT, arguments={"dry_run": True})
    expected, untouched = unkilled(replace(run, folder=tmp_path / "alone")), resumed(dry, when, killed(dry, when))

    got = resumed(run, when, killed(run, when, survive=6))

    assert [d["reason"].split(" (lr-")[0] for d in got.decisions] == [
        d["reason"].split(" (lr-")[0] for d in expected.decisions
    ]
    assert got.scale == expected.scale
    assert untouched.rates[55] < [0.01, 0.02]
    scales = scale_at_each_check(got.journal)
    for step, rates in got.rates.items():
        assert rates == pytest.approx([rate * scales[step // 4] for rate in untouched.rates[step]], rel=1e-12)


def scale_at_each_check(journal: list[str]) -> list[float]:
    """The scale that held during each check, from the rates that it began with."""
    lines = [read_line(line).reading.rates for line in journal[1:]]
    return [next(iter(rates.values())).scale for rates in lines]


def test_the_journal_beside_a_logger_is_one_file_whichever_version_the_logger_opens(tmp_path: Path) -> None:
    run = Run(tmp_path, case=CASES[0], options={"logger": True})
    expected = unkilled(replace(run, folder=tmp_path / "alone"))

    got = resumed(run, END, killed(run, END, survive=6))

    logs = tmp_path / "lightning_logs"
    assert sorted(path.name for path in logs.iterdir()) == ["version_0", "version_1"]
    assert [*logs.rglob("*.jsonl")] == [logs / "version_0" / "lr_journal.jsonl"]
    assert got.journal == expected.journal
